"""Who computes next: one thread for all, every connection's turn in slices of a few layers."""

import logging
import math
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Final, Protocol, runtime_checkable

from .._parallel import one_blas_thread, one_processor

log = logging.getLogger("qkvlab.server")

SLICE = 0.03
"""Seconds a connection computes before the next one's turn."""
RETRY = 0.01
"""Seconds until jobs that had to wait look again, when nobody else computes."""


class Wait:
    """What a job yields when it can do nothing yet: others go first."""


WAIT: Final = Wait()


@dataclass(frozen=True)
class Rest:
    """What a job yields to leave the processors to the page that draws what it sent, or to others, for so long."""

    seconds: float


@runtime_checkable
class Owner(Protocol):
    """Whose turn it is."""

    @property
    def congested(self) -> bool:
        """Whether too much is waiting to be sent to it: its jobs rest then."""


class Job:
    """Work in steps. Each step yields None, WAIT, a Rest, or something to deliver."""

    def __init__(
        self,
        owner: Owner,
        steps: Generator[Any, None, None],
        deliver: Callable[["Job", Any], None] = lambda job, step: None,
        rank: int = 0,
        alone: bool = False,
    ) -> None:
        self.owner = owner
        self.steps = steps
        self.deliver = deliver
        self.rank = rank
        """Of one owner's jobs, the lowest rank goes first."""
        self.alone = alone
        """It takes one processor and leaves the others to whoever else needs them."""
        self.cancelled = False
        self.waiting = False
        self.rests_until = -math.inf


class Scheduler:
    """One worker thread. Owners take turns; what is cancelled stops at its next step."""

    def __init__(self, slice_seconds: float = SLICE, clock: Callable[[], float] = time.monotonic) -> None:
        self._slice_seconds = slice_seconds
        self._clock = clock
        self._turns: dict[Owner, list[Job]] = {}
        self._changed = Condition()
        self._running: Job | None = None
        self._stopping = False
        self._thread = Thread(target=self._work, name="qkvlab-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the running step end, then no other begins; what is left is closed."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        with self._changed:
            self._turns.setdefault(job.owner, []).append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """End a job now, or after the step it is in; nothing it still yields is wanted."""
        with self._changed:
            job.cancelled = True
            if job is not self._running:
                self._remove(job)

    def wake(self) -> None:
        """Look again: an owner is no longer congested."""
        with self._changed:
            self._changed.notify()

    def _work(self) -> None:
        with one_blas_thread():
            self._take_turns()

    def _take_turns(self) -> None:
        while (job := self._next()) is not None:
            try:
                with one_processor() if job.alone else nullcontext():
                    ended = self._turn(job)
            except Exception:
                log.exception("a job failed")
                ended = True
            with self._changed:
                self._running = None
                if ended or job.cancelled:
                    self._remove(job)
        with self._changed:
            for job in [job for jobs in self._turns.values() for job in jobs]:
                self._remove(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._stopping:
                now = self._clock()  # one moment for both: a rest that ended between them would be waited for for ever
                if (job := self._choose(now)) is not None:
                    self._running = job
                    return job
                self._changed.wait(self._until_ready(now))
                self._look_again()
        return None

    def _choose(self, now: float) -> Job | None:
        for owner in list(self._turns):
            job = self._first(owner)
            if job is not None and job.rests_until <= now and not owner.congested:
                self._turns[owner] = self._turns.pop(owner)
                return job
        return None

    def _first(self, owner: Owner) -> Job | None:
        """Of an owner's jobs, the one whose turn it would be; while it rests, those behind it rest too."""
        return min((job for job in self._turns[owner] if not job.waiting), key=lambda job: job.rank, default=None)

    def _until_ready(self, now: float) -> float | None:
        """Seconds until a job may go on by itself; None where only somebody else can change anything."""
        jobs = [job for jobs in self._turns.values() for job in jobs]
        rests = [job.rests_until - now for job in jobs if job.rests_until > now]
        return min([*rests, *[RETRY for job in jobs if job.waiting]], default=None)

    def _turn(self, job: Job) -> bool:
        """One slice of a job; whether it has ended."""
        end = self._clock() + self._slice_seconds
        while not job.cancelled:
            try:
                step = next(job.steps)
            except StopIteration:
                return True
            if step is WAIT:
                job.waiting = True
                return False
            if isinstance(step, Rest):
                job.rests_until = self._clock() + step.seconds
                break
            if step is not None:
                job.deliver(job, step)
            if job.owner.congested or self._clock() >= end:
                break
        with self._changed:
            self._look_again()
        return False

    def _look_again(self) -> None:
        """Somebody got on, so what the others wait for may have come."""
        for jobs in self._turns.values():
            for job in jobs:
                job.waiting = False

    def _remove(self, job: Job) -> None:
        job.steps.close()
        jobs = self._turns.get(job.owner, [])
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._turns[job.owner]
        self._look_again()
        self._changed.notify()
