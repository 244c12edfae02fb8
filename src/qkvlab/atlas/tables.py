"""Counts of many documents → one table per measure: what statistics read, from memory or from a run folder."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from .._shapes import Array, Float
from ..errors import TextError
from .counts import Counts


@dataclass(frozen=True)
class Table:
    """One measure over the documents."""

    measure: str
    documents: tuple[str, ...]
    n: Float[Array, " document"]
    hits: Float[Array, "document layer head"]
    mass: Float[Array, "document layer head"]
    baselines: dict[str, Array]
    """Each [document]."""

    def of(self, documents: Sequence[str]) -> "Table":
        """Only these documents, in this order: so no order of reading changes a figure."""
        rank = {name: at for at, name in enumerate(documents)}
        held = [at for at, name in enumerate(self.documents) if name in rank]
        kept = np.array(sorted(held, key=lambda at: rank[self.documents[at]]), int)
        names = tuple(self.documents[at] for at in kept.tolist())
        baselines = {name: values[kept] for name, values in self.baselines.items()}
        return Table(self.measure, names, self.n[kept], self.hits[kept], self.mass[kept], baselines)


Moments = tuple[Array, Array, Array]
"""Of a quantity: n [document], total and squares [document, layer, head]."""


@runtime_checkable
class Counted(Protocol):
    """Where tables come from: counts in memory, or the folder of a run."""

    def measures(self) -> list[str]: ...
    def table(self, measure: str) -> Table: ...
    def sums(self) -> dict[str, Moments]: ...
    def documents(self) -> tuple[str, ...]: ...
    def tokens(self) -> int: ...
    def mean_z(self, documents: Collection[str]) -> Array: ...


class InMemory:
    """A list of counts as tables."""

    def __init__(self, counts: Sequence[Counts]) -> None:
        self.counts = counts

    def measures(self) -> list[str]:
        return sorted({name for counts in self.counts for name in counts.tallies})

    def documents(self) -> tuple[str, ...]:
        return tuple(counts.document for counts in self.counts)

    def tokens(self) -> int:
        return sum(counts.n_token for counts in self.counts)

    def table(self, measure: str) -> Table:
        tallies = [counts.tallies.get(measure) for counts in self.counts]
        known = [tally for tally in tallies if tally is not None]
        if not known:
            raise TextError(f"nothing was counted of {measure}")
        zero = np.zeros_like(known[0].hits)
        names = sorted({name for tally in known for name in tally.baselines})
        return Table(
            measure,
            self.documents(),
            np.array([0 if tally is None else tally.n for tally in tallies], float),
            np.stack([zero if tally is None else tally.hits for tally in tallies]),
            np.stack([zero if tally is None else tally.mass for tally in tallies]),
            {name: np.array([0 if t is None else t.baselines.get(name, 0.0) for t in tallies]) for name in names},
        )

    def sums(self) -> dict[str, Moments]:
        found = {}
        for name in sorted({name for counts in self.counts for name in counts.sums}):
            having = [counts.sums[name] for counts in self.counts if name in counts.sums]
            columns = zip(*((one.n, one.total, one.squares) for one in having), strict=True)
            n, total, squares = (np.array(column) for column in columns)
            found[name] = (n, total, squares)
        return found

    def mean_z(self, documents: Collection[str]) -> Array:
        having = [counts for counts in self.counts if counts.document in documents and counts.z is not None]
        if not having:
            raise TextError("no means were kept of these documents; scan with the measure 'values'")
        total = np.sum([counts.z for counts in having], axis=0)
        return total / max(1, sum(counts.z_n for counts in having))
