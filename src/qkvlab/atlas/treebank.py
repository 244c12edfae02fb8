"""CoNLL-U → documents: words with their places in the text, dependencies, and mentions with their groups.

A sentence whose lines are broken, or whose dependencies are no tree, is left out: its words are none of the document's,
but its surface still stands in the text where it is known, so that windows fall as they would. Every sentence and every
mention that is left out is a problem of the document, "file:line: what".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, TextError
from .brackets import Brackets
from .sentences import Block, blocks, surface, trouble

CUT_AT = 8_000
"""A file that names no document is cut, between sentences, into documents of about so many characters. Where mentions
are marked it is not: a group may reach from its beginning to its end."""


@dataclass(frozen=True)
class Word:
    """A syntactic word. Words are counted through the document."""

    form: str
    start: int
    end: int
    """Its characters in the text of the document. Words that one surface form holds undivided share theirs."""
    head: int | None
    """The word it depends on; None for the root."""
    relation: str
    upos: str
    features: Mapping[str, str]


@dataclass(frozen=True)
class Mention:
    """A mention of something: the words from `first` to `last`."""

    group: str
    kind: str
    """The second field of the Entity bracket: person, abstract, ..."""
    first: int
    last: int
    head: int
    """The word of the span whose head lies outside it (the first such)."""


@dataclass
class Document:
    """A document as text, with what is known of its words: nothing, if it comes from plain text."""

    name: str
    text: str = ""
    words: list[Word] = field(default_factory=list)
    sentences: list[range] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was left out, each "file:line: what"."""
    place: str = ""
    """Where it begins, "file:line"."""


def read_treebank(path: Path) -> Iterator[Document]:
    """The documents of a CoNLL-U file, one after the other; sentences before any `newdoc` are named as the file is.

    Words are joined by one space unless SpaceAfter=No; a range line gives the surface of its words; empty nodes are
    skipped; one space stands between sentences. Raises MissingExtraError without `conllu`, TextError for a file
    without a sentence that can be read.
    """
    try:
        import conllu
    except ImportError:
        raise MissingExtraError("reading a treebank", "atlas") from None
    builder, found, cuts = _Builder(path.stem, path.name, 1), False, 1
    first: str | None = None
    begun = False
    for block in blocks(path):
        if block.document is not None:
            if begun or builder.size or builder.document.problems:
                yield builder.done()
            builder, begun = _Builder(block.document or path.stem, path.name, block.first), True
        elif not begun and builder.size >= CUT_AT and not builder.marked:
            yield builder.done()
            cuts += 1
            builder = _Builder(f"{path.stem}:{cuts}", path.name, block.first)
        if not block.rows and block.broken is None:
            continue
        broken = trouble(block)
        if broken is None:
            try:
                builder.add(conllu.parse("\n".join(row for _, row in block.rows) + "\n\n")[0], block)
                found = True
                continue
            except conllu.exceptions.ParseException as error:
                broken = block.rows[0][0], str(error).splitlines()[0][:100]
        builder.leave_out(*broken, surface(block))
        first = first or builder.document.problems[-1]
    if not found:
        raise TextError(f"{path.name} is no CoNLL-U: there is no sentence in it ({first or 'it is empty'})")
    yield builder.done()


class _Builder:
    """A document on the way."""

    def __init__(self, name: str, file: str, line: int) -> None:
        self.document = Document(name, place=f"{file}:{line}")
        self.size = 0
        """Characters so far."""
        self._file, self._text, self._glue = file, list[str](), False
        self._brackets = Brackets()

    @property
    def marked(self) -> bool:
        """Whether any mention is marked in it."""
        return self._brackets.seen

    def add(self, sentence: Any, block: Block) -> None:
        """A sentence of the file: its rows as `conllu` reads them, and as they are."""
        words = self.document.words
        first = len(words)
        places = self._places(sentence)
        for row, (line, raw) in zip(sentence, block.rows, strict=True):
            if not isinstance(row["id"], int):
                continue
            head = first + row["head"] - 1 if row["head"] else None
            relation = row["deprel"] if row["head"] else "root"
            words.append(Word(row["form"], *places[row["id"]], head, relation, row["upos"], row["feats"] or {}))
            for problem_line, what in self._brackets.read(raw.rpartition("\t")[2], len(words) - 1, line):
                self._say(problem_line, what)
        self.document.sentences.append(range(first, len(words)))

    def leave_out(self, line: int, what: str, text: str | None) -> None:
        """A sentence that cannot be used; its surface, if it is known, still stands in the text."""
        lost = "" if text else ", with its text"
        self._say(line, f"{what}; the sentence is left out{lost}")
        if text:
            self._put(text)
            self._glue = True

    def done(self) -> Document:
        """The document, its mentions with their head words."""
        document = self.document
        document.text = "".join(self._text)
        for line, what in self._brackets.unclosed():
            self._say(line, what)
        for group, kind, first, last in self._brackets.spans():
            inside = range(first, last + 1)
            head = next(at for at in inside if document.words[at].head not in inside)
            document.mentions.append(Mention(group, kind, first, last, head))
        return document

    def _say(self, line: int, what: str) -> None:
        self.document.problems.append(f"{self._file}:{line}: {what}")

    def _put(self, surface: str) -> int:
        """Add to the text; where it starts."""
        glue = " " * (self._glue and self.size > 0)
        self._text.append(glue + surface)
        start = self.size + len(glue)
        self.size = start + len(surface)
        return start

    def _places(self, sentence: Any) -> dict[int, tuple[int, int]]:
        """Add the sentence's surface to the text; the characters of each word, by its number."""
        places = dict[int, tuple[int, int]]()
        forms = {row["id"]: row["form"] for row in sentence if isinstance(row["id"], int)}
        for row in sentence:
            whole = row["id"]
            if whole in places or (isinstance(whole, tuple) and whole[1] != "-"):
                continue
            members = [whole] if isinstance(whole, int) else range(whole[0], whole[2] + 1)
            start = self._put(row["form"])
            self._glue = (row["misc"] or {}).get("SpaceAfter") != "No"
            divided = "".join(forms[at] for at in members) == row["form"]
            for at in members:
                length = len(forms[at]) if divided else len(row["form"])
                places[at] = (start, start + length)
                start += length if divided else 0
        self._glue = True
        return places
