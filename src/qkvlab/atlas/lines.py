"""A file → its lines with their numbers, in memory that is bounded however long a line is."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import TextError

LOOK = 1 << 16
"""Bytes of a file's beginning that are looked at to tell text from what is none."""
MARK = b"\xef\xbb\xbf"
"""What some editors write before UTF-8."""


class Piece(NamedTuple):
    """A line without its end, or a piece of one that is longer than was allowed."""

    line: int
    """From 1."""
    data: bytes
    begins: bool
    """Whether the line begins with this piece."""
    ends: bool
    """Whether it ends with it."""


def pieces(path: Path, longest: int) -> Iterator[Piece]:
    """The lines of a file, in pieces of about `longest` bytes at most, none cut within a character of UTF-8.

    Raises TextError for a file that cannot be read, and for one that is no text: its beginning holds a zero byte.
    """
    try:
        with path.open("rb") as file:
            if b"\0" in file.read(LOOK):
                raise TextError(f"{path.name} is no text in UTF-8: it holds zero bytes (is it packed, or UTF-16?)")
            file.seek(0)
            yield from _pieces(file, longest)
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror or error}") from None


def _pieces(file: BinaryIO, longest: int) -> Iterator[Piece]:
    line, begins = 1, True
    while data := file.readline(longest):
        ends = data.endswith(b"\n")
        if not ends:
            while (more := file.read(1)) and 0x80 <= more[0] < 0xC0:
                data += more
            ends = more in (b"", b"\n")
            if not ends:
                file.seek(-1, 1)
        if line == 1 and begins:
            data = data.removeprefix(MARK)
        yield Piece(line, data.rstrip(b"\r\n") if ends else data, begins, ends)
        line, begins = line + ends, ends
