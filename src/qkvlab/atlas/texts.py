"""Texts without annotation → documents: plain, JSONL, Parquet, each read a piece at a time."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, TextError
from .lines import pieces
from .treebank import CUT_AT, Document

LONGEST = 4 * CUT_AT
"""A plain text is cut at the first empty line after `CUT_AT` characters; where none comes, at the last line end before
so many; where no line ends, after so many."""
LARGEST = 1 << 26
"""Bytes of a line of JSONL; a longer one is passed over."""
ROWS = 64
"""Rows of Parquet that are held at once."""

Say = Callable[[str], None]
"""Hears a problem, "file:line: what"."""
Reader = Callable[[Path, str, str, Say], Iterator[Document]]


def reader(path: Path) -> Reader:
    """What reads this kind of file, by the end of its name: `(path, its label, field, say)` → documents."""
    return READERS.get(path.suffix.lower(), plain)


def plain(path: Path, label: str, field: str, say: Say) -> Iterator[Document]:
    """A text in documents of about `CUT_AT` characters. A line that is not UTF-8 is passed over."""
    held, size, number, begun = list[str](), 0, 1, 1
    for line, data, begins, ends in pieces(path, LONGEST):
        try:
            text = data.decode("utf-8") + "\n" * ends
        except UnicodeDecodeError as error:
            say(f"{label}:{line}: byte {error.start + 1} of the line is not UTF-8; passed over")
            text = "\n" * ends
        empty = begins and ends and not text.strip()
        if held and (size + len(text) > LONGEST or (size >= CUT_AT and empty)):
            yield Document(f"{label}:{number}", "".join(held).strip(), place=f"{label}:{begun}")
            held, size, number = [], 0, number + 1
        if empty and not held:
            continue
        begun = begun if held else line
        held.append(text)
        size += len(text)
    if held or number == 1:
        yield Document(f"{label}:{number}", "".join(held).strip(), place=f"{label}:{begun}")


def jsonl(path: Path, label: str, field: str, say: Say) -> Iterator[Document]:
    """One object a line, one document each."""
    for line, data, begins, ends in pieces(path, LARGEST):
        if not (begins and ends):
            if begins:
                say(f"{label}:{line}: the line is longer than {LARGEST:,} bytes; passed over")
            continue
        if not data.strip():
            continue
        try:
            value: Any = json.loads(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            say(f"{label}:{line}: byte {error.start + 1} of the line is not UTF-8; passed over")
        except (ValueError, RecursionError):
            say(f"{label}:{line}: the line is no JSON; passed over")
        else:
            text = value.get(field) if isinstance(value, dict) else None
            yield from _document(text, label, line, f"field {field!r}", say)


def parquet(path: Path, label: str, field: str, say: Say) -> Iterator[Document]:
    """One document a row, of the column `field`; row groups are read in batches."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading Parquet", "atlas") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if names.count(field) != 1:
                known = ", ".join(names[:8])
                raise TextError(f"{path.name} has no one column {field!r}; it has {known}: name one with --field")
            row = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=[field]):
                for value in batch.column(0):
                    row += 1
                    try:
                        text = value.as_py()
                    except UnicodeDecodeError:
                        text = None
                    yield from _document(text, label, row, f"column {field!r}", say)
    except (pyarrow.ArrowException, OSError) as error:
        raise TextError(f"{path.name} cannot be read as Parquet: {str(error).splitlines()[0][:120]}") from None


def _document(text: object, label: str, line: int, where: str, say: Say) -> Iterator[Document]:
    place = f"{label}:{line}"
    if not isinstance(text, str):
        say(f"{place}: no text in the {where}; passed over")
    elif not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        say(f"{place}: half a surrogate pair in the {where}; passed over")
    else:
        yield Document(place, text, place=place)


READERS: dict[str, Reader] = {".jsonl": jsonl, ".ndjson": jsonl, ".parquet": parquet}
"""By the end of a file's name; any other is plain text."""
