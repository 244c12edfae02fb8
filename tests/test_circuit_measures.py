"""Measures of a circuit: closed forms by hand, and every one against the formed matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.circuit_measures import (
    copying,
    direction,
    effective_rank,
    layer_factors,
    pair_columns,
    pair_shares,
    row_lengths,
    singular_values,
    symmetry,
    symmetry_of_sum,
    wavelengths,
    words_through,
)
from qkvlab.errors import UnsupportedError
from qkvlab.spec import Rotation

SIZES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.integers(2, 11))


def tiles(seed: int, n: int, width: int, d_model: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random factors, and the matrix they make."""
    left, right = np.random.default_rng(seed).standard_normal((2, n, d_model, width))
    return left, right, np.einsum("tiw,tjw->ij", left, right)


def outlying(m: np.ndarray, axis: int) -> float:
    """The definition on the matrix itself: the lengths above mean + 2 deviations, added up."""
    lengths = np.linalg.norm(m, axis=axis)
    return float(lengths[lengths > lengths.mean() + 2 * lengths.std(ddof=1)].sum())


# ---- symmetry and direction


@given(SIZES)
def test_of_a_sum_of_tiles_as_of_the_formed_matrix(sizes: tuple[int, int, int, int]) -> None:
    left, right, m = tiles(*sizes)
    assert symmetry_of_sum(left, right) == pytest.approx(np.trace(m @ m) / np.sum(m * m), abs=1e-9)
    np.testing.assert_allclose(row_lengths(left, right), np.linalg.norm(m, axis=1), atol=1e-6)
    np.testing.assert_allclose(row_lengths(right, left), np.linalg.norm(m, axis=0), atol=1e-6)
    rows, columns = outlying(m, 1), outlying(m, 0)
    expected = (rows - columns) / (rows + columns) if rows + columns else 0.0
    assert direction(left, right) == pytest.approx(expected, abs=1e-9)
    assert direction(right, left) == -direction(left, right), "Mᵀ points the other way"
    assert symmetry_of_sum(left[:1], right[:1]) == pytest.approx(symmetry(left[0], right[0]), abs=1e-12)


def test_closed_forms_of_symmetry() -> None:
    e = np.eye(5)
    ones = e[None, :, :2], e[None, :, :2]
    assert symmetry_of_sum(*ones) == 1, "M = e1 e1ᵀ + e2 e2ᵀ"
    assert symmetry_of_sum(e[None, :, :2], np.stack([e[:, 1], -e[:, 0]], axis=1)[None]) == -1, "M = e1 e2ᵀ - e2 e1ᵀ"
    # Two one-way heads, a → b and b → a: each 0 by itself, the layer 1.
    forth, back = (e[:, :1], e[:, 1:2]), (e[:, 1:2], e[:, :1])
    assert symmetry(*forth) == symmetry(*back) == 0
    assert symmetry_of_sum(np.stack([forth[0], back[0]]), np.stack([forth[1], back[1]])) == 1


def test_closed_forms_of_direction() -> None:
    """Of 11 rows of length 1 but one of 13, that one alone stands out: mean 23/11, deviation √(144/11) = 3.6."""
    tall = np.ones((1, 11, 1))
    tall[0, 4] = 13
    flat = np.ones((1, 11, 1))
    assert direction(tall, flat) == 1, "a long row: one component of the query"
    assert direction(flat, tall) == -1, "a long column: one component of the key"
    assert direction(flat, flat) == 0, "nothing stands out of lengths that are all alike"
    assert direction(np.eye(7)[None], np.eye(7)[None]) == 0
    assert direction(tall, tall) == 0, "both alike"
    wide = np.ones((1, 11, 1))
    wide[0, 2] = 7
    # M = tall wideᵀ: the long row is 13 |wide| = 13 √59, the long column 7 |tall| = 7 √179.
    r, c = 13 * 59**0.5, 7 * 179**0.5
    assert direction(tall, wide) == pytest.approx((r - c) / (r + c))


