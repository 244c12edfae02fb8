"""`qkvlab trace`: the file other tools open, its size, its limits, and what is left when something goes wrong."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from qkvlab import __version__
from qkvlab.checkpoint import write as writer
from qkvlab.model import open_model
from terminal import readable, run

TEXT = "the cat drank because it"
TAPS = ("x", "q_raw", "k_raw", "q", "k", "v", "z")


@pytest.fixture(scope="module")
def toy(tiny: Callable[[str], tuple[Any, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama that reads words: 3 layers, 6 query heads on 2 K/V heads, d_head 10, d_model 24."""
    return readable(tiny("llama")[1], tmp_path_factory.mktemp("toy"))


def written(folder: Path, model: Path | str, *more: str, text: str = TEXT) -> tuple[dict[str, np.ndarray], str]:
    """The file's tensors, and what the program said on standard error."""
    file = folder / "out.safetensors"
    ran = run("trace", text, "-o", file, "--model", model, *more)
    assert (ran.status, ran.out) == (0, ""), ran
    assert [path.name for path in folder.iterdir()] == ["out.safetensors"]
    return load_file(file), ran.err


def test_every_tap_is_there_and_equals_the_traces(toy: Path, tmp_path: Path) -> None:
    arrays, _ = written(tmp_path, toy)
    trace = open_model(toy).trace(TEXT)
    expected = {f"layer.{layer}.{tap}" for layer in range(3) for tap in TAPS} | {"final", "logits"}
    assert set(arrays) == expected
    for name, array in arrays.items():
        layer, _, tap = name.removeprefix("layer.").partition(".")
        ours = getattr(trace, tap)(int(layer)) if tap else getattr(trace, name)
        np.testing.assert_array_equal(array, ours, err_msg=name)
        assert array.dtype == np.float32
    shapes = {tap: arrays[f"layer.2.{tap}"].shape for tap in TAPS}
    q, k = (6, 5, 10), (2, 5, 10)
    assert shapes == {"x": (5, 24), "q_raw": q, "k_raw": k, "q": q, "k": k, "v": k, "z": q}
    assert arrays["final"].shape == (5, 24) and arrays["logits"].shape == (1, 53)


def test_the_metadata_says_what_it_is_of(toy: Path, tmp_path: Path) -> None:
    written(tmp_path, toy)
    with safe_open(tmp_path / "out.safetensors", "numpy") as file:
        notes = file.metadata()
    trace = open_model(toy).trace(TEXT)
    assert notes["model"] == toy.name and notes["made_by"] == f"qkvlab {__version__}"
    parts = {name: json.loads(notes[name]) for name in ("tokens", "offsets", "ids", "special", "spec", "edits")}
    assert parts["tokens"] == TEXT.split()
    assert parts["offsets"] == [list(span) for span in trace.offsets]
    assert [TEXT[start:end] for start, end in parts["offsets"]] == parts["tokens"]
    assert parts["ids"] == list(trace.ids) and parts["special"] == [False] * 5 and parts["edits"] == []
    assert (parts["spec"]["n_layer"], parts["spec"]["n_kv_head"], parts["spec"]["d_head"]) == (3, 2, 10)


def test_the_real_models_file_names_its_checksum(smollm2_path: Path, tmp_path: Path) -> None:
    text = "東京 wörks"
    arrays, _ = written(tmp_path, "smollm2", "--layers", "13", text=text)
    with safe_open(tmp_path / "out.safetensors", "numpy") as file:
        notes = file.metadata()
    assert notes["model"] == "SmolLM2-135M-Instruct, Q4_1"
    assert notes["model_sha256"].startswith("b179c952")
    n = len(json.loads(notes["tokens"]))
    assert json.loads(notes["tokens"])[0] == "東 (1/2)" and json.loads(notes["offsets"])[0] == [0, 1]
    assert arrays["layer.13.k"].shape == (3, n, 64) and arrays["layer.13.q"].shape == (9, n, 64)
    assert {name.rpartition(".")[0] for name in arrays} == {"layer.13", ""}


def test_scores_and_weights_if_asked(toy: Path, tmp_path: Path) -> None:
    arrays, _ = written(tmp_path, toy, "--scores", "--layers", "1-2")
    trace = open_model(toy).trace(TEXT)
    for layer in (1, 2):
        for name in ("scores", "weights"):
            array = arrays[f"layer.{layer}.{name}"]
            assert array.shape == (6, 5, 5) and array.dtype == np.float32
            ours = np.stack([getattr(trace, name)((layer, head)) for head in range(6)])
            np.testing.assert_array_equal(array, ours)
        np.testing.assert_allclose(arrays[f"layer.{layer}.weights"].sum(-1), 1, atol=1e-6)
    assert "layer.0.scores" not in arrays


