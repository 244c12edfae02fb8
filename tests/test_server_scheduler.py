"""Turns, cancelling and waiting, by the order of events alone: with slices of no length, every step is a turn."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import count
from threading import Barrier, Event, get_ident
from typing import Any

import pytest

from qkvlab import _parallel
from qkvlab.server.scheduler import WAIT, Job, Rest, Scheduler


@dataclass(eq=False)
class Person:
    name: str
    congested: bool = False
    got: list[Any] = field(default_factory=list)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler(slice_seconds=0.0)
    yield made
    made.stop()


def steps(events: list[str], name: str, n: int, end: Event | None = None) -> Generator[Any, None, None]:
    try:
        for step in range(n):
            events.append(f"{name}{step}")
            yield f"{name}{step}"
    finally:
        events.append(f"{name} closed")
        if end is not None:
            end.set()


def test_connections_take_turns(scheduler: Scheduler) -> None:
    """A long request of one delays a short one of another by one slice a step, whoever came first."""
    events: list[str] = []
    end = Event()
    long, short = Person("a"), Person("b")
    scheduler.submit(Job(long, steps(events, "long", 50, end)))
    scheduler.submit(Job(short, steps(events, "short", 3)))
    scheduler.start()
    assert end.wait(10)
    shown = [event for event in events if not event.startswith("long ")][:7]
    assert shown == ["long0", "short0", "long1", "short1", "long2", "short2", "long3"]


def test_of_one_connection_the_lowest_rank_goes_first(scheduler: Scheduler) -> None:
    events: list[str] = []
    end = Event()
    person = Person("a")
    scheduler.submit(Job(person, steps(events, "ablate", 2, end), rank=3))
    scheduler.submit(Job(person, steps(events, "view", 2), rank=2))
    scheduler.start()
    assert end.wait(10)
    assert [event for event in events if event[-1].isdigit()] == ["view0", "view1", "ablate0", "ablate1"]


def test_what_is_cancelled_before_it_runs_never_runs(scheduler: Scheduler) -> None:
    events: list[str] = []
    end = Event()
    person = Person("a")
    old = Job(person, steps(events, "old", 5))
    scheduler.submit(old)
    scheduler.cancel(old)
    scheduler.submit(Job(person, steps(events, "new", 1, end)))
    scheduler.start()
    assert end.wait(10)
    assert events == ["new0", "new closed"]


def test_what_runs_stops_at_its_next_step(scheduler: Scheduler) -> None:
    inside, go_on, closed = Event(), Event(), Event()
    ran: list[int] = []

    def work() -> Generator[Any, None, None]:
        try:
            for step in range(100):
                ran.append(step)
                inside.set()
                assert go_on.wait(10)
                yield step
        finally:
            closed.set()

    job = Job(Person("a"), work())
    scheduler.submit(job)
    scheduler.start()
    assert inside.wait(10)
    scheduler.cancel(job)
    go_on.set()
    assert closed.wait(10)
    assert ran == [0]


def test_a_slow_reader_rests_and_goes_on(scheduler: Scheduler) -> None:
    events: list[str] = []
    end, other_end = Event(), Event()
    slow, other = Person("slow"), Person("other")

    def deliver(job: Job, step: Any) -> None:
        slow.got.append(step)
        slow.congested = True

    scheduler.submit(Job(slow, steps(events, "slow", 3, end), deliver))
    scheduler.submit(Job(other, steps(events, "other", 9, other_end)))
    scheduler.start()
    assert other_end.wait(10)
    assert slow.got == ["slow0"], "it rests while others compute"
    while not end.is_set():
        slow.congested = False
        scheduler.wake()
        time.sleep(0.001)
    assert slow.got == ["slow0", "slow1", "slow2"]


def test_who_waits_lets_others_go_first_and_looks_again(scheduler: Scheduler) -> None:
    events: list[str] = []
    end, door = Event(), Event()

    def waits() -> Generator[Any, None, None]:
        while not door.is_set():
            yield WAIT
        events.append("in")
        end.set()

    def opens() -> Generator[Any, None, None]:
        for step in range(3):
            events.append(f"step {step}")
            yield None
        door.set()

    person = Person("a")
    scheduler.submit(Job(person, waits(), rank=0))
    scheduler.submit(Job(person, opens(), rank=1))
    scheduler.start()
    assert end.wait(10)
    assert events == ["step 0", "step 1", "step 2", "in"]


class Clock:
    """Time that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(clock: Clock) -> Iterator[Scheduler]:
    made = Scheduler(slice_seconds=0.0, clock=clock)
    yield made
    made.stop()


