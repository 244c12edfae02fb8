"""atlas.json and examples.json: what is read is what was written, and what is broken is one clear line."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.atlas import naming
from qkvlab.atlas.reading import (
    check_atlas,
    check_examples,
    head_index,
    measure_named,
    ranking,
    read_atlas,
    read_examples,
    roles_of,
)
from qkvlab.errors import AtlasError, HeadError
from some_atlas import FIXTURE, plant, some_atlas, some_examples


def set_in(value: Any, path: list[Any], new: Any) -> Any:
    """A copy with one field replaced; without it where `new` is ... ."""
    changed = copy.deepcopy(value)
    at = changed
    for step in path[:-1]:
        at = at[step]
    if new is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return changed


def test_what_was_written_is_read(tmp_path: Path) -> None:
    atlas = some_atlas()
    examples = some_examples(atlas)
    run = plant(tmp_path / "run", atlas, examples)
    assert read_atlas(run) == read_atlas(run / "atlas.json") == check_atlas(copy.deepcopy(atlas), "it")
    assert read_examples(run / "examples.json") == examples


def test_the_pages_fixture_is_this_atlas() -> None:
    assert json.loads(FIXTURE.read_text()) == some_atlas(), "write it anew: python tests/some_atlas.py"


BROKEN: dict[str, tuple[list[Any], Any]] = {
    "format: expected 1; got 2": (["format"], 2),
    "model: expected an object": (["model"], []),
    "n_layer: expected a whole number": (["model", "n_layer"], True),
    "n_head: expected a whole number": (["model", "n_head"], 0),
    "badge: expected a text": (["model", "badge"], 5),
    "heads; at most": (["model", "n_layer"], 19_000),
    "documents: expected a whole number": (["run", "documents"], -1),
    "files: expected a list": (["run", "files"], None),
    "skipped: expected how often": (["run", "skipped", "words that share a token"], "many"),
    "value: expected 30 numbers, one for every head; got 1": (["measures", "coreference", "value"], [0.5]),
    "high: expected numbers or null; got 'x'": (["measures", "coreference", "high", 0], "x"),
    "low: expected numbers or null; got inf": (["measures", "coreference", "low", 0], float("inf")),
    "twin: expected 30 numbers": (["measures", "coreference", "twin"], []),
    "baseline 'chance': expected numbers": (["measures", "coreference", "baselines", "chance", "low"], "0"),
    "sd: expected a list": (["sums", "entropy", "sd"], ...),
    "role 'flying' is none of the measures": (["roles", 0, "role"], "flying"),
    "'9.9' is no head": (["roles", 0, "heads", 0, "head"], "9.9"),
    "random_head: expected a text": (["roles", 1, "heads", 0, "ablation"], {"n": 1, "at": 0}),
    "findings: expected sentences": (["findings"], [1]),
}  # fmt: skip


@pytest.mark.parametrize("said", list(BROKEN))
def test_a_broken_atlas_is_one_line(said: str) -> None:
    path, new = BROKEN[said]
    with pytest.raises(AtlasError) as error:
        check_atlas(set_in(some_atlas(), path, new), "file.json")
    assert str(error.value).startswith("file.json: not an atlas of format 1: ")
    assert said in str(error.value) and "\n" not in str(error.value)


@given(st.data())
def test_any_field_replaced_ends_in_a_named_error_or_is_sound(data: st.DataObject) -> None:
    atlas: Any = some_atlas(4, 3, 1)
    path: list[Any] = []
    at: Any = atlas
    while isinstance(at, dict | list) and at and (not path or data.draw(st.booleans())):
        path.append(data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at))))))
        at = at[path[-1]]
    junk = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.just([]), st.just({}), st.just(float("nan")))
    changed = set_in(atlas, path, data.draw(junk))
    try:
        sound = check_atlas(changed, "it")
    except AtlasError as error:
        assert "\n" not in str(error)
        return
    for measure in sound["measures"]:
        ranking(sound, measure)


def test_a_baseline_without_a_number_is_left_out() -> None:
    atlas = check_atlas(set_in(some_atlas(), ["measures", "coreference", "baselines", "chance", "value"], None), "it")
    assert list(atlas["measures"]["coreference"]["baselines"]) == ["nearest"]


@pytest.mark.parametrize("content", ["", "[1, 2", "[]", "NaN", '{"format": NaN}', "[" * 100_000])
def test_a_file_that_is_no_atlas(content: str, tmp_path: Path) -> None:
    (tmp_path / "atlas.json").write_text(content)
    with pytest.raises(AtlasError) as error:
        read_atlas(tmp_path)
    assert "atlas.json" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_finished(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="cannot be read"):
        read_atlas(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(AtlasError, match="--resume"):
        read_atlas(tmp_path)


EXAMPLES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "texts: expected a list": lambda it: it.pop("texts"),
    "texts: expected texts": lambda it: it["texts"].__setitem__(0, "x" * 20_001),
    "'one' is no head": lambda it: it["heads"].__setitem__("one", []),
    "text: expected a whole number from 0 to 1": lambda it: it["heads"]["1.2"][0].__setitem__("text", 2),
    "query: expected [start, end]": lambda it: it["heads"]["1.2"][0].__setitem__("query", [5, 999]),
    "looked: expected [start, end]": lambda it: it["heads"]["1.2"][0].__setitem__("looked", None),
    "right: expected [start, end]": lambda it: it["heads"]["1.2"][0].__setitem__("right", [7, 4]),
    "weight: expected a number": lambda it: it["heads"]["1.2"][0].__setitem__("weight", "0.5"),
}


@pytest.mark.parametrize("said", list(EXAMPLES))
def test_broken_examples_are_one_line(said: str) -> None:
    examples = copy.deepcopy(some_examples(some_atlas()))
    EXAMPLES[said](examples)
    with pytest.raises(AtlasError) as error:
        check_examples(examples, "examples.json")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_ranking_is_in_order_and_complete() -> None:
    atlas = check_atlas(some_atlas(), "it")
    rows = ranking(atlas, "coreference")
    assert len(rows) == 24, "the last layer was not scanned"
    assert [row["whole"] for row in rows] == sorted((row["whole"] for row in rows), reverse=True)
    assert rows[0] == {
        "head": "1.2", "n": 101, "value": 0.75, "low": 0.67, "high": 0.83, "selection": 0.675, "whole": 0.7125,
        "baselines": {"chance": 0.2, "nearest": 0.35}, "twin": 0.075, "named": True,
        "ablation": atlas["roles"][1]["heads"][0]["ablation"],
    }  # fmt: skip
    assert [row["head"] for row in rows if row["named"]] == ["1.2"]
    induction = ranking(atlas, "repeats:induction")[0]
    assert induction["baselines"]["control"] == atlas["measures"]["repeats:induction"]["control"][11]
    assert induction["head"] == "1.5"


def test_heads_and_measures_that_are_not_there() -> None:
    atlas = some_atlas()
    assert head_index(atlas, "1.2") == 8
    with pytest.raises(HeadError, match=r"head '5.0' is none of Tiny-5, F32, which has 5 layers of 6 heads"):
        head_index(atlas, "5.0")
    with pytest.raises(AtlasError, match=r"'corefrence' is none of this run's \d+; the nearest are coreference"):
        ranking(atlas, "corefrence")


def test_the_rarest_role_comes_first() -> None:
    atlas = some_atlas()
    shared = atlas["roles"][1]["heads"][0]
    atlas["roles"][0]["heads"].append(shared)
    assert roles_of(atlas, "1.2") == ["coreference", "position:previous"]
    assert roles_of(atlas, "0.0") == []


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ("syntax:nsubj:head", "finds a word's subject"),
        ("syntax:nsubj:dependent", "finds what the subject belongs to"),
        ("syntax:nmod:poss:head:forward", "finds what the possessor belongs to, looking ahead"),
        ("syntax:nmod:poss:dependent:forward", "finds a word's possessor, looking ahead"),
        ("syntax:x:y:dependent", "finds what the x:y belongs to"),
        ("clark:obj:normal", "object to word (Clark)"),
        ("clark:obj:transposed", "word to object (Clark)"),
        ("coreference", "finds a pronoun's antecedent"),
        ("something else", "something else"),
    ],
)
def test_measures_in_plain_words(measure: str, said: str) -> None:
    assert naming.title(measure) == said


def test_the_page_says_the_same() -> None:
    """The relations' names stand in the page's catalogue too."""
    page = (Path(__file__).parents[1] / "web" / "src" / "en" / "atlas.ts").read_text(encoding="utf-8")
    for name, said in {**naming.RELATIONS, **naming.BASELINES}.items():
        assert f"{name}: '{said}'" in page or f"'{name}': '{said}'" in page, name


def test_a_measure_that_is_none_is_told_the_nearest_and_not_all() -> None:
    names = [*(f"syntax:{name}:head" for name in ("nsubj", "obj", "det", "amod", "case")), "coreference"]
    atlas: Any = {"measures": dict.fromkeys(names)}
    assert measure_named(atlas, "nsubj:head") == "syntax:nsubj:head"
    with pytest.raises(AtlasError, match="nearest are syntax:nsubj:head") as caught:
        measure_named(atlas, "nsubj:haed")
    assert "case" not in str(caught.value)
