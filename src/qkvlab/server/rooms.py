"""What all connections of a server share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .atlases import Atlases
from .models import Models
from .scheduler import Scheduler
from .traces import Traces


@dataclass(frozen=True)
class Rooms:
    """The models, the memory for traces, the one who says whose turn it is, and the atlases."""

    models: Models
    traces: Traces
    scheduler: Scheduler
    atlases: Atlases = field(default_factory=Atlases)


def furnish(own: str, atlases: Sequence[Path] = (), say: Callable[[str], None] = lambda line: None) -> Rooms:
    """The rooms of a new server, whose first model is `own`. `say` is told of atlases that are left out.

    Raises SourceError where that is no model, AtlasError where one of `atlases` is none.
    """
    traces = Traces()
    return Rooms(
        Models(own, on_close=lambda model: traces.forget(model=model)), traces, Scheduler(), Atlases(atlases, say=say)
    )
