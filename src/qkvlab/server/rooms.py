"""What all connections of a server share."""

from dataclasses import dataclass

from .models import Models
from .scheduler import Scheduler
from .traces import Traces


@dataclass(frozen=True)
class Rooms:
    """The models, the memory for traces, and the one who says whose turn it is."""

    models: Models
    traces: Traces
    scheduler: Scheduler


def furnish(own: str) -> Rooms:
    """The rooms of a new server, whose first model is `own`. Raises SourceError where that is no model."""
    traces = Traces()
    return Rooms(Models(own, on_close=lambda model: traces.forget(model=model)), traces, Scheduler())
