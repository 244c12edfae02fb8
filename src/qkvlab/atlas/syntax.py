"""Syntax, "the later word looks back": for each dependency, does its later word look most at its partner?

The query is the later word's last token; candidates are all earlier words of the sentence (a word's weight is the sum
over its tokens; the sentence's first word counts, special tokens do not). Named `syntax:RELATION:SIDE`, SIDE being
what the later word is: head or dependent. In a bidirectional model the earlier word is asked, too, among all later
words of the sentence: `...:forward`. Sentences that a window's edge cuts are skipped.

Baseline: every fixed offset in words ("offset -1"); which of them is the bar is chosen on the selection part.
"""

import numpy as np

from .counts import Counts
from .questions import Kind
from .treebank import Document
from .windows import Window

FURTHEST = 60
"""The largest distance in words that is counted as a baseline."""


def syntax_questions(document: Document, window: Window, counts: Counts, causal: bool) -> dict[str, Kind]:
    """The questions of a window, by measure. What cannot be asked is counted in `counts.skipped`."""
    kinds: dict[str, Kind] = {}
    for sentence in window.sentences:
        here = window.columns(sentence)
        standing = np.flatnonzero(here >= 0)
        first, last = (int(here[standing[0]]), int(here[standing[-1]])) if len(standing) else (0, -1)
        for number, column in zip(sentence, here.tolist(), strict=True):
            word = document.words[number]
            if word.head is None:
                continue
            partner = int(here[word.head - sentence.start]) if word.head in sentence else -1
            if column < 0 or partner < 0:
                counts.skip("words that share a token")
                continue
            earlier, later = sorted((column, partner))
            apart = abs(word.head - number)
            name = f"syntax:{word.relation}:{'head' if later == partner else 'dependent'}"
            _ask(kinds, name, int(window.last_token[later]), range(first, later), earlier, -apart)
            if not causal:
                around = range(earlier + 1, last + 1)
                _ask(kinds, f"{name}:forward", int(window.last_token[earlier]), around, later, apart)
    return kinds


def _ask(kinds: dict[str, Kind], name: str, query: int, around: range, partner: int, offset: int) -> None:
    kind = kinds.setdefault(name, Kind())
    kind.ask(query, around, (partner,))
    if abs(offset) <= FURTHEST:
        kind.count(f"offset {offset}")
