"""Weights only → a whole model's circuits: every measure of every head, layer by layer, beside random matrices."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from . import circuit_measures as measures
from ._parallel import in_parallel, one_blas_thread
from ._shapes import Array, Float
from .circuit_source import (
    AttentionWeights,
    CircuitSource,
    check_plain,
    read_layer,
    rotation_at,
    source_head,
    why_no_qk,
    why_no_words,
    words_of,
)
from .circuits import SEED, gaussian
from .errors import UnsupportedError
from .mechanism import kv_head_of
from .spec import Head
from .trace import Address

Measured = TypeVar("Measured")
CAVEAT = (
    "copying is Σλ / Σ|λ| over the eigenvalues λ of a head's word circuit, norms at scale 1: near 1, mixtures of words "
    "raise themselves, which does not say that each word does; and a later layer reads more than embeddings"
)


@dataclass(frozen=True)
class HeadCircuit:
    """One head in numbers. None: the model gives no such number, see the notes."""

    head: str
    kv_head: int
    symmetry: float | None
    direction: float | None
    qk_rank: float | None
    """Effective rank of W_q W_kᵀ, of at most d_head."""
    ov_rank: float
    """Effective rank of W_v W_o."""
    copying: float | None


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (over n), lowest and highest."""

    mean: float
    std: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class MatrixScores:
    """Symmetry and direction: of the layer's one M = Σ over heads of W_q W_kᵀ, and of its heads, each by itself."""

    symmetry: float
    direction: float
    head_symmetry: Spread
    head_direction: Spread


@dataclass(frozen=True)
class LayerCircuit:
    """One layer, Gaussian matrices in its shapes beside it, and its heads. None: no M gives the scores."""

    layer: int
    own: MatrixScores | None
    random: MatrixScores | None
    heads: tuple[HeadCircuit, ...]


@dataclass(frozen=True)
class Circuits:
    """A model's circuits, from its weights alone."""

    model: str
    seed: int
    layers: tuple[LayerCircuit, ...]
    notes: tuple[str, ...]
    """What could not be given, and why; what to bear in mind."""

    def to_dict(self) -> dict[str, Any]:
        """The circuits as plain JSON values."""
        return asdict(self)

    def heads(self) -> list[HeadCircuit]:
        """All heads, the most symmetric or antisymmetric first; layer by layer where there is no symmetry."""
        listed = [head for layer in self.layers for head in layer.heads]
        return sorted(listed, key=lambda head: -abs(head.symmetry or 0))


@dataclass(frozen=True)
class PairShare:
    """A rotation pair: its number, the tokens in which it turns once, and its share of |W_q| |W_k|."""

    pair: int
    wavelength: float
    share: float


@dataclass(frozen=True)
class HeadCard:
    """One head, with its singular values, and where its strength lies among the rotation pairs."""

    model: str
    circuit: HeadCircuit
    shares_kv_with: tuple[str, ...]
    qk_singular: tuple[float, ...] | None
    ov_singular: tuple[float, ...]
    rotation: tuple[PairShare, ...] | None
    still: float | None
    """The share of the components that do not turn; None where none does."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The card as plain JSON values."""
        return asdict(self)


def circuits(source: CircuitSource, seed: int = SEED) -> Circuits:
    """What kind of circuits are a model's heads and layers? Every measure of every head, from the weights alone.

    Raises UnsupportedError for latent attention (MLA), whose heads have no matrices of their own, and where a head's
    matrices are zero.
    """
    return Circuits(source.name, seed, tuple(layer_circuits(source, seed)), notes(source))


def layer_circuits(source: CircuitSource, seed: int = SEED) -> Iterator[LayerCircuit]:
    """The same, a layer a step; one layer is held at a time, besides what the source keeps."""
    check_plain(source)
    words, random = _words(source), np.random.default_rng(seed)
    for layer in source.attention_layers:
        yield _layer(source, layer, words, random)


def _layer(source: CircuitSource, layer: int, words: Array, random: np.random.Generator) -> LayerCircuit:
    with one_blas_thread():
        w = read_layer(source, layer)
        heads = _each(source.n_head, partial(_head, source, layer, w, _read_by(source, layer, words)))
        if why_no_qk(source) is not None:
            return LayerCircuit(layer, None, None, heads)
        other = gaussian(random, source.n_head, source.n_kv_head, source.d_model, source.d_head)
        by_itself = _each(source.n_head, partial(_symmetry_and_direction, *other))
        own = [(head.symmetry, head.direction) for head in heads]
        return LayerCircuit(layer, _scores(layer, w.w_q, w.w_k, own), _scores(layer, *other, by_itself), heads)


def copying_scores(source: CircuitSource) -> Float[Array, "layer head"]:
    """Does each head that looks at a word raise that same word? `circuit_measures.copying` of every head, in the order
    of `source.attention_layers`; NaN for a head that has no such score, and for all where no way leads from word to
    word."""
    found = np.full((len(source.attention_layers), source.n_head), np.nan)
    words = None if source.mla else _words(source)
    for row, layer in enumerate(source.attention_layers if words is not None else ()):
        w, through = read_layer(source, layer), _read_by(source, layer, words)
        for head in range(source.n_head):
            try:
                found[row, head] = measures.copying(w.w_v[_kv_head(source, Head(layer, head))], w.w_o[head], through)
            except UnsupportedError:
                continue
    return found


