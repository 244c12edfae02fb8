"""A document → windows of tokens, and which tokens each word stands on."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from .._shapes import Array
from ..model import Model
from . import WINDOW
from .counts import SAMPLES
from .treebank import Document


@dataclass(frozen=True)
class Window:
    """Consecutive tokens of a document, and the words that stand in it whole and by themselves."""

    ids: tuple[int, ...]
    special: Array
    """[token] bool"""
    words: Array
    """[word] numbers of these words in the document, rising. A word that shares a token with another is none of
    them. What follows names a word by its column here."""
    first_token: Array
    """[word] the first token of each, a position in the window."""
    last_token: Array
    sentences: tuple[range, ...]
    """Sentences that no edge cuts, as ranges of words of the document."""
    places: Array
    """[token, 2] the characters of each token in the document's text; (0, 0) of a special one."""
    samples: Array
    """Positions that every head is shown at."""
    orders: Array
    """Their checksums."""

    @property
    def queries(self) -> Array:
        """Whose looks are counted: all but special tokens and the first."""
        asked = ~self.special
        asked[:1] = False
        return np.flatnonzero(asked)

    def columns(self, numbers: Sequence[int] | Array) -> Array:
        """The columns of words of the document; -1 where one does not stand here by itself."""
        numbers = np.asarray(numbers, np.int64)
        if not len(self.words):
            return np.full(len(numbers), -1)
        at = np.minimum(np.searchsorted(self.words, numbers), len(self.words) - 1)
        return np.where(self.words[at] == numbers, at, -1)


def windows(model: Model, document: Document, size: int = WINDOW, examples: bool = True) -> Iterator[Window]:
    """The windows of a document, one after the other, each with the special tokens that the tokenizer adds."""
    tokens = model.tokenizer.encode(document.text, special=True)
    text = [at for at, special in enumerate(tokens.special) if not special]
    if not text:
        return
    before, after = tokens.ids[: text[0]], tokens.ids[text[-1] + 1 :]
    places = np.array([tokens.offsets[at] for at in text])
    owners = Owners(document, places)
    room = max(1, size - len(before) - len(after))
    shown, orders = sampled(document.name, len(text), room, bool(before)) if examples else (np.zeros(0, int),) * 2
    for start in range(0, len(text), room):
        chosen = range(start, min(start + room, len(text)))
        ids = (*before, *(tokens.ids[text[at]] for at in chosen), *after)
        special = np.ones(len(ids), bool)
        special[len(before) : len(before) + len(chosen)] = False
        padded = np.zeros((len(ids), 2), int)
        padded[len(before) : len(before) + len(chosen)] = places[chosen.start : chosen.stop]
        here = (shown >= chosen.start) & (shown < chosen.stop)
        samples = shown[here] - chosen.start + len(before)
        yield Window(ids, special, *owners.inside(chosen, len(before)), padded, samples, orders[here])


def sampled(document: str, n: int, room: int, guarded: bool) -> tuple[Array, Array]:
    """The `SAMPLES` tokens of a document with the smallest checksums of name and place, and these checksums: the
    same for every head, and for every way of reading a corpus. A window's first token is none of them unless
    something stands before it."""
    if n == 0:
        return np.zeros(0, int), np.zeros(0, int)
    at = np.arange(n)
    at = at if guarded else at[at % room > 0]
    name = int.from_bytes(sha256(document.encode()).digest()[:8], "little")
    order = _mixed(at.astype(np.uint64) ^ np.uint64(name))
    kept = np.sort(np.argsort(order, kind="stable")[:SAMPLES])
    return at[kept], order[kept]


def _mixed(values: Array) -> Array:
    """SplitMix64's last steps (Steele et al. 2014), without the sign bit."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


class Owners:
    """Which tokens of a document each of its words stands on, for words that share none with another."""

    def __init__(self, document: Document, places: Array) -> None:
        first, last = _spans(document, places)
        readers = np.zeros(len(places) + 1, int)  # how many words stand on each token
        has = last >= first
        np.add.at(readers, first[has], 1)
        np.add.at(readers, last[has] + 1, -1)
        shared = np.r_[0, np.cumsum(np.cumsum(readers)[:-1] > 1)]
        alone = has & (shared[np.minimum(last + 1, len(places))] == shared[np.minimum(first, len(places))])
        self.words = np.flatnonzero(alone)
        self.first, self.last = first[self.words], last[self.words]
        self.sentences = self._sentences(document)

    def _sentences(self, document: Document) -> list[tuple[int, int, range]]:
        """First and last token of the known words of each sentence that has any, in order."""
        found = []
        for sentence in document.sentences:
            low, high = np.searchsorted(self.words, [sentence.start, sentence.stop])
            if low < high:
                found.append((int(self.first[low]), int(self.last[high - 1]), sentence))
        return found

    def inside(self, chosen: range, shift: int) -> tuple[Array, Array, Array, tuple[range, ...]]:
        """Of the tokens of a window: the words whole in it, their first and last tokens, its uncut sentences."""
        low, high = np.searchsorted(self.first, chosen.start), np.searchsorted(self.last, chosen.stop)
        rows = slice(low, max(low, high))
        whole = []
        at = bisect_left(self.sentences, (chosen.start,))
        while at < len(self.sentences) and self.sentences[at][1] < chosen.stop:
            whole.append(self.sentences[at][2])
            at += 1
        moved = shift - chosen.start
        return self.words[rows], self.first[rows] + moved, self.last[rows] + moved, tuple(whole)


def _spans(document: Document, places: Array) -> tuple[Array, Array]:
    """For each word the first and the last token it has characters of; last < first where it has none."""
    starts, ends = np.array([(word.start, word.end) for word in document.words], int).reshape(-1, 2).T
    # where tokens share characters (the bytes of one letter), their places repeat: both columns still never fall
    first = np.searchsorted(np.maximum.accumulate(places[:, 1]), starts, side="right")
    last = np.searchsorted(np.maximum.accumulate(places[:, 0]), ends, side="left") - 1
    return first, last
