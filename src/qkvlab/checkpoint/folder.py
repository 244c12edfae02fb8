"""A Hugging Face folder, written whole or not at all: shards, their index, and the small files beside them."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError
from .tensors import Checkpoint, TensorInfo
from .write import DTYPES, Entry, plan, write_safetensors

SHARD_BYTES = 5 * 1000**3
"""Tensors that come from one file of another format are cut into files of at most so many bytes."""
PIECE_BYTES = 1 << 25
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json", "generation_config.json",
    "LICENSE",
)  # fmt: skip
"""Files beside the weights that a changed model keeps as they are."""
FORMAT = {"format": "pt"}
"""What transformers asks of the metadata of a shard."""
Shards = Mapping[str, Sequence[Entry]]


def write_folder(
    target: Path,
    shards: Shards,
    config: Mapping[str, Any],
    others: Callable[[Path], None],
    wrote: Callable[[int], None] = lambda size: None,
) -> int:
    """Write config.json, these shards (name → tensors, in order) and what `others` puts beside them; returns the size.

    Everything goes into a folder beside the target, which takes its name at the end. `wrote` hears of every tensor,
    in bytes. Raises SourceError where the target is there already, the disk is full or the place cannot be written;
    nothing is left behind then, nor when the run is interrupted.
    """
    check_target(target)
    size = sum(plan(list(entries), FORMAT)[1] for entries in shards.values())
    unfinished: Path | None = None
    try:
        free = shutil.disk_usage(target.parent).free
        if free < size:
            raise SourceError(f"cannot write {target}: it takes {size:,} bytes, and {free:,} are free there")
        unfinished = Path(tempfile.mkdtemp(prefix=".qkvlab-", dir=target.parent))
        _fill(unfinished, shards, config, others, wrote)
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o777 & ~umask)
        unfinished.rename(target)
    except OSError as error:
        raise SourceError(f"cannot write {target}: {error.strerror or error}") from None
    except SourceError as error:
        raise SourceError(str(error).replace(str(unfinished), str(target))) from None
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return size


def check_target(target: Path) -> None:
    """Can a folder be put there? Asked before anything is computed, too, so one is made and taken away again. Raises
    SourceError."""
    if target.exists() or target.is_symlink():
        raise SourceError(f"{target} is there already; name a folder that is not, or remove it first")
    if not target.parent.is_dir():
        raise SourceError(f"cannot write {target}: there is no folder {target.parent}")
    try:
        Path(tempfile.mkdtemp(prefix=".qkvlab-", dir=target.parent)).rmdir()
    except OSError as error:
        raise SourceError(f"cannot write {target}: {error.strerror or error}") from None


def _fill(
    folder: Path,
    shards: Shards,
    config: Mapping[str, Any],
    others: Callable[[Path], None],
    wrote: Callable[[int], None],
) -> None:
    others(folder)
    _write_json(folder / "config.json", config)
    for name, entries in shards.items():
        write_safetensors(folder / name, [_heard(entry, wrote) for entry in entries], FORMAT)
    if len(shards) > 1:
        places = {entry.name: name for name, entries in shards.items() for entry in entries}
        total = sum(entry.nbytes for entries in shards.values() for entry in entries)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        _write_json(folder / "model.safetensors.index.json", index)


def _heard(entry: Entry, wrote: Callable[[int], None]) -> Entry:
    def pieces() -> Iterator[np.ndarray[Any, Any]]:
        yield from entry.pieces()
        wrote(entry.nbytes)

    return Entry(entry.name, entry.shape, pieces, entry.dtype)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def copied(info: TensorInfo, name: str) -> Entry:
    """A tensor of a safetensors file, bit for bit, in pieces that are never all in memory."""

    def pieces() -> Iterator[np.ndarray[Any, Any]]:
        kind = np.dtype(DTYPES[info.kind])
        for start in range(0, info.nbytes, PIECE_BYTES):
            count = min(PIECE_BYTES, info.nbytes - start) // kind.itemsize
            yield np.fromfile(info.path, kind, count, offset=info.offset + start)

    return Entry(name, info.shape, pieces, info.kind)


def shard_names(checkpoint: Checkpoint, entries: Sequence[tuple[Path | None, Entry]]) -> dict[str, list[Entry]]:
    """Entries by the file they go to: the one they came from, or, cut by size, as Hugging Face names its shards."""
    files = {path.name for path, _ in entries if path is not None}
    shards: dict[str, list[Entry]] = {}
    if len(files) > 1:
        for path, entry in entries:
            assert path is not None
            shards.setdefault(path.name, []).append(entry)
        return shards
    cut: list[list[Entry]] = [[]]
    held = 0
    for _, entry in entries:
        if cut[-1] and not files and held + entry.nbytes > SHARD_BYTES:
            cut.append([])
            held = 0
        cut[-1].append(entry)
        held += entry.nbytes
    if len(cut) == 1:
        return {"model.safetensors": cut[0]}
    return {f"model-{at + 1:05d}-of-{len(cut):05d}.safetensors": shard for at, shard in enumerate(cut)}


def copy_beside(source: Path, folder: Path) -> None:
    """The tokenizer and its like, from beside the weights."""
    beside = source if source.is_dir() else source.parent
    for name in COPIED:
        if (beside / name).is_file():
            shutil.copyfile(beside / name, folder / name)
