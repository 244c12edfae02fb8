"""Which float32 numbers do a tensor's bytes stand for? By hand, and bit for bit against the gguf package."""

import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf as reference
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile import sparse
from qkvlab.checkpoint import decode
from qkvlab.checkpoint.decode import read_array, read_rows, read_tiles, read_tiles_in_out
from qkvlab.checkpoint.gguf import KINDS, read_header
from qkvlab.checkpoint.tensors import TensorInfo
from qkvlab.errors import CheckpointError, UnsupportedError

SIZES = {name: (block, nbytes) for name, block, nbytes in KINDS.values()}
ODD = 13
"""Where the test tensors start: on no boundary, so a decoder that needs one fails."""


def stored(folder: Path, kind: str, shape: tuple[int, ...], raw: bytes) -> TensorInfo:
    path = folder / f"{kind}.bin"
    path.write_bytes(bytes(ODD) + raw + b"after")
    return TensorInfo("w", shape, kind, path, ODD, len(raw))


def random_blocks(kind: str, rows: int, blocks: int, seed: int = 7) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random bytes, with finite numbers (some subnormal) where the kind keeps its float16 scales."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (rows, blocks, SIZES[kind][1]), dtype=np.uint8)
    scales = {"Q4_1": 2, "Q4_0": 1, "Q8_0": 1}.get(kind, 0)
    numbers = rng.normal(0, 1, (rows, blocks, scales)) * 10.0 ** rng.integers(-7, 4, (rows, blocks, scales))
    raw[..., : 2 * scales] = numbers.astype("<f2").view(np.uint8)
    return raw.reshape(rows, -1)


