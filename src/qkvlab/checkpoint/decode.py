"""Which float32 numbers do a tensor's bytes stand for? Read through a memory map, so only what is asked for.

Our weights lie in tiles, `[tile, d_in, width]`: `x [query, d_in] @ tiles -> [tile, query, width]` gives each
head its own block, and each product reads one stretch of memory. A row is a tile of width 1, so one decoder
for each kind serves every door below.

Block layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c (dequantize_row_q4_1 and its
neighbours); bit for bit the numbers of `gguf.quants.dequantize`.
"""

import mmap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError, UnsupportedError
from .tensors import TensorInfo

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float32]

_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}

_BATCH = 1 << 18
"""How many numbers are decoded in one go: enough to outweigh NumPy's calls, few enough to stay in cache."""

_PAD = 16
"""One cache line more per row: rows some multiple of 2 KB apart evict each other while they are turned."""


def read_array(info: TensorInfo) -> Numbers:
    """The whole tensor in its own shape: a norm, a bias, all embeddings. Errors as in `read_tiles`."""
    d_in = info.shape[-1] if info.shape else 1
    out = np.empty((info.size // d_in if d_in else 0, d_in, 1), np.float32)
    _decode(info, 1, None, out)
    return out.reshape(info.shape)


def read_rows(info: TensorInfo, rows: Sequence[int] | npt.NDArray[np.integer[Any]] | slice | None = None) -> Numbers:
    """These rows of a matrix, say the embeddings of a few tokens; the bytes of no other row are touched."""
    return read_tiles(info, 1, rows)[:, :, 0]


def read_tiles(
    info: TensorInfo, width: int, rows: Sequence[int] | npt.NDArray[np.integer[Any]] | slice | None = None
) -> Numbers:
    """A matrix W stored as [d_out, d_in], as tiles: `result[t, j, r] = W[rows[t * width + r], j]`.

    `rows` takes a part of the file's rows or another order (a fused third, GGUF's turned q and k); without
    it, all rows as they stand. A float64 beyond the range of float32 becomes infinite.

    Raises `CheckpointError` when the file no longer holds the bytes or the tensor is no matrix,
    `UnsupportedError` for a kind that is not decoded, `ValueError` for rows that the matrix lacks or that do
    not fill whole tiles.
    """
    d_out, d_in = _matrix(info)
    order = None if rows is None else _row_numbers(info, rows, d_out)
    n_rows = d_out if order is None else len(order)
    tiles = _empty(info, n_rows, d_in, width)
    _decode(info, width, order, tiles)
    return tiles


def read_tiles_in_out(info: TensorInfo, width: int, columns: slice | None = None) -> Numbers:
    """The same tiles, W stored as [d_in, d_out] (GPT-2's Conv1D): `result[t, j, r] = W[j, t * width + r]`.

    `columns` takes a part of them, say the K third of a fused matrix. Only for kinds that are not quantised:
    blocks of quantised numbers run along the other axis. Errors as in `read_tiles`.
    """
    d_in, d_out = _matrix(info)
    if info.kind not in _STORED:
        raise _undecodable(info, "for a matrix stored as [d_in, d_out]", _STORED)
    stored = _bytes(info).view(_STORED[info.kind]).reshape(d_in, d_out)[:, columns or slice(None)]
    tiles = _empty(info, stored.shape[1], d_in, width)
    with np.errstate(all="ignore"):
        _widen(stored.reshape(d_in, -1, width).transpose(1, 0, 2), tiles)
    return tiles


def _matrix(info: TensorInfo) -> tuple[int, int]:
    if len(info.shape) != 2:
        raise CheckpointError(
            f"{info.path.name}: tensor {info.name!r:.80} is no matrix (expected 2 axes, got {info.shape})"
        )
    return info.shape[0], info.shape[1]


def _row_numbers(
    info: TensorInfo, rows: Sequence[int] | npt.NDArray[np.integer[Any]] | slice, n_rows: int
) -> npt.NDArray[np.intp]:
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n_rows), dtype=np.intp)
    order = np.asarray(rows, np.intp)
    if order.size and not (0 <= order.min() and order.max() < n_rows):
        raise ValueError(f"{info.name}: rows {order.min()} to {order.max()} (expected 0 to {n_rows - 1})")
    return order


def _empty(info: TensorInfo, d_out: int, d_in: int, width: int) -> Numbers:
    if d_out % width:
        raise ValueError(f"{info.name}: {d_out} rows do not fill tiles (expected a multiple of {width})")
    return np.empty((d_out // width, d_in, width), np.float32)


def _bytes(info: TensorInfo) -> Bytes:
    """The tensor's bytes, mapped: pages come in as they are touched, and only this tensor takes addresses."""
    if not info.nbytes:
        return np.empty(0, np.uint8)
    start = info.offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    skip = info.offset - start
    try:
        with info.path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), skip + info.nbytes, access=mmap.ACCESS_READ, offset=start)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{info.path.name}: tensor {info.name!r:.80} cannot be read; has the file changed? ({error})"
        ) from None
    return np.frombuffer(pages, np.uint8, info.nbytes, skip)