def test_the_heads_of_a_layer_stand_with_the_head_they_read() -> None:
    """Each W_q is a multiple of its own K/V head's W_k: with h // 3 the layer's M is symmetric, with h % 2 it is not.

    Were the multiples all alike, h % 2 would give a symmetric M, too: heads 1 and 4 would swap their partners.
    """
    w_k = np.random.default_rng(5).standard_normal((2, 13, 3)).astype(np.float32)
    w_q = np.repeat(w_k, 3, axis=0) * np.float32([2, 3, 5, 7, 11, 13])[:, None, None]
    left, right = layer_factors(w_q, w_k)
    np.testing.assert_allclose(left, w_k * np.float32([10, 31])[:, None, None], rtol=1e-6)
    assert symmetry_of_sum(left, right) == pytest.approx(1, abs=1e-6)
    wrong = np.stack([w_q[h::2].sum(axis=0) for h in range(2)]).astype(np.float64)
    assert symmetry_of_sum(wrong, right) < 0.95
    uneven = np.random.default_rng(6).standard_normal((6, 13, 3))
    m = sum(uneven[h] @ w_k[h // 3].T for h in range(6))
    left, right = layer_factors(uneven, w_k)
    np.testing.assert_allclose(np.einsum("tiw,tjw->ij", left, right), m, rtol=1e-6)


def test_a_zero_matrix_has_neither() -> None:
    zero, one = np.zeros((1, 5, 3)), np.ones((1, 5, 3))
    for measure in (symmetry_of_sum, direction):
        with pytest.raises(UnsupportedError, match="is zero"):
            measure(zero, one)


# ---- spectra


def test_closed_forms_of_spectra() -> None:
    q, k = np.zeros((7, 3)), np.zeros((7, 3))
    q[[0, 2, 5], [0, 1, 2]], k[[6, 1, 3], [0, 1, 2]] = [2, 3, 5], [7, 11, 13]
    np.testing.assert_allclose(singular_values(q, k), [65, 33, 14])
    assert effective_rank(np.array([3.0, 0, 0])) == 1
    assert effective_rank(np.full(5, 7.0)) == pytest.approx(5)
    # Shares 1/2, 1/4, 1/4: H = 1.5 ln 2.
    assert effective_rank(np.array([2.0, 1.0, 1.0])) == pytest.approx(2**1.5)
    single = singular_values(np.outer(np.arange(1, 8), [1.0, 2, 3]), np.outer(np.arange(2, 9), [1.0, 0, 1]))
    assert effective_rank(single) == pytest.approx(1, abs=1e-9), "a matrix of rank 1"
    with pytest.raises(UnsupportedError, match="no effective rank"):
        effective_rank(np.zeros(3))


@given(SIZES)
def test_spectra_as_of_the_formed_matrix(sizes: tuple[int, int, int, int]) -> None:
    left, right, _ = tiles(*sizes)
    found = singular_values(left, right)
    formed = np.linalg.svd(left @ right.swapaxes(-1, -2), compute_uv=False)[:, : found.shape[1]]
    np.testing.assert_allclose(found, formed, atol=1e-8)
    assert (effective_rank(found) >= 1 - 1e-9).all() and (effective_rank(found) <= found.shape[1] + 1e-9).all()


# ---- copying


def test_closed_forms_of_copying() -> None:
    """Words are the axes: W_v W_o is what happens to a word."""
    words = np.eye(5, dtype=np.float32)
    some = np.eye(5, dtype=np.float32)[:, :3]
    assert copying(some, some.T, words) == 1, "each of three words raises itself"
    assert copying(some, -some.T, words) == -1, "each suppresses itself"
    turn = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    assert copying(some, turn @ some.T, words) == pytest.approx(0, abs=1e-6), "each raises the next: cube roots of one"
    assert copying(some, np.diag(np.float32([3, -1, 2])) @ some.T, words) == pytest.approx(4 / 6)
    with pytest.raises(UnsupportedError, match="no copying score"):
        copying(some, np.roll(some, 3, axis=0).T * np.float32([[1], [0], [0]]), words)


def test_a_word_circuit_beyond_float32_has_a_name() -> None:
    huge = np.full((5, 3), 1e30, np.float32)
    with pytest.raises(UnsupportedError, match="beyond float32"):
        copying(huge, huge.T, np.eye(5, dtype=np.float32))


@given(SIZES)
def test_copying_as_of_the_whole_vocabulary(sizes: tuple[int, int, int, int]) -> None:
    seed, _, width, d_model = sizes
    random = np.random.default_rng(seed)
    embedding, unembedding = random.standard_normal((2, 17, d_model)).astype(np.float32)
    w_v, w_o = random.standard_normal((2, d_model, width)).astype(np.float32)
    w_o = w_o.T
    words = words_through(lambda some: (embedding[some], unembedding[some]), 17, d_model, step=5)
    np.testing.assert_allclose(words, unembedding.T @ embedding, atol=1e-4)
    values = np.linalg.eigvals(embedding.astype(float) @ w_v @ w_o @ unembedding.T)
    assert copying(w_v, w_o, words) == pytest.approx(values.sum().real / np.abs(values).sum(), abs=2e-3)


# ---- wavelengths


def test_wavelengths_and_shares() -> None:
    """Base 10,000 over 4 turning components of 7: frequencies 1 and 1/100."""
    rotation = Rotation(base=10_000.0, dims=4)
    np.testing.assert_allclose(wavelengths(rotation), [2 * np.pi, 200 * np.pi], rtol=1e-6)
    assert [part.tolist() for part in pair_columns(rotation)] == [[0, 1], [2, 3]]
    adjacent = Rotation(base=10_000.0, dims=4, pairs="adjacent")
    assert [part.tolist() for part in pair_columns(adjacent)] == [[0, 2], [1, 3]]
    # Columns of W_q have lengths 3, 1, 4, 1, 5, 0, 2; of W_k: 12, 1, 5, 1, 2, 9, 1.
    w_q, w_k = np.zeros((11, 7)), np.zeros((11, 7))
    w_q[3], w_k[8] = [3, 1, 4, 1, 5, 0, 2], [12, 1, 5, 1, 2, 9, 1]
    shares, still = pair_shares(w_q, w_k, rotation)
    total = 5 * 13 + 2 + (10 + 0 + 2)
    np.testing.assert_allclose(shares, np.array([65, 2]) / total)
    assert still == pytest.approx(12 / total)
    shares, still = pair_shares(w_q[:, :4], w_k[:, :4], adjacent)
    np.testing.assert_allclose(shares, np.array([(10 * 145) ** 0.5, (17 * 26) ** 0.5]) / (1450**0.5 + 442**0.5))
    assert still == 0
    with pytest.raises(UnsupportedError, match="is zero"):
        pair_shares(np.zeros((5, 4)), np.ones((5, 4)), rotation)


def test_slowed_rotations_have_longer_waves() -> None:
    plain, slow = Rotation(10_000.0, 8), Rotation(10_000.0, 8, scaling=(("factor", 3.0), ("kind", "linear")))
    np.testing.assert_allclose(wavelengths(slow), 3 * wavelengths(plain), rtol=1e-6)
