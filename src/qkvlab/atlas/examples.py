"""Which places of a document a head is shown at: most and least weight on what is right, and a few like for all.

While a document is counted, only two numbers per question and head are held; the text around a place is cut out at
the end, for those that are kept.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._shapes import Array, Float, Int
from .counts import BEST, INTEGERS, Examples
from .questions import Questions
from .treebank import Document
from .windows import Window

AT_ONCE = 4096
"""Questions held before the best of them are picked: memory stays flat in the length of a document."""
BEFORE, AFTER = 24, 8
"""Tokens shown around a sample."""
SIDES = ("best", "worst", "sample")


class Kept:
    """The examples of one document, as its windows come."""

    def __init__(self, document: Document, layers: list[int], n_head: int) -> None:
        self.document = document
        self.layers, self.n_head = np.array(layers), n_head
        self._done: list[Examples] = []
        self._asked: list[tuple[Questions, Window]] = []
        self._mass: list[Array] = []
        self._looked: list[Array] = []
        words = np.array([(word.start, word.end) for word in document.words], int).reshape(-1, 2)
        bounds = [(sentence.start, sentence.stop - 1) for sentence in document.sentences]
        self._words = words
        starts = np.array([first for first, _ in bounds] or [0])
        spans = np.array([(words[first, 0], words[last, 1]) for first, last in bounds], int).reshape(-1, 2)
        self._sentences = spans[np.searchsorted(starts, np.arange(len(words)), side="right") - 1]
        """[word, 2] the characters of each word's sentence."""

    def add(self, asked: Questions, window: Window, mass: Array, looked: Array) -> None:
        """A window's questions: the weight on what is right and the heaviest candidate, [layer, head, item] each."""
        if len(asked):
            self._asked.append((asked, window))
            self._mass.append(mass.reshape(-1, len(asked)))
            self._looked.append(window.words[looked.reshape(-1, len(asked))].astype(np.int32))
            if sum(len(each) for each, _ in self._asked) >= AT_ONCE:
                self._pick()

    def sample(self, window: Window, weight: Array, looked: Array) -> None:
        """A window's samples: the largest weight and the token it lies on, [layer, head, sample] each."""
        if not len(window.samples):
            return
        n, n_head = len(window.samples), self.n_head
        query = window.places[window.samples]
        around = [
            (window.places[max(at - BEFORE, np.argmin(window.special)), 0], window.places[later, 1])
            for at in window.samples.tolist()
            for later in [_last_of_text(window, at + AFTER)]
        ]
        rows = len(self.layers) * n_head
        place = {
            "layer": np.repeat(self.layers, n_head * n),
            "head": np.tile(np.repeat(np.arange(n_head), n), len(self.layers)),
        }
        context = np.tile(np.array(around), (rows, 1))
        there = window.places[looked.reshape(-1)]
        outside = (there[:, 0] < context[:, 0]) | (there[:, 1] > context[:, 1]) | (there[:, 1] == there[:, 0])
        there = np.where(outside[:, None], context[:, :1], there)
        self._done.append(
            self._examples(
                place, np.zeros(rows * n, int), ["sample"], np.full(rows * n, 2), weight.reshape(-1),
                np.tile(window.orders, rows), context, np.tile(query, (rows, 1)), None, there,
            )
        )  # fmt: skip

    def done(self) -> Examples:
        """All that is kept of the document."""
        self._pick()
        found = self._done[0] if len(self._done) == 1 else Examples.merged(self._done)
        self._done = [found]
        return found

    def _pick(self) -> None:
        """Of the questions held so far, the best and the worst of every measure and head."""
        if not self._asked:
            return
        names = sorted({name for asked, _ in self._asked for name in asked.names})
        place = {name: at for at, name in enumerate(names)}
        measure = np.concatenate([np.array([place[n] for n in asked.names])[asked.measure] for asked, _ in self._asked])
        query = np.concatenate([window.words[_words_at(window, asked.queries)] for asked, window in self._asked])
        right = np.concatenate([window.words[_last_right(asked)] for asked, window in self._asked])
        order = np.lexsort((self._words[query, 0], measure))
        measure, query, right = measure[order], query[order], right[order]
        mass, looked = (np.concatenate(each, axis=1)[:, order] for each in (self._mass, self._looked))
        starts = np.flatnonzero(np.r_[True, measure[1:] != measure[:-1]])
        for side, values in enumerate((mass, -mass)):
            for head, item in _firsts(values, starts, measure):
                spans = [self._sentences[each] for each in (query[item], right[item], looked[head, item])]
                context = np.stack([np.min(spans, axis=0)[:, 0], np.max(spans, axis=0)[:, 1]], axis=1)
                at = {"layer": self.layers[head // self.n_head], "head": head % self.n_head}
                own = self._words[query[item]]
                self._done.append(
                    self._examples(
                        at, measure[item], names, np.full(len(item), side), mass[head, item], own[:, 0], context, own,
                        self._words[right[item]], self._words[looked[head, item]],
                    )
                )  # fmt: skip
        self._asked, self._mass, self._looked = [], [], []
        self._done = [Examples.joined(self._done)]

    def _examples(
        self, place: dict[str, Array], measure: Array, names: list[str], side: Array, weight: Array, order: Array,
        context: Array, query: Array, right: Array, looked: Array,
    ) -> Examples:  # fmt: skip
        """Rows as columns, the text around each cut out once."""
        texts, text = np.unique(context, axis=0, return_inverse=True)
        spans: dict[str, Any] = {}
        for name, span in (("query", query), ("right", right), ("looked", looked)):
            inside = np.full((len(weight), 2), -1) if span is None else span - context[:, :1]
            spans |= {f"{name}_start": inside[:, 0], f"{name}_end": inside[:, 1]}
        numbers = {name: np.asarray(value).astype(INTEGERS[name]) for name, value in (place | spans).items()}
        numbers |= {"order": np.asarray(order, np.int64), "weight": np.asarray(weight, np.float32)}
        codes = {"measure": measure, "side": side, "text": text.reshape(-1), "document": np.zeros(len(weight))}
        cut = [self.document.text[start:end] for start, end in texts.tolist()]
        listed = {"measure": names, "side": list(SIDES), "text": cut, "document": [self.document.name]}
        return Examples(numbers, {name: code.astype(np.int32) for name, code in codes.items()}, listed)


def _firsts(values: Float[Array, "head item"], starts: Array, measure: Array) -> Iterator[tuple[Array, Array]]:
    """For every head and measure the item with the largest value, then the one after it: pairs (head, item).

    Among equal ones the first. Items are sorted by measure.
    """
    values, at = values.copy(), np.arange(values.shape[1], dtype=np.int32)
    rows = np.arange(len(values))[:, None]
    for _ in range(BEST):
        top = np.maximum.reduceat(values, starts, axis=1)
        first = np.where(values == top[:, measure], at, np.int32(2**31 - 1))
        item = np.minimum.reduceat(first, starts, axis=1)
        head = np.broadcast_to(rows, item.shape)[top > -np.inf]
        yield head, item[top > -np.inf]
        np.put_along_axis(values, item, np.float32(-np.inf), axis=1)


def _words_at(window: Window, tokens: Int[Array, " item"]) -> Int[Array, " item"]:
    """The columns of words by their last token."""
    found: Array = np.searchsorted(window.last_token, tokens)
    return found


def _last_right(asked: Questions) -> Int[Array, " item"]:
    """The column of what is right at each question, the last of several."""
    ends = np.r_[asked.right_starts[1:], len(asked.right)] - 1
    found: Array = asked.columns[asked.right[ends]]
    return found


def _last_of_text(window: Window, at: int) -> int:
    """The last token of the text up to a position."""
    text = np.flatnonzero(~window.special)
    return int(min(at, text[-1]))
