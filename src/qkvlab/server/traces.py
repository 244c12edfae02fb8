"""Traces kept for the next request, each connection's last ones, within one budget of bytes for all."""

from collections.abc import Iterator, Sequence
from threading import Lock
from types import TracebackType

from ..edits import Edit
from ..errors import LimitError
from ..model import Model
from ..recording import ROOM
from ..text import Tokens
from ..trace import Trace
from .scheduler import WAIT, Wait

BUDGET = 3 * 1024**3 // 2
KEPT = 2
"""Traces kept of a connection: its text with the edits and without."""


def trace_bytes(model: Model, n_token: int) -> int:
    """About how many bytes the trace of a text takes: x, q, k, v and z in float32, with room for what is typed next;
    of a captured model also normed, out and mlp, which cannot be computed again."""
    spec = model.spec
    row = (1 if model.native else 4) * spec.d_model + 2 * (spec.n_head + spec.n_kv_head) * spec.d_head
    return 4 * spec.n_layer * row * (n_token + ROOM)


class Traces:
    """What is kept, oldest first, and what the running requests have leased."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._kept: list[tuple[object, Trace]] = []
        self._leases: list[Lease] = []
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """What is kept and leased, by estimate."""
        kept = sum(trace_bytes(trace.model, len(trace)) for _, trace in self._kept)
        return kept + sum(lease.bytes for lease in self._leases)

    def of(self, owner: object) -> list[Trace]:
        """The last traces of a connection."""
        with self._lock:
            return [trace for whose, trace in self._kept if whose is owner]

    def forget(self, *, owner: object = None, model: Model | None = None) -> None:
        """Let go of what is kept for a connection, or of a model."""
        with self._lock:
            self._kept = [(whose, t) for whose, t in self._kept if whose is not owner and t.model is not model]

    def lease(self, owner: object, size: int, *, keep: bool = False) -> "Lease":
        """A claim on so many bytes while a request runs; with `keep`, its traces become the connection's last ones.

        Raises LimitError where it would never fit.
        """
        if size > self.budget:
            raise LimitError(
                f"this would take about {size / 2**20:,.0f} MiB of memory, over the limit of "
                f"{self.budget / 2**20:,.0f} MiB; shorten the text"
            )
        return Lease(self, owner, size, keep)

    def _grant(self, lease: "Lease") -> bool:
        """Make room: the oldest go first, but never those of a connection that computes now."""
        with self._lock:
            busy = {id(running.owner) for running in self._leases}
            free = [kept for kept in self._kept if id(kept[0]) not in busy]
            while self.bytes + lease.bytes > self.budget and free:
                self._kept.remove(free.pop(0))
            if self.bytes + lease.bytes > self.budget:
                return False
            self._leases.append(lease)
            return True

    def _return(self, lease: "Lease") -> None:
        with self._lock:
            if lease not in self._leases:
                return
            self._leases.remove(lease)
            if lease.keep and lease.traces:
                self._kept = [kept for kept in self._kept if kept[0] is not lease.owner]
                self._kept += [(lease.owner, trace) for trace in reversed(lease.traces[-KEPT:])]


class Lease:
    """One request's share of the budget, given back when its block ends."""

    def __init__(self, house: Traces, owner: object, size: int, keep: bool) -> None:
        self.owner = owner
        self.bytes = size
        self.keep = keep
        self.traces: list[Trace] = []
        self._house = house

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._house._return(self)

    def granted(self) -> Iterator[Wait]:
        """Wait until there is room."""
        while not self._house._grant(self):
            yield WAIT

    def trace(self, model: Model, tokens: Tokens, edits: Sequence[Edit]) -> Trace:
        """The trace of these tokens: the kept one, or a new one that shares the rows of those kept."""
        near = [*self._house.of(self.owner), *self.traces]
        state = (model, tokens.ids, tokens.offsets, tuple(edits))
        for trace in near:
            known = trace.text_tokens
            if known is not None and state == (trace.model, known.ids, known.offsets, trace.edits):
                break
        else:
            trace = model.trace(tokens, edits=edits, near=near)
        self.traces.append(trace)
        return trace
