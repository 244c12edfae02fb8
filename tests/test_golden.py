"""The page's golden files: as the library computes them today, and true to the equations by their own numbers."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from golden import FOLDER, HEADS, broken_files, everything, rules, sound_files
from qkvlab import edits as e
from qkvlab.checkpoint.decode import read_array
from qkvlab.checkpoint.safetensors import read_header
from qkvlab.errors import QkvLabError
from qkvlab.mechanism import hide, rotate, score, softmax
from qkvlab.model import Model
from qkvlab.spec import Head

NAMES = [name for name, *_ in HEADS]
Arrays = dict[str, np.ndarray]


@cache
def index() -> dict[str, Any]:
    return json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))


def stored(file: str) -> Arrays:
    return {name: read_array(info) for name, info in read_header(FOLDER / file).tensors.items()}


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Equal to within a share of the largest number there."""
    assert actual.shape == expected.shape, what
    size = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(actual, expected, atol=tolerance * size, rtol=0, err_msg=what)


@pytest.fixture(scope="module")
def today(smollm2: Model, minilm: Model) -> dict[str, bytes]:
    return everything({"smollm2": smollm2, "minilm": minilm})


def test_the_folder_holds_what_is_written_and_is_small(today: dict[str, bytes]) -> None:
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert files.keys() == today.keys()
    assert sum(map(len, files.values())) < 1_000_000
    heads = {f"{name}.safetensors" for name in NAMES}
    for name in files.keys() - heads:
        assert files[name] == today[name], f"{name}: run python tests/golden.py"
    assert len(files) == len(HEADS) + len(rules()) + len(sound_files()) + len(broken_files()) + 1


@pytest.mark.parametrize("name", NAMES)
def test_the_heads_are_the_models_own(name: str, today: dict[str, bytes], tmp_path: Any) -> None:
    """Through all the layers below, another processor may add in another order: 1e-4 of the largest number."""
    path = tmp_path / "now.safetensors"
    path.write_bytes(today[f"{name}.safetensors"])
    kept, now = read_header(FOLDER / f"{name}.safetensors"), read_header(path)
    assert kept.tensors.keys() == now.tensors.keys()
    for part in kept.tensors:
        close(read_array(kept.tensors[part]), read_array(now.tensors[part]), 1e-4, part)


# ---- the equations, from the stored numbers alone, to 1e-6


def entry_of(name: str) -> tuple[dict[str, Any], Arrays]:
    entry = next(entry for entry in index()["heads"] if entry["file"] == f"{name}.safetensors")
    return entry, stored(entry["file"])


