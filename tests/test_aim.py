"""The smallest shift with which a key wins: by hand, against brute force, and inside a model."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qkvlab import edits as e
from qkvlab.aim import least_shift
from qkvlab.errors import EditError


def least(keys: Any, chosen: int, q: Any = (0.0, 0.0), scale: float = 1.0, margin: float = 3.0) -> np.ndarray:
    return least_shift(np.array(q, float), np.array(keys, float), chosen, scale, margin)


def test_one_rival_by_hand() -> None:
    """q·(1, 0) must exceed q·(-1, 0) by 3: 2 q₀ ≥ 3. Halving the scale doubles the way; the margin sets its length."""
    np.testing.assert_allclose(least([[1, 0], [-1, 0]], 0), [1.5, 0])
    np.testing.assert_allclose(least([[1, 0], [-1, 0]], 1), [-1.5, 0])
    np.testing.assert_allclose(least([[1, 0], [-1, 0]], 0, scale=0.5), [3, 0])
    np.testing.assert_allclose(least([[1, 0], [-1, 0]], 0, margin=0.5), [0.25, 0])
    np.testing.assert_allclose(least([[1, 0], [-1, 0]], 0, q=(1, 7)), [0.5, 0])  # 2 of the 3 are there already


def test_two_rivals_by_hand() -> None:
    keys = [[1, 1], [-1, 1], [1, -1]]  # 2 q₀ ≥ 3 and 2 q₁ ≥ 3
    np.testing.assert_allclose(least(keys, 0), [1.5, 1.5])
    np.testing.assert_allclose(least(keys, 0, q=(5, 0)), [0, 1.5])
    np.testing.assert_allclose(least([[0, 0], [-1, 0], [-5, 0]], 0), [3, 0])  # the nearer rival decides


def test_a_key_that_wins_already_needs_no_shift() -> None:
    np.testing.assert_array_equal(least([[1, 0], [-1, 0]], 0, q=(1.5, 0)), [0, 0])
    np.testing.assert_array_equal(least([[4, 2]], 0), [0, 0])  # no rival at all
    assert least_shift(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 0, 1.0).dtype == np.float32


@pytest.mark.parametrize(
    "keys",
    [
        [[0, 0], [1, 0], [-1, 0]],  # between two others
        [[0, 0], [3, 0], [-1, 2], [-1, -2]],  # inside a triangle
        [[1, 2], [1, 2]],  # equal to another
        [[1, 2], [1, 2], [5, 5]],
        [[7, 7], [7, 7], [7, 7]],
    ],
)
def test_a_key_inside_the_hull_of_the_others_cannot_win(keys: list[list[float]]) -> None:
    with pytest.raises(EditError, match="no query"):
        least(keys, 0)


WHOLE = st.integers(-3, 3)


def points(n: int, d: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(WHOLE, min_size=d, max_size=d), min_size=n, max_size=n)


def brute_force(q: np.ndarray, keys: np.ndarray, scale: float, margin: float) -> np.ndarray | None:
    """The least of all points where some of the constraints hold exactly and none is broken; None if there is none."""
    G = scale * (keys[0] - keys[1:])
    h = margin - G @ q
    candidates = [np.zeros(len(q))]
    for size in range(1, min(len(h), len(q)) + 1):
        for exact in map(list, combinations(range(len(h)), size)):
            candidates.append(np.linalg.pinv(G[exact]) @ h[exact])
    allowed = [point for point in candidates if (G @ point >= h - 1e-9).all()]
    return min(allowed, key=np.linalg.norm, default=None)


@given(d=st.integers(2, 3), n=st.integers(2, 6), margin=st.sampled_from([3.0, 0.5]), data=st.data())
def test_against_brute_force(d: int, n: int, margin: float, data: st.DataObject) -> None:
    keys, q = np.array(data.draw(points(n, d)), float), np.array(data.draw(points(1, d))[0], float)
    best = brute_force(q, keys, 0.7, margin)
    if best is None:
        with pytest.raises(EditError):
            least_shift(q, keys, 0, 0.7, margin)
    else:
        np.testing.assert_allclose(least_shift(q, keys, 0, 0.7, margin), best, atol=1e-7)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 23), size=st.sampled_from([1e-3, 1.0, 1e3]))
def test_no_allowed_shift_is_smaller(seed: int, n: int, size: float) -> None:
    """The shift is allowed, some constraint is tight, and it is the foot of the perpendicular from 0 to the allowed
    region: δ·(y - δ) ≥ 0 for every allowed y."""
    random = np.random.default_rng(seed)
    q, keys = random.normal(size=11), size * random.normal(size=(n, 11))
    shift = least_shift(q, keys, 0, 11**-0.5)
    gaps = 11**-0.5 * (keys[0] - keys[1:])

    def lead(x: np.ndarray) -> Any:
        return (gaps @ (q + x)).min()

    np.testing.assert_allclose(lead(shift), 3.0 if shift.any() else max(3.0, lead(shift)), rtol=1e-7)
    around = shift * random.uniform(0.9, 1.5, (200, 1)) + random.normal(size=(200, 11)) * np.linalg.norm(shift) / 9
    allowed = np.array([y for y in around if lead(y) >= 3.0])
    assume(len(allowed))
    assert ((allowed - shift) @ shift >= -1e-9 * (shift @ shift)).all()
    assert (np.linalg.norm(allowed, axis=1) >= np.linalg.norm(shift) * (1 - 1e-9)).all()


# ---- in a model

IDS = (3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7)


@pytest.mark.parametrize("kind", ["llama", "llama-yarn", "mistral-window", "bert"])
@pytest.mark.parametrize("margin", [3.0, 0.5])
def test_the_chosen_key_wins_by_exactly_the_margin(kind: str, margin: float, tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model(kind)
    plain, tried = model.trace(ids=IDS), 0
    for key in (4, 5, 7, 8):
        edit = e.AimQuery(head="1.1", query=8, key=key, margin=margin)
        trace = model.trace(ids=IDS, edits=[edit])
        first, last = trace.visible(1, 8)
        row, before = trace.scores("1.1")[8, first:last], plain.scores("1.1")[8, first:last]
        lead = row[key - first] - np.delete(row, key - first).max()
        if before[key - first] - np.delete(before, key - first).max() >= margin:
            np.testing.assert_array_equal(row, before)
        else:
            np.testing.assert_allclose(lead, margin, rtol=1e-3)
            tried += 1
        moved = np.argwhere((trace.q(1) != plain.q(1)).any(-1)).tolist()
        assert moved in ([[1, 8]], [])
        half = model.trace(ids=IDS, edits=[e.AimQuery(head="1.1", query=8, key=key, margin=margin, strength=0.3)])
        np.testing.assert_allclose(half.q(1) - plain.q(1), 0.3 * (trace.q(1) - plain.q(1)), atol=1e-5)
    assert tried >= 2


def test_the_shift_looks_at_the_keys_as_edited(tiny_model: Callable[[str], Any]) -> None:
    """Keys come before queries, so an aim sees a shifted key."""
    far = e.ShiftKey(kv_head="1.0", token=3, shift=(9.0,) * 10)
    trace = tiny_model("llama").trace(ids=IDS, edits=[e.AimQuery(head="1.1", query=8, key=5), far])
    row = trace.scores("1.1")[8, :9]
    np.testing.assert_allclose(row[5] - np.delete(row, 5).max(), 3.0, rtol=1e-3)


def test_a_key_between_two_others_is_refused_when_the_trace_runs(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    k = model.trace(ids=IDS).k(1)[0]
    between = tuple(map(float, (k[2] + k[6]) / 2 - k[4]))
    edits = [e.ShiftKey(kv_head="1.0", token=4, shift=between), e.AimQuery(head="1.1", query=8, key=4)]
    trace = model.trace(ids=IDS, edits=edits)
    for _ in range(2):  # the layers before it stay usable, and asking again is refused again
        np.testing.assert_array_equal(trace.z(0), model.trace(ids=IDS).z(0))
        with pytest.raises(EditError, match="hull"):
            trace.z(1)
