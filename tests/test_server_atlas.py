"""Atlases on the server: which are found and whose they are, what a page is told, and what a broken file does."""

import copy
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from page import Page, Served, serving
from qkvlab.checkpoint.source import ALIASES
from qkvlab.errors import AtlasError
from qkvlab.server.atlases import Atlases, model_of
from qkvlab.server.rooms import furnish
from some_atlas import plant, some_atlas, some_examples
from terminal import run as program

SMOLLM2 = {"badge": "SmolLM2-135M-Instruct, Q4_1", "name": "SmolLM2-135M-Instruct, Q4_1"}
MODELS = [{"name": name, "title": alias.title} for name, alias in ALIASES.items()]


def big_atlas() -> dict[str, Any]:
    """One of the default model's sizes."""
    return some_atlas(30, 9, 3, **SMOLLM2)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for tests that open no model."""
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "atlas"


def found(atlases: Atlases) -> list[tuple[str, int]]:
    return [(entry.origin, entry.atlas["run"]["documents"]) for entry in atlases.entries()]


def with_documents(documents: int) -> dict[str, Any]:
    atlas = some_atlas()
    return {**atlas, "run": {**atlas["run"], "documents": documents}}


def test_named_ones_come_first_then_the_latest_of_the_cache_then_the_shipped(cache: Path, tmp_path: Path) -> None:
    for age, documents in enumerate((3, 5)):
        file = plant(cache / f"m{documents}", with_documents(documents)) / "atlas.json"
        os.utime(file, (1000 - 100 * age, 1000 - 100 * age))
    given = plant(tmp_path / "run", with_documents(2))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "atlas-tiny.json").write_text(json.dumps(with_documents(7)))
    (tmp_path / "data" / "atlas-tiny-examples.json").write_text(json.dumps(some_examples(some_atlas())))
    atlases = Atlases([given], shipped=tmp_path / "data")
    assert found(atlases) == [("given", 2), ("cache", 3), ("cache", 5), ("shipped", 7)]
    shipped = atlases.entries()[-1]
    assert atlases.head(shipped.id, "1.2")["examples"][0]["side"] == "best"
    again = Atlases([cache / "m3"], shipped=tmp_path / "data")
    assert found(again) == [("given", 3), ("cache", 5), ("shipped", 7)], "the same file is listed once"


def test_a_broken_one_is_told_once_and_left_out(cache: Path, tmp_path: Path) -> None:
    file = plant(cache / "m", some_atlas()) / "atlas.json"
    plant(cache / "broken", {**some_atlas(), "format": 9})
    said: list[str] = []
    atlases = Atlases(shipped=tmp_path, say=said.append)
    assert len(atlases.entries()) == len(atlases.entries()) == 1
    assert len(said) == 1 and said[0].startswith("left out: ") and "format" in said[0] and "\n" not in said[0]
    file.write_text("{")
    assert atlases.entries() == [] and len(said) == 2, "read again, because it changed"
    plant(cache / "broken", some_atlas())
    assert len(atlases.entries()) == 1 and len(said) == 2


def test_a_named_one_that_is_none_is_an_error(cache: Path, tmp_path: Path) -> None:
    plant(tmp_path / "broken", {"format": 1})
    for path in (tmp_path / "none", tmp_path / "broken"):
        with pytest.raises(AtlasError):
            Atlases([path])
        assert path.name in program("play", "smollm2", "--no-browser", "--atlas", str(path)).complaint()


def test_whose_atlas_it_is() -> None:
    pinned = ALIASES["smollm2"].files[0].sha256
    cases = [
        ({"sha256": pinned, "name": "whatever", "badge": "whatever"}, "smollm2"),
        ({"sha256": None, **SMOLLM2}, "smollm2"),
        ({"sha256": None, "name": "smollm2", "badge": "x"}, "smollm2"),
        ({"sha256": "0" * 64, **SMOLLM2}, None),
        ({"sha256": "0" * 64, "name": "own.gguf", "badge": "own.gguf"}, "own.gguf"),
        ({"sha256": None, "name": "other", "badge": "other"}, None),
    ]
    models = [{"name": "own.gguf", "title": "own.gguf"}, *MODELS]
    for model, name in cases:
        assert model_of({"model": model}, models) == name, model
    assert model_of({"model": {"sha256": pinned, "name": "x", "badge": "x"}}, MODELS[1:]) is None


# ---- over the wire


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    atlas = big_atlas()
    return plant(tmp_path_factory.mktemp("run"), atlas, some_examples(atlas))


@pytest.fixture(scope="module")
def with_atlas(run: Path, smollm2_path: Path) -> Iterator[Served]:
    with serving(rooms=furnish("smollm2", [run])) as served:
        yield served


@pytest.fixture
def page(with_atlas: Served) -> Iterator[Page]:
    with with_atlas.page() as page:
        yield page


def first(page: Page) -> dict[str, Any]:
    row: dict[str, Any] = page.parts(lane="atlas")["atlases"].reply["atlases"][0]
    return row


def test_the_list_says_what_there_is_and_no_path(page: Page, run: Path, with_atlas: Served) -> None:
    row = first(page)
    told = {name: row[name] for name in ("origin", "opens", "badge", "n_layer", "n_head", "documents", "tokens")}
    assert told == {
        "origin": "given", "opens": "smollm2", "badge": "SmolLM2-135M-Instruct, Q4_1", "n_layer": 30, "n_head": 9,
        "documents": 7, "tokens": 1113,
    }  # fmt: skip
    roles = {role["role"]: role["heads"] for role in row["roles"]}
    assert roles["coreference"] == ["1.2"]
    assert str(run) not in json.dumps(row) and run.name not in json.dumps(row)
    with urllib.request.urlopen(f"http://127.0.0.1:{with_atlas.port}/atlases.json") as answer:
        assert json.load(answer)[0] == row and answer.headers["cache-control"] == "no-store"


def test_the_list_is_for_the_servers_own_page_only(with_atlas: Served) -> None:
    address = f"http://127.0.0.1:{with_atlas.port}/atlases.json"
    for header in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(address, headers=header))


def test_the_page_of_the_atlas_is_the_page(with_atlas: Served) -> None:
    pages = []
    for path in ("atlas", "playground"):
        with urllib.request.urlopen(f"http://127.0.0.1:{with_atlas.port}/{path}") as answer:
            pages.append(answer.read())
    assert pages[0] == pages[1]


def test_a_summary_is_the_file(page: Page) -> None:
    summary = page.parts(lane="atlas", atlas=first(page)["id"])["atlas"].reply["summary"]
    assert summary == big_atlas()


def test_a_heads_examples_and_only_the_texts_they_need(page: Page) -> None:
    atlas, examples = first(page)["id"], some_examples(big_atlas())
    reply = page.parts(lane="atlas_head", atlas=atlas, head="1.2")["atlas_head"].reply
    assert reply["texts"] == examples["texts"] and reply["examples"] == examples["heads"]["1.2"]
    other = page.parts(lane="atlas_head", atlas=atlas, head="0.0")["atlas_head"].reply
    assert other["texts"] == examples["texts"][:1] and len(other["examples"]) == 1
    assert page.parts(lane="atlas_head", atlas=atlas, head="29.0")["atlas_head"].reply["examples"] == []


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"lane": "atlas", "atlas": "/etc/passwd"}, "AtlasError", "the atlas '/etc/passwd' is not known"),
        ({"lane": "atlas", "atlas": 5}, "RequestError", "atlas: expected a text"),
        ({"lane": "atlas", "atlas": "x" * 301}, "RequestError", "atlas has 301 characters"),
        ({"lane": "atlas", "head": "1.2"}, "RequestError", "the field 'head' is not known"),
        ({"lane": "atlas_head", "atlas": "../.."}, "RequestError", "the field head is missing"),
        ({"lane": "atlas_head", "atlas": "../..", "head": "1.2"}, "AtlasError", "is not known"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], kind: str, said: str, page: Page) -> None:
    got = page.error(**fields)
    assert got[0] == kind and said in got[1]
    assert page.error(lane="atlas_head", atlas=first(page)["id"], head="30.0")[0] == "HeadError"


def test_examples_that_broke_meanwhile_are_one_line(smollm2_path: Path, tmp_path: Path) -> None:
    run = plant(tmp_path / "run", big_atlas(), some_examples(big_atlas()))
    with serving(rooms=furnish("smollm2", [run])) as served, served.page() as page:
        atlas = first(page)["id"]
        assert page.parts(lane="atlas_head", atlas=atlas, head="1.2")
        broken = copy.deepcopy(some_examples(big_atlas()))
        broken["heads"]["1.2"][0]["query"] = [0, 10**9]
        plant(run, big_atlas(), broken)
        kind, said = page.error(lane="atlas_head", atlas=atlas, head="1.2")
        assert kind == "AtlasError" and "query: expected [start, end]" in said
