"""A CoNLL-U file → its sentences as numbered lines; which of them are broken, and where."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import TextError
from .lines import pieces

COLUMNS = 10
LONGEST = 1 << 20
"""Bytes of a line; a longer one is broken."""
MOST = 20_000
"""Lines of a sentence; where more come without an empty line between them, the file is no treebank."""
ID = re.compile(r"[1-9]\d{0,8}(-[1-9]\d{0,8})?|\d{1,9}\.[1-9]\d{0,8}", re.ASCII)
"""A word, a range of words, an empty node."""
NEW_DOCUMENT = re.compile(r"#\s*newdoc\b(?:\s+id)?\s*=?\s*(.*)")
TEXT = re.compile(r"#\s*text\s*=\s*(.*)")


@dataclass
class Block:
    """The lines between two empty lines."""

    first: int
    """The number of its first line."""
    rows: list[tuple[int, str]] = field(default_factory=list)
    """The lines that are no comments, each with its number."""
    document: str | None = None
    """The name of the document that begins here, "" if it has none; None if none begins."""
    text: str = ""
    """What its `# text` comment says."""
    broken: tuple[int, str] | None = None
    """The first line that cannot be read at all."""


def blocks(path: Path) -> Iterator[Block]:
    """The sentences of a file. Raises TextError for what is no text, or has no empty lines between sentences."""
    block: Block | None = None
    for line, data, begins, ends in pieces(path, LONGEST):
        if begins and ends and not data.strip():
            if block is not None:
                yield block
            block = None
            continue
        block = block or Block(line)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            block.broken = block.broken or (line, f"the line is not UTF-8 (byte {error.start + 1})")
            continue
        if not (begins and ends):
            block.broken = block.broken or (line, f"the line is longer than {LONGEST:,} bytes")
            continue
        _take(block, line, text)
        if len(block.rows) > MOST:
            raise TextError(f"{path.name} is no CoNLL-U: line {line} follows {MOST:,} lines without an empty one")
    if block is not None:
        yield block


def _take(block: Block, line: int, text: str) -> None:
    if not text.startswith("#"):
        block.rows.append((line, text))
    elif match := NEW_DOCUMENT.match(text):
        block.document = match[1].strip()
    elif match := TEXT.match(text):
        block.text = match[1].strip()


def trouble(block: Block) -> tuple[int, str] | None:
    """The first line that makes the sentence unusable, and why; None for a sound one."""
    if block.broken is not None:
        return block.broken
    return _lines_trouble(block) or _numbers_trouble(block) or _tree_trouble(block)


def surface(block: Block) -> str | None:
    """The text of a sentence: of its rows if they and their numbers are sound, else of its comment; None if unknown."""
    if block.broken is not None or _lines_trouble(block) or _numbers_trouble(block):
        return block.text or None
    found, until = "", 0
    for _, row in block.rows:
        columns = row.split("\t")
        first, _, last = columns[0].partition("-")
        if "." in first or int(first) <= until:
            continue
        until = int(last or first)
        found += columns[1] + " " * ("SpaceAfter=No" not in columns[9].split("|"))
    return found.strip() or None


def _lines_trouble(block: Block) -> tuple[int, str] | None:
    """Ten columns, none empty, parted by tabs alone (`conllu` takes two spaces for a tab)."""
    for line, row in block.rows:
        columns = row.split("\t")
        if len(columns) != COLUMNS:
            return line, f"the line has {len(columns)} columns, not {COLUMNS}"
        if not ID.fullmatch(columns[0]):
            return line, f"{columns[0][:20]!r} is no number of a word"
        if not all(column.strip() for column in columns):
            return line, f"column {next(at for at, c in enumerate(columns, 1) if not c.strip())} is empty"
        if "  " in row:
            return line, "two spaces stand within a column"
    return None


def _numbers_trouble(block: Block) -> tuple[int, str] | None:
    """Words are counted from 1 on; ranges of them do not overlap and stand before their words."""
    words, until = 0, 0
    for line, row in block.rows:
        number = row.partition("\t")[0]
        first, _, last = number.partition("-")
        if "." in number:
            continue
        if int(first) != words + 1 or (last and (int(last) < int(first) or int(first) <= until)):
            return line, f"the number {number} follows word {words}"
        if last:
            until = int(last)
        else:
            words += 1
    if until > words:
        return block.rows[-1][0], f"a range of words reaches to {until} of {words}"
    return None if words else (block.rows[0][0], "there is no word in it")


def _tree_trouble(block: Block) -> tuple[int, str] | None:
    """Every word has a relation and a head, and the way up from it ends at a root."""
    rows = [(line, row.split("\t")) for line, row in block.rows]
    words = [(line, columns) for line, columns in rows if columns[0].isdigit()]
    heads = [0]
    for line, columns in words:
        if not re.fullmatch(r"\d{1,9}", columns[6], re.ASCII) or int(columns[6]) > len(words):
            return line, f"word {columns[0]} of {len(words)} has the head {columns[6][:20]!r}"
        if columns[7] == "_":
            return line, f"word {columns[0]} has no relation to its head"
        heads.append(int(columns[6]))
    sound = {0}
    for start, (line, _) in enumerate(words, 1):
        way, at = dict[int, None](), start
        while at not in sound:
            if at in way:
                return line, f"the heads from word {start} on go round in a circle"
            way[at] = None
            at = heads[at]
        sound |= way.keys()
    return None
