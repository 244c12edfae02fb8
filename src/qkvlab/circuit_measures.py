"""Two factors of a matrix → what kind of circuit it is: symmetry, direction, spectrum, copying, wavelengths.

A circuit is a d_model × d_model matrix of low rank, M = Σ over tiles A_t B_tᵀ: one tile for a head's W_q W_kᵀ, one for
each K/V head of a layer. M itself is never formed; every measure comes from products of its thin factors, in float64.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from einops import reduce

from ._parallel import in_parallel, shares
from ._shapes import Array, Float
from .errors import UnsupportedError
from .mechanism import rotation_frequencies
from .spec import Rotation

GAMMA = 2.0
"""How many standard deviations above the mean a row or column must be to count for the direction score."""
LEVEL = 1e-9
"""Lengths this close, relative to their mean, are the same: rounding makes no row stand out."""
WELL = 1e-3
"""A factor whose smallest pivot is this share of its largest keeps ten digits when it is squared."""
WORDS_AT_ONCE = 4096
ZERO = "W_q W_kᵀ is zero, so it is neither symmetric nor antisymmetric"


def symmetry(w_q: Float[Array, "d_model d_head"], w_k: Float[Array, "d_model d_head"]) -> float:
    """Does a looking at b mean that b looks at a? For M = W_q W_kᵀ: tr(M²) / |M|², from -1 to 1.

    1: M is symmetric, a scores b as b scores a; -1: antisymmetric; near 0: the two scores have nothing to do with
    each other, as in a random matrix. With S and N the symmetric and antisymmetric parts of M it is
    (|S|² - |N|²) / (|S|² + |N|²). Only d_head × d_head products are formed: tr(M²) = tr((W_kᵀ W_q)²) and
    |M|² = tr(W_qᵀ W_q W_kᵀ W_k). Raises UnsupportedError where M is zero. Source: Saponati et al. 2025, definition
    3.1, which is the same number.
    """
    q, k = np.asarray(w_q, np.float64), np.asarray(w_k, np.float64)
    across = k.T @ q
    size = float(((q.T @ q) * (k.T @ k)).sum())
    if not size > 0:
        raise UnsupportedError(ZERO)
    return float((across * across.T).sum()) / size


def layer_factors(
    w_q: Float[Array, "head d_model d_head"], w_k: Float[Array, "kv_head d_model d_head"]
) -> tuple[Float[Array, "kv_head d_model d_head"], Float[Array, "kv_head d_model d_head"]]:
    """The factors of a whole layer's M = Σ over heads of W_q W_kᵀ: heads that share W_k add their W_q first.

    Query head h stands with K/V head h // (n_head / n_kv_head).
    """
    summed: np.ndarray = reduce(w_q.astype(np.float64), "(kv member) d_model d -> kv d_model d", "sum", kv=len(w_k))
    return summed, w_k.astype(np.float64)


def symmetry_of_sum(left: Float[Array, "tile d_model width"], right: Float[Array, "tile d_model width"]) -> float:
    """`symmetry` of M = Σ over tiles left rightᵀ, a whole layer's: tr(M²) = Σ_tu tr((B_tᵀ A_u)(B_uᵀ A_t))."""
    trace = 0.0
    for t in range(len(left)):
        for u in range(t + 1):
            once = float(((right[t].T @ left[u]) * (right[u].T @ left[t]).T).sum())
            trace += once if t == u else 2 * once
    size = float((row_lengths(left, right) ** 2).sum())
    if not size > 0:
        raise UnsupportedError(ZERO)
    return trace / size


def row_lengths(
    left: Float[Array, "tile d_model width"], right: Float[Array, "tile d_model width"]
) -> Float[Array, " d_model"]:
    """How long is each row of M = Σ over tiles left rightᵀ? |row i|² = Σ_tu A_t[i] (B_tᵀ B_u) A_u[i]ᵀ.

    Columns are the rows of Mᵀ: `row_lengths(right, left)`.
    """
    squares = np.zeros(left.shape[1])
    for t in range(len(left)):
        for u in range(t + 1):
            once = np.vecdot(left[t] @ (right[t].T @ right[u]), left[u])
            squares += once if t == u else 2 * once
    lengths: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return lengths


def direction(left: Float[Array, "tile d_model width"], right: Float[Array, "tile d_model width"]) -> float:
    """Do a few directions of the query or of the key stand out in M? (r - c) / (r + c), from -1 to 1.

    r is the sum of the lengths of the rows (query side) that are longer than mean + 2 standard deviations of all
    rows' lengths, c the same of the columns (key side). 1: only rows stand out; -1: only columns do (a few components
    of the key that many queries score: what Saponati et al. find in causal models); 0: neither, or both alike.
    It depends on the basis of the residual, unlike symmetry. Raises UnsupportedError where M is zero.

    Source: Saponati et al. 2025, definition 3.2, with γ = 2 and the standard deviation over n - 1. The authors'
    published code differs twice: it sums what the lengths exceed the threshold by, and has the opposite sign.
    """
    rows, columns = (row_lengths(*sides) for sides in ((left, right), (right, left)))
    if not rows.any():
        raise UnsupportedError(ZERO)
    r, c = _standing_out(rows), _standing_out(columns)
    return (r - c) / (r + c) if r + c else 0.0


def _standing_out(lengths: Float[Array, " d_model"]) -> float:
    mean, spread = lengths.mean(), lengths.std(ddof=1) if len(lengths) > 1 else 0.0
    return float(lengths[lengths > mean + GAMMA * spread + LEVEL * mean].sum())


