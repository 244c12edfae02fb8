"""BERT, RoBERTa and their like: bidirectional, post-norm, learned positions, one K/V head per query head.

There is no norm before attention: the x that W_q, W_k and W_v multiply is the residual itself, and each sub-layer
normalises the sum it leaves. Source: Devlin et al. 2018; held equal to transformers' `modeling_bert` and
`modeling_roberta`.
"""

from .._shapes import Array, Float
from ..mechanism import Tap, layer_norm, linear, project_each, write
from ..spec import ModelSpec
from .common import attend_layer
from .gpt2 import ACTIVATIONS
from .weights import LayerWeights, Weights


def embed(spec: ModelSpec, weights: Weights, ids: list[int], rows: range) -> Float[Array, "query d_model"]:
    """x at layer 0: LayerNorm(token + position + token type 0)."""
    first = spec.first_position + rows.start
    x = weights.embed(ids) + weights.positions[first : first + len(rows)] + weights.token_type
    return layer_norm(x, weights.vector("embed_norm"), weights.vector("embed_norm_bias"), spec.norm_eps)


def normed(spec: ModelSpec, w: LayerWeights, x: Float[Array, "query d_model"]) -> Float[Array, "query d_model"]:
    """The x that attention reads: x itself."""
    return x


def attention(
    spec: ModelSpec, w: LayerWeights, layer: int, x: Float[Array, "query d_model"], rows: range, tap: Tap
) -> Float[Array, "query d_model"]:
    """What attention adds, before the norm that follows it."""
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
    """The residual that leaves the layer: LayerNorm(h + MLP(h)) with h = LayerNorm(x + out)."""
    h = layer_norm(x + out, w.attn_norm, w.attn_norm_bias, spec.norm_eps)
    up = ACTIVATIONS[spec.activation](linear(h, w.w_up, w.b_up))
    added = tap(f"layer.{layer}.mlp", linear(up, w.w_down, w.b_down), rows)
    return layer_norm(h + added, w.mlp_norm, w.mlp_norm_bias, spec.norm_eps)


def final(spec: ModelSpec, weights: Weights, x: Float[Array, "query d_model"]) -> Float[Array, "query d_model"]:
    """The encoder's output: the last layer already ends in a norm."""
    return x
