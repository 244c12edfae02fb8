"""What does a safetensors checkpoint hold, and where do its tensors lie? The headers alone, of all its files.

Layout: https://github.com/huggingface/safetensors#format (8 bytes of length, a JSON header, the data). What
the reference implementation refuses (`safetensors/src/tensor.rs`) is refused here, each fault under its name.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, QkvLabError, SourceError, UnsupportedError, one_of
from .tensors import Checkpoint, TensorInfo

DTYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8,
    "F16": 2, "BF16": 2, "F32": 4, "F64": 8, "C64": 8,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
}  # fmt: skip
"""Number type -> bytes of one number."""

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

MAX_HEADER = 100_000_000
_MAX_JSON_ITEMS = 1_000_000
_MAX_DIMS = 8


def read_header(path: Path) -> Checkpoint:
    """Which tensors does this checkpoint hold, and what does its config.json say?

    `path` is a .safetensors file, a `model.safetensors.index.json` (its shards lie beside it) or a folder
    with either. The config.json beside the files becomes `metadata`; without one it is empty. Only headers
    are read, whatever the size of the files. Pickles are recognised and never opened.

    Raises `CheckpointError` for a damaged or incomplete checkpoint, `UnsupportedError` for pickles and
    unknown number types, `SourceError` when there is nothing to open.
    """
    try:
        source = _source_in(path) if path.is_dir() else path
        if source.suffix == ".json":
            tensors = _sharded(source)
        else:
            tensors = _one_file(source)
        config = source.parent / "config.json"
        metadata = _json_object(config) if config.is_file() else {}
    except OSError as error:
        raise SourceError(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    return Checkpoint(path=path, format="safetensors", tensors=tensors, metadata=metadata)


def _source_in(folder: Path) -> Path:
    """The file that stands for the whole folder."""
    for name in (SINGLE, INDEX):
        if (folder / name).is_file():
            return folder / name
    found = sorted(file for file in folder.iterdir() if file.is_file())
    single = [file for file in found if file.suffix == ".safetensors"]
    if len(single) == 1:
        return single[0]
    if single:
        names = ", ".join(file.name for file in single[:5])
        raise SourceError(f"{folder.name}: has {len(single)} .safetensors files and no {INDEX} ({names})")
    pickles = [file.name for file in found if file.suffix in _PICKLE_SUFFIXES]
    if pickles:
        raise _pickle(pickles[0])
    raise SourceError(f"{folder.name}: holds no checkpoint (expected {SINGLE}, {INDEX} or one .gguf file)")


def _pickle(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: is a pickle, and pickles are never read because opening one can run any program (expected"
        " safetensors); convert it where you trust it, with transformers: model.save_pretrained(FOLDER)"
    )


def _sharded(index: Path) -> dict[str, TensorInfo]:
    """The tensors of all shards. The index and the shards must name the same tensors in the same files."""
    listed = shards_of(_json_object(index), index.name)
    tensors: dict[str, TensorInfo] = {}
    for shard, names in sorted(listed.items()):
        file = index.parent / shard
        if not file.is_file():
            raise CheckpointError(f"{index.name}: the shard {shard!r:.80} is missing; fetch it again")
        found = _one_file(file)
        check_shard(index.name, shard, names, found)
        tensors |= found
    return tensors


def shards_of(index: dict[str, Any], where: str) -> dict[str, set[str]]:
    """The contents of an index file → the name of each shard, with the tensors it should hold."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{where}: has no weight_map (expected tensor names with their files)")
    listed: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or shard in ("", "..") or set(shard) & set("/\\:\0"):
            raise CheckpointError(f"{where}: names the shard {shard!r:.80} (expected a file name without any folder)")
        listed.setdefault(shard, set()).add(tensor)
    return listed


def check_shard(index: str, shard: str, names: Collection[str], found: Collection[str]) -> None:
    """Does a shard hold exactly the tensors that the index promises?"""
    for name in sorted(set(names) ^ set(found))[:1]:
        has, lacks = (index, shard) if name in names else (shard, index)
        raise CheckpointError(f"{lacks}: lacks tensor {name!r:.80}, which {has} has; fetch both again")


def _one_file(path: Path) -> dict[str, TensorInfo]:
    """The tensors of one file, in the order of its header."""
    if path.suffix in _PICKLE_SUFFIXES:
        raise _pickle(path.name)
    size = path.stat().st_size
    with path.open("rb") as file:
        return tensors_of(path, size, lambda start, stop: file.read(stop - start))


