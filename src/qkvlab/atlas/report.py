"""Counts of documents → the head that does a thing best, how sure that is, and what it must beat.

The head, and the best fixed offset, are chosen on one half of the documents and measured on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from .._shapes import Array, Float
from ..errors import TextError
from ..spec import Head
from .metrics import Counts

DRAWS, SEED = 2000, 6
"""Bootstrap samples of documents, and their seed."""


@dataclass(frozen=True)
class Interval:
    """A share of hits, with the middle 95 % of what other documents of this kind could have given."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Best:
    """The best head at one measure."""

    measure: str
    head: Head
    n: int
    """Items of the documents reported on."""
    found: Interval
    selection: float
    """Its value on the documents it was chosen on."""
    whole: float
    """Its value on all documents."""
    baselines: dict[str, Interval]
    """On the documents reported on; `offset` is the fixed word offset that was best on the other half."""
    gains: dict[str, Interval]
    """What the head has over each baseline, drawn together: the same documents for both."""
    offset: int | None
    """That offset, in words; None where the measure has none."""
    lead: float
    """Its value above the best fixed offset's, both on the half they were chosen on."""

    @property
    def stands_out(self) -> bool:
        """Whether its lower bound lies above every baseline's upper bound, on 30 items or more."""
        return self.n >= 30 and all(self.found.low > baseline.high for baseline in self.baselines.values())


def halves(documents: Sequence[Counts]) -> tuple[list[Counts], list[Counts]]:
    """Documents to select on and documents to report on, by their names' checksums: no order of reading matters."""
    ordered = sorted(documents, key=lambda counts: sha256(counts.document.encode()).digest())
    middle = len(ordered) // 2
    return ordered[:middle], ordered[middle:]


def measures(documents: Sequence[Counts]) -> list[str]:
    """The names of all that was counted."""
    return sorted({name for counts in documents for name in counts.tallies})


def best_head(documents: Sequence[Counts], measure: str) -> Best:
    """Which head does this best? Chosen on one half, measured on the other.

    Raises TextError where a half has nothing to measure.
    """
    selection, report = halves(documents)
    if not all(_total(half, measure) for half in (selection, report)):
        raise TextError(f"there is nothing to measure {measure} on in one half of the {len(documents)} documents")
    chosen = _hits(selection, measure).sum(axis=0)
    head = Head(*(int(at) for at in np.unravel_index(chosen.argmax(), chosen.shape)))
    offset = best_offset(selection, measure)
    of_offset = _baseline(selection, measure, f"offset {offset}").sum()
    n = np.array([_n(counts, measure) for counts in report], float)
    hits = _hits(report, measure)[:, head.layer, head.head]
    baselines = _baselines(report, measure, offset)
    whole = _hits(documents, measure)[:, head.layer, head.head].sum() / _total(documents, measure)
    return Best(
        measure,
        head,
        int(n.sum()),
        interval(hits, n),
        float(chosen[head] / _total(selection, measure)),
        float(whole),
        {name: interval(values, n) for name, values in baselines.items()},
        {name: interval(hits - values, n) for name, values in baselines.items()},
        offset,
        float((chosen[head] - of_offset) / _total(selection, measure)),
    )


def interval(hits: Float[Array, " document"], n: Float[Array, " document"]) -> Interval:
    """Hits over items, with a bootstrap over documents."""
    random = np.random.default_rng(SEED)
    drawn = random.integers(len(n), size=(DRAWS, len(n)))
    items = n[drawn].sum(axis=1)
    shares = hits[drawn].sum(axis=1)[items > 0] / items[items > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    return Interval(float(hits.sum() / n.sum()), float(low), float(high))


def best_offset(documents: Sequence[Counts], measure: str) -> int | None:
    """The fixed word offset that hits most often; None where the measure has none."""
    names = {name for counts in documents for name in _names(counts, measure) if name.startswith("offset ")}
    ordered = sorted(names, key=lambda name: (-_baseline(documents, measure, name).sum(), int(name.split()[1])))
    return int(ordered[0].split()[1]) if ordered else None


def _baselines(report: Sequence[Counts], measure: str, offset: int | None) -> dict[str, Array]:
    names = sorted({name for counts in report for name in _names(counts, measure) if not name.startswith("offset ")})
    values = {name: _baseline(report, measure, name) for name in names}
    if offset is not None:
        values["offset"] = _baseline(report, measure, f"offset {offset}")
    return values


def _names(counts: Counts, measure: str) -> list[str]:
    tally = counts.tallies.get(measure)
    return list(tally.baselines) if tally else []


def _baseline(documents: Sequence[Counts], measure: str, name: str) -> Float[Array, " document"]:
    tallies = [counts.tallies.get(measure) for counts in documents]
    return np.array([tally.baselines.get(name, 0.0) if tally else 0.0 for tally in tallies])


def _n(counts: Counts, measure: str) -> int:
    return counts.tallies[measure].n if measure in counts.tallies else 0


def _total(documents: Sequence[Counts], measure: str) -> int:
    return sum(_n(counts, measure) for counts in documents)


def _hits(documents: Sequence[Counts], measure: str) -> Float[Array, "document layer head"]:
    found = [counts.tallies[measure].hits for counts in documents if _n(counts, measure)]
    empty = np.zeros_like(found[0])
    return np.stack([counts.tallies[measure].hits if _n(counts, measure) else empty for counts in documents])
