"""A model whose attention is made by hand, for the tests of the atlas; and tokens that are words, for models without
a tokenizer."""

import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np

from qkvlab.model import Model
from qkvlab.scoring import Scoring
from qkvlab.spec import Head, ModelSpec
from qkvlab.trace import Trace

Scores = Callable[[np.ndarray], np.ndarray]
"""ids [token] → scores [query, key]. An id is the place of a token in its text, or a random token's own."""
D_MODEL, D_VALUE = 5, 3


class WordTokenizer:
    """Tokens are words, or pieces of so many characters; a special one on either side if asked for."""

    def __init__(self, n_vocab: int, *, framed: bool = False, pieces: int = 99, places: bool = False) -> None:
        self.n_vocab, self.places = n_vocab, places
        self.before, self.after = ((n_vocab - 2,), (n_vocab - 1,)) if framed else ((), ())
        self.recognised: frozenset[int] = frozenset()
        self._pattern = r"ca(?=n't)|n't|\w+|[^\w\s]" if pieces == 99 else rf"\w{{1,{pieces}}}|[^\w\s]"

    def encode(self, text: str, special: bool = True) -> Any:
        found = list(re.finditer(self._pattern, text))
        ids = [at if self.places else crc32(each[0].encode()) % (self.n_vocab - 2) for at, each in enumerate(found)]
        offsets, marks = [each.span() for each in found], [False] * len(found)
        if special and self.before:
            ids, marks = [*self.before, *ids, *self.after], [True, *marks, True]
            offsets = [(0, 0), *offsets, (len(text), len(text))]
        return SimpleNamespace(ids=tuple(ids), special=tuple(marks), offsets=tuple(offsets))


class PlantedTrace(Trace):
    """The part of a Trace that the atlas reads. The queries are the scores themselves, each key is one axis."""

    def __init__(self, ids: Sequence[int], spec: Any, heads: list[list[Scores]]) -> None:
        self.ids = tuple(ids)
        self._spec = spec
        self.heads = heads

    @property
    def spec(self) -> Any:
        return self._spec

    def scoring(self, layer: int) -> Scoring:
        return Scoring(1.0, self.spec.causal)

    def q(self, layer: int) -> np.ndarray:
        return np.stack([score(np.array(self.ids)) for score in self.heads[layer]]).astype(np.float32)

    def k(self, layer: int) -> np.ndarray:
        return np.eye(len(self.ids), dtype=np.float32)[None]

    def z(self, layer: int) -> np.ndarray:
        """Head h blends the value h + 1 of every token, in the first component."""
        z = np.zeros((len(self.heads[layer]), len(self.ids), D_VALUE), np.float32)
        z[..., 0] = np.arange(1, len(z) + 1)[:, None]
        return z

    def x(self, layer: int) -> np.ndarray:
        """A residual of length 10."""
        x = np.zeros((len(self.ids), D_MODEL), np.float32)
        x[:, :2] = (6, 8)
        return x


class PlantedModel(Model):
    """Heads by layer; tokens are words, or pieces of so many characters, and in a bidirectional model framed."""

    native = False

    def __init__(self, heads: list[list[Scores]], *, causal: bool = True, pieces: int = 99) -> None:
        self.heads = heads
        self.spec = ModelSpec(
            name="planted", family="llama", n_layer=len(heads), n_head=len(heads[0]), n_kv_head=1, d_head=7,
            d_model=D_MODEL, d_ff=11, n_vocab=613, n_context=4096, norm_eps=1e-5, activation="silu",
            mask="causal" if causal else "bidirectional", d_v=D_VALUE, has_output=causal,
        )  # fmt: skip
        self.tokenizer = WordTokenizer(613, framed=not causal, pieces=pieces, places=True)

    def trace(self, *, ids: Sequence[int]) -> PlantedTrace:
        return PlantedTrace(ids, self.spec, self.heads)

    def w_o(self, head: Head) -> np.ndarray:
        """Length 7 of the first component in every head: a write of head h is 7 (h + 1) long."""
        w_o = np.zeros((D_VALUE, D_MODEL), np.float32)
        w_o[0, 2:4] = 7 * np.array([0.6, 0.8])
        return w_o


def uniform(ids: np.ndarray) -> np.ndarray:
    return np.zeros((len(ids), len(ids)))


def previous(ids: np.ndarray) -> np.ndarray:
    """Looks at the token before."""
    return 9.0 * np.eye(len(ids), k=-1)


def following(ids: np.ndarray) -> np.ndarray:
    """Looks at the token behind, where it may."""
    return 9.0 * np.eye(len(ids), k=1)


def first(ids: np.ndarray) -> np.ndarray:
    """Looks at the first token."""
    return 9.0 * (np.arange(len(ids)) == 0) * np.ones((len(ids), 1))


def duplicate(ids: np.ndarray) -> np.ndarray:
    """Looks at the same token, earlier."""
    return 9.0 * np.tril(ids[:, None] == ids, -1)


def induction(ids: np.ndarray) -> np.ndarray:
    """Looks at what followed the same token."""
    return np.pad(duplicate(ids)[:, :-1], ((0, 0), (1, 0))) * (1 - np.eye(len(ids)))


def noise(seed: int) -> Scores:
    """Scores that look like nothing, the same at every run."""
    return lambda ids: np.sin(12.9898 * ids[:, None] + 78.233 * ids + seed) * 3


def wired(targets: dict[int, int]) -> Scores:
    """A head that looks from known ids to known ids."""

    def score(ids: np.ndarray) -> np.ndarray:
        return 9.0 * np.array([[targets.get(int(query)) == key for key in ids] for query in ids])

    return score
