"""A document → windows of tokens, and which tokens each word stands on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._shapes import Array
from ..model import Model
from .treebank import Document

WINDOW = 256
"""Tokens of a window, special tokens included."""


@dataclass(frozen=True)
class Window:
    """Consecutive tokens of a document, and the words that stand in it whole and by themselves."""

    ids: tuple[int, ...]
    special: tuple[bool, ...]
    words: tuple[int, ...]
    """Numbers of these words in the document, rising. A word that shares a token with another is none of them."""
    last_token: tuple[int, ...]
    """The last token of each, a position in the window."""
    member: Array
    """[token, word] 1 where the token belongs to the word, float32: weights @ member are weights of words."""
    first_word: int | None
    """The word on the first token of the text, if it is one of them."""
    sentences: tuple[range, ...]
    """Sentences that no edge cuts, as ranges of words of the document."""


def windows(model: Model, document: Document, size: int = WINDOW) -> Iterator[Window]:
    """The windows of a document, one after the other, each with the special tokens that the tokenizer adds."""
    tokens = model.tokenizer.encode(document.text, special=True)
    text = [at for at, special in enumerate(tokens.special) if not special]
    if not text:
        return
    before, after = tokens.ids[: text[0]], tokens.ids[text[-1] + 1 :]
    owners = _owners(document, [tokens.offsets[at] for at in text])
    room = size - len(before) - len(after)
    for start in range(0, len(text), room):
        chosen = range(start, min(start + room, len(text)))
        ids = (*before, *(tokens.ids[text[at]] for at in chosen), *after)
        special = (*[True] * len(before), *[False] * len(chosen), *[True] * len(after))
        yield _window(document, ids, special, owners, chosen, len(before))


def _owners(document: Document, offsets: list[tuple[int, int]]) -> list[range | None]:
    """For each word the tokens it stands on; None where it shares one with another word, or has none."""
    held: list[list[int]] = [[] for _ in document.words]
    readers: list[list[int]] = [[] for _ in offsets]
    first = 0
    for number, word in enumerate(document.words):
        while first < len(offsets) and offsets[first][1] <= word.start:
            first += 1
        at = first
        while at < len(offsets) and offsets[at][0] < word.end:
            if offsets[at][1] > word.start:
                held[number].append(at)
                readers[at].append(number)
            at += 1
    return [
        range(tokens[0], tokens[-1] + 1) if tokens and all(len(readers[at]) == 1 for at in tokens) else None
        for tokens in held
    ]


def _window(
    document: Document,
    ids: tuple[int, ...],
    special: tuple[bool, ...],
    owners: list[range | None],
    chosen: range,
    shift: int,
) -> Window:
    def inside(tokens: range | None) -> bool:
        return tokens is not None and tokens.start >= chosen.start and tokens.stop <= chosen.stop

    words = [number for number, tokens in enumerate(owners) if inside(tokens)]
    member = np.zeros((len(ids), len(words)), np.float32)
    last = []
    for column, number in enumerate(words):
        tokens = owners[number]
        assert tokens is not None
        member[tokens.start - chosen.start + shift : tokens.stop - chosen.start + shift, column] = 1
        last.append(tokens.stop - 1 - chosen.start + shift)

    def uncut(sentence: range) -> bool:
        known = [tokens for number in sentence if (tokens := owners[number]) is not None]
        return bool(known) and inside(known[0]) and inside(known[-1])

    whole = tuple(sentence for sentence in document.sentences if uncut(sentence))
    first = words[0] if words and member[shift, 0] else None
    return Window(ids, special, tuple(words), tuple(last), member, first, whole)