def _decode(info: TensorInfo, width: int, order: npt.NDArray[np.intp] | None, out: Numbers) -> None:
    """Decode the rows of `order`, `width` at a time, into out [tile, d_in, width]."""
    if not out.size:
        return
    d_in = out.shape[1]
    stored = _bytes(info).reshape(-1, info.nbytes // (info.size // d_in))
    _decode_rows(info, width, lambda block: stored[block] if order is None else stored[order[block]], out)


def decode_bytes(info: TensorInfo, raw: Bytes, d_in: int) -> Numbers:
    """Rows of a tensor, read by whatever means, as numbers: raw [rows, bytes of a row] to [rows, d_in].

    A row may be a part of the tensor's own row, as long as it is whole blocks. Raises `UnsupportedError` for a kind
    that is not decoded.
    """
    out = np.empty((len(raw), d_in, 1), np.float32)
    if out.size:
        _decode_rows(info, 1, raw.__getitem__, out)
    return out[:, :, 0]


def _decode_rows(info: TensorInfo, width: int, take: Callable[[slice], Bytes], out: Numbers) -> None:
    n_tiles, d_in, _ = out.shape
    decode = _DECODERS.get(info.kind, _rarer)
    batch = max(1, _BATCH // (d_in * width))
    scratch = np.empty(batch * width * (d_in + _PAD), np.float32)
    for start in range(0, n_tiles, batch):
        stop = min(start + batch, n_tiles)
        raw = take(slice(start * width, stop * width))
        with np.errstate(all="ignore"):
            decode(info, raw.reshape(stop - start, width, -1), out[start:stop], scratch)


def _plain(info: TensorInfo, raw: Bytes, out: Numbers, scratch: Numbers) -> None:
    _turn(raw.view(_STORED[info.kind]), out, scratch)


def _turn(rows: npt.NDArray[Any], out: Numbers, scratch: Numbers) -> None:
    """[tile, width, d_in] numbers as stored to float32 [tile, d_in, width]."""
    tiles, width, d_in = rows.shape
    if width == 1:
        return _widen(rows.transpose(0, 2, 1), out)
    padded = scratch[: tiles * width * (d_in + _PAD)].reshape(tiles, width, d_in + _PAD)[:, :, :d_in]
    _widen(rows, padded)
    np.copyto(out, padded.transpose(0, 2, 1))


def _widen(stored: npt.NDArray[Any], out: Numbers) -> None:
    """Stored numbers to float32. BF16 (kept as uint16, NumPy has none) is the upper half of a float32."""
    if stored.dtype == np.uint16:
        np.left_shift(stored, 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        np.copyto(out, stored, casting="same_kind")


def _q4_1(info: TensorInfo, raw: Bytes, out: Numbers, scratch: Numbers) -> None:
    """Blocks of 32 numbers in 20 bytes: scale d, minimum m (float16), nibbles q. A number is d * q + m."""
    blocks = raw.reshape(*raw.shape[:2], -1, 20)
    numbers = _scaled(_nibbles(blocks[..., 4:], scratch), _float16(blocks[..., 0:2]), out)
    np.add(numbers, _float16(blocks[..., 2:4]), out=numbers)


def _q4_0(info: TensorInfo, raw: Bytes, out: Numbers, scratch: Numbers) -> None:
    """Blocks of 32 numbers in 18 bytes: scale d (float16), nibbles q. A number is d * (q - 8)."""
    blocks = raw.reshape(*raw.shape[:2], -1, 18)
    nibbles = _nibbles(blocks[..., 2:], scratch)
    np.subtract(nibbles, 8, out=nibbles)
    _scaled(nibbles.view(np.int8), _float16(blocks[..., 0:2]), out)


def _q8_0(info: TensorInfo, raw: Bytes, out: Numbers, scratch: Numbers) -> None:
    """Blocks of 32 numbers in 34 bytes: scale d (float16), signed bytes q. A number is d * q."""
    blocks = raw.reshape(*raw.shape[:2], -1, 34)
    quants = blocks[..., 2:].view(np.int8).transpose(0, 2, 3, 1)
    _scaled(quants, _float16(blocks[..., 0:2]), out)


def _nibbles(packed: Bytes, scratch: Numbers) -> Bytes:
    """[tile, width, block, 16] bytes to [tile, block, 32, width] nibbles: first the low, then the high."""
    tiles, width, n_blocks, _ = packed.shape
    quants = scratch.view(np.uint8)[: 2 * packed.size].reshape(tiles, n_blocks, 2, 16, width)
    low, high = quants[:, :, 0], quants[:, :, 1]
    np.copyto(high, packed.transpose(0, 2, 3, 1))
    np.bitwise_and(high, 15, out=low)
    np.right_shift(high, 4, out=high)
    return quants.reshape(tiles, n_blocks, 32, width)


def _float16(stored: Bytes) -> Numbers:
    """One float16 for each block: [tile, width, block, 2] bytes to [tile, block, 1, width] numbers."""
    halves = np.ascontiguousarray(stored).view("<f2")
    return halves.transpose(0, 2, 3, 1).astype(np.float32, order="C")


def _scaled(quants: npt.NDArray[Any], scales: Numbers, out: Numbers) -> Numbers:
    """out := scale * q, block by block; returned as [tile, block, 32, width]."""
    numbers = out.reshape(quants.shape)
    np.copyto(numbers, quants)
    np.multiply(numbers, scales, out=numbers)
    return numbers


def _rarer(info: TensorInfo, raw: Bytes, out: Numbers, scratch: Numbers) -> None:
    """Every kind the gguf package can decode and we do not: its answer, laid into tiles."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        rows = dequantize(raw, GGMLQuantizationType[info.kind])
    except (KeyError, NotImplementedError):
        raise _undecodable(info, "to numbers", _DECODERS) from None
    _turn(rows, out, scratch)


_DECODERS: dict[str, Callable[[TensorInfo, Bytes, Numbers, Numbers], None]] = {
    **dict.fromkeys(_STORED, _plain),
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q8_0": _q8_0,
}


def _undecodable(info: TensorInfo, purpose: str, kinds: Iterable[str]) -> UnsupportedError:
    return UnsupportedError(
        f"{info.path.name}: tensor {info.name!r:.80} is of kind {info.kind}, which is not decoded {purpose} "
        f"(accepted: {', '.join(kinds)})"
    )
