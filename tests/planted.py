"""A model whose attention is made by hand, for the tests of the atlas: no weights, only scores."""

import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from qkvlab.model import Model
from qkvlab.scoring import Scoring
from qkvlab.trace import Trace

Scores = Callable[[int, int], float]
"""(query id, key id) → score. An id is the place of a token in its document."""


class PlantedTrace(Trace):
    """The part of a Trace that the atlas reads."""

    def __init__(self, ids: Sequence[int], spec: Any, heads: list[list[Scores]]) -> None:
        self.ids = tuple(ids)
        self._spec = spec
        self.heads = heads

    @property
    def spec(self) -> Any:
        return self._spec

    def visible(self, layer: int, query: int) -> tuple[int, int]:
        return 0, query + 1 if self.spec.causal else len(self.ids)

    def scoring(self, layer: int) -> Scoring:
        return Scoring(1.0, self.spec.causal)

    def layer_scores(self, layer: int, rows: Sequence[int], *, masked: bool = True) -> np.ndarray:
        scores = [[[score(q, k) for k in self.ids] for q in self.ids] for score in self.heads[layer]]
        found = np.array(scores, np.float32)
        if self.spec.causal:
            found[:, *np.triu_indices(len(self.ids), 1)] = -np.inf
        return found[:, list(rows)]


class PlantedModel(Model):
    """Heads by layer; tokens are words, or pieces of so many characters."""

    def __init__(self, heads: list[list[Scores]], *, causal: bool = True, pieces: int = 99) -> None:
        self.heads = heads
        self.spec = SimpleNamespace(n_layer=len(heads), n_head=len(heads[0]), causal=causal)
        self.tokenizer = self
        self._pattern = r"ca(?=n't)|n't|\w+|[^\w\s]" if pieces == 99 else rf"\w{{1,{pieces}}}|[^\w\s]"

    def encode(self, text: str, special: bool = True) -> Any:
        """Tokens with a special one on either side, ids -1 and -2, in a bidirectional model."""
        offsets = [match.span() for match in re.finditer(self._pattern, text)]
        ids, marks = list(range(len(offsets))), [False] * len(offsets)
        if not self.spec.causal:
            ids, marks, offsets = [-1, *ids, -2], [True, *marks, True], [(0, 0), *offsets, (len(text), len(text))]
        return SimpleNamespace(ids=tuple(ids), special=tuple(marks), offsets=tuple(offsets))

    def trace(self, *, ids: Sequence[int]) -> PlantedTrace:
        return PlantedTrace(ids, self.spec, self.heads)


def uniform(query: int, key: int) -> float:
    return 0.0


def previous(query: int, key: int) -> float:
    return 9.0 * (key == query - 1)


def noise(seed: int) -> Scores:
    """Scores that look like nothing, the same at every run."""
    return lambda query, key: float(np.sin(12.9898 * query + 78.233 * key + seed) * 3)


def wired(targets: dict[int, int]) -> Scores:
    """A head that looks from known ids to known ids."""
    return lambda query, key: 9.0 * (targets.get(query) == key)
