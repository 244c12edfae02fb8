"""Coreference, antecedent selection: does a pronoun look most at a word of its own group?

A pronoun counts if it is third-person personal (UPOS PRON, PronType Prs, Person 3) and a mention of one word, with
two earlier candidates or more in the window, one or more of its own group. The query is its last token; each candidate
is the head word of earlier mentions (the word of the span whose head lies outside it; mentions with one head word are
one candidate with all their groups); the window's first whole word is none.

Baselines: the nearest candidate; any candidate ("chance"); the nearest that agrees in Number and kind.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from .questions import Kind
from .treebank import Document, Word
from .windows import Window

COREFERENCE = "coreference"


@dataclass(frozen=True)
class Pronoun:
    """A pronoun of a window, and the head words of earlier mentions: words of the document."""

    word: int
    candidates: list[int]
    right: set[int]
    kinds: dict[int, set[str]]
    """For each candidate, the kinds of its mentions."""


class Antecedents:
    """A document's mentions, ready to be asked for window by window."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.mentions = sorted(document.mentions, key=lambda mention: mention.head)
        self.heads = [mention.head for mention in self.mentions]

    def questions(self, window: Window) -> dict[str, Kind]:
        """The questions of a window: `coreference`."""
        kind = Kind()
        for pronoun in self.pronouns(window):
            query = int(window.columns([pronoun.word])[0])
            columns = window.columns(pronoun.candidates).tolist()
            meant = [at for at, word in zip(columns, pronoun.candidates, strict=True) if word in pronoun.right]
            kind.ask(int(window.last_token[query]), columns, meant)
            _count_baselines(self.document, pronoun, kind)
        return {COREFERENCE: kind}

    def pronouns(self, window: Window) -> Iterator[Pronoun]:
        """The pronouns that can be asked, in the order of the text."""
        if not len(window.words):
            return
        first, last = int(window.words[0]), int(window.words[-1])
        near = self.mentions[bisect_left(self.heads, first) : bisect_right(self.heads, last)]
        columns = window.columns([mention.head for mention in near]).tolist()
        here = [mention for mention, column in zip(near, columns, strict=True) if column >= 0]
        groups: dict[int, set[str]] = {}
        for mention in here:
            if mention.first == mention.last and is_pronoun(self.document.words[mention.first]):
                groups.setdefault(mention.first, set()).add(mention.group)
        for word, own in sorted(groups.items()):
            earlier = [mention for mention in here if first < mention.head < word]
            kinds: dict[int, set[str]] = {}
            for mention in earlier:
                kinds.setdefault(mention.head, set()).add(mention.kind)
            right = {mention.head for mention in earlier if mention.group in own}
            if len(kinds) >= 2 and right:
                yield Pronoun(word, sorted(kinds), right, kinds)


def is_pronoun(word: Word) -> bool:
    """Whether a word is a third-person personal pronoun."""
    return word.upos == "PRON" and word.features.get("PronType") == "Prs" and word.features.get("Person") == "3"


def _count_baselines(document: Document, pronoun: Pronoun, kind: Kind) -> None:
    """The nearest candidate; any candidate; the nearest that agrees in number and kind (if none does, the nearest)."""
    candidates, right = pronoun.candidates, pronoun.right
    kind.count("nearest", float(candidates[-1] in right))
    kind.count("chance", len(right) / len(candidates))
    word = document.words[pronoun.word]
    agreeing = [at for at in candidates if _agrees(word, document.words[at], pronoun.kinds[at])]
    kind.count("nearest agreeing", float((agreeing or candidates)[-1] in right))


def _agrees(pronoun: Word, word: Word, kinds: set[str]) -> bool:
    """In Number where both have one; a masculine or feminine pronoun with a person, a neuter one with anything else."""
    number, other = pronoun.features.get("Number"), word.features.get("Number")
    gender = pronoun.features.get("Gender")
    if number is not None and other is not None and number != other:
        return False
    if gender in ("Masc", "Fem"):
        return "person" in kinds
    return gender != "Neut" or kinds != {"person"}