def dequantized(kind: str, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(all="ignore"):
        return reference.quants.dequantize(raw, reference.GGMLQuantizationType[kind])


def tiled(w: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """The definition, number by number: [tile, d_in, width] with result[t, j, r] = W[t * width + r, j]."""
    tiles = np.empty((len(w) // width, w.shape[1], width), np.float32)
    for t in range(len(tiles)):
        for r in range(width):
            tiles[t, :, r] = w[t * width + r]
    return tiles


def assert_same_bits(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    assert ours.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_array_equal(ours.view(np.uint32), np.ascontiguousarray(theirs, np.float32).view(np.uint32))


HALF, MINUS_ONE = bytes.fromhex("0038"), bytes.fromhex("00bc")
NIBBLES = bytes(i | (15 - i) << 4 for i in range(16))
UP = np.arange(16)
BY_HAND = {
    "Q4_1": (HALF + MINUS_ONE + NIBBLES, 0.5 * np.concatenate([UP, UP[::-1]]) - 1),
    "Q4_0": (HALF + NIBBLES, 0.5 * (np.concatenate([UP, UP[::-1]]) - 8)),
    "Q8_0": (HALF + struct.pack("32b", *range(-128, 128, 8)), 0.5 * np.arange(-128, 128, 8)),
    "F32": (struct.pack("<32f", *range(32)), np.arange(32)),
    "F16": (bytes.fromhex("003c0040ff7b01000080") + bytes(54), [1, 2, 65504, 2.0**-24, -0.0] + [0] * 27),
    "BF16": (bytes.fromhex("803f0040404080bf") + bytes(56), [1, 2, 3, -1] + [0] * 28),
    "F64": (struct.pack("<32d", *range(31), 1e300), [*range(31), np.inf]),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_one_block_by_hand(tmp_path: Path, kind: str) -> None:
    raw, expected = BY_HAND[kind]
    assert_same_bits(read_array(stored(tmp_path, kind, (32,), raw)), np.asarray(expected, np.float32))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "F32", "F16", "BF16", "F64"])
@pytest.mark.parametrize("batch", [1, 5000, decode._BATCH])
def test_every_door_gives_the_reference_numbers(
    tmp_path: Path, kind: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_BATCH", batch)
    width, n_tiles, d_in = 7, 5, 11 * 32
    if kind in BY_HAND and SIZES[kind][0] == 1:
        w = np.random.default_rng(3).normal(0, 1, (35, d_in))
        w = w if kind == "F64" else w.astype(np.float32) if kind != "F16" else w.astype(np.float16)
        raw = (w.astype("<f4").view("<u4") >> 16).astype("<u2") if kind == "BF16" else w
        w = (raw.astype("<u4") << 16).view("<f4") if kind == "BF16" else w.astype(np.float32)
        raw = raw.view(np.uint8)
    else:
        raw = random_blocks(kind, width * n_tiles, 11)
        w = dequantized(kind, raw)
    info = stored(tmp_path, kind, w.shape, raw.tobytes())
    assert_same_bits(read_array(info), w)
    assert_same_bits(read_rows(info), w)
    assert_same_bits(read_rows(info, [3, 0, 31, 3]), w[[3, 0, 31, 3]])
    assert_same_bits(read_rows(info, slice(2, 33, 3)), w[2:33:3])
    assert_same_bits(read_tiles(info, width), tiled(w, width))
    order = np.random.default_rng(5).permutation(35)[:28]
    assert_same_bits(read_tiles(info, width, order), tiled(w[order], width))
    if kind in decode._STORED:
        turned = stored(tmp_path, kind, (d_in, 35), raw.view(f"V{SIZES[kind][1]}").T.tobytes())
        assert_same_bits(read_tiles_in_out(turned, width), tiled(w, width))
        assert_same_bits(read_tiles_in_out(turned, width, slice(14, 28)), tiled(w[14:28], width))


UNDECODABLE = {"I8", "I16", "I32", "I64", "Q8_1", "Q8_K", "Q1_0"}


RARER = (SIZES.keys() & reference.GGMLQuantizationType.__members__) - UNDECODABLE - BY_HAND.keys()


@pytest.mark.parametrize("kind", sorted(RARER))
def test_the_rarer_kinds_come_from_the_gguf_package(tmp_path: Path, kind: str) -> None:
    raw = random_blocks(kind, 6, 2)
    w = dequantized(kind, raw)
    info = stored(tmp_path, kind, w.shape, raw.tobytes())
    assert_same_bits(read_array(info), w)
    assert_same_bits(read_tiles(info, 3, np.array([5, 1, 0])), tiled(w[[5, 1, 0]], 3))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["Q4_0", "Q4_1", "Q8_0"]),
    width=st.integers(1, 9),
    n_tiles=st.integers(1, 4),
    blocks=st.integers(1, 3),
    seed=st.integers(0, 1 << 32),
)
def test_tiles_hold_the_rows_in_the_order_asked_for(
    tmp_path: Path, kind: str, width: int, n_tiles: int, blocks: int, seed: int
) -> None:
    raw = random_blocks(kind, 41, blocks, seed)
    order = np.random.default_rng(seed).integers(0, 41, width * n_tiles)
    tiles = read_tiles(stored(tmp_path, kind, (41, 32 * blocks), raw.tobytes()), width, order)
    assert_same_bits(tiles, tiled(dequantized(kind, raw)[order], width))


def test_shapes_that_are_no_matrix(tmp_path: Path) -> None:
    raw = np.arange(2 * 3 * 5, dtype="<f4")
    assert read_array(stored(tmp_path, "F32", (2, 3, 5), raw.tobytes())).shape == (2, 3, 5)
    assert read_array(stored(tmp_path, "F32", (), raw[:1].tobytes())).shape == ()
    assert read_array(stored(tmp_path, "F32", (7, 0), b"")).shape == (7, 0)
    assert read_rows(stored(tmp_path, "F32", (2, 15), raw.tobytes()), []).shape == (0, 15)
    cube = stored(tmp_path, "F32", (2, 3, 5), raw.tobytes())
    for read in (lambda: read_tiles(cube, 1), lambda: read_rows(cube), lambda: read_tiles_in_out(cube, 1)):
        with pytest.raises(CheckpointError, match=r"'w' is no matrix \(expected 2 axes, got \(2, 3, 5\)\)"):
            read()


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    for kind in [*UNDECODABLE, "F8_E4M3", "BOOL"]:
        block, nbytes = SIZES.get(kind, (1, 1))
        info = stored(tmp_path, kind, (3, block), bytes(3 * nbytes))
        with pytest.raises(UnsupportedError, match=rf"of kind {kind}, which is not decoded"):
            read_array(info)
    quantised = stored(tmp_path, "Q8_0", (32, 32), bytes(34 * 32))
    with pytest.raises(UnsupportedError, match="not decoded for a matrix stored as"):
        read_tiles_in_out(quantised, 4)
    for rows in ([0, 32], [-1]):
        with pytest.raises(ValueError, match=r"expected 0 to 31"):
            read_rows(quantised, rows)
    with pytest.raises(ValueError, match="32 rows do not fill tiles"):
        read_tiles(quantised, 7)


def test_a_file_that_changed_since_its_header_was_read(tmp_path: Path) -> None:
    info = stored(tmp_path, "F32", (3, 1), bytes(12))
    info.path.write_bytes(bytes(20))
    with pytest.raises(CheckpointError, match=r"F32\.bin: tensor 'w' cannot be read; has the file changed\?"):
        read_array(info)
    info.path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_array(info)


def test_weights_that_are_not_finite_pass_as_they_are(tmp_path: Path) -> None:
    raw = bytes.fromhex("007c 007e") + NIBBLES
    w = read_array(stored(tmp_path, "Q4_1", (32,), raw))
    assert np.isnan(w).all()


ROWS_OF_A_HUGE_MATRIX = """
import sys, tracemalloc
from pathlib import Path
from qkvlab.checkpoint.decode import read_rows
from qkvlab.checkpoint.tensors import TensorInfo

shape = (1 << 22, 1 << 11)
info = TensorInfo("w", shape, "F32", Path(sys.argv[1]), 0, 1 << 35)
tracemalloc.start()
rows = read_rows(info, [3, shape[0] - 1])
assert rows.shape == (2, shape[1]) and not rows.any()
print(tracemalloc.get_traced_memory()[1])
"""
"""In a process of its own: tracemalloc counts what other threads allocate, and can crash at its end (gh-128679)."""


def test_rows_of_a_huge_matrix_touch_only_themselves(tmp_path: Path) -> None:
    file = sparse(tmp_path / "huge.bin", b"", 1 << 35)
    done = subprocess.run(
        [sys.executable, "-c", ROWS_OF_A_HUGE_MATRIX, file], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 4 << 20


def test_the_real_file(smollm2_path: Path) -> None:
    tensors = read_header(smollm2_path).tensors

    def raw(name: str) -> np.ndarray[Any, Any]:
        info = tensors[name]
        data = np.fromfile(smollm2_path, np.uint8, info.nbytes, offset=info.offset)
        return data.reshape(info.shape[0], -1)

    names = [f"blk.{i}.{part}.weight" for i in (0, 29) for part in ("attn_q", "attn_k", "ffn_up", "ffn_down")]
    wanted = {name: dequantized("Q4_1", raw(name)) for name in names}
    with ThreadPoolExecutor(2) as pool:
        for name, tiles in zip(names, pool.map(lambda name: read_tiles(tensors[name], 64), names), strict=True):
            assert_same_bits(tiles, tiled(wanted[name], 64))
    ids = [0, 49_151, 260]
    assert_same_bits(read_rows(tensors["token_embd.weight"], ids), dequantized("Q8_0", raw("token_embd.weight")[ids]))
    norm = raw("output_norm.weight").view("<f4").ravel()
    assert_same_bits(read_array(tensors["output_norm.weight"]), norm)
    assert 0.1 < norm.mean() < 10
