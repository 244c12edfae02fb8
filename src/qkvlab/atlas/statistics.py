"""Counts of documents → how well every head does a thing, how sure that is, and what it must beat.

Heads and the best fixed offset are chosen on one half of the documents and measured on the other; what other documents
of this kind could have given is estimated by drawing documents anew (bootstrap), the same draws for every head.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np

from .._shapes import Array, Float
from ..errors import TextError
from ..spec import Head
from .repeats import CONTROL
from .tables import Table

DRAWS, SEED = 2000, 6
"""Bootstrap samples of documents, and their seed."""
MOST_GROUPS = 1000
"""More documents than this are drawn in so many groups: memory stays flat, and the interval hardly notices."""
ENOUGH = 30
"""Items a head must be measured on to be named."""


# ---- which documents


def is_random(document: str) -> bool:
    """Whether a document is random tokens, made for `repeats:`."""
    return re.fullmatch(r"random:\d{3,}", document, re.ASCII) is not None


def halves(documents: Collection[str]) -> tuple[list[str], list[str]]:
    """Documents to select on and documents to report on, by their names' checksums: no order of reading matters."""
    ordered = by_checksum(documents)
    middle = len(ordered) // 2
    return ordered[:middle], ordered[middle:]


def by_checksum(documents: Collection[str]) -> list[str]:
    """Documents in an order that knows nothing of how they were read."""
    return sorted(documents, key=lambda name: sha256(name.encode()).digest())


@dataclass(frozen=True)
class Split:
    """The documents of a corpus, in two parts; the same twice if all are reported on."""

    selection: tuple[str, ...]
    report: tuple[str, ...]

    @staticmethod
    def of(documents: Collection[str], measure: str = "", report_all: bool = False) -> "Split":
        """The parts for a measure: `repeats:` has documents of its own, which no other measure knows."""
        pool = [name for name in documents if is_random(name) == measure.startswith("repeats:")]
        selection, report = (by_checksum(pool),) * 2 if report_all else halves(pool)
        return Split(tuple(selection), tuple(report))


# ---- how sure


