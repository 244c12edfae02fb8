"""Halves, intervals, baselines and the best head: by hand, beside a bootstrap in plain loops, whatever the order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.atlas.counts import Counts, Sum, Tally
from qkvlab.atlas.statistics import (
    DRAWS,
    SEED,
    Split,
    best_head,
    best_offset,
    halves,
    interval,
    intervals,
    is_random,
    measured,
)
from qkvlab.atlas.tables import InMemory, Table
from qkvlab.errors import TextError

random = np.random.default_rng(11)


def counts(name: str, n: int, hits: Any, baselines: dict[str, float], measure: str = "m") -> Counts:
    hits = np.array(hits, float)
    return Counts(
        name,
        n_token=10 * n,
        tallies={measure: Tally(n, hits, hits / 2, {of: float(value) for of, value in baselines.items()})},
    )


def some(n_document: int) -> list[Counts]:
    made = []
    for at, n in enumerate(random.integers(5, 40, n_document)):
        offsets = {f"offset {offset}": random.integers(n + 1) for offset in (-1, 2)}
        made.append(counts(f"d{at}", int(n), random.integers(0, n + 1, (2, 3)), {"chance": n / 7, **offsets}))
    return made


MANY = some(13)


def test_halves_know_nothing_of_the_order() -> None:
    names = [f"d{at}" for at in range(13)]
    selection, report = halves(names)
    assert len(selection) == 6 and len(report) == 7 and sorted(selection + report) == sorted(names)
    assert halves(names[::-1]) == (selection, report) and selection != sorted(selection)


def test_random_texts_are_documents_of_their_own() -> None:
    names = ["random:000", "random:1234", "random:x", "a", "random:12"]
    assert [is_random(name) for name in names] == [True, True, False, False, False]
    text, repeats = Split.of(names, "coreference"), Split.of(names, "repeats:induction")
    assert {*text.selection, *text.report} == {"random:x", "a", "random:12"}
    assert {*repeats.selection, *repeats.report} == {"random:000", "random:1234"}
    whole = Split.of(names, "coreference", report_all=True)
    assert whole.selection == whole.report and len(whole.report) == 3


@given(st.permutations(range(13)))
def test_no_order_changes_a_figure(order: list[int]) -> None:
    split = Split.of([one.document for one in MANY])
    first, again = (measured(InMemory(held).table("m"), split) for held in (MANY, [MANY[at] for at in order]))
    for part in ("value", "low", "high", "selection", "whole", "mass"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    assert first.baselines == again.baselines and first.offset == again.offset


def test_one_measure_by_hand() -> None:
    held = [
        counts("a", 10, [[5, 1]], {"chance": 2, "offset -1": 4}),
        counts("b", 30, [[15, 30]], {"chance": 3, "offset 1": 9}),
    ]
    found = measured(InMemory(held).table("m"), Split(("a",), ("b",)))
    assert (found.n, found.whole_n, found.offset) == (30, 40, -1)
    assert found.value.tolist() == [[0.5, 1]] and found.low.tolist() == found.high.tolist() == [[0.5, 1]]
    assert found.selection.tolist() == [[0.5, 0.1]] and found.whole.tolist() == [[0.5, 31 / 40]]
    assert found.mass.tolist() == [[0.25, 0.5]]
    assert {name: each.value for name, each in found.baselines.items()} == {"chance": 0.1, "offset": 0}
    assert found.bar == found.best_baseline == 0.1
    assert found.lead is not None and found.lead.value == found.lead.low == pytest.approx(0.5 - 0.1)
    nothing = measured(InMemory(held).table("m"), Split(("a",), ()))
    assert nothing.n == 0 and np.isnan(nothing.value).all() and np.isnan(nothing.low).all() and not nothing.baselines
    assert nothing.bar == -np.inf


def test_the_bootstrap_in_plain_loops() -> None:
    hits, n = random.integers(0, 9, (7, 4)).astype(float), random.integers(0, 3, 7).astype(float)
    drawn, shares = np.random.default_rng(SEED).integers(7, size=(DRAWS, 7)), []
    for row in drawn.tolist():
        items = sum(n[document] for document in row)
        if items:
            shares.append([sum(hits[document, column] for document in row) / items for column in range(4)])
    value, low, high = intervals(hits, n)
    np.testing.assert_allclose(value, hits.sum(axis=0) / n.sum())
    np.testing.assert_allclose([low, high], np.percentile(shares, [2.5, 97.5], axis=0))


def test_intervals() -> None:
    certain = interval(np.array([3.0]), np.array([4.0]))
    assert (certain.value, certain.low, certain.high) == (0.75, 0.75, 0.75)
    spread = interval(np.array([0.0, 10.0]), np.array([10.0, 10.0]))
    assert (spread.value, spread.low, spread.high) == (0.5, 0, 1)
    own = np.random.default_rng(3)
    deviation = np.sqrt(0.3 * 0.7 / 2000)
    for n_document in (40, 4000):  # more than MOST_GROUPS are drawn in groups
        items = np.full(n_document, 2000 / n_document) if n_document == 40 else np.full(n_document, 0.5)
        hits = own.binomial(50, 0.3, 40).astype(float) if n_document == 40 else 0.5 * own.binomial(1, 0.3, n_document)
        many = interval(hits, items)
        width = deviation if n_document == 40 else np.sqrt(0.3 * 0.7 / n_document)
        assert many.high - many.low == pytest.approx(2 * 1.96 * width, rel=0.35) and many.low < 0.3 < many.high


def test_head_and_offset_are_chosen_on_one_half_and_measured_on_the_other() -> None:
    names = [name for half in halves(["a", "b", "c", "d"]) for name in half]
    hits = [[30.0, 10.0], [30.0, 10.0], [0.0, 40.0], [0.0, 40.0]]
    offsets = [{"offset -1": 9.0, "offset -2": 8.0}] * 2 + [{"offset -1": 1.0, "offset -2": 33.0}] * 2
    held = [counts(name, 40, [row], offset) for name, row, offset in zip(names, hits, offsets, strict=True)]
    table = InMemory(held).table("m")
    found = best_head(table, Split.of(names))
    assert found.head == (0, 0) and found.all.selection[0, 0] == 0.75 and found.found.value == 0
    assert found.all.whole[0, 0] == 0.375 and found.all.baselines["offset"].value == 1 / 40 and found.all.n == 80
    gain = found.gains["offset"]
    assert (gain.value, gain.low, gain.high) == (-1 / 40,) * 3
    assert found.all.offset == -1 and found.lead == (30 - 9) / 40 and not found.stands_out
    assert best_offset(table.of(names[:2])) == -1 and best_offset(table.of(names[2:])) == -2
    with pytest.raises(TextError, match="nothing to measure m on in one part of the 1 documents"):
        best_head(table, Split(("a",), ()))


def test_among_equal_offsets_the_nearest_and_the_earlier() -> None:
    def table(**offsets: float) -> Table:
        baselines = {f"offset {name[1:].replace('m', '-')}": np.array([value]) for name, value in offsets.items()}
        return Table("m", ("a",), np.ones(1), np.zeros((1, 1, 1)), np.zeros((1, 1, 1)), baselines)

    assert best_offset(table(o3=2.0, o1=2.0, om1=2.0, o5=1.0)) == -1 and best_offset(table()) is None
    assert best_offset(table(o3=2.0, om2=1.0)) == 3


def test_tables_in_memory() -> None:
    z = np.arange(6.0).reshape(1, 2, 3)
    first, second = MANY[0], Counts("z", 7, z=z, z_n=2, sums={"write": Sum(2, np.ones((2, 3)), np.ones((2, 3)))})
    held = InMemory([first, second, Counts("y", z=3 * z, z_n=2)])
    table = held.table("m")
    assert table.documents == ("d0", "z", "y") and table.n.tolist() == [first.tallies["m"].n, 0, 0]
    assert not table.hits[1:].any() and held.measures() == ["m"] and held.tokens() == first.n_token + 7
    np.testing.assert_array_equal(held.mean_z({"z", "y"}), z)
    n, total, _ = held.sums()["write"]
    assert n.tolist() == [2] and total.shape == (1, 2, 3)
    with pytest.raises(TextError, match="no means were kept"):
        held.mean_z({"d0"})
    with pytest.raises(TextError, match="nothing was counted of tone"):
        held.table("tone")
