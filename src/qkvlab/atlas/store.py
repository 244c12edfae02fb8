"""A run on disk: counts of documents in Parquet, part by part, each put in its place whole.

A part is a folder of tables over consecutive documents; it is written beside its place and renamed into it, so that a
run killed at any moment has whole parts and nothing else. Tables say what `SCHEMA` says, and nothing is ever changed.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .._shapes import Array
from ..errors import MissingExtraError, SourceError
from .counts import INTEGERS, NAMES, Counts, Examples

FORMAT = 1
"""Of the run folder. A run of another format is refused."""
UNFINISHED = ".unfinished-"
"""How the name of a part begins until it is whole."""

SCHEMA: dict[str, dict[str, tuple[str, str]]] = {
    "documents": {
        "document": ("name", "its name, the only one of that name in the run"),
        "place": ("int64", "its place in the corpus, from 0"),
        "n_token": ("int64", "tokens of all its windows, special tokens included"),
        "n_window": ("int32", "windows it was cut into"),
    },
    "counts": {
        "document": ("name", ""),
        "measure": ("name", "what was asked: `position:previous`, `syntax:nsubj:head`, `coreference`, ..."),
        "layer": ("int16", ""),
        "head": ("int16", "the query head"),
        "n": ("int32", "how often it was asked in this document"),
        "hits": ("float64", "how often the largest weight lay on what is right; ties share a hit"),
        "mass": ("float64", "the sum of the weight on what is right"),
    },
    "baselines": {
        "document": ("name", ""),
        "measure": ("name", ""),
        "baseline": ("name", "who looks at no model: `chance`, `nearest`, `offset -3`"),
        "hits": ("float64", "what it hits of the same n"),
    },
    "sums": {
        "document": ("name", ""),
        "quantity": ("name", "`entropy` (nats), `distance` (tokens), `mass:first`, `write`, `share`, ..."),
        "layer": ("int16", ""),
        "head": ("int16", ""),
        "n": ("int64", "queries"),
        "total": ("float64", "sum over the queries"),
        "squares": ("float64", "sum of squares over the queries"),
    },
    "z": {
        "document": ("name", ""),
        "layer": ("int16", ""),
        "head": ("int16", ""),
        "n": ("int64", "positions: all but the first of each window"),
        "z": ("numbers", "sum of the head's blend over them, d_value numbers"),
    },
    "examples": {
        "measure": ("name", "a measure, or `sample`: places at which every head is shown"),
        "side": ("name", "best: most weight on what is right; worst: least; sample"),
        "layer": ("int16", ""),
        "head": ("int16", ""),
        "weight": ("float32", "on what is right; of a sample: the largest weight"),
        "text": ("name", "the sentences around"),
        "query_start": ("int32", "the query's characters in the text"),
        "query_end": ("int32", ""),
        "right_start": ("int32", "what is right; -1: nothing is"),
        "right_end": ("int32", ""),
        "looked_start": ("int32", "where the largest weight lies"),
        "looked_end": ("int32", ""),
        "document": ("name", ""),
        "order": ("int64", "which come first among equals"),
    },
    "skipped": {
        "document": ("name", ""),
        "why": ("name", "what could not be measured"),
        "n": ("int64", "how often"),
    },
}
"""Table → column → (type, what it is). `name` is a string kept once in a dictionary; `numbers` a list of float64."""


def arrow() -> Any:
    """The Arrow library. Raises MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("an atlas", "atlas") from None
    return pyarrow


def schema(table: str) -> Any:
    """The Arrow schema of a table. Raises MissingExtraError without pyarrow."""
    pa = arrow()
    kinds = {"name": pa.dictionary(pa.int32(), pa.string()), "numbers": pa.list_(pa.float64())}
    return pa.schema(
        [
            pa.field(name, kinds[kind] if kind in kinds else getattr(pa, kind)())
            for name, (kind, _) in SCHEMA[table].items()
        ]
    )


def tables(many: Sequence[Counts], layers: Sequence[int], first: int) -> dict[str, Any]:
    """Counts of consecutive documents as Arrow tables, `SCHEMA` by name; `first` is the first one's place."""
    pa, rows = arrow(), {name: list(part) for name, part in _columns(many, list(layers), first).items()}
    made = {}
    for name, parts in rows.items():
        columns = {
            column: _joined(pa, [part[column] for part in parts], kind) for column, (kind, _) in SCHEMA[name].items()
        }
        table = pa.table(columns, schema=schema(name))
        by = next((column for column in ("measure", "quantity") if column in SCHEMA[name]), None)
        made[name] = _sorted(table, by) if by else table
    return made


