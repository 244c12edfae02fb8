"""Trace → the residual of one token: how far it moves from the embedding, and what a layer's heads write into it."""

import numpy as np

from ._shapes import Array, Float
from .trace import Address, Trace


def residual_path(trace: Trace, query: int) -> dict[str, Float[Array, " boundary"]]:
    """What becomes of a token's embedding on its way through the layers? Its length and direction at every boundary.

    Arrays of [n_layer + 1]: `length`: |x|; `cosine`: of x entering the layer (at n_layer: leaving the last) with x at
    0, the token's embedding as the model takes it in (0 where either is zero). Runs every layer. float64 arithmetic,
    float32 results.
    """
    xs = np.stack([trace.x(layer)[query] for layer in range(trace.spec.n_layer + 1)]).astype(np.float64)
    lengths = np.linalg.norm(xs, axis=-1)
    sizes = lengths * lengths[0]
    cosines = np.divide(xs @ xs[0], sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return {"length": lengths.astype(np.float32), "cosine": cosines.astype(np.float32)}


def layer_writes(trace: Trace, layer: int, query: int) -> tuple[dict[str, Array], float]:
    """What does each head of a layer add to a token's residual, and do the parts sum to the whole?

    Arrays: `heads` [head, d_model]: z W_o of each head by itself; `bias` [d_model] where there is one; `out`
    [d_model]: what attention adds, computed as the model does, all heads in one product. And the largest absolute
    difference between Σ heads + bias and out.
    """
    spec, w = trace.spec, trace.model.weights.layer(layer)
    z = trace.z(layer)[:, query]
    heads = np.stack([z[head] @ w.head_w_o(head, spec.d_head) for head in range(spec.n_head)])
    arrays = {"heads": heads, "out": trace.out(layer)[query]}
    total = heads.sum(axis=0, dtype=np.float64)
    if w.b_o is not None:
        arrays["bias"] = w.b_o
        total += w.b_o
    return arrays, float(np.abs(total - arrays["out"]).max())


def residual_length(trace: Trace, head: Address, query: int) -> float:
    """The length of the residual that enters the head's layer at a query."""
    return float(np.linalg.norm(trace.x(trace.spec.head(head).layer)[query]))
