"""Which models the page may name, and those that are open: never a path, at most a few at once."""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from ..checkpoint.source import ALIASES, HUB_NAME, Known, Progress, Source, known, local, pull, resolve
from ..checkpoint.stores import read_checkpoint
from ..errors import QkvLabError, SourceError, one_of
from ..model import Model, is_native, open_source, read_spec
from .scheduler import WAIT, Wait

log = logging.getLogger("qkvlab.server")

OPEN = 3
"""Models open at once; the one that was used least recently closes first."""


@dataclass(eq=False)
class Opening:
    """A model on its way, in a thread of its own."""

    done: int = 0
    total: int = 0
    """Bytes of the download; 0 where there is none."""
    model: Model | None = None
    error: QkvLabError | None = None

    def progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total


class Models:
    """The models of one server. The person's own comes first; the others are the aliases and the hub's cache."""

    def __init__(self, own: str, on_close: Callable[[Model], None] = lambda model: None) -> None:
        """`own` is what the person opened: an alias, a path, a hub name.

        Raises SourceError where it is nothing, and for a path what reading its header raises.
        """
        by_name = own in ALIASES or HUB_NAME.fullmatch(own) is not None
        self._own = local(own) or (own if by_name else resolve(own))
        if isinstance(self._own, Source) and is_native(self._own.path):
            read_spec(read_checkpoint(self._own.path), self._own.name)
        self.own = self._own.name if isinstance(self._own, Source) else self._own
        self._on_close = on_close
        self._openings: dict[str, Opening] = {}
        self._lock = Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Every model that can be named, as plain JSON values."""
        listed = {row.name: row for row in known()}
        first = listed.pop(self.own, Known(self.own, self.own, None, False, None, 0, 0))
        if isinstance(self._own, Source):
            first = Known(self.own, self.own, None, True, self._own.path, _size(self._own.path), 0)
        return [
            {
                "name": row.name,
                "title": row.title,
                "license": row.license,
                "cached": row.cached,
                "opened": self.ready(row.name) is not None,
                "size_bytes": row.size_bytes,
                "download_bytes": row.download_bytes,
            }
            for row in (first, *listed.values())
        ]

    def ready(self, name: str) -> Model | None:
        """The model of this name, if it is open."""
        with self._lock:
            return self._openings[name].model if name in self._openings else None

    def opened(self, name: str) -> Generator[Wait, None, Model]:
        """Wait for a model that is open, on its way, or on this machine; it is now the last that would be closed.

        Raises SourceError for any other, and whatever opening it raised.
        """
        with self._lock:
            opening = self._openings.get(name)
            if opening is not None and opening.error is None:
                self._openings[name] = self._openings.pop(name)
        if opening is None or opening.error is not None:
            opening = self.open(name, download=False)
        while opening.model is None:
            if opening.error is not None:
                raise opening.error
            yield WAIT
        return opening.model

    def open(self, name: str, *, download: bool = True) -> Opening:
        """Begin to open a model, unless that has begun. Raises SourceError for a name that is not listed."""
        source = self._source(name, download)
        with self._lock:
            opening = self._openings.pop(name, None)
            if opening is None or opening.error is not None:
                opening = Opening()
                Thread(target=self._bring, args=(opening, source), name=f"qkvlab-open-{name}", daemon=True).start()
            self._openings[name] = opening
        self._close_oldest()
        return opening

    def _source(self, name: str, download: bool) -> Callable[[Progress], Source]:
        """How to get a listed model's files."""
        if name == self.own and isinstance(self._own, Source):
            found = self._own
            return lambda progress: found
        rows = {row.name: row for row in known()}
        if name not in rows and name != self.own:
            raise SourceError(one_of("model", name[:100], dict.fromkeys([self.own, *rows])))
        row = rows.get(name)
        if not download and not (row is not None and row.cached):
            raise SourceError(f"{name} is not on this machine yet; open it first")
        if row is not None and row.path is not None and name not in ALIASES:
            here = row.path
            return lambda progress: Source(here, name)
        return lambda progress: pull(name, progress=progress)

    def _bring(self, opening: Opening, source: Callable[[Progress], Source]) -> None:
        try:
            model = open_source(source(opening.progress)).alone()
            _ = model.tokenizer, model.scale
            opening.model = model
        except QkvLabError as error:
            opening.error = error
        except Exception as error:
            log.exception("opening a model failed")
            opening.error = SourceError(f"opening it failed ({type(error).__name__}); the server's log has the details")
        else:
            # Decoded while the page loads, so that its first picture need not wait; an error comes to whoever asks.
            model.weights.prefetch(range(model.spec.n_layer))

    def _close_oldest(self) -> None:
        with self._lock:
            done = [name for name, opening in self._openings.items() if opening.model is not None]
            closed = [self._openings.pop(name).model for name in done[: max(0, len(self._openings) - OPEN)]]
        for model in closed:
            if model is not None:
                self._on_close(model)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return sum(file.stat().st_size for file in files)
