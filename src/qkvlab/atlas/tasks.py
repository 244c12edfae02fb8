"""A corpus → parts to be counted, and the counting of one, in whatever process it is done.

The plan depends on the corpus alone: parts are consecutive documents, so every scan of it (serial, in processes, on a
cluster, interrupted and gone on with) counts the same documents in the same parts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from ..errors import SourceError
from ..model import Model, open_model
from .count import count_document, count_random
from .counts import Options
from .store import tables, to_bytes
from .treebank import Document

PART_CHARACTERS = 32_000
"""Of a part at the start (about a minute here); later parts are larger, so that there are never too many of them."""
GROWTH, LARGEST = 64, 8
"""After so many parts they are twice as large, then three times, up to so many times: some 50,000 tokens, and what is
counted of them is all that a scan has in memory."""
RANDOM_TEXTS = 16
"""Of random tokens, each with its control."""
RANDOM = "random"
"""The part of the random texts."""

Told = Callable[[int, int], None]
"""Hears how many more characters of the corpus (of random texts: 0) are counted, and how many tokens."""


class Part(NamedTuple):
    """Consecutive documents of a corpus."""

    name: str
    first: int
    """The place of its first document in the corpus."""
    n_document: int
    n_character: int


@dataclass(frozen=True)
class Task:
    """A part with all that is needed to count it."""

    part: Part
    documents: tuple[Document, ...]


@dataclass(frozen=True)
class Job:
    """What is counted, so that another process can do it as well."""

    options: Options
    layers: tuple[int, ...]
    seed: int
    model: str = ""
    """The name it is opened by; empty for one that is in memory only."""
    allow_config: tuple[str, ...] = ()
    twin: bool = False
    """Whether its weights are shuffled first."""

    def open(self) -> Model:
        """The model, in a process of its own."""
        return self.shuffled(open_model(self.model, allow_config=self.allow_config))

    def shuffled(self, model: Model) -> Model:
        """The model as this job counts it."""
        if not self.twin:
            return model
        from .twin import twin

        return twin(model, self.seed)


def plan(documents: Iterable[Document]) -> list[Part]:
    """Which documents go together. Reads the corpus through and keeps none of it."""
    parts: list[Part] = []
    first = n = characters = 0
    for document in documents:
        n, characters = n + 1, characters + len(document.text)
        if characters >= PART_CHARACTERS * min(1 + len(parts) // GROWTH, LARGEST):
            parts.append(Part(f"{len(parts):06d}", first, n, characters))
            first, n, characters = first + n, 0, 0
    if n:
        parts.append(Part(f"{len(parts):06d}", first, n, characters))
    return parts


def tasks(documents: Iterator[Document], parts: Sequence[Part], done: Iterable[str]) -> Iterator[Task]:
    """The parts that are not done, each with its documents, one after the other."""
    finished = set(done)
    for part in parts:
        own = tuple(islice(documents, part.n_document))
        if len(own) < part.n_document:
            raise SourceError("the corpus has fewer documents than when the scan began; its files have changed")
        if part.name not in finished:
            yield Task(part, own)


def count_part(model: Model, job: Job, task: Task, told: Told = lambda characters, tokens: None) -> dict[str, bytes]:
    """One part, as files of Parquet by the name of their table."""
    counts = []
    if task.part.name == RANDOM:
        for number in range(task.part.n_document):
            counts.append(count_random(model, job.seed, number, job.options))
            told(0, counts[-1].n_token)
    for document in task.documents:
        counts.append(count_document(model, document, job.options))
        told(len(document.text), counts[-1].n_token)
    return to_bytes(tables(counts, job.layers, task.part.first))