def test_an_encoder_has_no_logits(minilm_path: Path, tmp_path: Path) -> None:
    arrays, _ = written(tmp_path, "minilm", "--layers", "5")
    assert "logits" not in arrays and arrays["final"].shape[1] == 384
    with safe_open(tmp_path / "out.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["special"])[0] is True
    assert run("trace", "two cats", "-o", tmp_path / "bare", "--model", "minilm", "--no-special").status == 0
    with safe_open(tmp_path / "bare", "numpy") as file:
        assert json.loads(file.metadata()["special"]) == [False, False]
        assert json.loads(file.metadata()["tokens"]) == ["two", "cats"]


@pytest.mark.parametrize(("given", "layers"), [("0-2", {0, 1, 2}), ("1", {1}), ("2-2", {2}), ("0-1", {0, 1})])
def test_a_range_of_layers(toy: Path, tmp_path: Path, given: str, layers: set[int]) -> None:
    arrays, _ = written(tmp_path, toy, "--layers", given)
    assert {int(name.split(".")[1]) for name in arrays if name.startswith("layer.")} == layers


@pytest.mark.parametrize("given", ["3", "0-3", "2-1", "-1", "1-", "-", "a", "0,2", "1-2-3", "0x1", "²", "9" * 30, " "])
def test_a_range_that_is_none(toy: Path, tmp_path: Path, given: str) -> None:
    complaint = run("trace", TEXT, "-o", tmp_path / "t", "--model", toy, f"--layers={given}").complaint()
    assert "0-2" in complaint and len(complaint) < 200
    assert not list(tmp_path.iterdir())


def test_the_size_comes_first_and_is_the_files_size(toy: Path, tmp_path: Path) -> None:
    for more in ((), ("--scores",), ("--layers", "0")):
        _, said = written(tmp_path, toy, *more)
        file = tmp_path / "out.safetensors"
        assert f"({file.stat().st_size:,} bytes)" in said.splitlines()[0]
        assert "5 tokens" in said.splitlines()[1] and toy.name in said


def test_over_the_limit_nothing_is_written(toy: Path, tmp_path: Path) -> None:
    written(tmp_path, toy)
    file = tmp_path / "out.safetensors"
    size, before = file.stat().st_size, file.read_bytes()
    command = ("trace", TEXT, "-o", file, "--model", toy)
    assert run(*command, "--max-bytes", str(size)).status == 0
    refused = run(*command, "--max-bytes", str(size - 1))
    assert (refused.status, refused.out) == (2, "")
    said = refused.err.splitlines()
    assert f"({size:,} bytes)" in said[0] and len(said) == 2
    assert f"{size:,} bytes, over the limit of {size - 1:,}" in said[1] and "--max-bytes" in said[1]
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    file.unlink()
    run(*command, "--max-bytes", "1")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.safetensors"
    file.write_bytes(b"precious")

    def full(array: Any, dtype: str) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.np, "ascontiguousarray", full)
    ran = run("trace", TEXT, "-o", file, "--model", toy)
    assert (ran.status, ran.out) == (2, "") and "No space left on device" in ran.err.splitlines()[-1]
    assert file.read_bytes() == b"precious" and [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_the_old_file_stands_until_the_new_one_is_whole(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen, real = tmp_path / "out.safetensors", set[bytes](), np.ascontiguousarray
    file.write_bytes(b"precious")

    def spy(array: Any, dtype: str) -> Any:
        seen.add(file.read_bytes())
        return real(array, dtype)

    monkeypatch.setattr(writer.np, "ascontiguousarray", spy)
    arrays, _ = written(tmp_path, toy)
    assert seen == {b"precious"} and "final" in arrays


def test_places_that_cannot_be_written(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    long = tmp_path / ("n" * 300)
    for path in (tmp_path, tmp_path / "no" / "where.st", tmp_path / "file" / "x.st", long, Path("/proc/x.st")):
        ran = run("trace", TEXT, "-o", path, "--model", toy)
        assert (ran.status, ran.out) == (2, "") and "Traceback" not in ran.err
        assert str(path) in ran.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_as_long_as_a_name_may_be(toy: Path, tmp_path: Path) -> None:
    file = tmp_path / ("n" * (os.pathconf(tmp_path, "PC_NAME_MAX") - 12) + ".safetensors")
    assert run("trace", TEXT, "-o", file, "--model", toy, "--layers", "0").status == 0
    assert file.is_file()


def test_what_is_no_file_is_not_replaced_by_one(toy: Path, tmp_path: Path) -> None:
    """`-o /dev/null`, as root, must not turn the machine's /dev/null into a file. A pipe stands for it here."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    complaint = run("trace", TEXT, "-o", pipe, "--model", toy).err.splitlines()[-1]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert str(pipe) in complaint and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_is_written_through(toy: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.st", tmp_path / "link.st"
    real.write_bytes(b"old")
    link.symlink_to(real)
    assert run("trace", TEXT, "-o", link, "--model", toy, "--layers", "0").status == 0
    assert link.is_symlink() and "layer.0.q" in load_file(real)


def test_the_new_file_has_ordinary_rights(toy: Path, tmp_path: Path) -> None:
    written(tmp_path, toy)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out.safetensors").stat().st_mode) == 0o666 & ~umask
