"""The forward pass of each family, every intermediate in order through one tap."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np

from .._parallel import in_parallel, shares
from .._shapes import Array, Float
from ..mechanism import Tap
from ..spec import ModelSpec
from . import bert, gpt2, llama
from .common import no_tap
from .weights import LayerWeights, Weights

__all__ = ["FAMILIES", "Family", "LayerWeights", "Weights", "forward", "no_tap", "unembed"]


class Family(Protocol):
    """What one file per family provides: the stages of its forward pass, as functions."""

    def embed(self, spec: ModelSpec, weights: Weights, ids: list[int], rows: range) -> Array: ...
    def normed(self, spec: ModelSpec, w: LayerWeights, x: Array) -> Array: ...
    def attention(self, spec: ModelSpec, w: LayerWeights, layer: int, x: Array, rows: range, tap: Tap) -> Array: ...
    def mlp(
        self, spec: ModelSpec, w: LayerWeights, layer: int, x: Array, out: Array, rows: range, tap: Tap
    ) -> Array: ...
    def final(self, spec: ModelSpec, weights: Weights, x: Array) -> Array: ...


FAMILIES: dict[str, Family] = {"llama": llama, "gpt2": gpt2, "bert": bert}


def unembed(weights: Weights, final: Float[Array, "query d_model"]) -> Float[Array, "query vocab"]:
    """The output head: one logit per vocabulary entry."""
    W = weights.unembedding
    logits = np.empty((len(final), len(W)), np.result_type(final, W))
    in_parallel([partial(np.matmul, final, W[part].T, out=logits[:, part]) for (part,) in shares(len(W))])
    return logits


def forward(
    spec: ModelSpec, weights: Weights, ids: Sequence[int], tap: Tap = no_tap
) -> Float[Array, "query vocab"] | Float[Array, "query d_model"]:
    """The whole pass over one text, in order. Returns the logits of the last position, [1, vocab]; an encoder's
    final residual, [query, d_model], where there is no output head."""
    family, rows = FAMILIES[spec.family], range(len(ids))
    x = family.embed(spec, weights, list(ids), rows)
    for layer in range(spec.n_layer):
        w = weights.layer(layer)
        x = tap(f"layer.{layer}.x", x, rows)
        out = family.attention(spec, w, layer, x, rows, tap)
        x = family.mlp(spec, w, layer, x, out, rows, tap)
    final: np.ndarray = tap("final", family.final(spec, weights, x), rows)
    if not spec.has_output:
        return final
    return tap("logits", unembed(weights, final[-1:]), rows[-1:])