def singular_values(
    left: Float[Array, "*heads d_model width"], right: Float[Array, "*heads d_model width"]
) -> Float[Array, "*heads rank"]:
    """How strongly does M = left rightᵀ stretch along each of its directions? Singular values, falling.

    Those of R_left R_rightᵀ, the triangles of the two factors. For QK: left W_q, right W_k; for OV: left W_v, right
    W_oᵀ.
    """
    values: Array = np.linalg.svd(_triangle(left) @ _triangle(right).swapaxes(-1, -2), compute_uv=False)
    return values


def _triangle(w: Float[Array, "*heads d_model width"]) -> Float[Array, "*heads rows width"]:
    """R with Rᵀ R = Wᵀ W: by Cholesky, a quarter of the time; by QR where that would lose more than a few digits."""
    wide = np.asarray(w, np.float64)
    try:
        lower: Array = np.linalg.cholesky(wide.swapaxes(-1, -2) @ wide)
        pivots = np.diagonal(lower, axis1=-2, axis2=-1)
        if pivots.min() > WELL * pivots.max():
            return lower.swapaxes(-1, -2)
    except np.linalg.LinAlgError:  # W is not of full rank
        pass
    upper: Array = np.linalg.qr(wide, mode="r")
    return upper


def effective_rank(values: Float[Array, "*heads rank"]) -> Float[Array, "*heads"]:
    """Over how many directions is a matrix spread? e^H of its singular values as shares, p = σ / Σσ, H = -Σ p ln p.

    From 1 (a single direction) to their number (all alike). Source: Roy & Vetterli 2007, definition 1. Raises
    UnsupportedError where all are zero.
    """
    total = values.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise UnsupportedError("a circuit whose singular values are all zero has no effective rank")
    shares = values / total
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.exp(-(shares * logs).sum(axis=-1))


def words_through(
    rows: Callable[[slice], tuple[Array, Array]], n_vocab: int, d_model: int, step: int = WORDS_AT_ONCE
) -> Float[Array, "d_model d_model"]:
    """Uᵀ E: all that a copying score needs of the vocabulary. float32, `step` words at a time.

    `rows(some)` gives those words' embeddings and unembeddings, [some, d_model] each.
    """
    blocks = [slice(start, min(start + step, n_vocab)) for start in range(0, n_vocab, step)]
    shared = shares(len(blocks))
    totals = [np.zeros((d_model, d_model), np.float32) for _ in shared]

    def add(own: slice, total: Array) -> None:
        for block in blocks[own]:
            embeddings, unembeddings = rows(block)
            total += unembeddings.T @ embeddings

    in_parallel([partial(add, own, total) for (own,), total in zip(shared, totals, strict=True)])
    whole: Array = sum(totals[1:], totals[0])
    return whole


def copying(
    w_v: Float[Array, "d_model d_value"],
    w_o: Float[Array, "d_value d_model"],
    words: Float[Array, "d_model d_model"],
) -> float:
    """Does a head that looks at a word raise that same word? Σλ / Σ|λ| of the vocabulary × vocabulary matrix
    E W_v W_o Uᵀ, from -1 to 1. `words` is Uᵀ E, of `words_through`.

    1: every eigenvalue is positive, as in copying; -1: every one is negative, as in suppressing the word that is there;
    near 0: they point everywhere, as in a random matrix. Its eigenvalues other than 0 are those of
    W_o Uᵀ E W_v, [d_value, d_value]; gains of norms belong into `words`.

    Caveat (the paper's own): a summary, not a proof of copying. A positive
    eigenvalue says that a mixture of words raises itself, not that each word does; norms are left at scale 1; and a
    head in a later layer reads more than embeddings. Source: Elhage et al. 2021, "Detecting Copying Behavior".
    Raises UnsupportedError where the matrix is zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        small = (w_o @ words @ w_v).astype(np.float64)
    if not np.isfinite(small).all():
        raise UnsupportedError("this head's word circuit is beyond float32, so it has no copying score")
    sizes = float(np.abs(np.linalg.eigvals(small)).sum())
    if not sizes > 0:
        raise UnsupportedError("all eigenvalues of this head's word circuit are zero, so it has no copying score")
    return float(np.trace(small)) / sizes


def pair_columns(rotation: Rotation) -> tuple[Array, Array]:
    """Which two components of a head turn together? First and second of every rotation pair."""
    n = rotation.dims // 2
    pairs = np.arange(n)
    return (pairs, pairs + n) if rotation.pairs == "half" else (2 * pairs, 2 * pairs + 1)


def wavelengths(rotation: Rotation) -> Float[Array, " pairs"]:
    """After how many tokens has each rotation pair turned once? 2π / frequency."""
    frequencies, _ = rotation_frequencies(rotation.base, rotation.dims, dict(rotation.scaling))
    turns: np.ndarray = 2 * np.pi / frequencies.astype(np.float64)
    return turns


def pair_shares(
    w_q: Float[Array, "d_model d_head"], w_k: Float[Array, "d_model d_head"], rotation: Rotation
) -> tuple[Float[Array, " pairs"], float]:
    """How much of a head's strength lies in each rotation pair, and how much in components that do not turn?

    The share of |W_q| |W_k| of the pair's two columns (of one column where it does not turn); all shares sum to 1.
    A head that tells near from far lives in short wavelengths; one that looks for content in long ones, which hardly
    turn (Barbero et al. 2025). It says what the weights could use, not what a text makes of it.
    """
    q, k = (np.square(w.astype(np.float64)).sum(axis=0) for w in (w_q, w_k))
    first, second = pair_columns(rotation)
    turning = np.sqrt((q[first] + q[second]) * (k[first] + k[second]))
    still = float(np.sqrt(q[rotation.dims :] * k[rotation.dims :]).sum())
    total = turning.sum() + still
    if not total > 0:
        raise UnsupportedError(ZERO)
    return turning / total, still / total
