"""A captured trace → what a head's query and key are made of: every write, through frozen norms, W_q, W_k, rotation.

For families whose forward pass is transformers' own, nothing is taken on trust: that q and k are what W_q and W_k make
of the x that attention reads is computed and held to the numbers of this very run, as is that x (`captured_residual`);
where one does not hold, the family is refused by name.
"""

from collections.abc import Callable

import numpy as np

from ._shapes import Array, Float
from .captured_residual import captured_parts, eps_of, hold
from .errors import UnsupportedError
from .livetrace import LiveTrace
from .mechanism import rotate
from .models.attending import to_numpy
from .models.hooks import own_layers, reach
from .residual_parts import Component, frozen_rms
from .spec import Head

Sides = tuple[tuple[Component, ...], Float[Array, "component d_head"], Float[Array, "component d_head"]]


def captured_sides(trace: LiveTrace, at: Head, query: int, key: int) -> Sides:
    """Every component as a part of this head's q and of its k, as the two enter the score; float64.

    Raises UnsupportedError where the way of a write to the score is not a sum through frozen norms.
    """
    family, spec = trace.model.family, trace.spec
    if not trace.own_keys:
        raise UnsupportedError(
            f"{spec.name}: the keys of its {trace.model.attention} attention come from the encoder, whose writes are "
            "not kept in a trace of the decoder, so a score has no parts"
        )
    if family.rotation == "unknown":
        raise UnsupportedError(f"{spec.name}: how {spec.family} makes its scores of q and k is not known part by part")
    parts = captured_parts(trace, at.layer, [query, key])
    w, vectors = trace.model.weights.layer(at.layer), parts.vectors
    components, sides = list(parts.components), []
    biased = w.b_q is not None or w.b_k is not None  # Whisper's keys have none, its queries have
    for side, row, name, head in ((0, query, "q", at.head), (1, key, "k", spec.kv_head(at))):
        x, matrix, bias = vectors[:, side], getattr(w, f"w_{name}"), getattr(w, f"b_{name}")
        made = x @ matrix[head].astype(np.float64)
        if biased:
            made = np.concatenate([made, np.zeros_like(made[:1]) if bias is None else bias[head][None]])
        made = _normed_head(trace, at.layer, name, x.sum(axis=0), matrix, bias, head)(made)
        if name == "q" and family.scaled_q:
            made = made * trace.model.q_scale(at.layer)
        made = _turned(trace, at.layer, made, row)
        hold(trace, made.sum(axis=0), trace.unedited(at.layer, name)[head, row], f"{name} of head {at}")
        sides.append(made)
    if biased:
        components.append(Component("bias of q and k", "bias"))
    return tuple(components), sides[0], sides[1]


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
        return frozen_rms(whole[head], gain, eps_of(norm))
    scale = gain.reshape(whole.shape) / np.sqrt(np.mean(whole * whole) + eps_of(norm))
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
