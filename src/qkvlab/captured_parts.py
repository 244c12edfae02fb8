"""A captured trace → what a head's query and key are made of: the writes of every earlier layer, through frozen norms.

For families whose forward pass is transformers' own, nothing is taken on trust: that the residual is the plain sum of
what the layers wrote, that the norm is the one found, that q and k are what W_q and W_k make of it. Each is computed
and held to the numbers of this very run; where one does not hold, the family is refused by name.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .errors import UnsupportedError
from .livetrace import LiveTrace
from .mechanism import rotate
from .models.attending import to_numpy
from .models.hooks import own_layers, reach
from .residual_parts import Component, Parts, everywhere, frozen_layer_norm, frozen_rms
from .spec import Head

NORMS = (
    "input_layernorm", "ln_1", "norm_1", "ln_attn", "self_attn_layer_norm", "attn_norm", "layer.0.layer_norm",
)  # fmt: skip
"""What the norm before attention may be called."""

Sides = tuple[tuple[Component, ...], Float[Array, "component d_head"], Float[Array, "component d_head"]]


def captured_sides(trace: LiveTrace, at: Head, query: int, key: int) -> Sides:
    """Every component as a part of this head's q and of its k, as the two enter the score; float64.

    Raises UnsupportedError where the way of a write to the score is not a sum through frozen norms.
    """
    family, spec = trace.model.family, trace.spec
    if family.rotation == "unknown" or not trace.own_keys:
        raise UnsupportedError(f"{spec.name}: how {spec.family} makes its scores of q and k is not known part by part")
    parts = _written(trace, at.layer, [query, key])
    _through_norm(parts, trace, at.layer, [query, key])
    w, vectors = trace.model.weights.layer(at.layer), parts.vectors
    components, sides = list(parts.components), []
    for side, row, name, head in ((0, query, "q", at.head), (1, key, "k", spec.kv_head(at))):
        x, matrix, bias = vectors[:, side], getattr(w, f"w_{name}"), getattr(w, f"b_{name}")
        made = x @ matrix[head].astype(np.float64)
        if bias is not None:
            made = np.concatenate([made, bias[head][None].astype(np.float64)])
        made = _normed_head(trace, at.layer, name, x.sum(axis=0), matrix, bias, head)(made)
        if name == "q" and family.scaled_q:
            made = made * trace.model.q_scale(at.layer)
        made = _turned(trace, at.layer, made, row)
        _hold(trace, made.sum(axis=0), trace.unedited(at.layer, name)[head, row], f"{name} of head {at}")
        sides.append(made)
    if len(sides[0]) > len(components):
        components.append(Component("bias of q and k", "bias"))
    return tuple(components), sides[0], sides[1]


def _hold(trace: LiveTrace, ours: Array, theirs: Array, what: str) -> None:
    """Refuse unless our sum is the model's own number, to the rounding of its dtype."""
    import torch

    tolerance = 1e-3 if trace.model.hf.dtype == torch.float32 else 5e-2
    if np.abs(ours - theirs).max() > tolerance * max(np.abs(theirs).max(), 1e-30):
        raise UnsupportedError(
            f"{trace.spec.name}: the {what} is not what its parts sum to, so {trace.spec.family} has more on the "
            "way of a write to a score than is known here"
        )


def _written(trace: LiveTrace, layer: int, rows: list[int]) -> Parts:
    """The residual that enters a layer, as a sum: what stands before the first layer, then every write."""
    parts, spec = Parts(), trace.spec
    parts.add(Component("before the first layer", "embedding"), trace.x(0)[rows])
    for earlier in range(layer):
        if earlier in spec.no_attention:
            raise UnsupportedError(
                f"{spec.name}: layer {earlier} mixes tokens without heads, so its write has no parts"
            )
        w, total = trace.model.weights.layer(earlier), trace.x(earlier)[rows].astype(np.float64)
        for head in range(spec.n_head):
            write = trace.write((earlier, head))[rows].astype(np.float64)
            parts.add(Component(f"{earlier}.{head}", "head", earlier, head), write)
            total += write
        if w.b_o is not None:
            parts.add(Component(f"attention bias {earlier}", "bias", earlier), everywhere(w.b_o, rows))
            total += w.b_o
        mlp = trace.mlp(earlier)[rows]
        parts.add(Component(f"mlp {earlier}", "mlp", earlier), mlp)
        _hold(trace, total + mlp, trace.x(earlier + 1)[rows], f"residual that leaves layer {earlier}")
    return parts


def _through_norm(parts: Parts, trace: LiveTrace, layer: int, rows: list[int]) -> None:
    """Pass the parts through the norm before attention, frozen; its bias is a part of its own."""
    model, x = trace.model, trace.x(layer)[rows]
    layers = own_layers(model.hf.base_model, model.stack)
    found = [reach(layers[layer % len(layers)], name) for name in NORMS]
    norm = next((module for module in found if getattr(module, "weight", None) is not None), None)
    if norm is not None:
        gain, eps = to_numpy(norm.weight) + np.float32(model.family.gain), _eps(norm)
        parts.through((frozen_layer_norm if model.centred else frozen_rms)(x, gain, eps))
        if getattr(norm, "bias", None) is not None:
            parts.add(Component("norm bias", "bias"), everywhere(to_numpy(norm.bias), rows))
    _hold(trace, parts.vectors.sum(axis=0), trace.normed(layer)[rows], f"x that attention reads in layer {layer}")


def _normed_head(
    trace: LiveTrace, layer: int, name: str, x: Array, matrix: Array, bias: Array, head: int
) -> Callable[[Array], Array]:
    """The norm of q or k, frozen: of each head, or of all heads side by side (OLMo 2); nothing where there is none."""
    model = trace.model
    layers = own_layers(model.hf.base_model, model.stack)
    norm = getattr(reach(layers[layer % len(layers)], model.stack.attention), f"{name}_norm", None)
    if norm is None or getattr(norm, "weight", None) is None:
        return lambda parts: parts
    whole = np.einsum("m,hmd->hd", x, matrix.astype(np.float64)) + (0 if bias is None else bias)
    gain = to_numpy(norm.weight).astype(np.float64) + model.family.gain
    if len(gain) == whole.shape[1]:
        return frozen_rms(whole[head], gain, _eps(norm))
    scale = gain.reshape(whole.shape) / np.sqrt(np.mean(whole * whole) + _eps(norm))
    return lambda parts: parts * scale[head]


def _turned(trace: LiveTrace, layer: int, rows: Array, position: int) -> Array:
    """These vectors, rotated by the angles that the model used at one position."""
    turns = trace.turns(layer)
    if turns is None:
        return rows
    cos, sin = (part[position : position + 1].astype(np.float64) for part in turns)
    half = trace.model.family.rotation == "half"
    turned: Array = rotate(rows[:, None], cos, sin, "half" if half else "adjacent")[:, 0]
    return turned


def _eps(norm: Any) -> float:
    return float(next(value for key in ("variance_epsilon", "eps") if (value := getattr(norm, key, None)) is not None))
