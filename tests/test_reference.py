"""The mean blend over the reference text: the right numbers, kept in the cache, and anew when the file is damaged."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab import edits as e
from qkvlab import reference
from qkvlab.checkpoint.write import Entry, write_safetensors
from qkvlab.errors import UnsupportedError
from qkvlab.model import Model
from qkvlab.reference import checksum, mean_z, reference_text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path))
    return tmp_path / "mean-z"


@pytest.fixture
def forgetful(minilm: Model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """minilm as a process would find it that has not computed its means yet, with a short text and its own cache."""
    monkeypatch.setattr(reference, "reference_text", lambda: "Nets are counted, engines are tried.")
    minilm.known_mean_z = None
    yield minilm
    minilm.known_mean_z = None


def test_the_mean_over_the_reference_text_without_its_first_position(smollm2: Model, cache: Path) -> None:
    smollm2.known_mean_z = None
    trace = smollm2.trace(reference_text()).run()  # while it is alive, the mean shares its rows
    means = mean_z(smollm2)
    assert means.shape == (30, 9, 64) and means.dtype == np.float32 and len(trace) > 200
    for layer in (0, 23):
        expected = sum(trace.z(layer)[:, t].astype(np.float64) for t in range(1, len(trace))) / (len(trace) - 1)
        np.testing.assert_allclose(means[layer], expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(smollm2.mean_z(23), means[23])
    ablated = smollm2.trace("The cat drank", edits=[e.Ablate(where="3.4", to="mean")])
    np.testing.assert_array_equal(ablated.z(3)[4], np.broadcast_to(means[3, 4], (3, 64)))
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def never(model: Model) -> Any:
    raise AssertionError("computed although it was kept")


def test_the_cache_is_written_and_used(forgetful: Model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = mean_z(forgetful)
    (file,) = cache.iterdir()
    assert mean_z(forgetful) is means
    forgetful.known_mean_z = None
    monkeypatch.setattr(reference, "computed_mean_z", never)
    np.testing.assert_array_equal(mean_z(forgetful), means)
    assert list(cache.iterdir()) == [file]


def other(shape: tuple[int, ...], name: str = "mean_z") -> Callable[[Path], None]:
    """A sound safetensors file that holds something else."""

    def write(path: Path) -> None:
        path.unlink()
        write_safetensors(path, [Entry(name, shape, lambda: iter([np.full(shape, 7, np.float32)]))], {})

    return write


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff" * 999),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "only a header": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "another shape": other((6, 12, 31)),
    "another name": other((6, 12, 32), "means"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_file_is_computed_anew(damage: str, forgetful: Model, cache: Path) -> None:
    means = mean_z(forgetful)
    (file,) = cache.iterdir()
    sound = file.read_bytes()
    DAMAGES[damage](file)
    assert file.read_bytes() != sound
    forgetful.known_mean_z = None
    np.testing.assert_allclose(mean_z(forgetful), means, atol=1e-5)
    assert len(file.read_bytes()) == len(sound) and list(cache.iterdir()) == [file]  # mended for the next time


def test_a_cache_that_cannot_be_written_costs_time_only(forgetful: Model, cache: Path) -> None:
    cache.write_bytes(b"a file where the folder should be")
    assert mean_z(forgetful).shape == (6, 12, 32)


def test_another_model_or_another_text_has_another_name(forgetful: Model, smollm2: Model) -> None:
    sums = {checksum(model, text) for model in (forgetful, smollm2) for text in ("One text.", "Another text.")}
    assert len(sums) == 4


def test_without_a_tokenizer_there_is_no_mean(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(UnsupportedError, match="mean over the reference text needs the model's tokenizer"):
        mean_z(tiny_model("llama"))