@dataclass(frozen=True)
class Interval:
    """A share of hits, with the middle 95 % of what other documents of this kind could have given."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=8)
def draws(n_document: int) -> Float[Array, "draw document"]:
    """How often each document is drawn, in each of `DRAWS` bootstrap samples."""
    drawn = np.random.default_rng(SEED).integers(n_document, size=(DRAWS, n_document))
    at = drawn + np.arange(DRAWS)[:, None] * n_document
    return np.bincount(at.reshape(-1), minlength=DRAWS * n_document).reshape(DRAWS, n_document).astype(float)


def intervals(
    hits: Float[Array, "document column"], n: Float[Array, " document"]
) -> tuple[Float[Array, " column"], Float[Array, " column"], Float[Array, " column"]]:
    """Hits over items with a bootstrap over documents, of many columns: value, low, high; NaN without items."""
    if not n.sum():
        nothing = np.full(hits.shape[1], np.nan)
        return nothing, nothing, nothing
    value = hits.sum(axis=0) / n.sum()
    if len(n) > MOST_GROUPS:
        starts = np.arange(MOST_GROUPS) * len(n) // MOST_GROUPS
        hits, n = np.add.reduceat(hits, starts), np.add.reduceat(n, starts)
    often = draws(len(n))
    items = often @ n
    shares = (hits.T @ often[items > 0].T) / items[items > 0]  # [column, draw]: what is sorted lies side by side
    low, high = np.percentile(shares, [2.5, 97.5], axis=1, overwrite_input=True)
    return value, low, high


def interval(hits: Float[Array, " document"], n: Float[Array, " document"]) -> Interval:
    """The same of one column."""
    return Interval(*(float(each[0]) for each in intervals(hits[:, None], n)))


# ---- one measure


@dataclass(frozen=True)
class Measured:
    """One measure of every head, on the documents reported on, beside those who look at no model. NaN: no items."""

    measure: str
    n: int
    """Items of the documents reported on."""
    whole_n: int
    value: Float[Array, "layer head"]
    low: Float[Array, "layer head"]
    high: Float[Array, "layer head"]
    selection: Float[Array, "layer head"]
    """The value on the documents that heads are chosen on."""
    whole: Float[Array, "layer head"]
    mass: Float[Array, "layer head"]
    """The mean weight on what is right, on the documents reported on."""
    baselines: dict[str, Interval]
    """`offset` is the fixed offset that was best on the selection part."""
    offset: int | None
    """That offset, in words; negative before the query."""
    lead: Interval | None = None
    """What the best head of the selection part has over the highest baseline, drawn together: the same documents for
    both, which is the sharper question. No role depends on it."""

    @property
    def bar(self) -> float:
        """The highest upper bound of any baseline."""
        return max((each.high for each in self.baselines.values()), default=-np.inf)

    @property
    def best_baseline(self) -> float:
        """The highest value of any baseline; 0 without."""
        return max((each.value for each in self.baselines.values()), default=0.0)


def measured(table: Table, split: Split) -> Measured:
    """How well does every head do this?"""
    every = tuple(dict.fromkeys((*split.selection, *split.report)))
    whole, selection, report = (table.of(names) for names in (every, split.selection, split.report))
    shape, n_head = table.hits.shape[1:], int(np.prod(table.hits.shape[1:]))
    offset = best_offset(selection if selection.n.sum() else report)
    baselines = _baselines(report, offset)
    columns = [report.hits.reshape(-1, n_head), *(values[:, None] for values in baselines.values())]
    value, low, high = intervals(np.concatenate(columns, axis=1), report.n)
    of_baselines = zip(baselines, value[n_head:], low[n_head:], high[n_head:], strict=True)
    return Measured(
        table.measure,
        int(report.n.sum()),
        int(whole.n.sum()),
        value[:n_head].reshape(shape),
        low[:n_head].reshape(shape),
        high[:n_head].reshape(shape),
        _share(selection.hits, selection.n),
        _share(whole.hits, whole.n),
        _share(report.mass, report.n),
        {name: Interval(float(v), float(a), float(b)) for name, v, a, b in of_baselines if np.isfinite(v)},
        offset,
        _lead(selection, report, baselines),
    )


def _lead(selection: Table, report: Table, baselines: dict[str, Array]) -> Interval | None:
    if not (selection.n.sum() and report.n.sum() and baselines):
        return None
    best = int(selection.hits.sum(axis=0).argmax())
    highest = max(baselines, key=lambda name: baselines[name].sum())
    return interval(report.hits.reshape(len(report.n), -1)[:, best] - baselines[highest], report.n)


def _share(hits: Array, n: Array) -> Float[Array, "layer head"]:
    total = n.sum()
    return hits.sum(axis=0) / total if total else np.full(hits.shape[1:], np.nan)


def best_offset(table: Table) -> int | None:
    """The fixed word offset that hits most often; None where the measure has none. Among equals the nearest, and
    before the query rather than after."""
    totals = {int(name.split()[1]): values.sum() for name, values in table.baselines.items() if name[:7] == "offset "}
    return min(totals, key=lambda offset: (-totals[offset], abs(offset), offset), default=None)


def _baselines(report: Table, offset: int | None) -> dict[str, Array]:
    values = {name: each for name, each in report.baselines.items() if not name.startswith("offset ")}
    if offset is not None:
        values["offset"] = report.baselines[f"offset {offset}"]
    return values


def controlled(measure: str) -> str:
    """The name under which a measure's control is counted."""
    return f"{measure}:{CONTROL}"


# ---- one head


@dataclass(frozen=True)
class Best:
    """The best head at one measure, chosen on one half."""

    head: Head
    all: Measured
    gains: dict[str, Interval]
    """What the head has over each baseline, drawn together: the same documents for both."""
    lead: float
    """Its value above the best fixed offset's, both on the half they were chosen on."""

    @property
    def found(self) -> Interval:
        """Its share of hits on the documents reported on."""
        return Interval(*(float(each[self.head]) for each in (self.all.value, self.all.low, self.all.high)))

    @property
    def stands_out(self) -> bool:
        """Whether its lower bound lies above every baseline's upper bound, on 30 items or more."""
        return self.all.n >= ENOUGH and self.found.low > self.all.bar


def best_head(table: Table, split: Split) -> Best:
    """Which head does this best? Raises TextError where a part has nothing to measure."""
    selection, report = table.of(split.selection), table.of(split.report)
    if not (selection.n.sum() and report.n.sum()):
        n = len(split.selection) + len(split.report)
        raise TextError(f"there is nothing to measure {table.measure} on in one part of the {n} documents")
    chosen = selection.hits.sum(axis=0)
    head = Head(*(int(at) for at in np.unravel_index(chosen.argmax(), chosen.shape)))
    every = measured(table, split)
    own = report.hits[:, head.layer, head.head]
    gains = {name: interval(own - values, report.n) for name, values in _baselines(report, every.offset).items()}
    of_offset = selection.baselines.get(f"offset {every.offset}", np.zeros(1)).sum()
    return Best(head, every, gains, float((chosen[head] - of_offset) / selection.n.sum()))
