"""Weights only → answers: a head's own projections, and how symmetric looking for and being found are in them."""

from collections.abc import Iterator

import numpy as np

from ._shapes import Array, Float
from .errors import UnsupportedError
from .model import Model
from .spec import Head, ModelSpec
from .trace import Address

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


def symmetry(w_q: Float[Array, "d_model d_head"], w_k: Float[Array, "d_model d_head"]) -> float:
    """Does a looking at b mean that b looks at a? For M = W_q W_kᵀ: tr(M²) / |M|², from -1 to 1.

    1: M is symmetric, a scores b as b scores a; -1: antisymmetric; near 0: the two scores have nothing to do with
    each other, as in a random matrix. With S and N the symmetric and antisymmetric parts of M it is
    (|S|² - |N|²) / (|S|² + |N|²). Only d_head × d_head products are formed: tr(M²) = tr((W_kᵀ W_q)²) and
    |M|² = tr(W_qᵀ W_q W_kᵀ W_k). Raises UnsupportedError where M is zero.
    """
    q, k = w_q.astype(np.float64), w_k.astype(np.float64)
    across = k.T @ q
    size = float(((q.T @ q) * (k.T @ k)).sum())
    if not size > 0:
        raise UnsupportedError("W_q W_kᵀ is zero, so it is neither symmetric nor antisymmetric")
    return float((across * across.T).sum()) / size


def symmetries(model: Model) -> Float[Array, "layer head"]:
    """How symmetric is every head of the model? [layer, head], each with the K/V head that it reads.

    M is the score of contents at the same position: the rotation is left out, and so are biases, which score one side
    alone. Raises UnsupportedError where q and k are normalised before they meet: then no matrix M gives the score.
    """
    return np.stack(list(symmetry_rows(model)))


def symmetry_rows(model: Model) -> Iterator[Float[Array, " head"]]:
    """The same, a layer a step."""
    spec = model.spec
    if spec.qk_norm:
        raise UnsupportedError(
            f"{spec.name} normalises q and k of each head before they meet, so its scores come from no matrix W_q W_kᵀ"
        )
    for layer in range(spec.n_layer):
        w = model.weights.layer(layer)
        yield _row(spec, layer, w.w_q, w.w_k)


def random_symmetries(spec: ModelSpec, seed: int = SEED) -> Float[Array, "layer head"]:
    """The same of Gaussian matrices in the model's shapes, K/V heads shared as the model shares them."""
    return np.stack(list(random_rows(spec, seed)))


def random_rows(spec: ModelSpec, seed: int = SEED) -> Iterator[Float[Array, " head"]]:
    """The same, a layer a step."""
    random = np.random.default_rng(seed)
    for layer in range(spec.n_layer):
        w_q, w_k = (
            random.standard_normal((heads, spec.d_model, spec.d_head), np.float32)
            for heads in (spec.n_head, spec.n_kv_head)
        )
        yield _row(spec, layer, w_q, w_k)


def _row(
    spec: ModelSpec,
    layer: int,
    w_q: Float[Array, "head d_model d_head"],
    w_k: Float[Array, "kv_head d_model d_head"],
) -> Float[Array, " head"]:
    row = np.empty(spec.n_head, np.float32)
    for head in (Head(layer, number) for number in range(spec.n_head)):
        try:
            row[head.head] = symmetry(w_q[head.head], w_k[spec.kv_head(head)])
        except UnsupportedError as error:
            raise UnsupportedError(f"head {head}: {error}") from None
    return row
