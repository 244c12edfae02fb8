"""The reference text, and each head's mean blend over it: what "ablate to the mean" puts in a head's place."""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._shapes import Array, Float
from .checkpoint.decode import read_array
from .checkpoint.safetensors import read_header
from .checkpoint.source import cache_dir
from .checkpoint.write import Entry, write_safetensors
from .errors import QkvLabError, UnsupportedError

if TYPE_CHECKING:
    from .model import Model


def reference_text() -> str:
    """The text shipped with the package: a few short paragraphs of our own."""
    return files("qkvlab").joinpath("data/reference.txt").read_text(encoding="utf-8")


def mean_z(model: "Model") -> Float[Array, "layer head d_head"]:
    """Each head's mean z over the reference text, first position left out, [layer, head, d_head].

    Computed once per model and kept in the cache folder under the checksum of its weights and of the text.
    Raises UnsupportedError where the model's text cannot be read (pass a vector to `Ablate` then).
    """
    if model.known_mean_z is None:
        model.known_mean_z = _cached(model)
    return model.known_mean_z


def _cached(model: "Model") -> Float[Array, "layer head d_head"]:
    spec, path = model.spec, cache_dir() / "mean-z" / f"{checksum(model, reference_text())}.safetensors"
    shape = (spec.n_layer, spec.n_head, spec.d_head)
    if path.is_file():
        try:
            kept: np.ndarray = read_array(read_header(path).tensors["mean_z"])
            if kept.shape == shape:
                return kept
        except (QkvLabError, KeyError):
            pass  # a damaged file is computed anew
    means = computed_mean_z(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, [Entry("mean_z", shape, lambda: iter([means]))], {"model": spec.name})
    except (OSError, QkvLabError):
        pass  # a cache that cannot be written costs time, not the answer
    return means


def computed_mean_z(model: "Model") -> Float[Array, "layer head d_head"]:
    """The means, computed now; zero in layers without attention. Raises UnsupportedError without a tokenizer."""
    try:
        tokens = model.tokenizer.encode(reference_text())
    except UnsupportedError as error:
        raise UnsupportedError(f"the mean over the reference text needs the model's tokenizer: {error}") from None
    trace = model.trace(ids=tokens.ids[: model.spec.n_context])
    means = np.zeros((model.spec.n_layer, model.spec.n_head, model.spec.d_value), np.float32)
    for layer in model.spec.attention_layers:
        means[layer] = trace.z(layer)[:, 1:].mean(axis=1)
    return means


def checksum(model: "Model", text: str) -> str:
    """SHA-256 over a text and the weights' files: a name for what was measured of this model on this text.

    An alias' pinned sum stands for its file.
    """
    total = hashlib.sha256(text.encode())
    if model.source.sha256 is not None:
        total.update(model.source.sha256.encode())
        return total.hexdigest()
    for path in sorted({info.path for info in model.checkpoint.tensors.values()}):
        total.update(_file_sum(path))
    return total.hexdigest()


def _file_sum(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
