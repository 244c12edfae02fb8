"""One tensor in a file, and one checkpoint: names, shapes, number types and where the bytes lie. No data is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class TensorInfo:
    """A tensor by its header entry. `shape` is in row-major order: a linear layer is [d_out, d_in]."""

    name: str
    shape: tuple[int, ...]
    kind: str
    """The number type: F32, F16, BF16, Q8_0, Q4_1, ..."""
    path: Path
    offset: int
    """Where the bytes start, from the start of the file."""
    nbytes: int

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True)
class Checkpoint:
    """What the headers of a model's files say. Made by `safetensors.read_header` or `gguf.read_header`."""

    path: Path
    """The file or folder that was opened."""
    format: Literal["safetensors", "gguf"]
    tensors: dict[str, TensorInfo]
    metadata: dict[str, Any] = field(default_factory=dict)
    """GGUF's key/value pairs, or the contents of config.json."""