def _sorted(table: Any, by: str) -> Any:
    """Rows of one name side by side, so that a reader of one measure reads little else."""
    column = table.column(by).combine_chunks()
    names = column.dictionary.to_pylist()
    rank = np.argsort(np.argsort(names)) if names else np.zeros(0, int)
    return table.take(np.argsort(rank[column.indices.to_numpy()], kind="stable"))


def _joined(pa: Any, parts: list[Any], kind: str) -> Any:
    """Pieces of one column, one after the other; a name that stands for many rows comes as (name, how many)."""
    if kind == "name":
        known: dict[str, int] = {}
        codes = []
        for part in parts:
            said, n = part if isinstance(part, tuple) else (part, 1)
            listed = [said] if isinstance(said, str) else said
            place = np.array([known.setdefault(each, len(known)) for each in listed], np.int32)
            codes.append(np.repeat(place, n))
        column = np.concatenate([np.zeros(0, np.int32), *codes])
        return pa.DictionaryArray.from_arrays(pa.array(column), pa.array(list(known), pa.string()))
    if kind == "numbers":
        return pa.array([row.tolist() for part in parts for row in part], pa.list_(pa.float64()))
    return pa.array(np.concatenate([np.zeros(0, kind), *(np.atleast_1d(part) for part in parts)]).astype(kind))


def _columns(many: Sequence[Counts], layers: list[int], first: int) -> dict[str, Iterator[dict[str, Any]]]:
    def heads(array: Array) -> Array:
        return array[layers].reshape(-1)

    def places(n_head: int) -> dict[str, Array]:
        return {"layer": np.repeat(layers, n_head), "head": np.tile(np.arange(n_head), len(layers))}

    def of_tallies() -> Iterator[dict[str, Any]]:
        for counts in many:
            for name, tally in counts.tallies.items():
                n_head, size = tally.hits.shape[1], len(layers) * tally.hits.shape[1]
                yield {
                    "document": (counts.document, size), "measure": (name, size), **places(n_head),
                    "n": np.full(size, tally.n), "hits": heads(tally.hits), "mass": heads(tally.mass),
                }  # fmt: skip

    def of_sums() -> Iterator[dict[str, Any]]:
        for counts in many:
            for name, one in counts.sums.items():
                n_head, size = one.total.shape[1], len(layers) * one.total.shape[1]
                yield {
                    "document": (counts.document, size), "quantity": (name, size), **places(n_head),
                    "n": np.full(size, one.n), "total": heads(one.total), "squares": heads(one.squares),
                }  # fmt: skip

    def of_z() -> Iterator[dict[str, Any]]:
        for counts in many:
            if counts.z is not None:
                n_head, size = counts.z.shape[1], len(layers) * counts.z.shape[1]
                yield {
                    "document": (counts.document, size), **places(n_head), "n": np.full(size, counts.z_n),
                    "z": counts.z[layers].reshape(size, -1),
                }  # fmt: skip

    examples = Examples.merged(counts.examples for counts in many).columns()
    return {
        "documents": (
            {"document": one.document, "place": first + at, "n_token": one.n_token, "n_window": one.n_window}
            for at, one in enumerate(many)
        ),
        "counts": of_tallies(),
        "baselines": (
            {"document": one.document, "measure": name, "baseline": said, "hits": hits}
            for one in many
            for name, tally in one.tallies.items()
            for said, hits in tally.baselines.items()
        ),
        "sums": of_sums(),
        "z": of_z(),
        "examples": iter([{name: (each, 1) if name in NAMES else each for name, each in examples.items()}]),
        "skipped": ({"document": one.document, "why": why, "n": n} for one in many for why, n in one.skipped.items()),
    }


def to_bytes(made: Mapping[str, Any]) -> dict[str, bytes]:
    """Tables as Parquet files in memory: how a part travels from where it was counted to where it is kept."""
    pa = arrow()
    found = {}
    for name, table in made.items():
        sink = pa.BufferOutputStream()
        pa.parquet.write_table(table, sink, compression="zstd", row_group_size=1 << 15)
        found[name] = sink.getvalue().to_pybytes()
    return found


def tokens_in(files: Mapping[str, bytes]) -> int:
    """Tokens of a part on its way."""
    pa = arrow()
    return int(
        pa.compute.sum(pa.parquet.read_table(pa.BufferReader(files["documents"])).column("n_token")).as_py() or 0
    )


