"""The equations, by numbers a reader can check by hand; then their laws; then NumPy against PyTorch."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from qkvlab import mechanism as m
from qkvlab import products


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


# ---- heads


def test_consecutive_query_heads_read_one_kv_head() -> None:
    assert [m.kv_head_of(head, 6, 2) for head in range(6)] == [0, 0, 0, 1, 1, 1]  # h % 2 would be 0 1 0 1 0 1
    assert [m.kv_head_of(head, 9, 3) for head in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_attend_gives_every_query_head_the_values_of_its_own_kv_head() -> None:
    """Planted values: K/V head 0 hands over 100s and K/V head 1 200s, so any blend tells where it came from."""
    v = np.stack([np.full((5, 3), 100.0), np.full((5, 3), 200.0)])
    z = m.attend(draw(6, 5, 3), draw(2, 5, 3, seed=1), v, scale=1.0, causal=True)
    np.testing.assert_allclose(z[:, 0, 0], [100, 100, 100, 200, 200, 200])
    np.testing.assert_allclose(z, np.repeat(v, 3, axis=0))


def test_attend_lets_every_query_head_ask_the_keys_of_its_own_kv_head() -> None:
    """Planted keys: K/V head 0 has its loud key at position 1, K/V head 1 at position 3; values say the position."""
    k, v = np.zeros((2, 5, 3)), np.broadcast_to(np.arange(5.0)[:, None], (2, 5, 3))
    k[0, 1], k[1, 3] = 50, 50
    z = m.attend(np.ones((6, 5, 3)), k, v, scale=1.0, causal=False)
    np.testing.assert_allclose(z[:, 0, 0], [1, 1, 1, 3, 3, 3])


def test_heads_are_blocks_of_columns() -> None:
    columns = np.array([[1.0, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])  # 2 queries of 3 heads, d_head 2
    heads = m.split_heads(columns, 3)
    np.testing.assert_array_equal(heads, [[[1, 2], [7, 8]], [[3, 4], [9, 10]], [[5, 6], [11, 12]]])
    np.testing.assert_array_equal(m.merge_heads(heads), columns)


def test_queries_of_one_kv_head_are_stacked_member_by_member() -> None:
    q = np.arange(6.0)[:, None, None] * 10 + np.arange(3.0)[:, None]  # head h, query t: 10 h + t
    grouped = m.group_queries(q, 2)
    np.testing.assert_array_equal(grouped[0, :, 0], [0, 1, 2, 10, 11, 12, 20, 21, 22])
    np.testing.assert_array_equal(grouped[1, :, 0], [30, 31, 32, 40, 41, 42, 50, 51, 52])
    np.testing.assert_array_equal(m.ungroup(grouped, 6), q)


def test_share_kv_is_the_mean_of_each_group() -> None:
    k = np.array([1.0, 3, 10, 20])[:, None, None] + np.zeros((4, 5, 3))
    np.testing.assert_array_equal(m.share_kv(k, 2)[:, 4, 2], [2, 2, 15, 15])
    np.testing.assert_array_equal(m.share_kv(k, 1)[:, 0, 0], [8.5] * 4)


# ---- projections


def test_project_by_hand() -> None:
    x = np.array([[1.0, 2], [3, 4], [5, 6]])
    W = np.array([[[1.0], [0]], [[10], [1]]])  # two heads of width 1: x0, and 10 x0 + x1
    np.testing.assert_array_equal(m.project(x, W), [[[1], [3], [5]], [[12], [34], [56]]])
    b = np.array([[100.0], [0.5]])
    np.testing.assert_array_equal(m.project(x, W, b), [[[101], [103], [105]], [[12.5], [34.5], [56.5]]])


@pytest.mark.parametrize(("n_query", "d_in"), [(5, 7), (1, 12), (31, 12), (37, 12), (5, 601)])
def test_tiles_make_the_wide_product(n_query: int, d_in: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LONG_SUM", 5)
    monkeypatch.setattr(products, "PART_TERMS", 5)  # so that sums are taken in parts, and by threads
    x, W, b = draw(n_query, d_in), draw(3, d_in, 11, seed=1), draw(33, seed=2)
    wide = np.concatenate(list(W), axis=1)  # [d_in, 33]
    np.testing.assert_allclose(m.linear(x, W), x @ wide)
    np.testing.assert_allclose(m.linear(x, W, b), x @ wide + b)
    np.testing.assert_allclose(m.merge_heads(m.project(x, W)), x @ wide)


def test_write_is_the_sum_over_heads() -> None:
    z, W_o, b_o = draw(3, 5, 7), draw(2, 21, 13, seed=1), draw(26, seed=2)
    wide = np.concatenate(list(W_o), axis=1)
    by_head = sum(z[head] @ wide[7 * head : 7 * head + 7] for head in range(3))
    np.testing.assert_allclose(m.write(z, W_o), by_head)
    np.testing.assert_allclose(m.write(z, W_o, b_o), by_head + b_o)


# ---- norms and activations


def test_norms_by_hand() -> None:
    x = np.array([[1.0, 7.0]])  # rms 5, mean 4, deviation 3
    np.testing.assert_allclose(m.rms_norm(x, np.array([2.0, 3.0]), 0.0), [[0.4, 4.2]])
    np.testing.assert_allclose(m.layer_norm(x, np.array([2.0, 3.0]), np.array([10.0, 20.0]), 0.0), [[8, 23]])
    np.testing.assert_allclose(m.rms_norm(x, np.ones(2), 11.0), x / 6)  # the eps is inside the root: √(25 + 11)
    np.testing.assert_allclose(m.layer_norm(x, np.ones(2), np.zeros(2), 7.0), [[-0.75, 0.75]])  # √(9 + 7)


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh"])
def test_activations_against_torch(name: str) -> None:
    ours = getattr(m, name)
    theirs = getattr(torch.nn.functional, name, partial(torch.nn.functional.gelu, approximate="tanh"))
    x = np.concatenate([np.linspace(-20, 20, 4001), [-3e4, -500, 0, 500, 3e4]])
    expected = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(x.astype(np.float32)), expected, rtol=3e-7, atol=1e-6)
    np.testing.assert_allclose(ours(x), expected, atol=1e-6 if ours is m.gelu else 1e-12)
    if ours is m.silu:  # far below 0 the little that is left is right, too
        np.testing.assert_allclose(ours(np.float32([-60, -20])), [-60 * math.exp(-60), -20 * math.exp(-20)], rtol=1e-6)


# ---- rotation


def test_a_quarter_turn_by_hand() -> None:
    """Angle π/2 takes a pair (a, b) to (-b, a); components past the rotated ones stay."""
    x = np.array([[[1.0, 2, 3, 4, 5, 6, 7]]])
    cos, sin = np.zeros((1, 2)), np.ones((1, 2))
    np.testing.assert_array_equal(m.rotate(x, cos, sin, "half"), [[[-3, -4, 1, 2, 5, 6, 7]]])  # (1, 3) and (2, 4)
    np.testing.assert_array_equal(m.rotate(x, cos, sin, "adjacent"), [[[-2, 1, -4, 3, 5, 6, 7]]])  # (1, 2), (3, 4)


def test_every_pair_turns_by_its_own_angle() -> None:
    x = np.array([[[1.0, 1, 0, 0], [1, 1, 0, 0]]])
    angles = np.array([[0.0, math.pi], [math.pi / 3, math.pi / 6]])  # row: position, column: pair
    turned = m.rotate(x, np.cos(angles), np.sin(angles))
    r = math.sqrt(3) / 2
    np.testing.assert_allclose(turned, [[[1, -1, 0, 0], [0.5, r, r, 0.5]]], atol=1e-12)


@pytest.mark.parametrize("pairs", ["half", "adjacent"])
@given(i=st.integers(0, 50), j=st.integers(0, 50), by=st.integers(0, 70), seed=st.integers(0, 99))
def test_scores_depend_on_the_distance_only(pairs: Any, i: int, j: int, by: int, seed: int) -> None:
    q, k = draw(2, 3, 1, 14, seed=seed)
    frequencies, _ = m.rotation_frequencies(100.0, 10)

    def at(x: np.ndarray, position: int) -> np.ndarray:
        angles = position * frequencies.astype(np.float64)[None]
        return m.rotate(x, np.cos(angles), np.sin(angles), pairs)[:, 0]

    near = np.sum(at(q, i) * at(k, j), axis=-1)
    np.testing.assert_allclose(near, np.sum(at(q, i + by) * at(k, j + by), axis=-1), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(at(q, i), axis=-1), np.linalg.norm(q[:, 0], axis=-1))


def test_frequencies_by_hand() -> None:
    frequencies, factor = m.rotation_frequencies(10_000.0, 8)
    np.testing.assert_allclose(frequencies, [1, 0.1, 0.01, 0.001], rtol=1e-6)
    assert factor == 1.0 and frequencies.dtype == np.float32
    np.testing.assert_allclose(m.rotation_frequencies(100.0, 4, {"kind": "linear", "factor": 4.0})[0], [0.25, 0.025])
    np.testing.assert_allclose(m.rotation_frequencies(100.0, 4, {"kind": "factors", "factors": [2, 5]})[0], [0.5, 0.02])


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0}


SCALED = [
    ("linear", {"factor": 3.0}, 5000.0, 64),
    ("llama3", LLAMA3, 500_000.0, 8192),
    ("llama3", {**LLAMA3, "factor": 32.0, "high_freq_factor": 3.0}, 700.0, 32),
    ("yarn", YARN, 700.0, 32),
    ("yarn", {**YARN, "factor": 40.0, "beta_fast": 11.0, "attention_factor": 1.7}, 1e6, 4096),
    ("yarn", YARN, 700.0, 1),  # the range of pairs ends before it begins: high < low
    ("yarn", {**YARN, "beta_fast": 1.0, "beta_slow": 32.0}, 700.0, 4096),
]


@pytest.mark.parametrize(("kind", "numbers", "base", "original"), SCALED)
@pytest.mark.parametrize("dims", [10, 64])
def test_scaled_frequencies_against_transformers(
    kind: str, numbers: dict[str, float], base: float, original: int, dims: int
) -> None:
    rope = {"rope_type": kind, "rope_theta": base, **numbers}
    if kind != "linear":
        rope["original_max_position_embeddings"] = original
    config = LlamaConfig(head_dim=dims, max_position_embeddings=original * 4, rope_parameters=rope)
    theirs, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    scaling = {"kind": kind, "original_context": original, "attention_factor": factor, **numbers}
    ours, our_factor = m.rotation_frequencies(base, dims, scaling)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
    assert our_factor == pytest.approx(factor)
    alike = kind == "linear" or original == 1
    assert len(np.unique(ours / m.rotation_frequencies(base, dims)[0])) >= (1 if alike else 2)


# ---- attention


def test_score_by_hand() -> None:
    q, k = np.array([[1.0, 2], [3, 4]]), np.array([[1.0, 1], [10, 0], [0, 2]])
    np.testing.assert_array_equal(m.score(q, k, 0.5), [[1.5, 5, 2], [3.5, 15, 4]])  # row: query, column: key


@pytest.mark.parametrize(
    ("rows", "causal", "window", "seen"),
    [
        (range(4), True, None, ["1000", "1100", "1110", "1111"]),
        (range(2, 4), True, None, ["1110", "1111"]),
        (range(3, 4), True, None, ["1111"]),
        (range(4), False, None, ["1111"] * 4),
        (range(4), True, 1, ["1000", "0100", "0010", "0001"]),  # a window of 1 is the query itself
        (range(4), True, 2, ["1000", "1100", "0110", "0011"]),  # a window counts itself, so 2 - 1 before it
        (range(3, 4), True, 3, ["0111"]),
        (range(4), False, 2, ["1100", "1110", "0111", "0011"]),
        (range(4), True, 9, ["1000", "1100", "1110", "1111"]),
        ([0, 2, 3], True, None, ["1000", "1110", "1111"]),
        ([1, 3], True, 2, ["1100", "0011"]),
        ([0, 3], False, 2, ["1100", "0011"]),
        ([], True, None, []),
    ],
)
def test_which_keys_a_query_may_see(rows: Sequence[int], causal: bool, window: int | None, seen: list[str]) -> None:
    scores = draw(3, len(rows), 4)
    visible = np.array([[flag == "1" for flag in row] for row in seen]).reshape(len(rows), 4)
    np.testing.assert_array_equal(m.hide(scores.copy(), rows, causal, window), np.where(visible, scores, -np.inf))


def test_softmax_by_hand() -> None:
    np.testing.assert_allclose(m.softmax(np.log([[1.0, 3, 4]])), [[0.125, 0.375, 0.5]])
    np.testing.assert_allclose(m.softmax(np.array([[5.0, -np.inf, 5.0]])), [[0.5, 0, 0.5]])
    np.testing.assert_allclose(m.softmax(np.array([[1e4, 1e4 - 1e3]])), [[1, 0]])  # e^10000 would overflow


def test_softmax_of_a_row_that_sees_nothing_is_zero_and_silent() -> None:  # pytest makes warnings errors
    weights = m.softmax(np.array([[-np.inf, -np.inf, -np.inf], [0.0, -np.inf, 0.0]], np.float32))
    np.testing.assert_array_equal(weights, [[0, 0, 0], [0.5, 0, 0.5]])


def test_blend_by_hand() -> None:
    weights, v = np.array([[1.0, 0], [0.25, 0.75]]), np.array([[10.0, 0], [20, 4]])
    np.testing.assert_array_equal(m.blend(weights, v), [[10, 0], [17.5, 3]])


def test_attend_by_hand() -> None:
    """The second query sees keys with scores 0 and ln 3, so weights 1/4 and 3/4."""
    q, k, v = np.array([[[2.0], [2.0]]]), np.array([[[0.0], [math.log(3)]]]), np.array([[[4.0], [8.0]]])
    np.testing.assert_allclose(m.attend(q, k, v, scale=0.5, causal=True), [[[4], [7]]])
    np.testing.assert_allclose(m.attend(q, k, v, scale=0.5, causal=False), [[[7], [7]]])
    np.testing.assert_allclose(m.attend(q, k, v, scale=1.0, causal=True), [[[4], [7.6]]])  # weights 1/10 and 9/10
    np.testing.assert_allclose(m.attend(q, k, v, scale=0.5, causal=True, window=1), [[[4], [8]]])


def test_the_tap_of_attend_sees_every_block_and_what_it_returns_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "BLOCK_ELEMENTS", 1)
    q, k, v = draw(6, 37, 5), draw(2, 41, 5, seed=1), draw(2, 41, 5, seed=2)
    seen: list[tuple[str, range, tuple[int, ...]]] = []

    def tap(name: str, array: Any, rows: range) -> Any:
        seen.append((name, rows, array.shape))
        return array * 2 if name == "weights" else array

    doubled = m.attend(q, k, v, scale=0.3, causal=True, tap=tap)
    np.testing.assert_allclose(doubled, 2 * m.attend(q, k, v, scale=0.3, causal=True))
    blocks = [rows for name, rows, _ in seen if name == "scores"]
    assert seen == [(name, rows, (6, len(rows), rows.stop)) for rows in blocks for name in ("scores", "weights")]
    assert [position for rows in blocks for position in rows] == list(range(4, 41)) and len(blocks) > 1


# ---- laws

SEEDS = st.integers(0, 10_000)
WINDOWS = st.sampled_from([None, 1, 3, 7])
OPTIONS = st.fixed_dictionaries({"scale": st.just(0.4), "causal": st.booleans(), "window": WINDOWS})


def draw_qkv(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """6 query heads on 2 K/V heads, d_head 5."""
    return draw(6, n, 5, seed=seed), draw(2, n, 5, seed=seed + 1), draw(2, n, 5, seed=seed + 2)


@given(seed=SEEDS, rows=st.integers(1, 7), keys=st.integers(1, 11), size=st.sampled_from([0.01, 1.0, 300.0]))
def test_weights_of_a_query_sum_to_one(seed: int, rows: int, keys: int, size: float) -> None:
    weights = m.softmax(draw(rows, keys, seed=seed, scale=size))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), np.ones(rows))


@given(seed=SEEDS, options=OPTIONS, n=st.integers(2, 23), data=st.data())
def test_the_future_never_leaks(seed: int, options: Any, n: int, data: st.DataObject) -> None:
    now, options = data.draw(st.integers(1, n - 1)), {**options, "causal": True}
    q, k, v = draw_qkv(n, seed)
    before = m.attend(q, k, v, **options)
    for array in (q, k, v):
        array[:, now:] = data.draw(st.sampled_from([0.5, 1e6, -7.0])) - array[:, now:]
    after = m.attend(q, k, v, **options)
    np.testing.assert_array_equal(after[:, :now], before[:, :now])
    assert not np.allclose(after[:, now:], before[:, now:])


@given(seed=SEEDS, options=OPTIONS)
def test_softmax_ignores_what_all_keys_share(seed: int, options: Any) -> None:
    q, k, v = draw_qkv(7, seed)
    shared = draw(5, seed=seed + 3)
    np.testing.assert_allclose(m.attend(q, k + shared, v, **options), m.attend(q, k, v, **options), atol=1e-12)
    scores = m.score(q, k.repeat(3, 0), 0.4)
    common = m.score(q, shared[None, None].repeat(6, 0), 0.4)  # one number per query
    np.testing.assert_allclose(m.softmax(scores + common), m.softmax(scores), atol=1e-12)


@given(seed=SEEDS, options=OPTIONS, n=st.integers(1, 67), room=st.sampled_from([1, 999, 9_999, 10**6]))
def test_blocks_and_the_last_queries_alone_give_the_same_rows(seed: int, options: Any, n: int, room: int) -> None:
    q, k, v = draw_qkv(n, seed)
    scores = m.hide(m.score(q, k.repeat(3, 0), 0.4), range(n), options["causal"], options["window"])
    at_once = m.softmax(scores) @ v.repeat(3, 0)
    np.testing.assert_allclose(m.attend(q, k, v, **options), at_once, atol=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "BLOCK_ELEMENTS", room)
        for first in (0, seed % n):
            np.testing.assert_allclose(m.attend(q[:, first:], k, v, **options), at_once[:, first:], atol=1e-12)
            tapped = m.attend(q[:, first:], k, v, **options, tap=lambda name, array, rows: array)
            np.testing.assert_allclose(tapped, at_once[:, first:], atol=1e-12)


# ---- NumPy and PyTorch

Q, K, V, ANGLES = draw(6, 37, 10), draw(2, 37, 10, seed=1), draw(2, 37, 10, seed=2), draw(37, 3, seed=3)
ON_BOTH: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "split_heads": (m.split_heads, [draw(5, 21), 3]),
    "merge_heads": (m.merge_heads, [Q]),
    "group_queries": (m.group_queries, [Q, 2]),
    "ungroup": (m.ungroup, [draw(2, 111, 7), 6]),
    "share_kv": (m.share_kv, [draw(6, 5, 7), 2]),
    "project": (m.project, [draw(5, 7), draw(3, 7, 11), draw(3, 11)]),
    "linear": (m.linear, [draw(5, 7), draw(3, 7, 11), draw(33)]),
    "write": (m.write, [draw(3, 5, 7), draw(2, 21, 13), draw(26)]),
    "rms_norm": (m.rms_norm, [draw(5, 7), draw(7), 1e-5]),
    "layer_norm": (m.layer_norm, [draw(5, 7), draw(7), draw(7), 1e-5]),
    **{f.__name__: (f, [draw(5, 7)]) for f in (m.silu, m.gelu, m.gelu_tanh)},
    "rotate half": (m.rotate, [Q, np.cos(ANGLES), np.sin(ANGLES), "half"]),
    "rotate adjacent": (m.rotate, [Q, np.cos(ANGLES), np.sin(ANGLES), "adjacent"]),
    "score": (m.score, [draw(2, 5, 7), draw(2, 11, 7), 0.3]),
    "hide": (lambda x: m.hide(x, range(3, 8), True, 4), [draw(2, 5, 11)]),
    "softmax": (m.softmax, [np.where(draw(7, 11) > 0.6 * np.arange(7)[:, None], draw(7, 11), -np.inf)]),
    "blend": (m.blend, [draw(2, 5, 11), draw(2, 11, 7)]),
    "attend": (lambda *qkv: m.attend(*qkv, scale=0.3, causal=True), [Q[:, 30:], K, V]),
    "attend in a window": (lambda *qkv: m.attend(*qkv, scale=0.3, causal=True, window=5), [Q, K, V]),
    "attend both ways": (lambda *qkv: m.attend(*qkv, scale=0.3, causal=False), [Q, K, V]),
}


@pytest.mark.parametrize("name", ON_BOTH)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_pytorch_give_the_same_numbers(name: str, dtype: type) -> None:
    function, given_arguments = ON_BOTH[name]
    arrays = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in given_arguments]
    tensors = [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays]
    ours, theirs = function(*[np.copy(a) if isinstance(a, np.ndarray) else a for a in arrays]), function(*tensors)
    assert isinstance(theirs, torch.Tensor) and ours.dtype == dtype == theirs.numpy().dtype
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5, atol=2e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_many_queries_through_tiles_side_by_side(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tiles at once as fit, heads apart or columns side by side: the same x W + b."""
    monkeypatch.setattr(products, "WIDE_ELEMENTS", at_once * 5 * 3)
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((products.MANY_QUERIES + 1, 5)), rng.standard_normal((7, 3))
    W, other = rng.standard_normal((7, 5, 3)), rng.standard_normal((2, 5, 3))
    expected = np.einsum("qi,tiw->tqw", x, W) + b[:, None]
    np.testing.assert_allclose(m.project(x, W, b), expected, atol=1e-12)
    both = m.linear_each(x, (W, other), (b.reshape(-1), None))
    np.testing.assert_allclose(both[0], expected.swapaxes(0, 1).reshape(len(x), -1), atol=1e-12)
    np.testing.assert_allclose(both[1], np.einsum("qi,tiw->qtw", x, other).reshape(len(x), -1), atol=1e-12)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("n_query", [1, 2, 3, 4, 32, 33])
@pytest.mark.parametrize("d_in", [48, 1536])
def test_a_few_queries_are_multiplied_right_however_it_is_done(
    n_query: int, d_in: int, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one where the matrix library has no way of its own for small products, long sums in parts."""
    monkeypatch.setattr(products, "multiplies_small", lambda: small)
    rng = np.random.default_rng(n_query)
    x = rng.standard_normal((n_query, d_in)).astype(np.float32)
    W, other = (rng.standard_normal((n_tile, d_in, 4)).astype(np.float32) for n_tile in (5, 3))
    for got, w in zip(m.project_each(x, (W, other), (None, None)), (W, other), strict=True):
        exact = x.astype(np.float64) @ w.astype(np.float64)
        np.testing.assert_allclose(got, exact, atol=1e-6 * np.abs(exact).max())
    side_by_side = m.linear_each(x, (W,), (None,))[0]
    np.testing.assert_allclose(side_by_side.reshape(n_query, 5, 4).swapaxes(0, 1), x @ W, atol=1e-4)
