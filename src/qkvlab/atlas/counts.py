"""What is counted of one document, as plain sums: nothing here adds across documents, and no pattern is kept."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._shapes import Array
from . import MEASURES, WINDOW

BEST, SAMPLES = 2, 6
"""Examples kept: the places with most and with least weight on the right key, per measure, head and side; and the
places every head is shown at."""


@dataclass(frozen=True)
class Options:
    """What a scan is asked for. What it counts of a document depends on these, the model and the document alone."""

    window: int = WINDOW
    measures: tuple[str, ...] = MEASURES
    layers: tuple[int, ...] | None = None
    """Only these; None: all that have attention. The run stops at the last of them."""
    examples: bool = True
    """Whether to keep places of the text; a twin needs none."""


@dataclass
class Tally:
    """Questions of one kind, and how often each head looks most at what is right."""

    n: int
    hits: Array
    """[layer, head] float64; several equally heavy candidates share a hit."""
    mass: Array
    """[layer, head] float64: sum of the weight on the right keys."""
    baselines: dict[str, float] = field(default_factory=dict)
    """Hits of those who look at no model: "chance", "nearest", "offset -3"."""


@dataclass
class Sum:
    """A quantity of every query, which is no question: distance, entropy, the size of the write."""

    n: int
    total: Array
    """[layer, head] float64."""
    squares: Array
    """[layer, head] float64: the sum of the squares."""


@dataclass(frozen=True)
class Example:
    """One place in a text, and what one head did there."""

    measure: str
    """A tally's name, or "sample"."""
    layer: int
    head: int
    side: str
    """best | worst | sample"""
    weight: float
    """On the right key (best, worst), on the heaviest key (sample)."""
    text: str
    query: tuple[int, int]
    """Characters of the text, like the next two."""
    right: tuple[int, int] | None
    looked: tuple[int, int]
    """Where the largest weight lies, among the candidates (of a sample: among all keys). (0, 0): outside this text."""
    document: str
    order: int = 0
    """Of samples the place's own checksum: the smallest are kept, so any split of a corpus keeps the same. Of others
    the character of the document where the query begins: among equal weights the first stays."""


INTEGERS = {
    "layer": np.int16, "head": np.int16, "order": np.int64, "query_start": np.int32, "query_end": np.int32,
    "right_start": np.int32, "right_end": np.int32, "looked_start": np.int32, "looked_end": np.int32,
}  # fmt: skip
"""Columns of whole numbers, and how they are kept; right_start and right_end are -1 where nothing is right."""
NAMES = ("measure", "side", "text", "document")
"""Columns of strings: kept as places in a list, because there are few and they are long."""


def _numbers() -> dict[str, Array]:
    none: dict[str, Array] = {name: np.zeros(0, kind) for name, kind in INTEGERS.items()}
    return none | {"weight": np.zeros(0, np.float32)}


