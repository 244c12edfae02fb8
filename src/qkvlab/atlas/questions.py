"""Questions of a window, all kinds in one: does this query look most at one of these words, among those?

Questions are ragged (each has candidates of its own), so they are kept as long flat columns: every layer answers all
of them with a few whole-array steps, whatever their number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._shapes import Array, Float, Int
from .weighing import Weighed
from .windows import Window


@dataclass
class Kind:
    """The questions of one measure in a window, and what those score who look at no model."""

    queries: list[int] = field(default_factory=list)
    """Tokens."""
    candidates: list[Sequence[int]] = field(default_factory=list)
    """Columns of words, rising."""
    right: list[Sequence[int]] = field(default_factory=list)
    """Columns of words, rising; each a candidate."""
    baselines: dict[str, float] = field(default_factory=dict)

    def ask(self, query: int, candidates: Sequence[int], right: Sequence[int]) -> None:
        self.queries.append(query)
        self.candidates.append(candidates)
        self.right.append(right)

    def count(self, name: str, value: float = 1.0) -> None:
        """What a baseline scores."""
        self.baselines[name] = self.baselines.get(name, 0.0) + value


@dataclass(frozen=True, eq=False)
class Answers:
    """What the heads of a layer, or of all, did at each question."""

    hits: Float[Array, "*heads item"]
    mass: Float[Array, "*heads item"]
    """The weight on what is right."""
    looked: Int[Array, "*heads item"]
    """The column of the heaviest candidate; the first of them, where several are."""


class Questions:
    """All that is asked of a window, as flat columns."""

    def __init__(self, window: Window, kinds: dict[str, Kind]) -> None:
        kinds = {name: kind for name, kind in kinds.items() if kind.queries}
        self.kinds = kinds
        self.names = list(kinds)
        every = list(kinds.values())
        self.n = np.array([len(kind.queries) for kind in every], int)
        self.starts = np.cumsum(self.n) - self.n
        """[measure] its first question."""
        self.measure = np.repeat(np.arange(len(every)), self.n)
        """[item] which measure it is of."""
        self.queries = np.array([query for kind in every for query in kind.queries], int)
        """[item] token"""
        candidates = [each for kind in every for each in kind.candidates]
        right = [each for kind in every for each in kind.right]
        self._set_candidates(candidates, right, len(window.words))
        self._set_pairs(window)

    def __len__(self) -> int:
        return len(self.queries)

    def _set_candidates(self, candidates: list[Sequence[int]], right: list[Sequence[int]], n_word: int) -> None:
        n = np.array([len(each) for each in candidates], int)
        self.item_starts = np.cumsum(n) - n
        self.item = np.repeat(np.arange(len(n)), n)
        """[candidate] which question it is of."""
        self.columns = _flat(candidates)
        """[candidate] which word."""
        keys = self.item * n_word + self.columns
        n_right = np.array([len(each) for each in right], int)
        meant = np.repeat(np.arange(len(n)), n_right) * n_word + _flat(right)
        self.right_starts = np.cumsum(n_right) - n_right
        self.right = np.searchsorted(keys, meant)
        """[right] places among the candidates."""
        self.one_right = bool((n_right == 1).all())

    def _set_pairs(self, window: Window) -> None:
        first, last = window.first_token[self.columns], window.last_token[self.columns]
        n = last - first + 1
        self.pair_starts = np.cumsum(n) - n
        within = np.arange(n.sum()) - np.repeat(self.pair_starts, n)
        queries = self.queries[self.item]
        self.flat = np.repeat(queries, n) * len(window.ids) + np.repeat(first, n) + within
        """[pair] query · n_key + key, for every token of every candidate."""
        self.one_token = bool((n == 1).all())

    def read(self, weighed: Weighed) -> Answers:
        """What some heads of a layer answer."""
        e = weighed.of(self.flat)
        held = e if self.one_token else np.add.reduceat(e, self.pair_starts, axis=1)
        top = np.maximum.reduceat(held, self.item_starts, axis=1)
        heaviest = held == top[:, self.item]
        n_heaviest = np.add.reduceat(heaviest, self.item_starts, axis=1, dtype=np.float64)
        hits, mass = heaviest[:, self.right].astype(np.float64), held[:, self.right]
        if not self.one_right:
            hits = np.add.reduceat(hits, self.right_starts, axis=1)
            mass = np.add.reduceat(mass, self.right_starts, axis=1)
        looked = np.minimum.reduceat(
            np.where(heaviest, np.arange(len(self.item), dtype=np.int32), np.int32(2**31 - 1)), self.item_starts, axis=1
        )
        return Answers(hits / n_heaviest, mass / weighed.total[:, self.queries], self.columns[looked])

    def by_measure(self, values: Float[Array, "*heads item"]) -> Float[Array, "*heads measure"]:
        """Sums over the questions of each measure, float64."""
        summed: Array = np.add.reduceat(values, self.starts, axis=-1, dtype=np.float64)
        return summed


def _flat(lists: Iterable[Sequence[int]]) -> Array:
    """All of them in one: ranges become their numbers."""
    arrays = [np.arange(each.start, each.stop) if isinstance(each, range) else np.array(each, int) for each in lists]
    return np.concatenate([np.zeros(0, int), *arrays])
