"""Entity brackets in MISC → mentions, as GUM and CorefUD write them: (4-place opens, 4) closes, (4-place) is one word.

Brackets of one group close the last that was opened. What does not fit is told with its line, never guessed.
"""

import re
from collections.abc import Iterator

PIECE = re.compile(r"\(([^()]+)(\))?|([^()]+)\)")
"""An opening, with its closing if it is one word long; or a closing."""
VALUE = re.compile(r"(\([^()]+\)?|[^()]+\))+")
"""Brackets, and nothing else."""
PART = re.compile(r"\[\d+/\d+\]$")
"""CorefUD's mark of a mention in several pieces: e4[1/2]."""


class Brackets:
    """The mentions of a document, from its words one after the other."""

    def __init__(self) -> None:
        self.seen = False
        """Whether there was any bracket."""
        self._open: dict[str, list[tuple[int, str, int]]] = {}
        """For every group the mentions that are still open: first word, kind, line."""
        self._spans: list[tuple[str, str, int, int]] = []

    def read(self, misc: str, word: int, line: int) -> Iterator[tuple[int, str]]:
        """The brackets at a word; yields what does not fit, each with its line."""
        for value in misc.split("|"):
            if not value.startswith("Entity="):
                continue
            self.seen = True
            value = value.removeprefix("Entity=")
            if not VALUE.fullmatch(value):
                yield line, f"no brackets of mentions: {value[:40]}"
                continue
            for opening, alone, closing in PIECE.findall(value):
                group, _, rest = (opening or closing).partition("-") if opening else (closing, "", "")
                yield from self._piece(group, rest.partition("-")[0], word, line, bool(opening), bool(alone))

    def _piece(
        self, group: str, kind: str, word: int, line: int, opens: bool, alone: bool
    ) -> Iterator[tuple[int, str]]:
        if PART.search(group):
            if opens:
                yield line, f"a mention in several pieces, {group[:20]}, is left out"
        elif alone:
            self._spans.append((group, kind, word, word))
        elif opens:
            self._open.setdefault(group, []).append((word, kind, line))
        elif self._open.get(group):
            first, kind, _ = self._open[group].pop()
            self._spans.append((group, kind, first, word))
        else:
            yield line, f"a mention of group {group[:20]} closes unopened"

    def unclosed(self) -> Iterator[tuple[int, str]]:
        """The mentions that are still open, each with its line."""
        for line, group in sorted((line, group) for group, still in self._open.items() for *_, line in still):
            yield line, f"a mention of group {group[:20]} never closes"

    def spans(self) -> list[tuple[str, str, int, int]]:
        """Group, kind, first and last word of each mention, in the order of the text."""
        return sorted(self._spans, key=lambda span: span[2:])
