"""`qkvlab why` and `qkvlab circuits`: the answers, the JSON and the mistakes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal import readable, remember_models, run

CAT = "The cat drank because it was thirsty"
Tiny = Callable[[str], tuple[Any, Path]]


@pytest.fixture(scope="module", autouse=True)
def _models_stay_open() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        remember_models(patch)
        yield


def test_why_as_json(smollm2_path: Path) -> None:
    found = run("why", CAT, "--query", " it", "--key", " cat", "--head", "13.8", "--top", "7", "--json").document()
    assert list(found) == [
        "tokens", "model", "head", "kv_head", "query", "key", "score", "sum", "apart", "remainder", "components",
        "layers", "pairs",
    ]  # fmt: skip
    assert found["score"] == pytest.approx(6.613, abs=5e-4) and abs(found["remainder"]) < 1e-4
    assert (found["kv_head"], found["query"]["index"], found["key"]["index"]) == (2, 4, 1)
    assert found["apart"] == {"mask": 0.0} and len(found["components"]) == 131 and len(found["pairs"]) == 7
    for side in ("query", "key"):
        assert sum(row[side] for row in found["components"]) == pytest.approx(found["sum"])
        layers = sum(part[side] for row in found["layers"] for name, part in row.items() if name != "layer")
        assert layers == pytest.approx(found["sum"])
    assert [row["layer"] for row in found["layers"]] == [None, *range(13)]
    assert list(found["layers"][5]) == ["layer", "head", "mlp"]


def test_why_as_tables(smollm2_path: Path) -> None:
    shown = run("why", CAT, "--query", "it", "--key", "cat", "--head", "13.8", "--top", "3")
    assert (shown.status, shown.err) == (0, "") and max(map(len, shown.out.splitlines())) <= 80
    for piece in (CAT, 'Head 13.8: why does " it" score " cat" with 6.6134?', "17,161 parts 6.6134 + remainder"):
        assert piece in shown.out
    assert "11.6" in shown.out and "mlp 8" in shown.out


def test_why_not(tiny: Tiny, tmp_path: Path) -> None:
    model = readable(tiny("llama")[1], tmp_path / "m")

    def asked(query: str, key: str, head: str) -> str:
        return run("why", "the cat drank", "--query", query, "--key", key, "--head", head, "--model", model).complaint()

    assert "comes after" in asked("cat", "drank", "1.0")
    assert "no head 9.0" in asked("drank", "cat", "9.0")
    assert "is not in the text" in asked("drank", "dog", "1.0")


def test_circuits_of_a_model(tiny: Tiny) -> None:
    folder = tiny("llama")[1]
    found = run("circuits", folder, "--json").document()
    assert list(found) == ["model", "seed", "layers", "notes"] and len(found["layers"]) == 3
    layer = found["layers"][1]
    assert list(layer) == ["layer", "own", "random", "heads"]
    assert list(layer["own"]) == ["symmetry", "direction", "head_symmetry", "head_direction"]
    assert list(layer["heads"][0]) == ["head", "kv_head", "symmetry", "direction", "qk_rank", "ov_rank", "copying"]
    shown = run("circuits", folder, "--top", "4")
    assert (shown.status, shown.err) == (0, "") and max(map(len, shown.out.splitlines())) <= 80
    assert "and 14 more" in shown.out and "seed 22" in shown.out and "copying is" in shown.out


def test_circuits_of_a_head(tiny: Tiny) -> None:
    found = run("circuits", tiny("llama")[1], "--head", "1.4", "--json").document()
    assert found["circuit"]["head"] == "1.4" and found["circuit"]["kv_head"] == 1
    assert len(found["rotation"]) == 5 and len(found["qk_singular"]) == 10
    shown = run("circuits", tiny("llama")[1], "--head", "1.4", "--top", "2")
    assert (shown.status, shown.err) == (0, "") and max(map(len, shown.out.splitlines())) <= 80
    for piece in ("reads K/V head 1, shared with 1.3, 1.5", "Singular values of QK:", "tokens"):
        assert piece in shown.out


def test_circuits_say_what_they_cannot(tiny: Tiny, tmp_path: Path) -> None:
    assert "no head 7.7" in run("circuits", tiny("llama")[1], "--head", "7.7").complaint()
    assert "13" in run("circuits", tiny("llama")[1], "--head", "13").complaint()
    assert run("circuits", tmp_path / "nothing").complaint()
    shown = run("circuits", tiny("qwen3")[1])
    assert (shown.status, shown.err) == (0, "") and "normalises q and k" in " ".join(shown.out.split())
    assert "symmetry of" not in shown.out and "–" in shown.out
    encoder = run("circuits", tiny("bert")[1], "--json").document()
    assert encoder["layers"][0]["heads"][0]["copying"] is None
    assert any("no output head" in note for note in encoder["notes"]) and json.dumps(encoder)
