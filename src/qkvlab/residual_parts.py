"""Trace → what the residual at a position is made of, as attention reads it: every write, through frozen norms.

A norm is not linear, because its scale depends on all that goes into it. Frozen at the scale it has in this very run
it is, and then the x that attention reads is exactly the sum of its parts: embedding, position, biases, what each
earlier head and each earlier MLP wrote. Everything here is float64: parts reach 1e4 and cancel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ._shapes import Array, Float
from .errors import UnsupportedError
from .mechanism import write
from .models import FAMILIES
from .trace import Trace


@dataclass(frozen=True)
class Component:
    """One writer into the residual, or a bias on the way to the score."""

    name: str
    kind: str
    """embedding, position, head, mlp or bias; of captured models also cross (a head of the decoder's other attention)
    and mixer (a layer's write without heads)."""
    layer: int | None = None
    head: int | None = None


class Parts:
    """Components and their vectors at some positions, [component, row, d_model]; norms act on all of them at once."""

    def __init__(self) -> None:
        self.components: list[Component] = []
        self._vectors: list[Array] = []

    def add(self, component: Component, vectors: Float[Array, "row d_model"]) -> None:
        self.components.append(component)
        self._vectors.append(np.asarray(vectors, np.float64))

    def through(self, change: Callable[[Array], Array]) -> None:
        """Pass every part through a linear map of [component, row, d_model]."""
        self._vectors = list(change(self.vectors))

    @property
    def vectors(self) -> Float[Array, "component row d_model"]:
        return np.stack(self._vectors)


def frozen_rms(x: Float[Array, "*row d"], gain: Float[Array, " d"], eps: float) -> Callable[[Array], Array]:
    """RMSNorm with its scale held at what it is for `x`: a linear map, v · gain / rms(x)."""
    x = np.asarray(x, np.float64)
    scale = gain / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    return lambda parts: parts * scale


def frozen_layer_norm(x: Float[Array, "*row d"], gain: Float[Array, " d"], eps: float) -> Callable[[Array], Array]:
    """LayerNorm with its scale held at what it is for `x`, its bias left out: (v - mean(v)) · gain / std(x)."""
    x = np.asarray(x, np.float64)
    scale = gain / np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)
    return lambda parts: (parts - parts.mean(axis=-1, keepdims=True)) * scale


def parts_read(trace: Trace, layer: int, rows: Sequence[int]) -> Parts:
    """What is the x that attention reads in a layer made of, at these positions? Its parts sum to `trace.normed`.

    The trace's own numbers: on an edited trace, what the edits below the layer made of them. Raises UnsupportedError
    for a family whose norms are not known here.
    """
    if trace.spec.family not in _READ:
        raise UnsupportedError(
            f"{trace.spec.name}: the way of a write to a score is known for {', '.join(_READ)}, not for "
            f"{trace.spec.family}"
        )
    return _READ[trace.spec.family](trace, layer, list(rows))


def _llama(trace: Trace, layer: int, rows: list[int]) -> Parts:
    parts = _pre_norm(trace, layer, rows)
    gain = trace.model.weights.layer(layer).attn_norm
    parts.through(frozen_rms(trace.x(layer)[rows], gain, trace.spec.norm_eps))
    return parts


def _gpt2(trace: Trace, layer: int, rows: list[int]) -> Parts:
    parts, w = _pre_norm(trace, layer, rows), trace.model.weights.layer(layer)
    parts.through(frozen_layer_norm(trace.x(layer)[rows], w.attn_norm, trace.spec.norm_eps))
    parts.add(Component("norm bias", "bias"), everywhere(w.attn_norm_bias, rows))
    return parts


def _pre_norm(trace: Trace, layer: int, rows: list[int]) -> Parts:
    """The plain sum that the residual is: embedding, position, and the writes of every earlier layer."""
    parts = _embedding(trace, rows)
    for earlier in range(layer):
        out = _add_attention(parts, trace, earlier, rows)
        _add_mlp(parts, trace, earlier, rows, out)
    return parts


def _bert(trace: Trace, layer: int, rows: list[int]) -> Parts:
    """Post-norm: each sub-layer's norm acts on all that was written before it."""
    spec, weights, parts = trace.spec, trace.model.weights, _embedding(trace, rows)

    def norm(x: Array, gain: Array, bias: Array, name: str, at: int | None) -> None:
        parts.through(frozen_layer_norm(x, gain, spec.norm_eps))
        parts.add(Component(name, "bias", at), everywhere(bias, rows))

    whole = parts.vectors.sum(axis=0)
    norm(whole, weights.vector("embed_norm"), weights.vector("embed_norm_bias"), "norm bias (embedding)", None)
    for earlier in range(layer):
        w, x = weights.layer(earlier), trace.x(earlier)[rows].astype(np.float64)
        out = _add_attention(parts, trace, earlier, rows)
        norm(x + out, w.attn_norm, w.attn_norm_bias, f"norm bias {earlier} (attention)", earlier)
        between = parts.vectors.sum(axis=0)
        added = _add_mlp(parts, trace, earlier, rows, out)
        norm(between + added, w.mlp_norm, w.mlp_norm_bias, f"norm bias {earlier} (mlp)", earlier)
    return parts


_READ: dict[str, Callable[[Trace, int, list[int]], Parts]] = {"llama": _llama, "gpt2": _gpt2, "bert": _bert}


def _embedding(trace: Trace, rows: list[int]) -> Parts:
    spec, weights, parts = trace.spec, trace.model.weights, Parts()
    parts.add(Component("embedding", "embedding"), weights.embed([trace.ids[row] for row in rows]))
    if spec.n_position:
        parts.add(Component("position", "position"), weights.positions[[spec.first_position + row for row in rows]])
    if spec.n_token_type:
        parts.add(Component("token type", "bias"), everywhere(weights.token_type, rows))
    return parts


def _add_attention(parts: Parts, trace: Trace, layer: int, rows: list[int]) -> Float[Array, "row d_model"]:
    """Add every head's write and the output bias; returns what attention adds, as the model computes it."""
    spec, w, z = trace.spec, trace.model.weights.layer(layer), trace.z(layer)[:, rows]
    for head in range(spec.n_head):
        w_o = w.head_w_o(head, spec.d_head).astype(np.float64)
        parts.add(Component(f"{layer}.{head}", "head", layer, head), z[head].astype(np.float64) @ w_o)
    if w.b_o is not None:
        parts.add(Component(f"attention bias {layer}", "bias", layer), everywhere(w.b_o, rows))
    return write(z, w.w_o, w.b_o)


def _add_mlp(parts: Parts, trace: Trace, layer: int, rows: list[int], out: Array) -> Float[Array, "row d_model"]:
    """Add what the MLP writes (its own bias within), computed of these rows alone, as the model does."""
    added: list[Array] = []

    def keep(name: str, array: Array, of: range) -> Array:
        added.append(array)
        return array

    x, w = trace.x(layer)[rows], trace.model.weights.layer(layer)
    FAMILIES[trace.spec.family].mlp(trace.spec, w, layer, x, out, range(len(rows)), keep)
    parts.add(Component(f"mlp {layer}", "mlp", layer), added[0])
    return added[0]


def everywhere(vector: Array, rows: list[int]) -> Float[Array, "row d_model"]:
    """A vector that is the same at every position, float64."""
    return np.broadcast_to(np.asarray(vector, np.float64), (len(rows), len(vector)))