def write_part(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put a part in its place, whole or not at all. Raises SourceError where the disk is full."""
    unfinished = folder.with_name(UNFINISHED + folder.name)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, data in files.items():
            with (unfinished / f"{name}.parquet").open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        unfinished.rename(folder)
        _settle(folder.parent)
    except OSError as error:
        raise SourceError(f"cannot write {folder}: {error.strerror or error}; what is done so far is kept") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_whole(path: Path, data: bytes) -> None:
    """A file, put in its place whole or not at all. Raises SourceError."""
    unfinished = path.with_name(UNFINISHED + path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _settle(folder: Path) -> None:
    """Have the file system keep a rename, too."""
    at = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(at)
    finally:
        os.close(at)


class Parts:
    """The parts of a folder, as counted documents."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder, shape

    @property
    def numbers(self) -> list[str]:
        """The names of the parts that are whole, in the order of the corpus."""
        found = self.folder.glob("*/documents.parquet") if self.folder.is_dir() else ()
        return sorted(path.parent.name for path in found if not path.parent.name.startswith(UNFINISHED))

    def paths(self, table: str) -> list[Path]:
        """The files of one table."""
        return [self.folder / number / f"{table}.parquet" for number in self.numbers]

    def read(self, table: str, **where: str) -> Any:
        """One table over all parts, as Arrow; only the rows with these values, if any are named."""
        pa = arrow()
        asked = [(name, "=", value) for name, value in where.items()] or None
        read = [read_rows(path, asked) for path in self.paths(table)]
        return pa.concat_tables(read).unify_dictionaries() if read else schema(table).empty_table()

    def documents(self) -> tuple[str, ...]:
        """Their names, in the order of the corpus; random text last."""
        return tuple(self._documents["document"])

    def tokens(self) -> int:
        """Tokens of all windows of the corpus, random text left out."""
        rows = zip(self._documents["document"], self._documents["n_token"], strict=True)
        return sum(n for name, n in rows if not name.startswith("random:"))

    @cached_property
    def _documents(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = self.read("documents").sort_by("place").to_pydict()
        return found

    def measures(self) -> list[str]:
        """The names of all that was counted."""
        return sorted(self.distinct("baselines", "measure") | self.distinct("counts", "measure"))

    def distinct(self, table: str, column: str) -> set[str]:
        """The values of a column of names."""
        found: set[str] = set()
        for path in self.paths(table):
            found |= set(read_rows(path, columns=[column]).column(column).unique().to_pylist())
        return found

    def mean_z(self, documents: Collection[str]) -> Array:
        """Each head's mean blend over these documents, [layer, head, d_value]; part by part."""
        total, n, wanted = None, 0, set(documents)
        for path in self.paths("z"):
            rows = read_rows(path)
            said = rows.column("document").combine_chunks()
            chosen = np.array([name in wanted for name in said.dictionary.to_pylist()], bool)[said.indices.to_numpy()]
            if not chosen.any():
                continue
            values = rows.column("z").combine_chunks().flatten().to_numpy().reshape(len(rows), -1)[chosen]
            layer, head, many = (rows.column(name).to_numpy()[chosen] for name in ("layer", "head", "n"))
            total = np.zeros((*self.shape, values.shape[1])) if total is None else total
            np.add.at(total, (layer, head), values)
            n += int(many[(layer == layer[0]) & (head == head[0])].sum())
        if total is None:
            return np.zeros((*self.shape, 1))
        return total / max(n, 1)

    def examples(self) -> Examples:
        """The examples that are kept of the whole run, part by part."""
        found = Examples()
        for path in self.paths("examples"):
            columns = read_rows(path).to_pydict()
            found = Examples.merged([found, Examples.of_columns(columns)])
        return found

    def skipped(self) -> dict[str, int]:
        """What could not be measured, and how often."""
        rows = self.read("skipped").to_pydict()
        found: dict[str, int] = {}
        for why, n in zip(rows["why"], rows["n"], strict=True):
            found[why] = found.get(why, 0) + n
        return found


def read_rows(path: Path, filters: Any = None, columns: Sequence[str] | None = None) -> Any:
    """One table of a part, as Arrow. Raises SourceError where the file is damaged."""
    pa = arrow()
    try:
        return pa.parquet.read_table(path, schema=schema(path.stem), filters=filters, columns=columns)
    except (pa.ArrowException, OSError) as error:
        what = str(error).splitlines()[0][:120]
        raise SourceError(
            f"{path} is damaged ({what}); remove its folder {path.parent.name} and go on with --resume"
        ) from None


def read_json(path: Path) -> Any:
    """A small file of the run. Raises SourceError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None


def examples_table(found: Examples) -> Any:
    """Examples as an Arrow table."""
    pa = arrow()
    return pa.table({name: found.columns()[name] for name in SCHEMA["examples"]}, schema=schema("examples"))


def throw_away_unfinished(folders: Iterable[Path]) -> None:
    """Remove what an interrupted run left half-written."""
    for folder in folders:
        for path in folder.glob(UNFINISHED + "*") if folder.is_dir() else ():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


assert set(INTEGERS) | set(NAMES) | {"weight"} == set(SCHEMA["examples"])
