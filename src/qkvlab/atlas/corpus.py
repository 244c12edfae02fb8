"""Files → documents, one after the other: plain text, JSONL, Parquet, CoNLL-U. No file is ever in memory whole.

What cannot be read is passed over, counted, and told with file and line. Documents are named by their treebank, or
file:number (of a plain text its piece, else its line or row); a name that comes again gets a number behind it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files as package_files
from pathlib import Path

from ..errors import TextError
from .texts import Say, reader
from .treebank import Document, read_treebank

TOLD = 1_000
"""Problems that are kept in words; all are counted."""
SAMPLE_TEXT, SAMPLE_TREEBANK = "atlas-sample.txt", "atlas-sample.conllu"


@dataclass(frozen=True)
class File:
    """A file of a corpus."""

    path: Path
    treebank: bool
    label: str
    """Its name; with the folder, or a number, where another file of the corpus has the same."""

    @property
    def name(self) -> str:
        return self.label

    @cached_property
    def size(self) -> int:
        """In bytes."""
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise TextError(f"{self.path} cannot be read: {error.strerror or error}") from None

    @cached_property
    def sha256(self) -> str:
        """Of its bytes, read a piece at a time."""
        total = sha256()
        try:
            with self.path.open("rb") as file:
                while piece := file.read(1 << 20):
                    total.update(piece)
        except OSError as error:
            raise TextError(f"{self.path} cannot be read: {error.strerror or error}") from None
        return total.hexdigest()


class Corpus:
    """Files as documents; can be gone through again, and gives the same."""

    def __init__(self, files: Sequence[File], field: str = "text") -> None:
        self.files, self.field = tuple(files), field
        self.problems: list[str] = []
        """Each "file:line: what", in the order of the files; the first `TOLD` of them."""
        self.n_problem = 0
        """How many there are in what has been gone through so far."""

    def documents(self) -> Iterator[Document]:
        """Every document that holds something. Raises TextError for a file that cannot be read at all."""
        seen = 0
        names, texts = set[str](), {file.name for file in self.files if not file.treebank}

        def say(problem: str) -> None:
            nonlocal seen
            seen += 1
            if seen > self.n_problem:  # the first time it is come by
                self.n_problem = seen
                self.problems += [problem][: TOLD - len(self.problems)]

        for file in self.files:
            for document in _documents(file, self.field, say):
                for problem in document.problems:
                    say(problem)
                if not document.text.strip():
                    say(f"{document.place}: the document is empty")
                    continue
                if file.treebank:  # names of plain texts are unique as they are made: no list of them is kept
                    _name_apart(document, names, texts, say)
                yield document


def _documents(file: File, field: str, say: Say) -> Iterator[Document]:
    return read_treebank(file.path) if file.treebank else reader(file.path)(file.path, file.name, field, say)


def _name_apart(document: Document, names: set[str], texts: set[str], say: Say) -> None:
    """Give a document a name that no other has."""

    def taken(name: str) -> bool:
        label, _, number = name.rpartition(":")
        return name in names or (label in texts and number.isdecimal())

    name = document.name
    if taken(name):
        number = next(number for number in range(2, len(names) + 3) if not taken(f"{name}#{number}"))
        document.name = f"{name}#{number}"
        say(f"{document.place}: a document was named {name[:60]} before; this one is called {document.name[:60]}")
    names.add(document.name)


def open_corpus(text: Sequence[Path], treebank: Sequence[Path], field: str = "text") -> Corpus:
    """These files as a corpus, in this order; `field` is the field of JSONL and the column of Parquet with the text.

    Raises TextError for a file that is not there, is given twice, or is a treebank given as text.
    """
    asked = [*((path, False) for path in text), *((path, True) for path in treebank)]
    seen: set[Path] = set()
    for path, is_treebank in asked:
        if path.is_dir():
            raise TextError(f"{path} is a folder; name its files, as in {path / ('*.conllu' if is_treebank else '*')}")
        if not path.is_file():
            raise TextError(f"{path} is not there, or is no file")
        if path.suffix == ".conllu" and not is_treebank:
            raise TextError(f"{path.name} is a treebank; give it with --treebank")
        if path.resolve() in seen:
            raise TextError(f"{path} is given twice, and would be counted twice")
        seen.add(path.resolve())
    return Corpus(
        [File(*each, label) for each, label in zip(asked, _labels([path for path, _ in asked]), strict=True)], field
    )


def _labels(paths: Sequence[Path]) -> list[str]:
    """Short names that tell the files apart, whatever folder the command is run in."""
    names = [path.name for path in paths]
    labels: list[str] = []
    for path in paths:
        label = path.name if names.count(path.name) == 1 else f"{path.resolve().parent.name}/{path.name}"
        again = sum(label == other or other.startswith(f"{label}#") for other in labels)
        labels.append(f"{label}#{again + 1}" if again else label)
    return labels


def sample_corpus() -> Corpus:
    """The small text and the small treebank that are shipped: sentences of our own."""
    data = Path(str(package_files("qkvlab"))) / "data"
    return open_corpus([data / SAMPLE_TEXT], [data / SAMPLE_TREEBANK])
