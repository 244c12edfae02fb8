"""One head's weights straight from a checkpoint, of any family and layout, without building a model."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint.attention import open_attention
from .checkpoint.heads import LATENT, SHAPES, HeadWeights
from .checkpoint.source import Progress
from .checkpoint.write import Entry, write_safetensors
from .spec import Head

__all__ = ["HeadWeights", "save_head", "summary", "weights"]


def weights(
    model: Any, head: Head | tuple[int, int] | str, *, attention: str = "decoder", progress: Progress | None = None
) -> HeadWeights:
    """What are one head's own W_q, W_k, W_v and W_o, with their biases?

    `model` is an alias, a file (.gguf, .safetensors), a folder, a hub name or a live transformers model. Of q, k and v
    the head's own rows alone are read; of W_o, and where a layout scatters the head, at most that one tensor. What is
    not in the local cache is read from the hub under the same rule. K and V are those of the K/V head that the head
    reads. `attention` as in `open_attention`. Raises SourceError, CheckpointError, UnsupportedError, ConfigError,
    HeadError, always one line.
    """
    return open_attention(model, attention=attention, progress=progress).head(head)


def save_head(found: HeadWeights, path: Path) -> int:
    """Write a head's arrays to a safetensors file; returns its size in bytes."""
    entries = [
        Entry(name, array.shape, lambda array=array: iter([array]))  # type: ignore[misc]
        for name, array in found.arrays.items()
    ]
    about = {
        "model": found.model, "family": found.family, "head": str(found.head), "kv_head": str(found.kv_head),
        "stored": found.stored, "notes": "; ".join(found.notes),
    }  # fmt: skip
    return write_safetensors(path, entries, about)


def summary(found: HeadWeights) -> dict[str, Any]:
    """What there is, without the numbers: of each array its axes, its shape and its length (Frobenius norm)."""
    axes = SHAPES | LATENT
    return {
        "model": found.model,
        "family": found.family,
        "head": str(found.head),
        "kv_head": found.kv_head,
        "stored": found.stored,
        "mla": found.mla,
        "qk_norm": found.qk_norm,
        "notes": list(found.notes),
        "bytes_read": found.bytes_read,
        "arrays": {
            name: {"axes": axes[name].split(), "shape": list(array.shape), "norm": _length(array)}
            for name, array in found.arrays.items()
        },
    }


def _length(array: np.ndarray[Any, np.dtype[np.float32]]) -> float | None:
    """The Frobenius norm; None where it is no number that JSON has."""
    length = float(np.linalg.norm(array.astype(np.float64)))
    return length if math.isfinite(length) else None
