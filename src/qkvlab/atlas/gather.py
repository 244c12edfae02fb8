"""Parts of a run → tables of its measures: many measures in one reading, in memory that does not grow with the corpus.

A table has a row for each document. Where a corpus has more of them than statistics draw from one by one, a row is a
group of documents, added up in the order of the corpus and named by one of them; groups are those that
`statistics.intervals` would make, so it finds the same. However a corpus was cut into parts, the same bits come out.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .._shapes import Array, Float, Int
from . import statistics
from .store import Parts, read_rows
from .tables import Moments, Table

MOST_BYTES = 128 * 1024**2
"""Of the tables that are held at once."""


class Gathered:
    """The tables of some parts; those read together are kept until others are asked for."""

    def __init__(self, parts: Parts, report_all: bool) -> None:
        self.parts = parts
        self.rows, self.place = grouped(parts.documents(), report_all)
        self._held: dict[str, Table] = {}

    def table(self, measure: str) -> Table:
        """One measure over the documents, or groups of them, in the order of the corpus."""
        if measure not in self._held:
            self._held = {}
            known = self.parts.measures()
            size = 16 * len(self.rows) * int(np.prod(self.parts.shape))
            first = known.index(measure) if measure in known else 0
            asked = known[first : first + max(1, MOST_BYTES // max(1, size))] if measure in known else [measure]
            self._held = self._gather(asked)
        return self._held[measure]

    def _gather(self, measures: Sequence[str]) -> dict[str, Table]:
        n = np.zeros((len(measures), len(self.rows)))
        hits, mass = np.zeros((2, *n.shape, *self.parts.shape))
        for rows in part_by_part(self.parts, "counts", "measure", measures):
            at = codes(rows, "measure", {name: at for at, name in enumerate(measures)}), self._at(rows)
            layer, head, each = (rows.column(name).to_numpy() for name in ("layer", "head", "n"))
            place = (*at, layer, head)
            np.add.at(hits, place, rows.column("hits").to_numpy())
            np.add.at(mass, place, rows.column("mass").to_numpy())
            once = (layer == layer[0]) & (head == head[0])
            np.add.at(n, (at[0][once], at[1][once]), each[once])
        baselines = self._baselines(measures)
        return {
            name: Table(name, self.rows, n[at], hits[at], mass[at], baselines[name])
            for at, name in enumerate(measures)
        }  # fmt: skip

    def _baselines(self, measures: Sequence[str]) -> dict[str, dict[str, Array]]:
        found: dict[str, dict[str, Array]] = {name: {} for name in measures}
        for rows in part_by_part(self.parts, "baselines", "measure", measures):
            said = (rows.column(name).to_pylist() for name in ("measure", "baseline", "hits"))
            for measure, baseline, hits, at in zip(*said, self._at(rows), strict=True):
                own = found[measure]
                if baseline not in own:
                    own[baseline] = np.zeros(len(self.rows))
                own[baseline][at] += hits
        return {name: dict(sorted(own.items())) for name, own in found.items()}

    def _at(self, rows: Any) -> Int[Array, " row"]:
        return codes(rows, "document", self.place)

    def sums(self) -> dict[str, Moments]:
        """Every quantity, added up over the documents: a document axis of length 1."""
        names = sorted(self.parts.distinct("sums", "quantity"))
        n, totals = np.zeros(len(names)), np.zeros((2, len(names), *self.parts.shape))
        known = {name: at for at, name in enumerate(names)}
        for rows in part_by_part(self.parts, "sums", "quantity", names):
            at = codes(rows, "quantity", known)
            layer, head, each = (rows.column(name).to_numpy() for name in ("layer", "head", "n"))
            for total, column in zip(totals, ("total", "squares"), strict=True):
                np.add.at(total, (at, layer, head), rows.column(column).to_numpy())
            once = (layer == layer[0]) & (head == head[0])
            np.add.at(n, at[once], each[once])
        return {name: (n[at : at + 1], totals[0, at][None], totals[1, at][None]) for name, at in known.items()}


def grouped(documents: Sequence[str], report_all: bool) -> tuple[tuple[str, ...], dict[str, int]]:
    """The rows of tables by name, in the order of the corpus, and the row of every document."""
    of: dict[str, str] = {}
    for measure in ("", "repeats:"):
        split = statistics.Split.of(documents, measure, report_all)
        for half in dict.fromkeys((split.selection, split.report)):
            size = min(len(half), statistics.MOST_GROUPS)
            edges = [at * len(half) // size for at in range(size + 1)] if size else [0]
            for first, last in pairwise(edges):
                of |= dict.fromkeys(half[first:last], half[first])
    kept = set(of.values())
    rows = tuple(name for name in documents if name in kept)
    number = {name: at for at, name in enumerate(rows)}
    return rows, {name: number[of[name]] for name in documents}


def part_by_part(parts: Parts, table: str, column: str, names: Sequence[str]) -> Iterator[Any]:
    """The rows of some names, of one part after the other; parts without any are passed over."""
    every = len(names) == len(parts.distinct(table, column))
    for path in parts.paths(table):
        asked = None if every else [(column, "in", list(names))]
        rows = read_rows(path, asked)
        if len(rows):
            yield rows


def codes(rows: Any, column: str, numbers: dict[str, int]) -> Int[Array, " row"]:
    """A column of names as numbers."""
    found = rows.column(column).combine_chunks()
    names = np.array([numbers.get(name, -1) for name in found.dictionary.to_pylist()], np.int64)
    coded: Float[Array, " row"] = found.indices.to_numpy()
    return names[coded]