@dataclass
class Examples:
    """Many examples, by columns: tens of thousands a document, which as objects would cost more than the scan."""

    numbers: dict[str, Array] = field(default_factory=_numbers)
    """`INTEGERS` and `weight`, all equally long."""
    codes: dict[str, Array] = field(default_factory=lambda: {name: np.zeros(0, np.int32) for name in NAMES})
    """For each of `NAMES`, the places in its list."""
    names: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in NAMES})

    def __len__(self) -> int:
        return len(self.numbers["weight"])

    def __iter__(self) -> Iterator[Example]:
        for row in range(len(self)):
            number = {name: column[row].item() for name, column in self.numbers.items()}
            of = {name: self.names[name][self.codes[name][row]] for name in NAMES}
            right = (number["right_start"], number["right_end"])
            yield Example(
                of["measure"], number["layer"], number["head"], of["side"], number["weight"], of["text"],
                (number["query_start"], number["query_end"]), None if right[0] < 0 else right,
                (number["looked_start"], number["looked_end"]), of["document"], number["order"],
            )  # fmt: skip

    def columns(self) -> dict[str, Any]:
        """Equally long columns by name, as a table writer wants them: arrays of numbers, lists of strings."""
        said = {name: [self.names[name][code] for code in self.codes[name].tolist()] for name in NAMES}
        return said | self.numbers

    @staticmethod
    def of_columns(columns: dict[str, Any]) -> "Examples":
        """What `columns` was made of."""
        made = Examples()
        for name in NAMES:
            known: dict[str, int] = {}
            made.codes[name] = np.array([known.setdefault(each, len(known)) for each in columns[name]], np.int32)
            made.names[name] = list(known)
        for name, kind in {**INTEGERS, "weight": np.float32}.items():
            made.numbers[name] = np.asarray(columns[name], kind)
        return made

    def take(self, rows: Array) -> "Examples":
        """Some rows, with the names that these need and no other."""
        numbers = {name: column[rows] for name, column in self.numbers.items()}
        codes, names = {}, {}
        for name in NAMES:
            used, codes[name] = np.unique(self.codes[name][rows], return_inverse=True)
            names[name] = [self.names[name][each] for each in used.tolist()]
        return Examples(numbers, {name: code.astype(np.int32) for name, code in codes.items()}, names)

    @staticmethod
    def joined(many: Sequence["Examples"]) -> "Examples":
        """All of them, one after the other."""
        made = Examples()
        for name in NAMES:
            known: dict[str, int] = {}
            codes = [np.zeros(0, np.int32)]
            for each in many:
                place = np.array([known.setdefault(said, len(known)) for said in each.names[name]], np.int32)
                codes.append(place[each.codes[name]] if len(each) else codes[0])
            made.codes[name], made.names[name] = np.concatenate(codes), list(known)
        for name, none in _numbers().items():
            made.numbers[name] = np.concatenate([none, *(each.numbers[name] for each in many)])
        return made

    @staticmethod
    def merged(many: Iterable["Examples"]) -> "Examples":
        """The `BEST` of every measure, head and side, and the `SAMPLES` with the smallest checksums: what would have
        been kept had all been seen at once, in whatever order. Equal weights: by the document's name, then by place."""
        every = Examples.joined(list(many))
        if not len(every):
            return every
        ranks = {name: np.argsort(np.argsort(every.names[name]))[every.codes[name]] for name in NAMES}
        number, side = every.numbers, np.array(every.names["side"])[every.codes["side"]]
        weight = np.where(side == "best", -number["weight"], number["weight"])
        first = np.where(side == "sample", number["order"], 0)
        then = np.where(side == "sample", 0, weight)
        group = (ranks["measure"], ranks["side"], number["layer"], number["head"])
        order = np.lexsort((number["order"], ranks["document"], then, first, *group))
        keys = np.stack([each[order] for each in group])
        starts = np.flatnonzero(np.r_[True, (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
        within = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
        kept = order[within < np.where(side[order] == "sample", SAMPLES, BEST)]
        return every.take(kept)


@dataclass
class Counts:
    """All that is counted of a document."""

    document: str
    n_token: int = 0
    n_window: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    """`position:previous`, `syntax:nsubj:dependent`, `clark:obj:normal`, `coreference`, `repeats:induction`, ..."""
    sums: dict[str, Sum] = field(default_factory=dict)
    """`distance` (tokens), `entropy` (nats), `mass:first` and its like, `write`, `share`."""
    z: Array = None
    """[layer, head, d_value] float64: sum of the blends over positions but each window's first; None: not asked."""
    z_n: int = 0
    examples: Examples = field(default_factory=Examples)
    skipped: dict[str, int] = field(default_factory=dict)
    """What could not be measured, and how often."""
    problems: list[str] = field(default_factory=list)
    """Of the treebank, each "file:line: what"."""

    def example_columns(self) -> dict[str, Any]:
        """The examples as equally long columns: see `Examples.columns`."""
        return self.examples.columns()

    def skip(self, why: str, n: int = 1) -> None:
        """Something could not be measured."""
        if n:
            self.skipped[why] = self.skipped.get(why, 0) + n
