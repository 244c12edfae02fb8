"""`qkvlab ask`, `find`, `models` and `pull`: the answers, the JSON and the mistakes."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab import __version__
from qkvlab.checkpoint.source import ALIASES
from qkvlab.model import Model
from terminal import WORDS, Ran, launch, readable, remember_models, run

CAT = "The cat drank because it was thirsty"
CAT_TOKENS = ["The", " cat", " drank", " because", " it", " was", " thirsty"]
COMMANDS = (
    "ask", "atlas", "circuits", "course", "find", "group", "inspect", "models", "play", "pull", "trace", "weights",
    "why",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("smollm2_path")


@pytest.fixture(scope="module", autouse=True)
def _models_stay_open() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        remember_models(patch)
        yield


@pytest.fixture(scope="module")
def toy(tiny: Callable[[str], tuple[Any, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama that reads words."""
    return readable(tiny("llama")[1], tmp_path_factory.mktemp("toy"))


# ---- find


def test_find_prints_the_documents_schema_and_the_measured_head() -> None:
    found = run("find", CAT, "--query", " it", "--key", " cat", "--json").document()
    assert list(found) == ["model", "tokens", "query", "key", "heads"]
    assert found["model"] == "SmolLM2-135M-Instruct, Q4_1"
    assert found["tokens"] == CAT_TOKENS
    assert found["query"] == {"index": 4, "text": " it"}
    assert found["key"] == {"index": 1, "text": " cat"}
    assert len(found["heads"]) == 10
    assert all(list(row) == ["head", "layer", "kv_head", "score", "weight"] for row in found["heads"])
    first, weights = found["heads"][0], [row["weight"] for row in found["heads"]]
    assert (first["head"], first["layer"], first["kv_head"]) == ("13.8", 13, 2)
    np.testing.assert_allclose([first["score"], first["weight"]], [6.613, 0.9037], atol=5e-4)
    assert weights == sorted(weights, reverse=True)


