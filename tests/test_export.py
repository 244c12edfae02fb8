"""Traces as files: what is in them, in which order they are computed, and the golden header."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from qkvlab.checkpoint.safetensors import read_header
from qkvlab.checkpoint.write import Entry, plan, write_safetensors
from qkvlab.edits import Mute
from qkvlab.errors import HeadError, LimitError, SourceError
from qkvlab.export import parse_layers, save_trace
from qkvlab.model import Model

IDS = [3, 17, 42, 5, 29, 8, 11]


@pytest.fixture
def model(tiny_model: Callable[[str], Model]) -> Model:
    return tiny_model("llama")


def test_layers_by_name(model: Model) -> None:
    assert parse_layers("0-2", model.spec) == range(3)
    assert parse_layers(" 1 ", model.spec) == range(1, 2)
    assert parse_layers("1 - 2", model.spec) == range(1, 3)
    for text in ("", "-", "3", "1-3", "2-1", "one", "0:2", "१", "1.0", "-0"):
        with pytest.raises(HeadError, match="0-2"):
            parse_layers(text, model.spec)


def test_the_returned_size_is_the_announced_and_the_files(model: Model, tmp_path: Path) -> None:
    heard: list[int] = []
    path = tmp_path / "t.safetensors"
    size = save_trace(model.trace(ids=IDS), path, scores=True, announce=heard.append)
    assert heard == [size] and path.stat().st_size == size


def test_nothing_runs_before_the_size_is_known(model: Model, tmp_path: Path) -> None:
    trace = model.trace(ids=IDS)
    done: list[int] = []
    with pytest.raises(LimitError, match=r"over the limit of 999; .*--max-bytes"):
        save_trace(trace, tmp_path / "t", max_bytes=999, announce=lambda size: done.append(trace.layers_done))
    assert done == [0] and trace.layers_done == 0 and not list(tmp_path.iterdir())


def test_layers_are_computed_as_they_are_written(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streaming: when the first bytes of layer 0 go out, the last layer has not run."""
    trace, depths, real = model.trace(ids=IDS), list[int](), np.ascontiguousarray

    def spy(array: Any, dtype: str) -> Any:
        depths.append(trace.layers_done)
        return real(array, dtype)

    monkeypatch.setattr("qkvlab.checkpoint.write.np.ascontiguousarray", spy)
    save_trace(trace, tmp_path / "t.safetensors", scores=True)
    assert depths[0] == 0 and depths == sorted(depths) and depths[-1] == 3
    patterns = 2 * model.spec.n_head
    assert len(depths) == 3 * (7 + patterns) + 2, "scores and weights go out head by head"


def test_all_positions_edits_and_ids(model: Model, tmp_path: Path) -> None:
    edit = Mute(where="1.3", key=2)
    trace = model.trace(ids=IDS, edits=[edit], positions="all")
    path = tmp_path / "t.safetensors"
    save_trace(trace, path, layers=range(1, 2), scores=True)
    arrays = load_file(path)
    assert arrays["logits"].shape == (7, 53)
    np.testing.assert_array_equal(arrays["logits"], trace.logits)
    np.testing.assert_array_equal(arrays["layer.1.z"], trace.z(1))
    assert (arrays["layer.1.weights"][3, :, 2] == 0).all() and (arrays["layer.1.weights"][2, 2:, 2] > 0).all()
    assert np.isneginf(arrays["layer.1.scores"][:, 0, 1]).all()
    with safe_open(path, "numpy") as file:
        notes = file.metadata()
    assert json.loads(notes["edits"]) == [edit.to_dict()]
    assert json.loads(notes["ids"]) == IDS and json.loads(notes["tokens"]) == [f"#{id}" for id in IDS]


def test_an_encoders_file(tiny_model: Callable[[str], Model], tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_trace(tiny_model("bert").trace(ids=IDS), path, scores=True)
    arrays = load_file(path)
    assert "logits" not in arrays and arrays["final"].shape == (7, 30)
    assert np.isfinite(arrays["layer.0.scores"]).all()


def test_our_own_reader_reads_it(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    save_trace(model.trace(ids=IDS), path)
    assert {info.kind for info in read_header(path).tensors.values()} == {"F32"}


# ---- the writer


def entry(name: str, array: Any) -> Entry:
    return Entry(name, array.shape, lambda: iter([array]))


def test_golden_bytes(tmp_path: Path) -> None:
    pieces = np.arange(6, dtype=np.float32).reshape(2, 3)
    entries = [Entry("a", (2, 3), lambda: iter([pieces[:1], pieces[1:]])), entry("é", np.float32([7]))]
    path = tmp_path / "golden.safetensors"
    size = write_safetensors(path, entries, {"note": "ü"})
    header = (
        b'{"__metadata__": {"note": "\\u00fc"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, '
        b'"\\u00e9": {"dtype": "F32", "shape": [1], "data_offsets": [24, 28]}}'
    )
    header += b" " * (-len(header) % 8)
    expected = struct.pack("<Q", len(header)) + header + struct.pack("<7f", *range(6), 7)
    assert path.read_bytes() == expected and size == len(expected) == plan(entries, {"note": "ü"})[1]
    np.testing.assert_array_equal(load_file(path)["a"], pieces)


def test_any_float_becomes_little_endian_float32(tmp_path: Path) -> None:
    arrays = [np.array([[1.5, 2.5], [3.5, 4.5]], dtype).T for dtype in ("<f8", ">f4", "<f2")]
    entries = [entry(str(i), array) for i, array in enumerate(arrays)]
    write_safetensors(tmp_path / "f", entries, {})
    for array in load_file(tmp_path / "f").values():
        np.testing.assert_array_equal(array, np.float32([[1.5, 3.5], [2.5, 4.5]]))


def test_an_array_of_another_size_is_not_passed_off(tmp_path: Path) -> None:
    wrong = Entry("a", (2, 2), lambda: iter([np.zeros(3, np.float32)]))
    with pytest.raises(AssertionError, match=r"12 bytes|of \d+"):
        write_safetensors(tmp_path / "f", [wrong], {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")])
def test_whatever_goes_wrong_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield np.zeros(1, np.float32)
        raise error

    path = tmp_path / "f"
    path.write_bytes(b"old")
    expected = SourceError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_safetensors(path, [Entry("a", (2,), broken)], {})
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["f"]
