"""Files → documents, one after the other: plain text, JSONL, Parquet, CoNLL-U. No file is ever in memory whole.

What cannot be read is passed over, counted, and said with file and line. Names of documents are those of the treebank,
or file:number; a name that comes again gets a number behind it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, TextError
from .treebank import Document, read_treebank

CUT_AT = 8_000
"""A plain file is cut into documents of about so many characters: at the next empty line, if one comes."""
LONGEST = 4 * CUT_AT
"""Where no empty line comes: at the end of a line; and where no line ends, here."""
SAID = 1_000
"""Problems that are kept in words; all are counted."""
SAMPLE_TEXT, SAMPLE_TREEBANK = "atlas-sample.txt", "atlas-sample.conllu"


@dataclass(frozen=True)
class File:
    """A file of a corpus."""

    path: Path
    treebank: bool

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Of its bytes, read a piece at a time."""
        total = sha256()
        with self.path.open("rb") as file:
            while piece := file.read(1 << 20):
                total.update(piece)
        return total.hexdigest()


class Corpus:
    """Files as documents; can be gone through again, and gives the same."""

    def __init__(self, files: Sequence[File], field: str = "text") -> None:
        self.files, self.field = tuple(files), field
        self.problems: list[str] = []
        """Each "file:line: what", of the last time it was gone through; the first `SAID` of them."""
        self.n_problem = 0

    def documents(self) -> Iterator[Document]:
        """Every document that holds something. Raises TextError for a file that cannot be read at all."""
        self.problems, self.n_problem = [], 0
        names: dict[str, int] = {}
        for file in self.files:
            for document in self._of(file):
                for problem in document.problems:
                    self._say(problem)
                if not document.text.strip():
                    self._say(f"{document.name}: empty, passed over")
                    continue
                again = names.get(document.name, 0)
                names[document.name] = again + 1
                if again:
                    self._say(f"{document.name}: the name comes again; called {document.name}#{again + 1}")
                    document.name = f"{document.name}#{again + 1}"
                yield document

    def _of(self, file: File) -> Iterator[Document]:
        if file.treebank:
            yield from read_treebank(file.path)
            return
        kind = file.path.suffix.lower()
        read = {".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}.get(kind, _plain)
        yield from read(file.path, self.field, self._say)

    def _say(self, problem: str) -> None:
        self.n_problem += 1
        if len(self.problems) < SAID:
            self.problems.append(problem)


Say = Callable[[str], None]


def open_corpus(text: Sequence[Path], treebank: Sequence[Path], field: str = "text") -> Corpus:
    """These files as a corpus, in this order. Raises TextError for one that is not there or is given twice."""
    found = [*(File(path, False) for path in text), *(File(path, True) for path in treebank)]
    seen: set[Path] = set()
    for file in found:
        if not file.path.is_file():
            raise TextError(f"{file.path} is no file that can be read")
        if file.path.resolve() in seen:
            raise TextError(f"{file.path} is given twice, and would be counted twice")
        seen.add(file.path.resolve())
    return Corpus(found, field)


def sample_corpus() -> Corpus:
    """The small text and the small treebank that are shipped: sentences of our own."""
    data = Path(str(package_files("qkvlab"))) / "data"
    return Corpus([File(data / SAMPLE_TEXT, False), File(data / SAMPLE_TREEBANK, True)])


def _plain(path: Path, field: str, say: Say) -> Iterator[Document]:
    number, held, size = 0, list[str](), 0

    def done() -> Document:
        nonlocal number, held, size
        number += 1
        document = Document(f"{path.name}:{number}", "".join(held).strip())
        held, size = [], 0
        return document

    for line, at in _lines(path, say):
        if size >= CUT_AT and (not line.strip() or size + len(line) > LONGEST):
            yield done()
        while size + len(line) > LONGEST:
            held.append(line[: LONGEST - size])
            line = line[LONGEST - size :]
            yield done()
        held.append(line)
        size += len(line)
        del at
    if "".join(held).strip():
        yield done()


def _lines(path: Path, say: Say) -> Iterator[tuple[str, int]]:
    """Lines with their numbers, each at most `LONGEST` characters; those that are no UTF-8 are passed over."""
    at = 0
    with path.open("rb") as file:
        while data := file.readline(4 * LONGEST):
            at += 1
            data = data.removeprefix(b"\xef\xbb\xbf") if at == 1 else data
            try:
                yield data.decode("utf-8"), at
            except UnicodeDecodeError as error:
                if data.endswith(b"\n") or error.start < len(data) - 3:
                    say(f"{path.name}:{at}: not UTF-8 (byte {error.start} of the line), passed over")
                    continue
                file.seek(error.start - len(data), 1)  # a long line was cut within a character
                at -= 1
                yield data[: error.start].decode("utf-8"), at


def _jsonl(path: Path, field: str, say: Say) -> Iterator[Document]:
    with path.open("rb") as file:
        for at, data in enumerate(file, 1):
            if not data.strip():
                continue
            try:
                value: Any = json.loads(data)
            except (ValueError, RecursionError):
                say(f"{path.name}:{at}: no JSON, passed over")
                continue
            text = value.get(field) if isinstance(value, dict) else None
            if not isinstance(text, str):
                say(f"{path.name}:{at}: no text in the field {field!r}, passed over")
                continue
            yield Document(f"{path.name}:{at}", text)


def _parquet(path: Path, field: str, say: Say) -> Iterator[Document]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("reading Parquet", "atlas") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if field not in file.schema_arrow.names:
                known = ", ".join(file.schema_arrow.names[:8])
                raise TextError(f"{path.name} has no column {field!r}; it has {known}: name one with --field")
            at = 0
            for batch in file.iter_batches(batch_size=64, columns=[field]):
                for value in batch.column(0).to_pylist():
                    at += 1
                    if isinstance(value, str):
                        yield Document(f"{path.name}:{at}", value)
                    else:
                        say(f"{path.name}:{at}: no text in the column {field!r}, passed over")
    except (pyarrow.ArrowException, OSError) as error:
        raise TextError(f"{path.name} is no Parquet file: {str(error).splitlines()[0][:120]}") from None
