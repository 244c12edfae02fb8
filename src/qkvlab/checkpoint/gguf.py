"""What does a GGUF file hold, and where do its tensors lie? The header alone, read in plain pieces.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (magic, version, two counts, key/value
pairs, tensor entries, padding, data). `gguf.GGUFReader` takes 50 times as long for the same answers.
"""

import itertools
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import CheckpointError, SourceError, UnsupportedError
from .tensors import Checkpoint, TensorInfo

KINDS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
    28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Kind number -> name, numbers in a block, bytes of a block. A copy of `gguf.GGML_QUANT_SIZES`, whose import
costs 50 ms; a test holds the two equal."""

_SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY, _BOOL = 8, 9, 7

_MAX_HEADER, _MAX_STRING, _MAX_NAME = 64 << 20, 16 << 20, 65_535
_MAX_PAIRS, _MAX_TENSORS, _MAX_INNER_ARRAYS = 65_536, 131_072, 65_536
_MAX_DEPTH, _MAX_DIMS = 4, 4


@dataclass
class _Header:
    """The bytes of the header still to come: `left` never promises more than the file has."""

    file: BinaryIO
    left: int
    inner_arrays: int = 0

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise CheckpointError(f"{what} runs past the end (expected {count:,} bytes, got {self.left:,})")
        self.left -= count
        data = self.file.read(count)
        if len(data) != count:
            raise CheckpointError(f"{what} is cut off (expected {count:,} bytes, got {len(data):,})")
        return data

    def number(self, code: str, what: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code), what))[0]

    def count(self, smallest: int, most: int, what: str) -> int:
        """How many items follow, refused before anything is made for them if they could not all be there."""
        count = int(self.number("<Q", what))
        if count > most or count * smallest > self.left:
            bound = min(most, self.left // smallest)
            raise CheckpointError(f"{what} is impossible (expected at most {bound:,}, got {count:,})")
        return count

    def string(self, what: str, most: int = _MAX_STRING) -> str:
        data = self.take(self.count(1, most, f"the length of {what}"), what)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            reason = f"{error.reason} at byte {error.start}"
            raise CheckpointError(f"{what} is not valid UTF-8 ({reason})") from None


def read_header(path: Path) -> Checkpoint:
    """Which metadata and which tensors does this GGUF file hold? (versions 2 and 3, little-endian)

    Shapes come out row-major, `[d_out, d_in]`: the file lists the fastest axis first. Metadata: numbers,
    strings, `list[str]`, NumPy arrays. Memory is bounded by the header (64 MB at most), never by the size of
    the file or by what it claims.

    Raises `CheckpointError` for a damaged file, `UnsupportedError` for big-endian, other versions, unknown
    kinds and split models, `SourceError` when the file cannot be opened.
    """
    try:
        size = path.stat().st_size
        with path.open("rb", buffering=1 << 18) as file:
            metadata, tensors = _parse(_Header(file, min(size, _MAX_HEADER)), path, size)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    except (CheckpointError, UnsupportedError) as error:
        raise type(error)(f"{path.name}: {error}") from None
    except MemoryError:
        raise CheckpointError(f"{path.name}: the header needs more memory than there is") from None
    return Checkpoint(path=path, format="gguf", tensors=tensors, metadata=metadata)


def _parse(header: _Header, path: Path, size: int) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    start = header.left
    _check_version(header)
    tensor_count = header.count(32, _MAX_TENSORS, "the number of tensors")
    pair_count = header.count(13, _MAX_PAIRS, "the number of metadata keys")
    metadata: dict[str, Any] = {}
    for i in range(pair_count):
        key = header.string(f"metadata key {i}", _MAX_NAME)
        if key in metadata:
            raise CheckpointError(f"the metadata key {key!r:.80} stands there twice")
        metadata[key] = _value(header, header.number("<I", f"the type of {key!r:.80}"), f"{key!r:.80}")
    parts = metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UnsupportedError(f"is one of {parts} parts of a model; join them: llama-gguf-split --merge")
    alignment = _alignment(metadata)
    entries = [_entry(header, i) for i in range(tensor_count)]
    data_start = -(-(start - header.left) // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, offset in entries:
        if name in tensors:
            raise CheckpointError(f"the tensor {name!r:.80} stands there twice")
        if offset % alignment:
            raise CheckpointError(f"tensor {name!r:.80} starts at {offset:,} (expected a multiple of {alignment})")
        tensors[name] = _place(name, shape, kind, data_start + offset, path, size)
    _refuse_overlap(tensors)
    return metadata, tensors


def _check_version(header: _Header) -> None:
    magic = header.take(4, "the magic number")
    if magic != b"GGUF":
        raise CheckpointError(f"is not a GGUF file (expected it to begin with b'GGUF', got {magic!r})")
    version = header.number("<I", "the version")
    if version and version & 0xFFFF == 0:
        raise UnsupportedError(
            "is a big-endian GGUF file (expected little-endian); convert it with: gguf-convert-endian FILE little"
        )
    if version not in (2, 3):
        raise UnsupportedError(
            f"is GGUF version {version} (expected 2 or 3); convert the model again with a current llama.cpp"
        )


def _value(header: _Header, kind: int, what: str, depth: int = 0) -> Any:
    """One metadata value by its type number: a Python scalar, a string or an array of any of these."""
    if kind == _STRING:
        return header.string(what)
    if kind == _ARRAY:
        return _array(header, what, depth + 1)
    if kind not in _SCALARS:
        raise CheckpointError(f"{what} has an unknown value type (expected 0 to 12, got {kind})")
    if kind == _BOOL:
        return bool(_bools(header.take(1, what), what)[0])
    return header.number(_SCALARS[kind], what)


def _array(header: _Header, what: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise CheckpointError(f"{what} nests arrays too deeply (expected at most {_MAX_DEPTH} levels)")
    kind = header.number("<I", f"the element type of {what}")
    if kind == _STRING:
        return _strings(header, header.count(8, _MAX_HEADER, f"the length of {what}"), what)
    if kind == _ARRAY:
        count = header.count(12, _MAX_INNER_ARRAYS - header.inner_arrays, f"the length of {what}")
        header.inner_arrays += count
        return [_array(header, what, depth + 1) for _ in range(count)]
    if kind not in _SCALARS:
        raise CheckpointError(f"{what} has an unknown element type (expected 0 to 12, got {kind})")
    dtype = np.dtype(_SCALARS[kind])
    count = header.count(dtype.itemsize, _MAX_HEADER, f"the length of {what}")
    data = header.take(count * dtype.itemsize, what)
    return _bools(data, what) if kind == _BOOL else np.frombuffer(data, dtype)


def _bools(data: bytes, what: str) -> np.ndarray[Any, np.dtype[np.bool]]:
    if data.strip(b"\0\1"):
        raise CheckpointError(f"{what} is not a truth value (expected bytes 0 or 1)")
    return np.frombuffer(data, np.bool)


def _strings(header: _Header, count: int, what: str) -> list[str]:
    """The vocabulary and the merges pass here: 100,000 strings in 22 ms, so the loop binds all it calls."""
    strings: list[str] = []
    read, unpack, append, left = header.file.read, struct.Struct("<Q").unpack, strings.append, header.left
    try:
        for _ in range(count):
            (length,) = unpack(read(8))
            left -= 8 + length
            if left < 0 or length > _MAX_STRING:
                raise CheckpointError(f"{what} runs past the end at string {len(strings):,} of {count:,}")
            append(read(length).decode())
    except struct.error:
        raise CheckpointError(f"{what} is cut off at string {len(strings):,} of {count:,}") from None
    except UnicodeDecodeError as error:
        reason = f"{error.reason} in string {len(strings):,} at byte {error.start}"
        raise CheckpointError(f"{what} is not valid UTF-8 ({reason})") from None
    header.left = left
    return strings


def _alignment(metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise CheckpointError(
            f"general.alignment is wrong (expected a power of two from 8 to 65,536, got {alignment!r:.80})"
        )
    return alignment


def _entry(header: _Header, i: int) -> tuple[str, tuple[int, ...], int, int]:
    name = header.string(f"the name of tensor {i}", _MAX_NAME)
    what = f"tensor {name!r:.80}"
    dims = header.number("<I", f"the number of dimensions of {what}")
    if not 1 <= dims <= _MAX_DIMS:
        raise CheckpointError(f"{what} has {dims:,} dimensions (expected 1 to {_MAX_DIMS})")
    shape = struct.unpack(f"<{dims}Q", header.take(8 * dims, f"the shape of {what}"))
    kind, offset = struct.unpack("<IQ", header.take(12, f"the kind and offset of {what}"))
    return name, shape[::-1], kind, offset


def _place(name: str, shape: tuple[int, ...], number: int, offset: int, path: Path, size: int) -> TensorInfo:
    """Does this tensor fit its kind and the file?"""
    what = f"tensor {name!r:.80}"
    if number not in KINDS:
        known = ", ".join(kind for kind, _, _ in KINDS.values())
        raise UnsupportedError(f"{what} has the unknown kind number {number} (known: {known})")
    kind, block, block_bytes = KINDS[number]
    count = math.prod(shape)
    if not 0 < count < 1 << 63:
        raise CheckpointError(f"{what} has the impossible shape {list(shape)}")
    if shape[-1] % block:
        raise CheckpointError(
            f"{what} has rows of {shape[-1]:,} numbers (expected a multiple of {block}, the block of {kind})"
        )
    nbytes = count // block * block_bytes
    if offset + nbytes > size:
        raise CheckpointError(
            f"{what} ends outside the file (expected {offset + nbytes:,} bytes, got {size:,});"
            " the file may be incomplete: fetch it again"
        )
    return TensorInfo(name, shape, kind, path, offset, nbytes)


def _refuse_overlap(tensors: dict[str, TensorInfo]) -> None:
    ordered = sorted(tensors.values(), key=lambda tensor: tensor.offset)
    for before, after in itertools.pairwise(ordered):
        if before.offset + before.nbytes > after.offset:
            raise CheckpointError(f"the tensors {before.name!r:.80} and {after.name!r:.80} overlap")