def test_find_everywhere_has_ten_heads_over_a_quarter() -> None:
    heads = run("find", CAT, "--query", "#4", "--key", "#1", "--top", "1000", "--json").document()["heads"]
    assert len({row["head"] for row in heads}) == 270
    assert sum(row["weight"] > 0.25 for row in heads) == 10
    assert all(row["kv_head"] == int(row["head"].partition(".")[2]) // 3 for row in heads)


def test_find_as_a_table() -> None:
    shown = run("find", CAT, "--query", "it", "--key", "cat", "--top", "3")
    assert (shown.status, shown.err) == (0, "")
    rows = [line.split()[:4] for line in shown.out.splitlines() if re.match(r" +\d+\.\d+ ", line)]
    assert rows[0] == ["13.8", "2", "6.61", "0.9037"] and len(rows) == 3
    for piece in (CAT, 'Where does " it" look at " cat"?', "SmolLM2-135M-Instruct, Q4_1"):
        assert piece in shown.out


def test_a_key_after_its_query() -> None:
    complaint = run("find", CAT, "--query", "cat", "--key", "it").complaint()
    assert "#4 ' it' comes after #1 ' cat'" in complaint and "causal" in complaint


def test_a_key_outside_the_window_of_some_layers(tiny: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    """Layer 0 sees all, the others four keys: there the weight is 0 and there is no score."""
    model = readable(tiny("qwen2-window")[1], tmp_path / "m")
    command = (
        "find",
        "the cat drank because it was",
        "--query",
        "was",
        "--key",
        "cat",
        "--model",
        model,
        "--top",
        "12",
    )
    rows = run(*command, "--json").document()["heads"]
    assert [row["layer"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 4
    assert all((row["score"] is None) == (row["layer"] > 0) == (row["weight"] == 0) for row in rows)
    shown = run(*command)
    assert (shown.status, shown.err) == (0, "") and "inf" not in shown.out and "None" not in shown.out


def test_an_encoder_looks_both_ways(minilm_path: Path) -> None:
    found = run("find", "a cat sat", "--query", "cat", "--key", "sat", "--model", "minilm", "--json").document()
    assert found["tokens"] == ["[CLS]", "a", "cat", "sat", "[SEP]"]
    assert found["query"]["index"] < found["key"]["index"] and found["heads"][0]["weight"] > 0.1


# ---- ask


def test_ask_at_a_named_head() -> None:
    answer = run("ask", CAT, "--token", " it", "--head", "13.8", "--json").document()
    assert (answer["head"], answer["kv_head"], answer["shares_kv_with"]) == ("13.8", 2, ["13.6", "13.7"])
    assert answer["token"] == {"index": 4, "text": " it"} and answer["tokens"] == CAT_TOKENS
    assert answer["landings"] is None and answer["edited"] is False
    assert answer["looking_for"][0]["text"] == " cat"
    np.testing.assert_allclose(answer["looking_for"][0]["weight"], 0.9037, atol=5e-5)
    assert [row["index"] for row in answer["looking_for"]] and len(answer["looking_for"]) == 5
    assert sorted(row["index"] for row in answer["found_by"]) == [5, 6]
    assert '" it" looks at " cat" with weight 0.90' in answer["sentence"]


def test_ask_without_a_head_answers_for_the_first_landing() -> None:
    answer = run("ask", CAT, "--token", "it", "--top", "4", "--json").document()
    landings = answer["landings"]
    assert len(landings) == 4 and answer["head"] == landings[0]["head"]
    assert all(row["key"]["index"] not in (0, 4) for row in landings)
    weights = [row["weight"] for row in landings]
    assert weights == sorted(weights, reverse=True) and weights[0] > 0.9
    assert {"13.8": " cat"}.items() <= {row["head"]: row["key"]["text"] for row in landings}.items()


def test_ask_as_text_says_all_three_hats_and_one_sentence() -> None:
    shown = run("ask", CAT, "--token", "it", "--head", "13.8")
    assert (shown.status, shown.err) == (0, "")
    flat = " ".join(shown.out.split())
    for piece in (
        "Head 13.8 reads K/V head 2, shared with 13.6, 13.7",
        'Q What is " it" (#4) looking for?',
        'K Who finds " it" (#4)?',
        'V What does " it" (#4) hand over?',
        'At head 13.8, " it" looks at " cat" with weight 0.90',
        "SmolLM2-135M-Instruct, Q4_1",
    ):
        assert piece in flat
    assert "0.9037" in shown.out


@pytest.mark.parametrize("name", ["it", " it", "it ", "#4"])
def test_a_token_by_its_text_or_its_number(toy: Path, name: str) -> None:
    answer = run("ask", "the cat drank because it was", "--token", name, "--model", toy, "--json").document()
    assert answer["token"] == {"index": 4, "text": "it"}


def test_a_token_with_its_space_beside_one_without() -> None:
    tokens = run("ask", "it is it", "--token", " it", "--head", "0.0", "--json").document()
    assert tokens["token"]["index"] == 2
    tokens = run("ask", "it is it", "--token", "it", "--head", "0.0", "--json").document()
    assert tokens["token"]["index"] == 0, "the exact print comes first"


def test_an_ambiguous_token_lists_all_with_their_numbers(toy: Path) -> None:
    complaint = run("ask", "the cat saw another cat", "--token", "cat", "--model", toy).complaint()
    assert "#1 or #4" in complaint
    assert "#0 'the', #1 'cat', #2 'saw', #3 'another', #4 'cat'" in complaint


def test_a_missing_token_lists_all_with_their_numbers(toy: Path) -> None:
    for name in ("dog", "#9", "#99999999999999999999", ""):
        complaint = run("ask", "the cat", "--token", name, "--model", toy).complaint()
        assert "#0 'the', #1 'cat'" in complaint
        assert len(complaint) < 300


@pytest.mark.parametrize("name", ["#0", "#1"])
def test_nothing_left_to_land_on_is_said(toy: Path, name: str) -> None:
    command = ("ask", "the cat drank", "--token", name, "--model", toy)
    shown = run(*command)
    assert (shown.status, shown.err) == (0, "")
    assert name in shown.out and "--head" in shown.out and shown.out.count("\n") == 1
    document = run(*command, "--json").document()
    assert document["landings"] == [] and "--head" in document["note"]
    assert document["token"] == {"index": int(name[1:]), "text": ["the", "cat"][int(name[1:])]}
    assert run(*command, "--head", "1.3", "--json").document()["head"] == "1.3"


def test_an_encoder_is_found_from_both_sides_and_has_no_words(minilm_path: Path) -> None:
    command = ("ask", "the cat drank milk", "--token", "drank", "--head", "3.1", "--model", "minilm")
    answer = run(*command, "--top", "9", "--json").document()
    assert answer["tokens"] == ["[CLS]", "the", "cat", "drank", "milk", "[SEP]"]
    assert sorted(row["index"] for row in answer["found_by"]) == [0, 1, 2, 4, 5]
    assert sorted(row["index"] for row in answer["looking_for"]) == [0, 1, 2, 3, 4, 5]
    assert answer["hands_over"] is None and "promotes" not in answer["sentence"]
    flat = " ".join(run(*command).out.split())
    assert "no output head" in flat and "σ" not in flat


def test_an_encoders_landings_leave_the_special_tokens_out(minilm_path: Path) -> None:
    answer = run("ask", "the cat drank", "--token", "cat", "--model", "minilm", "--top", "72", "--json").document()
    assert len(answer["landings"]) == 72
    assert {row["key"]["text"] for row in answer["landings"]} == {"the", "drank"}


def test_top_cuts_every_list(toy: Path) -> None:
    command = ("ask", "the cat drank because it was thirsty", "--token", "it", "--head", "1.3", "--model", toy)
    for top in (1, 2, 7):
        answer = run(*command, "--top", str(top), "--json").document()
        assert len(answer["looking_for"]) == min(top, 5)
        assert len(answer["found_by"]) == min(top, 2)
        words = answer["hands_over"]
        assert len(words["promotes"]) == len(words["suppresses"]) == top


def test_every_word_the_sentence_names_is_listed() -> None:
    """At head 0.0 seventeen words are extreme for most values; the one that is news must not be cut off."""
    command = ("ask", CAT, "--token", "it", "--head", "0.0")
    answer = run(*command, "--json").document()
    promoted = re.findall(r'"([^"]*)"', answer["sentence"].partition("promotes")[2])
    assert promoted
    listed = [word["text"] for word in answer["hands_over"]["promotes"] if not word["always"]]
    assert set(promoted) <= set(listed)
    table = run(*command).out.rpartition("At head 0.0")[0]
    assert all(f'"{word}"' in table for word in promoted)


@pytest.mark.parametrize("more", [("--head", "3.1"), ()])
def test_special_tokens_can_be_left_out_of_ask(minilm_path: Path, more: tuple[str, ...]) -> None:
    command = ("ask", "the cat drank milk", "--token", "drank", "--model", "minilm", *more)
    answer = run(*command, "--no-special", "--json").document()
    assert answer["tokens"] == ["the", "cat", "drank", "milk"] and answer["token"]["index"] == 2
    framed = run(*command, "--json").document()
    assert framed["tokens"] == ["[CLS]", *answer["tokens"], "[SEP]"]
    assert framed["looking_for"][0]["weight"] != answer["looking_for"][0]["weight"]
    assert "[CLS]" not in run(*command, "--no-special").out
    assert "the text is empty" in run("ask", "", "--token", "#0", "--model", "minilm", "--no-special").complaint()


def test_special_tokens_can_be_left_out_of_find(minilm_path: Path) -> None:
    command = ("find", "a cat sat", "--query", "cat", "--key", "sat", "--model", "minilm", "--no-special")
    found = run(*command, "--json").document()
    assert found["tokens"] == ["a", "cat", "sat"] and (found["query"]["index"], found["key"]["index"]) == (1, 2)
    assert "[CLS]" not in run(*command).out


# ---- models and pull


def test_models_lists_both_aliases(minilm_path: Path) -> None:
    rows = {row["name"]: row for row in run("models", "--json").document()["models"]}
    for name, alias in ALIASES.items():
        row = rows[name]
        assert (row["title"], row["license"], row["cached"]) == (alias.title, "Apache-2.0", True)
        assert Path(row["path"]).exists() and row["size_bytes"] == alias.size_bytes
    shown = run("models", columns=120).out
    assert "smollm2" in shown and "minilm" in shown and "Apache-2.0" in shown and "93.8 MiB" in shown


def test_models_shows_where_they_are_at_any_width() -> None:
    rows = run("models", "--json").document()["models"]
    for columns in (80, 120):
        shown = "".join(run("models", columns=columns).out.split())
        assert all(row["path"] in shown for row in rows if row["cached"])


def test_a_folder_named_like_markup_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ALIASES["smollm2"].path.parent.parent
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "red]").mkdir()
    (tmp_path / "[" / "red]" / "models").symlink_to(cache)
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path / "[" / "red]"))
    assert run("models").status == 0


def test_pull_of_what_is_there_says_where(smollm2_path: Path) -> None:
    done = run("pull", "smollm2")
    assert (done.status, done.err) == (0, "")
    assert str(smollm2_path) in done.out and done.out.count("\n") == 1


# ---- help and mistakes


def test_help_mentions_every_command_and_exits_with_0() -> None:
    for words in (("--help",), ("-h",)):
        shown = run(*words)
        assert (shown.status, shown.err) == (0, "")
        assert all(f"  {command} " in shown.out for command in COMMANDS)
    for command in COMMANDS:
        shown = run(command, "--help")
        assert (shown.status, shown.err) == (0, "") and command in shown.out and "--help" in shown.out


def test_version() -> None:
    assert run("--version") == Ran(f"qkvlab, version {__version__}\n", "", 0)


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "command": (("frobnicate",), "frobnicate"),
    "option": (("ask", CAT, "--token", "it", "--hed", "1.1"), "--hed"),
    "option before the command": (("--nope", "ask"), "--nope"),
    "no text": (("ask",), "TEXT"),
    "no token": (("ask", CAT), "--token"),
    "no value": (("ask", CAT, "--token"), "--token"),
    "no key": (("find", CAT, "--query", "it"), "--key"),
    "no output": (("trace", CAT), "--output"),
    "no model": (("inspect",), "MODEL"),
    "no name": (("pull",), "NAME"),
    "too many words": (("ask", "The", "cat", "--token", "cat"), "cat"),
    "top of nothing": (("ask", CAT, "--token", "it", "--top", "0"), "--top"),
    "top of words": (("find", CAT, "--query", "it", "--key", "cat", "--top", "many"), "many"),
    "head": (("ask", CAT, "--token", "it", "--head", "thirteen"), "write layer.head, for example 13.8"),
    "head of another model": (("ask", CAT, "--token", "it", "--head", "30.0"), "layers 0 to 29"),
    "query head of another model": (("ask", CAT, "--token", "it", "--head", "3.9"), "query heads 0 to 8"),
    "model": (("ask", CAT, "--token", "it", "--model", "smolm2"), "did you mean 'smollm2'?"),
    "path": (("ask", CAT, "--token", "it", "--model", "./nowhere"), "there is no file or folder"),
    "empty name": (("inspect", ""), "accepted: smollm2, minilm"),
    "file": (("inspect", __file__), "not a safetensors file"),
    "unknown pull": (("pull", "gpt5"), "accepted: smollm2, minilm"),
    "context": (("inspect", "smollm2", "--context", "0"), "--context"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_status_2(name: str) -> None:
    words, piece = MISTAKES[name]
    assert piece in run(*words).complaint()


def test_a_key_that_is_refused_and_let_pass(toy: Path, tmp_path: Path) -> None:
    model = readable(toy, tmp_path / "strange")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "warp_factor": 9}))
    ask = ("ask", "the cat drank", "--token", "drank", "--head", "0.0", "--model", model)
    find = ("find", "the cat drank", "--query", "drank", "--key", "cat", "--model", model)
    for command in (ask, find, ("inspect", model)):
        complaint = run(*command).complaint()
        assert "'warp_factor' (9)" in complaint and "--allow-config warp_factor" in complaint
    for command in (ask, find):
        stated = run(*command, "--allow-config", "warp_factor", "--json").document()["model"]
        assert stated == "strange · warp_factor ignored"
        assert "warp_factor ignored" in run(*command, "--allow-config", "warp_factor").out
    passed = run("inspect", model, "--allow-config", "warp_factor", "--json").document()
    assert passed["ignored_config"] == ["warp_factor"]
    assert "warp_factor" in run("inspect", model, "--allow-config", "warp_factor").out


def test_a_word_that_looks_like_markup_prints_as_itself(toy: Path) -> None:
    assert "[/b]" in WORDS
    for command in (("ask", "the [/b] cat", "--head", "0.0"), ("ask", "the x [/b] cat")):
        shown = run(*command, "--token", "[/b]", "--model", toy)
        assert shown.status == 0 and "[/b]" in shown.out


def test_the_real_process_prints_the_same(smollm2: Model) -> None:
    command = ("find", CAT, "--query", " it", "--key", " cat", "--json")
    ran = launch(*command)
    assert ran.document()["heads"][0]["head"] == "13.8"
    assert launch("ask", CAT, "--token", "dog").complaint() == run("ask", CAT, "--token", "dog").complaint()
