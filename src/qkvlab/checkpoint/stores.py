"""Where the bytes of a tensor come from: local files, or a live transformers model. (`remote.py`: the hub.)

A store names its tensors, tells where each lies, and reads a stretch of its bytes; a `Reading` turns stretches into
numbers and counts what was read.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, SourceError, UnsupportedError, one_of
from . import gguf, safetensors
from .decode import Bytes, Numbers, decode_bytes
from .tensors import Checkpoint, TensorInfo

BLOCKS = {name: (numbers, nbytes) for name, numbers, nbytes in gguf.KINDS.values()} | {
    name: (1, nbytes) for name, nbytes in safetensors.DTYPES.items()
}
"""Number type → numbers in a block, bytes of a block."""

TORCH_KINDS = {"torch.float32": "F32", "torch.float16": "F16", "torch.bfloat16": "BF16", "torch.float64": "F64"}


class Store(ABC):
    """Tensors by name."""

    name: str
    """What to call the model."""
    format: str
    metadata: dict[str, Any]
    """config.json, or GGUF's keys."""
    names: Collection[str]
    """Of all tensors."""
    at_once = 0
    """How many bytes it is best asked for at a time; 0: as many as there are."""

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Where a tensor lies. Raises CheckpointError or SourceError."""

    @abstractmethod
    def read(self, info: TensorInfo, start: int, stop: int) -> Bytes:
        """Bytes start to stop of a tensor, and no others. Raises CheckpointError or SourceError."""


class FileStore(Store):
    """A local checkpoint."""

    at_once = 1 << 20

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.format = checkpoint.format
        self.metadata = checkpoint.metadata
        self.names = checkpoint.tensors.keys()

    def info(self, name: str) -> TensorInfo:
        return self.checkpoint.tensors[name]

    def read(self, info: TensorInfo, start: int, stop: int) -> Bytes:
        """Bytes start to stop of the tensor, by seek and read: no other byte of the file is touched."""
        try:
            with info.path.open("rb", buffering=0) as file:
                file.seek(info.offset + start)
                data = np.empty(stop - start, np.uint8)
                got, view = 0, data.data
                while got < len(view) and (count := file.readinto(view[got:])):
                    got += count
        except OSError as error:
            raise CheckpointError(f"{info.path.name}: cannot be read ({error.strerror})") from None
        if got != stop - start:
            raise CheckpointError(
                f"{info.path.name}: is cut off within tensor {info.name!r:.80} (expected {stop - start:,} bytes, "
                f"got {got:,}); has the file changed?"
            )
        return data


class LiveStore(Store):
    """The state_dict of a transformers model in memory."""

    def __init__(self, model: Any) -> None:
        self.metadata = model.config.to_dict()
        self.name = str(self.metadata.get("_name_or_path") or "") or type(model).__name__
        self.format = "transformers"
        self._tensors: dict[str, Any] = model.state_dict()
        self.names = self._tensors.keys()

    def info(self, name: str) -> TensorInfo:
        tensor = self._tensors[name]
        kind = TORCH_KINDS.get(str(tensor.dtype))
        if kind is None:
            raise UnsupportedError(
                f"{self.name}: tensor {name!r:.80}: {one_of('the number type', str(tensor.dtype), TORCH_KINDS)}"
            )
        nbytes = int(tensor.numel() * tensor.element_size())
        return TensorInfo(name, tuple(tensor.shape), kind, Path(self.name), 0, nbytes)

    def read(self, info: TensorInfo, start: int, stop: int) -> Bytes:
        import torch

        tensor = self._tensors[info.name]
        if tensor.is_meta:
            raise CheckpointError(f"{self.name}: tensor {info.name!r:.80} has no numbers yet (it is on device meta)")
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        found: Bytes = flat[start:stop].cpu().numpy()
        return found


class Reading:
    """One question to a store: the numbers of some rows or columns, and how many bytes were read for them all."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.bytes_read = 0
        self._whole: dict[str, Bytes] = {}
        self._matrices: dict[str, Numbers] = {}

    def rows(self, info: TensorInfo, start: int, stop: int) -> Numbers:
        """Rows start to stop of a matrix, [rows, d_in]: their bytes alone."""
        row = _row_bytes(info)
        raw = self._read(info, start * row, stop * row)
        return decode_bytes(info, raw.reshape(stop - start, row), info.shape[1])

    def matrix(self, info: TensorInfo) -> Numbers:
        """The whole matrix, read and decoded once however often it is asked for."""
        if info.name not in self._matrices:
            self._matrices[info.name] = self.rows(info, 0, info.shape[0])
        return self._matrices[info.name]

    def columns(self, info: TensorInfo, start: int, stop: int, *, again: bool = False) -> Numbers:
        """Columns start to stop, [d_out, columns]: the whole matrix passes by, piece after piece, and of it the blocks
        of numbers with these columns are kept. `again`: keep it whole, since more columns will be asked for.
        """
        numbers, nbytes = BLOCKS[info.kind]
        first, last = start // numbers, -(-stop // numbers)
        block = slice(first * nbytes, last * nbytes)
        part = self._kept(info)[:, block] if again else self._passing(info, block)
        found = decode_bytes(info, part, (last - first) * numbers)
        return found[:, start - first * numbers : stop - first * numbers]

    def _kept(self, info: TensorInfo) -> Bytes:
        if info.name not in self._whole:
            self._whole[info.name] = self._read(info, 0, info.nbytes).reshape(info.shape[0], _row_bytes(info))
        return self._whole[info.name]

    def _passing(self, info: TensorInfo, block: slice) -> Bytes:
        row = _row_bytes(info)
        step = max(1, (self.store.at_once or info.nbytes) // row)
        part = np.empty((info.shape[0], block.stop - block.start), np.uint8)
        for begin in range(0, info.shape[0], step):
            end = min(begin + step, info.shape[0])
            part[begin:end] = self._read(info, begin * row, end * row).reshape(-1, row)[:, block]
        return part

    def vector(self, info: TensorInfo, start: int, stop: int) -> Numbers:
        """Numbers start to stop of a vector, [numbers]."""
        numbers, nbytes = BLOCKS[info.kind]
        first, last = start // numbers, -(-stop // numbers)
        raw = self._read(info, first * nbytes, last * nbytes)
        found: Numbers = decode_bytes(info, raw.reshape(1, -1), (last - first) * numbers)[0]
        return found[start - first * numbers : stop - first * numbers]

    def _read(self, info: TensorInfo, start: int, stop: int) -> Bytes:
        self.bytes_read += stop - start
        return self.store.read(info, start, stop)


def _row_bytes(info: TensorInfo) -> int:
    return info.nbytes // info.shape[0]


def read_checkpoint(path: Path) -> Checkpoint:
    """The header of a file or folder, whichever of the two formats it is in.

    Of a folder without safetensors, its one .gguf file. Raises SourceError, CheckpointError or UnsupportedError.
    """
    if path.is_dir() and not any(path.glob("*.safetensors*")):
        found = sorted(file for file in path.glob("*.gguf") if file.is_file())
        if len(found) > 1:
            names = ", ".join(file.name for file in found[:5])
            raise SourceError(f"{path.name}: has {len(found)} .gguf files ({names}); give the path of one of them")
        path = found[0] if found else path
    return gguf.read_header(path) if path.suffix == ".gguf" else safetensors.read_header(path)
