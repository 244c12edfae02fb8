"""Weights only → answers: a head's own projections, how symmetric they are, and a score's content and position."""

from collections.abc import Iterator

import numpy as np

from ._shapes import Array, Float
from .circuit_measures import symmetry
from .circuit_source import CircuitSource, NativeSource, check_qk, rotation_at, source_head
from .errors import UnsupportedError
from .mechanism import kv_head_of, rotate
from .model import Model
from .models.common import turns
from .spec import Head, ModelSpec
from .trace import Address

__all__ = [
    "SEED",
    "content_and_position",
    "head_weights",
    "random_rows",
    "random_symmetries",
    "symmetries",
    "symmetry",
    "symmetry_rows",
]

SEED = 22
"""The seed of the random matrices that stand beside a model's own."""


def head_weights(model: Model, head: Address) -> dict[str, Array]:
    """What are this head's own projections, its K/V head's included? Arrays by name.

    `w_q`, `w_k`, `w_v` [d_model, d_head]: of the query head, and of the K/V head it reads; `b_q`, `b_k`, `b_v`
    [d_head] where the model has biases. They multiply the x that attention reads.
    """
    at = model.spec.head(head)
    w, kv_head = model.weights.layer(at.layer), model.spec.kv_head(at)
    arrays = {"w_q": w.w_q[at.head], "w_k": w.w_k[kv_head], "w_v": w.w_v[kv_head]}
    for name, biases, row in (("b_q", w.b_q, at.head), ("b_k", w.b_k, kv_head), ("b_v", w.b_v, kv_head)):
        if biases is not None:
            arrays[name] = biases[row]
    return arrays


def symmetries(model: Model) -> Float[Array, "layer head"]:
    """How symmetric is every head of the model? [layer, head], each with the K/V head that it reads.

    M is the score of contents at the same position: the rotation is left out, and so are biases, which score one side
    alone. Raises UnsupportedError where q and k are normalised before they meet: then no matrix M gives the score.
    """
    return np.stack(list(symmetry_rows(model)))


def symmetry_rows(model: Model) -> Iterator[Float[Array, " head"]]:
    """The same, a layer a step."""
    source = NativeSource(model)
    check_qk(source)
    for layer in source.attention_layers:
        w = model.weights.layer(layer)
        yield _row(layer, w.w_q, w.w_k)


def random_symmetries(spec: ModelSpec, seed: int = SEED) -> Float[Array, "layer head"]:
    """The same of Gaussian matrices in the model's shapes, K/V heads shared as the model shares them."""
    return np.stack(list(random_rows(spec, seed)))


def random_rows(spec: ModelSpec, seed: int = SEED) -> Iterator[Float[Array, " head"]]:
    """The same, a layer a step."""
    random = np.random.default_rng(seed)
    for layer in range(spec.n_layer):
        yield _row(layer, *gaussian(random, spec.n_head, spec.n_kv_head, spec.d_model, spec.d_head))


def gaussian(
    random: np.random.Generator, n_head: int, n_kv_head: int, d_model: int, d_head: int
) -> tuple[Float[Array, "head d_model d_head"], Float[Array, "kv_head d_model d_head"]]:
    """W_q and W_k of one layer, drawn at random in a model's shapes: what its own are compared with."""
    w_q, w_k = (random.standard_normal((heads, d_model, d_head), np.float32) for heads in (n_head, n_kv_head))
    return w_q, w_k


def _row(
    layer: int, w_q: Float[Array, "head d_model d_head"], w_k: Float[Array, "kv_head d_model d_head"]
) -> Float[Array, " head"]:
    row = np.empty(len(w_q), np.float32)
    for head in range(len(w_q)):
        try:
            row[head] = symmetry(w_q[head], w_k[kv_head_of(head, len(w_q), len(w_k))])
        except UnsupportedError as error:
            raise UnsupportedError(f"head {Head(layer, head)}: {error}") from None
    return row


def content_and_position(
    source: CircuitSource,
    address: Address,
    x_query: Float[Array, " d_model"],
    x_key: Float[Array, " d_model"],
    query: int,
    key: int,
    scale: float | None = None,
) -> tuple[float, float]:
    """Of a score, how much is what the two tokens are, and how much is where they stand? (content, position)

    Content is the score with both at one position, where the rotation cancels: q · k · scale; position is the rest of
    the score of a query at `query` and a key at `key`. `scale` is 1/√d_head unless the family has another (Gemma's
    `query_pre_attn_scalar`^-½). `x_query` and `x_key` are what attention reads (after the norm);
    biases are in. float64. Raises UnsupportedError where no rotation tells positions apart (they are then in x; see
    `qkvlab.why`), where q and k are normalised, and for latent attention.
    """
    check_qk(source)
    at = source_head(source, address)
    rotation, scale = rotation_at(source, at.layer), source.d_head**-0.5 if scale is None else scale
    if rotation is None:
        raise UnsupportedError(
            f"{source.name} does not rotate q and k in layer {at.layer}: its positions are a part of x, if of anything"
        )
    w, kv_head = source.layer(at.layer), kv_head_of(at.head, source.n_head, source.n_kv_head)
    q, k = (
        x.astype(np.float64) @ m.astype(np.float64) for x, m in ((x_query, w.w_q[at.head]), (x_key, w.w_k[kv_head]))
    )
    q, k = q if w.b_q is None else q + w.b_q[at.head], k if w.b_k is None else k + w.b_k[kv_head]

    def turned(vector: Array, position: int) -> Array:
        cos, sin = turns(rotation, position, position + 1)
        return rotate(vector[None, None], cos.astype(np.float64), sin.astype(np.float64), rotation.pairs)[0, 0]

    content = float(turned(q, 0) @ turned(k, 0)) * scale
    return content, float(turned(q, query) @ turned(k, key)) * scale - content
