"""Arrays → one safetensors file: the size is known first, arrays are streamed, and the file appears whole or not."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._shapes import Array
from ..errors import LimitError, SourceError, UnsupportedError
from . import safetensors

_SIZES = {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"}
DTYPES = {name: _SIZES[size] for name, size in safetensors.DTYPES.items()} | {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4",
}  # fmt: skip
"""Number types by their name in the file, as NumPy writes them. Those it has no type for are written as their bits."""
_BY_KIND = {"f": "F32", "i": "I32", "u": "U8"}


@dataclass(frozen=True)
class Entry:
    """A tensor to write: its shape, and how to get its numbers, in pieces along the first axis, when its turn comes."""

    name: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[np.ndarray[Any, Any]]]
    dtype: str = "F32"

    @property
    def nbytes(self) -> int:
        return np.dtype(DTYPES[self.dtype]).itemsize * int(np.prod(self.shape, dtype=np.int64))

    def written(self) -> Iterator[memoryview]:
        """Its bytes, piece by piece."""
        return (np.ascontiguousarray(piece, DTYPES[self.dtype]).data for piece in self.pieces())


def encoded(array: Array, dtype: str) -> Array:
    """float32 numbers as this number type stores them: F32, F64, F16 or BF16 (its bits; halves to even).

    Raises UnsupportedError for a number that F16 does not hold.
    """
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype("<u2")
    if dtype == "F16" and float(np.abs(array).max(initial=0)) >= 65520:
        raise UnsupportedError(f"a weight of {np.abs(array).max():.3g} is beyond float16; choose --dtype float32")
    return np.ascontiguousarray(array, DTYPES[dtype])


def plan(entries: list[Entry], metadata: Mapping[str, str]) -> tuple[bytes, int]:
    """The file's header, and the size of the whole file in bytes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for entry in entries:
        ends = [offset, offset + entry.nbytes]
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": ends}
        offset += entry.nbytes
    text = json.dumps(header, ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + offset


def to_bytes(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """A whole file in memory: float arrays as float32, signed whole numbers as int32, unsigned as uint8.

    The widest numbers come first, so that every array starts at a multiple of its number's size.
    """
    entries = [
        Entry(name, array.shape, partial(iter, [array]), _BY_KIND[array.dtype.kind]) for name, array in arrays.items()
    ]
    entries.sort(key=lambda entry: entry.dtype == "U8")
    header, _ = plan(entries, metadata)
    return b"".join([header, *(piece for entry in entries for piece in entry.written())])


def write_safetensors(
    path: Path,
    entries: list[Entry],
    metadata: Mapping[str, str],
    *,
    max_bytes: int | None = None,
    announce: Callable[[int], None] = lambda size: None,
) -> int:
    """Write tensors; returns the size. `announce` hears the size before anything is computed.

    Raises LimitError over `max_bytes`, SourceError where the file cannot be written; nothing is left behind then.
    """
    header, size = plan(entries, metadata)
    announce(size)
    if max_bytes is not None and size > max_bytes:
        raise LimitError(
            f"the trace would take {size:,} bytes, over the limit of {max_bytes:,}; choose fewer --layers, "
            "leave out --scores, or raise --max-bytes"
        )
    try:
        path = path.resolve() if path.is_symlink() else path
        other = path.exists() and not path.is_file()
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror}") from None
    if other:
        raise SourceError(f"cannot write {path}: it is there and is not a file")
    try:
        handle, unfinished = tempfile.mkstemp(prefix=".qkvlab-", dir=path.parent or Path())
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(header)
            for entry in entries:
                for piece in entry.written():
                    file.write(piece)
            if file.tell() != size:
                raise AssertionError(f"wrote {file.tell()} bytes of {size}")
        umask = os.umask(0)
        os.umask(umask)
        Path(unfinished).chmod(0o666 & ~umask)
        Path(unfinished).replace(path)
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror}") from None
    finally:
        Path(unfinished).unlink(missing_ok=True)
    return size
