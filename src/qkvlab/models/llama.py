"""The Llama family: Llama 1 to 3, Mistral, SmolLM, Qwen2 (biases on q, k, v), Qwen3 (q and k normalised per head).

Pre-norm, RMSNorm, rotation of q and k, grouped K/V heads, gated MLP. Source: Touvron et al. 2023; held equal, stage
by stage, to transformers' `modeling_llama`, `modeling_mistral`, `modeling_qwen2` and `modeling_qwen3`.
"""

from .._shapes import Array, Float
from ..mechanism import Tap, gated, linear, linear_each, project_each, rms_norm, rotate, write
from ..spec import ModelSpec
from .common import attend_layer, turns
from .weights import LayerWeights, Weights


def embed(spec: ModelSpec, weights: Weights, ids: list[int], rows: range) -> Float[Array, "query d_model"]:
    """x at layer 0: the tokens' embeddings, and nothing else."""
    return weights.embed(ids)


def normed(spec: ModelSpec, w: LayerWeights, x: Float[Array, "query d_model"]) -> Float[Array, "query d_model"]:
    """The x that attention reads."""
    return rms_norm(x, w.attn_norm, spec.norm_eps)


def attention(
    spec: ModelSpec, w: LayerWeights, layer: int, x: Float[Array, "query d_model"], rows: range, tap: Tap
) -> Float[Array, "query d_model"]:
    """What attention adds for the queries at `rows`.

    The tap may hand back more keys and values than it was given, those of earlier positions: that is the K/V cache.
    The query passes last, so that an edit which aims it can see the keys.
    """
    at = f"layer.{layer}."
    assert spec.rotation is not None
    cos, sin = turns(spec.rotation, rows.start, rows.stop)
    h = tap(at + "normed", normed(spec, w, x), rows)
    q, k, v = project_each(h, (w.w_q, w.w_k, w.w_v), (w.b_q, w.b_k, w.b_v))
    if w.q_norm is not None and w.k_norm is not None:
        q, k = rms_norm(q, w.q_norm, spec.norm_eps), rms_norm(k, w.k_norm, spec.norm_eps)
    q, k = tap(at + "q_raw", q, rows), tap(at + "k_raw", k, rows)
    k = tap(at + "k", rotate(k, cos, sin, spec.rotation.pairs), rows)
    v = tap(at + "v", v, rows)
    q = tap(at + "q", rotate(q, cos, sin, spec.rotation.pairs), rows)
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
    assert w.w_gate is not None
    x = x + out
    h = rms_norm(x, w.mlp_norm, spec.norm_eps)
    gate, up = linear_each(h, (w.w_gate, w.w_up), (w.b_gate, w.b_up))
    return x + tap(f"layer.{layer}.mlp", linear(gated(gate, up), w.w_down, w.b_down), rows)


def final(spec: ModelSpec, weights: Weights, x: Float[Array, "query d_model"]) -> Float[Array, "query d_model"]:
    """The residual after the last norm, as the output head reads it."""
    return rms_norm(x, weights.vector("final_norm"), spec.norm_eps)