def rests(events: list[str], end: Event) -> Generator[Any, None, None]:
    events.append("drawn")
    yield Rest(60.0)
    events.append("rested")
    end.set()
    yield None


def test_while_one_rests_others_go_on_and_its_own_wait_behind_it(timed: Scheduler, clock: Clock) -> None:
    events: list[str] = []
    rested, own_end, other_end = Event(), Event(), Event()
    person, other = Person("a"), Person("b")
    timed.submit(Job(person, rests(events, rested), rank=0))
    timed.submit(Job(person, steps(events, "behind", 1, own_end), rank=1))
    timed.submit(Job(other, steps(events, "other", 3, other_end)))
    timed.start()
    assert other_end.wait(10)
    assert events == ["drawn", "other0", "other1", "other2", "other closed"]
    clock.now = 59.0
    timed.wake()
    time.sleep(0.02)
    assert not rested.is_set()
    clock.now = 61.0
    timed.wake()
    assert rested.wait(10) and own_end.wait(10)
    assert events[5:] == ["rested", "behind0", "behind closed"]


def test_a_rest_ends_by_itself() -> None:
    events: list[str] = []
    end = Event()

    def work() -> Generator[Any, None, None]:
        yield Rest(0.01)
        end.set()
        yield None

    scheduler = Scheduler(slice_seconds=0.0)
    scheduler.submit(Job(Person("a"), work()))
    scheduler.start()
    assert end.wait(10), events
    scheduler.stop()


def test_a_rest_that_ends_while_the_worker_looks_for_work_is_not_slept_through() -> None:
    """Time goes on from one look at the clock to the next."""
    end = Event()
    moment = count()

    def work() -> Generator[Any, None, None]:
        for moments in (1, 1.5, 2, 2.5, 3, 3.5):
            yield Rest(moments / 1000)
        end.set()
        yield None

    scheduler = Scheduler(slice_seconds=0.0, clock=lambda: next(moment) / 1000)
    scheduler.submit(Job(Person("a"), work()))
    scheduler.start()
    try:
        assert end.wait(20)
    finally:
        scheduler.stop()


def test_who_is_asked_anew_while_it_rests_does_not_rest_on(timed: Scheduler) -> None:
    events: list[str] = []
    drawn, end = Event(), Event()
    person = Person("a")

    def old() -> Generator[Any, None, None]:
        drawn.set()
        yield Rest(60.0)
        events.append("never")

    job = Job(person, old())
    timed.submit(job)
    timed.start()
    assert drawn.wait(10)
    timed.cancel(job)
    timed.submit(Job(person, steps(events, "new", 1, end)))
    assert end.wait(10)
    assert events == ["new0", "new closed"]


def test_a_job_that_is_to_leave_processors_free_works_alone(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parallel, "WORKERS", 4)
    doers: dict[str, set[int]] = {"alone": set(), "not": set()}
    end = Event()

    def work(name: str) -> Generator[Any, None, None]:
        for _ in range(3):
            both = Barrier(1 if name == "alone" else 2)

            def piece(both: Barrier = both) -> None:
                both.wait(10)
                doers[name].add(get_ident())

            _parallel.in_parallel([piece, piece])
            yield None
        if name == "not":
            end.set()

    person = Person("a")
    scheduler.submit(Job(person, work("alone"), rank=0, alone=True))
    scheduler.submit(Job(person, work("not"), rank=1))
    scheduler.start()
    assert end.wait(20)
    assert len(doers["alone"]) == 1 and len(doers["not"]) > 1


def test_a_job_that_fails_ends_alone(scheduler: Scheduler, caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []
    end = Event()

    def fails() -> Generator[Any, None, None]:
        yield None
        raise ZeroDivisionError

    scheduler.submit(Job(Person("a"), fails()))
    scheduler.submit(Job(Person("b"), steps(events, "fine", 3, end)))
    scheduler.start()
    assert end.wait(10)
    assert events[-1] == "fine closed" and "ZeroDivisionError" in caplog.text


def test_stopping_closes_what_is_left() -> None:
    scheduler, closed, begun = Scheduler(slice_seconds=0.0), Event(), Event()

    def endless() -> Generator[Any, None, None]:
        try:
            while True:
                begun.set()
                yield None
        finally:
            closed.set()

    scheduler.submit(Job(Person("a"), endless()))
    scheduler.start()
    assert begun.wait(10)
    scheduler.stop()
    assert closed.is_set()