def replay(model: Model, entry: dict[str, Any], arrays: Arrays, edits: list[e.Edit], case: str = "") -> Arrays:
    """The library's own edits, on one head's stored q, k and v in a layer that is zero besides. Each stage is made from
    the stored one before it: what rounding does to a large score (another processor adds its products in another order)
    is held against that score, and not once more against its weight."""
    spec, head = model.spec, Head.parse(entry["head"])
    n, kv = len(entry["tokens"]), entry["kv_head"]

    def alone(n_head: int, place: int, array: np.ndarray) -> np.ndarray:
        layer = np.zeros((n_head, *array.shape), np.float32)
        layer[place] = array
        return layer

    def scored(at: int, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        return hide(score(q, k, entry["scale"]), range(n), entry["causal"], entry["window"])

    def after(stage: e.Stage, array: np.ndarray, here: e.Here) -> np.ndarray:
        for edit in edits:
            array = edit.apply(array, here) if stage in edit.stages else array
        return array

    mean = alone(spec.n_head, head.head, arrays["mean_z"])
    here = e.Here(spec, head.layer, range(n))
    k = after("k", alone(spec.n_kv_head, kv, arrays["k"]), here)
    v = after("v", alone(spec.n_kv_head, kv, arrays["v"]), here)
    here = e.Here(spec, head.layer, range(n), k=k, mean_z=lambda layer: mean)
    q = after("q", alone(spec.n_head, head.head, arrays["q"]), here)
    own = range(head.head, head.head + 1)
    scores = e.edit_scores(edits, here, own, scored(head.head, q[head.head], k[kv])[None], scored, q)[0]
    weights = softmax(arrays[f"{case}scores"])
    z = after("z", alone(spec.n_head, head.head, arrays[f"{case}weights"] @ v[kv]), here)[head.head]
    return {"q": q[head.head], "k": k[kv], "v": v[kv], "scores": scores, "weights": weights, "z": z}


@pytest.mark.parametrize("name", NAMES)
def test_every_case_follows_from_the_heads_own_arrays(name: str, smollm2: Model, minilm: Model) -> None:
    entry, arrays = entry_of(name)
    model = minilm if entry["model"] == minilm.spec.name else smollm2
    for part, expected in replay(model, entry, arrays, []).items():
        close(arrays[part], expected, 1e-6, part)
    for case in entry["cases"]:
        edits = [e.edit_from_dict(edit) for edit in case["edits"]]
        expected = replay(model, entry, arrays, edits, f"{case['name']}.")
        for part in case["arrays"]:
            if part != "shift":
                close(arrays[f"{case['name']}.{part}"], expected[part], 1e-6, f"{case['name']}.{part}")


@pytest.mark.parametrize("name", NAMES)
def test_an_aimed_key_wins_by_its_margin(name: str) -> None:
    entry, arrays = entry_of(name)
    query, aimed = entry["query"], [case for case in entry["cases"] if "shift" in case["arrays"]]
    seen = np.flatnonzero(np.isfinite(arrays["scores"][query])).tolist()
    assert [case["edits"][0]["key"] for case in aimed] == seen, "every visible key can be made to win"
    for case in aimed:
        key, shift = case["edits"][0]["key"], arrays[f"{case['name']}.shift"]
        close(arrays[f"{case['name']}.q"][query], arrays["q"][query] + shift, 1e-6, case["name"])
        scores = arrays[f"{case['name']}.scores"][query, seen]
        others = np.delete(scores, seen.index(key))
        assert scores[seen.index(key)] - others.max() > 3 - 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_rotation_and_the_size_of_the_write(name: str, smollm2: Model, minilm: Model) -> None:
    entry, arrays = entry_of(name)
    model = minilm if entry["model"] == minilm.spec.name else smollm2
    rotation = entry["rotation"]
    for part in ("q", "k"):
        turned = arrays[f"{part}_raw"]
        if rotation is not None:
            turned = rotate(turned[None], arrays["cos"], arrays["sin"], rotation["pairs"])[0]
        close(arrays[part], turned, 1e-6, part)
    if rotation is not None:
        angles = np.arange(len(entry["tokens"]), dtype=np.float32)[:, None] * arrays["frequencies"]
        close(arrays["cos"], np.cos(angles) * np.float32(rotation["factor"]), 1e-6, "cos")
        close(arrays["sin"], np.sin(angles) * np.float32(rotation["factor"]), 1e-6, "sin")
    w_o = model.w_o(Head.parse(entry["head"])).astype(np.float64)
    v = arrays["v"].astype(np.float64)
    close(arrays["value_lengths"], np.linalg.norm(v @ w_o, axis=-1), 1e-6, "value_lengths")
    close(arrays["gram"], w_o @ w_o.T, 1e-6, "gram")


# ---- what the reader of files must understand, and refuse


@pytest.mark.parametrize("entry", index()["sound"], ids=lambda entry: entry["file"])
def test_sound_files(entry: dict[str, Any]) -> None:
    from safetensors import safe_open

    with safe_open(FOLDER / entry["file"], "numpy") as file:
        assert (file.metadata() or {}) == entry["metadata"]
        assert set(file.keys()) == entry["tensors"].keys()
        for name, tensor in entry["tensors"].items():
            found = file.get_tensor(name)
            assert list(found.shape) == tensor["shape"] and found.ravel().tolist() == tensor["values"]


@pytest.mark.parametrize("refuse", ["ours", "theirs"])
@pytest.mark.parametrize("name", index()["broken"])
def test_broken_files(name: str, refuse: str) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    reader: Callable[[Any], Any] = read_header if refuse == "ours" else load_file
    with pytest.raises((QkvLabError, SafetensorError)):
        reader(FOLDER / name)
