"""Clark et al. 2019's own protocol, for encoders, to compare with their table: each sentence alone, word by word.

Weight to a word is the sum over its tokens, weight from a word the mean over its tokens; a word's weight on itself and
everything on [CLS] and [SEP] are set aside. Every word's most attended other word is then its predicted head. Measured
for each dependency by its dependent: `clark:RELATION:normal` where the dependent looks at its head (predicted: the word
the dependent gives most to), `:transposed` where the head looks at the dependent (predicted: the word that gives the
dependent most). Baselines: the word at a fixed offset, -5 to +5.

Where we differ: UD relations, not Stanford's; words are given to the tokenizer as running text (theirs is given words
already split, like "ca" and "n't"); a word that shares a token with another is neither asked nor a candidate; a fixed
offset that leads out of the sentence is a miss (theirs is set back to its end); ties share the hit (theirs: the
first); their exception for possessives ('s counts as its owner) is not made; and best head and best offset are chosen
on other documents than those reported. Source: their section 4.1 and 4.2, and their published notebooks.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .._shapes import Array, Float
from ..model import Model
from .counts import Counts
from .treebank import Document, Word
from .walk import Seen, walk
from .weighing import Weighed
from .windows import Window, windows

OFFSETS = (*range(-5, 0), *range(1, 6))
"""Fixed offsets in words, from the dependent to its head."""
DIRECTIONS = ("normal", "transposed")
TIED = np.float32(1 - 1e-6)
"""A mean over tokens rounds: weights this near to the largest are as large."""


def sentences(model: Model, document: Document, counts: Counts) -> Iterator[tuple[Document, Window]]:
    """Each sentence of two words or more as a document of its own, in one window."""
    for number, sentence in enumerate(document.sentences):
        words = document.words[sentence.start : sentence.stop]
        if len(words) < 2:
            continue
        start, end = words[0].start, max(word.end for word in words)
        own = [_moved(word, start, sentence) for word in words]
        alone = Document(f"{document.name}#{number}", document.text[start:end], own, [range(len(own))])
        cut = list(windows(model, alone, model.spec.n_context, examples=False))
        if len(cut) > 1:
            counts.skip("sentences longer than the model's text")
        elif cut:
            yield alone, cut[0]


def _moved(word: Word, start: int, sentence: range) -> Word:
    head = None if word.head is None or word.head not in sentence else word.head - sentence.start
    return replace(word, start=word.start - start, end=word.end - start, head=head)


class Dependencies:
    """The dependencies of one sentence that can be asked, by columns of its window."""

    def __init__(self, alone: Document, window: Window, counts: Counts) -> None:
        heads = {number: word.head for number, word in enumerate(alone.words) if word.head is not None}
        numbers = list(heads)
        dependents, governors = window.columns(numbers), window.columns(list(heads.values()))
        known = (dependents >= 0) & (governors >= 0)
        counts.skip("dependencies of words that share a token (Clark)", int((~known).sum()))
        asked = np.flatnonzero(known)
        relations = [alone.words[numbers[at]].relation for at in asked.tolist()]
        self.names = sorted(set(relations))
        order = sorted(range(len(asked)), key=lambda at: relations[at])
        self.relation = np.array([self.names.index(relations[at]) for at in order], int)
        self.dependent, self.governor = dependents[asked[order]], governors[asked[order]]
        self.apart = window.words[self.governor] - window.words[self.dependent] if len(order) else asked

    @property
    def n(self) -> list[int]:
        """How many of each relation."""
        counted: list[int] = np.bincount(self.relation, minlength=len(self.names)).tolist()
        return counted

    def offsets(self, relation: int) -> dict[str, float]:
        """Hits of every fixed offset."""
        apart = self.apart[self.relation == relation]
        return {f"offset {offset}": float((apart == offset).sum()) for offset in OFFSETS}

    def read(self, weights: Float[Array, "head word word"]) -> tuple[Array, Array]:
        """Hits and mass, [direction, head, relation], of weights between words."""
        hits, mass = [], []
        for each in (weights, weights.swapaxes(1, 2)):
            rows = each[:, self.dependent].copy()  # [head, dependency, word]
            rows[:, np.arange(len(self.dependent)), self.dependent] = -1
            heaviest = rows >= rows.max(axis=-1, keepdims=True) * TIED
            right = np.arange(len(self.governor)), self.governor
            hits.append(self._by_relation(heaviest[:, *right] / heaviest.sum(axis=-1)))
            mass.append(self._by_relation(rows[:, *right]))
        return np.stack(hits), np.stack(mass)

    def _by_relation(self, values: Float[Array, "head item"]) -> Float[Array, "head relation"]:
        starts = np.searchsorted(self.relation, np.arange(len(self.names)))
        summed: Array = np.add.reduceat(values, starts, axis=1, dtype=np.float64)
        return summed


def word_weights(weights: Float[Array, "head query key"], window: Window) -> Float[Array, "head word word"]:
    """To a word: the sum over its tokens; from a word: the mean over them."""
    first, last = window.first_token, window.last_token
    spans = np.stack([first, last + 1], axis=1).reshape(-1)
    padded = np.pad(weights, ((0, 0), (0, 1), (0, 1)))  # so that a last word's end is a place, too
    to = np.add.reduceat(padded, spans, axis=2)[..., ::2]
    from_ = np.add.reduceat(to, spans, axis=1)[:, ::2]
    return from_ / (last - first + 1)[:, None].astype(np.float32)


def count_clark(
    model: Model, document: Document, layers: list[int], counts: Counts
) -> Iterator[tuple[str, int, dict[str, float], Array, Array]]:
    """Per sentence and measure: its name, items, baselines, and hits and mass [layer, head]."""
    for alone, window in sentences(model, document, counts):
        asked = Dependencies(alone, window, counts)
        if not asked.names:
            continue
        layer_by_layer = [_layer(seen, window, asked) for seen in walk(model, window.ids, layers)]
        hits, mass = np.stack(layer_by_layer, axis=2)
        for at, (name, n) in enumerate(zip(asked.names, asked.n, strict=True)):
            for way, direction in enumerate(DIRECTIONS):
                yield f"clark:{name}:{direction}", n, asked.offsets(at), hits[way, ..., at], mass[way, ..., at]


def _layer(seen: Seen, window: Window, asked: Dependencies) -> Float[Array, "what direction head relation"]:
    """Hits and mass of one layer."""
    found = np.zeros((2, len(DIRECTIONS), len(seen.q), len(asked.names)))

    def part(heads: slice, weighed: Weighed) -> None:
        found[:, :, heads] = asked.read(word_weights(weighed.e / weighed.total[..., None], window))

    seen.for_each_part(part)
    return found
