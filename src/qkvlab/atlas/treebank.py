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
    """What was left out, each with its sentence."""


def read_treebank(path: Path) -> Iterator[Document]:
    """The documents of a CoNLL-U file, one after the other; sentences before any `newdoc` are one by the file's name.

    Words are joined by one space unless SpaceAfter=No; a range line gives the surface of its words; empty nodes are
    skipped; one space stands between sentences. Raises MissingExtraError without `conllu`, TextError for no CoNLL-U.
    """
    try:
        import conllu
    except ImportError:
        raise MissingExtraError("reading a treebank", "atlas") from None
    builder: _Builder | None = None
    with path.open(encoding="utf-8") as file:
        try:
            for sentence in conllu.parse_incr(file):
                name = next((value for key, value in sentence.metadata.items() if key.startswith("newdoc")), None)
                if name is not None or "newdoc" in sentence.metadata or builder is None:
                    if builder is not None:
                        yield builder.done()
                    builder = _Builder(Document(name or path.stem))
                name = sentence.metadata.get("sent_id", f"sentence {len(builder.document.sentences)}")
                short = next((len(row) for row in sentence if len(row) != COLUMNS), None)
                if short is not None:
                    raise TextError(f"{path.name} is no CoNLL-U: a line of {name} has {short} columns of {COLUMNS}")
                builder.add(sentence, name)
        except (conllu.exceptions.ParseException, UnicodeDecodeError) as error:
            raise TextError(f"{path.name} is no CoNLL-U: {str(error).splitlines()[0][:100]}") from None
    if builder is not None:
        yield builder.done()


class _Builder:
    """A document on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._open: dict[str, list[tuple[int, str]]] = {}
        """For every group the mentions that are still open: first word and kind."""
        self._spans: list[tuple[str, str, int, int]] = []

    def add(self, sentence: Any, name: str) -> None:
        """One sentence of the file."""
        document = self.document
        first = len(document.words)
        rows = [row for row in sentence if isinstance(row["id"], int)]
        places = self._places(sentence)
        for row in rows:
            document.words.append(self._word(row, first, len(rows), places[row["id"]], name))
            self._entities((row["misc"] or {}).get("Entity") or "", len(document.words) - 1, name)
        if rows:
            document.sentences.append(range(first, len(document.words)))

    def done(self) -> Document:
        """The document, its mentions with their head words."""
        document = self.document
        for group, still in self._open.items():
            document.problems += [f"a mention of group {group} never closes"] * len(still)
        for group, kind, first, last in sorted(self._spans, key=lambda span: span[2:]):
            inside = range(first, last + 1)
            out = [at for at in inside if document.words[at].head not in inside]
            document.mentions.append(Mention(group, kind, first, last, out[0]))
        return document

    def _word(self, row: Any, first: int, n_word: int, place: tuple[int, int], name: str) -> Word:
        head = row["head"]
        if not isinstance(head, int) or not 0 <= head <= n_word or head == row["id"]:
            self.document.problems.append(f"{name}: word {row['id']} has the head {head!r}")
            head = 0
        relation = row["deprel"] if head else "root"
        target = first + head - 1 if head else None
        return Word(row["form"], *place, target, relation or "dep", row["upos"] or "X", row["feats"] or {})

    def _places(self, sentence: Any) -> dict[int, tuple[int, int]]:
        """Add the sentence's surface to the text; the characters of each word, by its id."""
        document, places, ranges = self.document, dict[int, tuple[int, int]](), dict[int, Any]()
        glue = bool(document.text)
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
        return places

    def _entities(self, value: str, word: int, name: str) -> None:
        """Openings and closings of mentions at a word."""
        for opening, one_word, closing in BRACKETS.findall(value):
            if closing:
                still = self._open.get(closing, [])
                if not still:
                    self.document.problems.append(f"{name}: a mention of group {closing[:20]} closes unopened")
                    continue
                first, kind = still.pop()
                self._spans.append((closing, kind, first, word))
                continue
            group, _, rest = opening.partition("-")
            kind = rest.partition("-")[0]
            if one_word:
                self._spans.append((group, kind, word, word))
            else:
                self._open.setdefault(group, []).append((word, kind))