def head_card(source: CircuitSource, address: Address) -> HeadCard:
    """What kind of circuit is this one head? Its measures, singular values, and the share of every rotation pair.

    Raises HeadError for a head that is not there, UnsupportedError as `circuits`.
    """
    check_plain(source)
    at = source_head(source, address)
    w, kv_head, group = read_layer(source, at.layer), _kv_head(source, at), source.n_head // source.n_kv_head
    w_q, w_k, pairs, still, qk = w.w_q[at.head], w.w_k[kv_head], None, None, None
    if why_no_qk(source) is None:
        qk = tuple(measures.singular_values(w_q, w_k).tolist())
        if (rotation := rotation_at(source, at.layer)) is not None:
            shares, still = measures.pair_shares(w_q, w_k, rotation)
            once = measures.wavelengths(rotation)
            pairs = tuple(PairShare(i, float(once[i]), float(share)) for i, share in enumerate(shares))
    readers = (Head(at.layer, kv_head * group + member) for member in range(group))
    return HeadCard(
        model=source.name,
        circuit=_head(source, at.layer, w, _read_by(source, at.layer, _words(source)), at.head),
        shares_kv_with=tuple(str(head) for head in readers if head != at),
        qk_singular=qk,
        ov_singular=tuple(measures.singular_values(w.w_v[kv_head], w.w_o[at.head].T).tolist()),
        rotation=pairs,
        still=still,
        notes=notes(source),
    )


def notes(source: CircuitSource) -> tuple[str, ...]:
    """What this source cannot give, and what to bear in mind about what it gives."""
    return tuple(note for note in (why_no_qk(source), why_no_words(source) or CAVEAT) if note)


def _each(n_head: int, measure: Callable[[int], Measured]) -> tuple[Measured, ...]:
    """A measure of every head, spread over the processors."""
    found: dict[int, Measured] = {}

    def one(head: int) -> None:
        found[head] = measure(head)

    in_parallel([partial(one, head) for head in range(n_head)])
    return tuple(found[head] for head in range(n_head))


def _kv_head(source: CircuitSource, head: Head) -> int:
    return kv_head_of(head.head, source.n_head, source.n_kv_head)


def _words(source: CircuitSource) -> Array:
    """Uᵀ E, [d_model, d_model]; None where no way leads from word to word."""
    way = words_of(source)
    return None if way is None or way.why_no_words() is not None else way.word_circuit()


def _read_by(source: CircuitSource, layer: int, words: Array) -> Array:
    """Uᵀ E as a layer reads and writes it, [d_model, d_model]; None where there are no words."""
    way = words_of(source)
    return None if words is None or way is None else way.through(words, layer)


def _head(source: CircuitSource, layer: int, w: AttentionWeights, words: Array, head: int) -> HeadCircuit:
    at = Head(layer, head)
    kv_head = _kv_head(source, at)
    w_q, w_k, w_v, w_o = w.w_q[head], w.w_k[kv_head], w.w_v[kv_head], w.w_o[head]
    mirrored = pointing = qk_rank = copied = None
    try:
        if why_no_qk(source) is None:
            mirrored, pointing = _symmetry_and_direction(w.w_q, w.w_k, head)
            qk_rank = float(measures.effective_rank(measures.singular_values(w_q, w_k)))
        if words is not None:
            copied = measures.copying(w_v, w_o, words)
        ov_rank = float(measures.effective_rank(measures.singular_values(w_v, w_o.T)))
    except UnsupportedError as error:
        raise UnsupportedError(f"head {at}: {error}") from None
    return HeadCircuit(str(at), kv_head, mirrored, pointing, qk_rank, ov_rank, copied)


def _symmetry_and_direction(
    w_q: Float[Array, "head d_model d_head"], w_k: Float[Array, "kv_head d_model d_head"], head: int
) -> tuple[float, float]:
    """Of one head, with the K/V head it reads."""
    left, right = w_q[head].astype(np.float64), w_k[kv_head_of(head, len(w_q), len(w_k))].astype(np.float64)
    return measures.symmetry(left, right), measures.direction(left[None], right[None])


def _scores(
    layer: int,
    w_q: Float[Array, "head d_model d_head"],
    w_k: Float[Array, "kv_head d_model d_head"],
    heads: Sequence[tuple[Any, Any]],
) -> MatrixScores:
    left, right = measures.layer_factors(w_q, w_k)
    try:
        whole = measures.symmetry_of_sum(left, right), measures.direction(left, right)
    except UnsupportedError as error:
        raise UnsupportedError(f"layer {layer}: {error}") from None
    return MatrixScores(*whole, *(_spread(column) for column in zip(*heads, strict=True)))


def _spread(values: Sequence[float]) -> Spread:
    array = np.array(values)
    return Spread(float(array.mean()), float(array.std()), float(array.min()), float(array.max()))
