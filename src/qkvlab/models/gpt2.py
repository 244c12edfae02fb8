"""GPT-2: pre-norm, LayerNorm, learned positions added to the embedding, one K/V head per query head, plain MLP.

Source: Radford et al. 2019; held equal, stage by stage, to transformers' `modeling_gpt2`.
"""

from .._shapes import Array, Float
from ..mechanism import Tap, gelu, gelu_tanh, layer_norm, linear, project_each, silu, write
from ..spec import ModelSpec
from .common import attend_layer
from .weights import LayerWeights, Weights

ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}


def embed(spec: ModelSpec, weights: Weights, ids: list[int], rows: range) -> Float[Array, "query d_model"]:
    """x at layer 0: token embedding + position embedding."""
    return weights.embed(ids) + weights.positions[rows.start : rows.stop]


def normed(spec: ModelSpec, w: LayerWeights, x: Float[Array, "query d_model"]) -> Float[Array, "query d_model"]:
    """The x that attention reads."""
    return layer_norm(x, w.attn_norm, w.attn_norm_bias, spec.norm_eps)


def attention(
    spec: ModelSpec, w: LayerWeights, layer: int, x: Float[Array, "query d_model"], rows: range, tap: Tap
) -> Float[Array, "query d_model"]:
    """What attention adds for the queries at `rows` (the tap may hand back earlier keys and values too)."""
    at = f"layer.{layer}."
    h = tap(at + "normed", normed(spec, w, x), rows)
    q, k, v = project_each(h, (w.w_q, w.w_k, w.w_v), (w.b_q, w.b_k, w.b_v))
    q, k = tap(at + "q_raw", q, rows), tap(at + "k_raw", k, rows)
    k, v = tap(at + "k", k, rows), tap(at + "v", v, rows)
    q = tap(at + "q", q, rows)
    z = tap(at + "z", attend_layer(spec, layer, q, k, v, tap), rows)
    return tap(at + "out", write(z, w.w_o, w.b_o), rows)


def mlp(
    spec: ModelSpec,
    w: LayerWeights,
    layer: int,
    x: Float[Array, "query d_model"],
    out: Float[Array, "query d_model"],
    rows: range,
    tap: Tap,
) -> Float[Array, "query d_model"]:
    """The residual that leaves the layer: x + out + MLP(x + out)."""
    x = x + out
    h = layer_norm(x, w.mlp_norm, w.mlp_norm_bias, spec.norm_eps)
    h = ACTIVATIONS[spec.activation](linear(h, w.w_up, w.b_up))
    return x + tap(f"layer.{layer}.mlp", linear(h, w.w_down, w.b_down), rows)


def final(spec: ModelSpec, weights: Weights, x: Float[Array, "query d_model"]) -> Float[Array, "query d_model"]:
    """The residual after the last norm, as the output head reads it."""
    return layer_norm(x, weights.vector("final_norm"), weights.vector("final_norm_bias"), spec.norm_eps)
