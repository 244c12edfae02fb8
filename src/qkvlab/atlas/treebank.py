"""CoNLL-U → documents: words with their places in the text, dependencies, and mentions with their groups."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, TextError

BRACKETS = re.compile(r"\(([^()]*)(\))?|([^()]+)\)")
"""The pieces of an Entity value: an opening, with its closing if it is one word long; or a closing."""


COLUMNS = 10
ID = re.compile(r"[1-9]\d{0,8}(-[1-9]\d{0,8})?|\d{1,9}\.[1-9]\d{0,8}", re.ASCII)
"""A word, a range of words, an empty node."""


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
    """A document as text, with what is known of its words."""

    name: str
    text: str = ""
    words: list[Word] = field(default_factory=list)
    sentences: list[range] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was left out, each "file:line: what"."""


def read_treebank(path: Path) -> Iterator[Document]:
    """The documents of a CoNLL-U file, one after the other; sentences before any `newdoc` are one by the file's name.

    Words are joined by one space unless SpaceAfter=No; a range line gives the surface of its words; empty nodes are
    skipped; one space stands between sentences. A sentence with a broken line is left out, with file and line among
    the document's problems; where its `# text` is given, that stands in the text, so that what follows keeps its
    place. Raises MissingExtraError without `conllu`, TextError for a file without a sentence.
    """
    try:
        import conllu
    except ImportError:
        raise MissingExtraError("reading a treebank", "atlas") from None
    builder, found = _Builder(Document(path.stem), path.name), False
    for block in _blocks(path):
        begun = next((line for _, line in block if line.startswith("# newdoc")), None)
        if begun is not None and not builder.document.text and not builder.document.problems:
            builder.document.name = begun.partition("=")[2].strip() or path.stem
        elif begun is not None:
            yield builder.done()
            builder = _Builder(Document(begun.partition("=")[2].strip() or path.stem), path.name)
        numbers = [at for at, line in block if not line.startswith("#")]
        if not numbers:
            continue
        broken = _broken(block)
        if broken is None:
            try:
                (sentence,) = conllu.parse("\n".join(line for _, line in block) + "\n\n")
                builder.add(sentence, numbers)
                found = True
                continue
            except (conllu.exceptions.ParseException, ValueError, TypeError, KeyError) as error:
                broken = numbers[0], str(error).splitlines()[0][:100]
        builder.leave_out(broken, next((line for _, line in block if line.startswith("# text =")), ""))
    if not found:
        problem = next(iter(builder.document.problems), f"{path.name}: it is empty")
        raise TextError(f"{path.name} is no CoNLL-U: there is no sentence in it ({problem})")
    yield builder.done()


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Sentences as numbered lines; a line that is no UTF-8 as one that cannot be read."""
    block: list[tuple[int, str]] = []
    with path.open("rb") as file:
        for at, data in enumerate(file, 1):
            line = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape").rstrip("\r\n")
            if line.strip():
                block.append((at, line))
            elif block:
                yield block
                block = []
    if block:
        yield block


def _broken(block: list[tuple[int, str]]) -> tuple[int, str] | None:
    """The first line that is none of CoNLL-U, and why."""
    seen: set[str] = set()
    for at, line in block:
        if not line.isprintable() and any("\ud800" <= c <= "\udfff" for c in line):
            return at, "the line is not UTF-8"
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != COLUMNS:
            return at, f"a line has {len(columns)} columns of {COLUMNS}"
        if not ID.fullmatch(columns[0]) or columns[0] in seen:
            return at, f"{columns[0][:20]!r} is no word's number, or comes twice"
        seen.add(columns[0])
    words = [number for number in seen if number.isdigit()]
    if {int(number) for number in words} != set(range(1, len(words) + 1)):
        first = next(at for at, line in block if not line.startswith("#"))
        return first, f"its {len(words)} words are not numbered from 1 on"
    return None


class _Builder:
    """A document on the way."""

    def __init__(self, document: Document, file: str) -> None:
        self.document = document
        self._file = file
        self._glue = False
        self._open: dict[str, list[tuple[int, str, int]]] = {}
        """For every group the mentions that are still open: first word, kind, line."""
        self._spans: list[tuple[str, str, int, int]] = []

    def add(self, sentence: Any, lines: list[int]) -> None:
        """One sentence of the file; `lines` are the numbers of its rows."""
        document = self.document
        first = len(document.words)
        rows = [(row, at) for row, at in zip(sentence, lines, strict=True) if isinstance(row["id"], int)]
        places = self._places(sentence)
        for row, at in rows:
            document.words.append(self._word(row, first, len(rows), places[row["id"]], at))
            self._entities((row["misc"] or {}).get("Entity") or "", len(document.words) - 1, at)
        if rows:
            document.sentences.append(range(first, len(document.words)))

    def leave_out(self, broken: tuple[int, str], text: str) -> None:
        """A sentence that cannot be read; its text, if it is known, still stands there."""
        self._say(broken[0], f"{broken[1]}; the sentence is left out")
        known = text.partition("=")[2].strip()
        if known:
            self.document.text += " " * self._glue + known
            self._glue = True

    def _say(self, line: int, what: str) -> None:
        self.document.problems.append(f"{self._file}:{line}: {what}")

    def done(self) -> Document:
        """The document, its mentions with their head words."""
        document = self.document
        for group, still in self._open.items():
            for *_, line in still:
                self._say(line, f"a mention of group {group[:20]} never closes")
        for group, kind, first, last in sorted(self._spans, key=lambda span: span[2:]):
            inside = range(first, last + 1)
            out = [at for at in inside if document.words[at].head not in inside]
            document.mentions.append(Mention(group, kind, first, last, out[0]))
        return document

    def _word(self, row: Any, first: int, n_word: int, place: tuple[int, int], line: int) -> Word:
        head = row["head"]
        if not isinstance(head, int) or not 0 <= head <= n_word or head == row["id"]:
            self._say(line, f"word {row['id']} has the head {head!r} among {n_word} words; its dependency is left out")
            head = 0
        relation = row["deprel"] if head else "root"
        target = first + head - 1 if head else None
        return Word(row["form"], *place, target, relation or "dep", row["upos"] or "X", row["feats"] or {})

    def _places(self, sentence: Any) -> dict[int, tuple[int, int]]:
        """Add the sentence's surface to the text; the characters of each word, by its id."""
        document, places, ranges = self.document, dict[int, tuple[int, int]](), dict[int, Any]()
        glue = self._glue
        for row in sentence:
            if isinstance(row["id"], tuple) and row["id"][1] == "-":
                ranges |= dict.fromkeys(range(row["id"][0], row["id"][2] + 1), row)
        for row in sentence:
            if not isinstance(row["id"], int) or row["id"] in places:
                continue
            whole = ranges.get(row["id"], row)
            parts = [part for part in sentence if isinstance(part["id"], int) and ranges.get(part["id"]) is whole]
            start = len(document.text) + glue
            document.text += " " * glue + whole["form"]
            forms = [part["form"] for part in parts]
            for part in parts or [row]:
                length = len(part["form"]) if "".join(forms) == whole["form"] else len(whole["form"])
                places[part["id"]] = (start, start + length)
                start += length if "".join(forms) == whole["form"] else 0
            glue = (whole["misc"] or {}).get("SpaceAfter") != "No"
        self._glue = bool(document.text)
        return places

    def _entities(self, value: str, word: int, line: int) -> None:
        """Openings and closings of mentions at a word."""
        for opening, one_word, closing in BRACKETS.findall(value):
            if closing:
                still = self._open.get(closing, [])
                if not still:
                    self._say(line, f"a mention of group {closing[:20]} closes unopened")
                    continue
                first, kind, _ = still.pop()
                self._spans.append((closing, kind, first, word))
                continue
            group, _, rest = opening.partition("-")
            kind = rest.partition("-")[0]
            if one_word:
                self._spans.append((group, kind, word, word))
            else:
                self._open.setdefault(group, []).append((word, kind, line))
