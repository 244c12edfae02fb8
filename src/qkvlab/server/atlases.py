"""The atlases that the page can show: those named at the start, those of the cache, and the one that is shipped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from ..atlas.reading import AtlasJson, ExamplesJson, head_index, read_atlas, read_examples
from ..checkpoint.source import ALIASES, cache_dir
from ..errors import AtlasError, one_of

SHIPPED = Path(__file__).parents[1] / "data"
MOST = 16
"""Atlases of the cache that are listed, the latest first."""
MOST_EXAMPLES = 200
"""Examples of one head that are sent."""


@dataclass(frozen=True)
class Entry:
    """An atlas, and where its examples lie."""

    id: str
    """Says nothing of the path."""
    origin: str
    """given | cache | shipped"""
    atlas: AtlasJson
    examples: Path | None


class Atlases:
    """The atlases of one server. Changed files are read again; a broken one is told once and left out."""

    def __init__(
        self, given: Sequence[Path] = (), *, shipped: Path = SHIPPED, say: Callable[[str], None] = lambda line: None
    ) -> None:
        """Raises AtlasError where one that was named is none."""
        self._given = [path / "atlas.json" if path.is_dir() else path for path in given]
        self._shipped = shipped
        self._say = say
        self._read: dict[Path, tuple[tuple[int, int], AtlasJson | None]] = {}
        self._examples: tuple[Path, tuple[int, int], ExamplesJson] | None = None
        self._lock = Lock()
        for path in given:
            read_atlas(path)

    def entries(self) -> list[Entry]:
        """All that can be shown: those named first, then the cache's from the latest on, then the shipped one."""
        with self._lock:
            return list(self._entries())

    def entry(self, name: str) -> Entry:
        """The atlas of this id. Raises AtlasError."""
        entries = {entry.id: entry for entry in self.entries()}
        if name not in entries:
            raise AtlasError(one_of("the atlas", name, entries))
        return entries[name]

    def rows(self, models: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The list of atlases, as plain JSON values. `models` are the ones that can be named."""
        return [_row(entry, models) for entry in self.entries()]

    def head(self, name: str, head: str) -> dict[str, Any]:
        """One head's examples, with the texts they stand in. Raises AtlasError, HeadError."""
        entry = self.entry(name)
        head_index(entry.atlas, head)
        found = self._examples_of(entry)
        rows = found["heads"].get(head, [])[:MOST_EXAMPLES]
        places = sorted({row["text"] for row in rows})
        examples = [{**row, "text": places.index(row["text"])} for row in rows]
        return {"atlas": name, "head": head, "texts": [found["texts"][at] for at in places], "examples": examples}

    def _entries(self) -> Iterator[Entry]:
        seen: set[Path] = set()
        for origin, files in (("given", self._given), ("cache", _cached()), ("shipped", self._in_package())):
            for file in files:
                atlas = None if file in seen else self._atlas(file)
                seen.add(file)
                if atlas is not None:
                    yield Entry(sha256(str(file).encode()).hexdigest()[:12], origin, atlas, _examples_beside(file))

    def _in_package(self) -> list[Path]:
        found = sorted(self._shipped.glob("atlas-*.json"))
        return [file for file in found if not file.stem.endswith("-examples")]

    def _atlas(self, file: Path) -> AtlasJson | None:
        """A file's atlas; None where there is none that can be read."""
        stamp = _stamp(file)
        if stamp is None:
            return None
        if file not in self._read or self._read[file][0] != stamp:
            try:
                self._read[file] = stamp, read_atlas(file)
            except AtlasError as error:
                self._read[file] = stamp, None
                self._say(f"left out: {error}")
        return self._read[file][1]

    def _examples_of(self, entry: Entry) -> ExamplesJson:
        if entry.examples is None or (stamp := _stamp(entry.examples)) is None:
            return {"texts": [], "heads": {}}
        with self._lock:
            if self._examples is None or self._examples[:2] != (entry.examples, stamp):
                self._examples = entry.examples, stamp, read_examples(entry.examples)
            return self._examples[2]


def model_of(atlas: AtlasJson, models: Sequence[dict[str, Any]]) -> str | None:
    """The model that an atlas is of, by the checksum of its file, else by its name, among those that can be named.

    None where there is none, or where the file of that name is another one now.
    """
    model, names = atlas["model"], [row["name"] for row in models]
    if checksum := model.get("sha256"):
        pinned = {file.sha256: alias.name for alias in ALIASES.values() for file in alias.files}
        if checksum in pinned:
            return pinned[checksum] if pinned[checksum] in names else None
        if model["name"] in {called for alias in ALIASES.values() for called in (alias.name, alias.title)}:
            return None
    called = (model["name"], model["badge"])
    return next((row["name"] for row in models if row["name"] in called or row["title"] in called), None)


def _row(entry: Entry, models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    atlas = entry.atlas
    model = {size: atlas["model"][size] for size in ("badge", "name", "n_layer", "n_head", "n_kv_head")}
    roles = [{"role": role["role"], "heads": [row["head"] for row in role["heads"]]} for role in atlas["roles"]]
    run = {field: atlas["run"][field] for field in ("documents", "tokens")}
    opens = model_of(atlas, models)
    return {"id": entry.id, "origin": entry.origin, "opens": opens, **model, **run, "roles": roles}


def _cached() -> list[Path]:
    stamped = [(stamp, file) for file in (cache_dir() / "atlas").glob("*/atlas.json") if (stamp := _stamp(file))]
    return [file for _, file in sorted(stamped, reverse=True)[:MOST]]


def _examples_beside(file: Path) -> Path | None:
    """`examples.json` beside a run's atlas.json; `atlas-NAME-examples.json` beside the shipped one."""
    beside = file.with_name("examples.json" if file.name == "atlas.json" else f"{file.stem}-examples.json")
    return beside if beside.is_file() else None


def _stamp(file: Path) -> tuple[int, int] | None:
    """When a file was changed last, and its size; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