def tensors_of(path: Path, size: int, read: Callable[[int, int], bytes]) -> dict[str, TensorInfo]:
    """The tensors that the header of a file of this size names. `read(start, stop)` is asked for the 8 bytes of the
    header's length and the brace after them, then for the rest of the header: in order, and for nothing else.
    """
    head = read(0, min(9, size))
    if head.startswith(_PICKLE_STARTS) and head[8:] != b"{":
        raise _pickle(path.name)
    length, most = int.from_bytes(head[:8], "little"), min(MAX_HEADER, size - 8)
    if not 2 <= length <= most:
        raise CheckpointError(
            f"{path.name}: is not a safetensors file, or is cut off"
            f" (expected a header of 2 to {max(2, most):,} bytes, got {length:,})"
        )
    if head[8:] != b"{":
        raise CheckpointError(f"{path.name}: the header does not begin with '{{' (got {head[8:]!r})")
    start = 8 + length
    header = parse_object(head[8:] + read(9, start), path.name)
    _check_notes(header.pop("__metadata__", {}), path.name)
    tensors = {name: _tensor(name, entry, path, start) for name, entry in header.items()}
    _check_cover(tensors.values(), path.name, start, size)
    return tensors


def _tensor(name: str, entry: Any, path: Path, start: int) -> TensorInfo:
    """One header entry as a TensorInfo. Offsets in the file count from `start`, the end of the header."""
    where = f"{path.name}: tensor {name!r:.80}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where} is described wrongly (expected dtype, shape, data_offsets)")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise CheckpointError(f"{where} has a dtype that is no name (got {dtype!r:.80})")
    if dtype not in DTYPES:
        raise UnsupportedError(f"{where}: {one_of('the number type', dtype, DTYPES)}")
    if not _counts(shape) or len(shape) > _MAX_DIMS or math.prod(shape) >= 1 << 60:
        raise CheckpointError(
            f"{where} has an impossible shape (expected at most {_MAX_DIMS} counts, got {shape!r:.80})"
        )
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where} has wrong data_offsets (expected [begin, end], got {offsets!r:.80})")
    nbytes = math.prod(shape) * DTYPES[dtype]
    if offsets[1] - offsets[0] != nbytes:
        raise CheckpointError(
            f"{where} has {offsets[1] - offsets[0]:,} bytes (expected {nbytes:,} for {dtype} {shape})"
        )
    return TensorInfo(name, tuple(shape), dtype, path, start + offsets[0], nbytes)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_cover(tensors: Iterable[TensorInfo], name: str, start: int, size: int) -> None:
    """Do the tensors fill the data exactly, with no overlap, no hole and nothing after the last?"""
    position, before = start, "the header"
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != position:
            fault = "overlap" if tensor.offset < position else "leave a hole between them"
            raise CheckpointError(f"{name}: {before} and tensor {tensor.name!r:.80} {fault}")
        position, before = tensor.offset + tensor.nbytes, f"tensor {tensor.name!r:.80}"
    if position != size:
        state = "is cut off; fetch it again" if position > size else "has bytes after its last tensor"
        raise CheckpointError(f"{name}: {state} (expected {position:,} bytes, got {size:,})")


def _check_notes(notes: Any, name: str) -> None:
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise CheckpointError(f"{name}: __metadata__ is malformed (expected strings only)")


def _json_object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_HEADER:
        raise CheckpointError(f"{path.name}: is too large (expected at most {MAX_HEADER:,} bytes)")
    return parse_object(path.read_bytes(), path.name)


def parse_object(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object from a stranger: bounded in its items (each costs a comma) and without duplicate keys."""
    if data.count(b",") > _MAX_JSON_ITEMS:
        raise CheckpointError(f"{name}: has too many JSON items (expected at most {_MAX_JSON_ITEMS:,})")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_no_duplicates)
    except QkvLabError as error:
        raise CheckpointError(f"{name}: {error}") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{name}: is not valid UTF-8 ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise CheckpointError(f"{name}: nests its JSON too deeply") from None
    except MemoryError:
        raise CheckpointError(f"{name}: needs more memory than there is") from None
    except ValueError as error:
        raise CheckpointError(f"{name}: is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name}: is not a JSON object (got {type(value).__name__})")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise CheckpointError(f"the key {name!r:.80} stands there twice")
        found[name] = value
    "".join(found).encode()  # a lone surrogate is a ValueError here, and a crash in the first message that prints it
    return found
