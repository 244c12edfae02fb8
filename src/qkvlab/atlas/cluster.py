"""The parts of a scan on a Ray cluster: actors with the model, one part a task; a lost one is done again elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import MissingExtraError, SourceError
from .store import tokens_in
from .tasks import Job, Part, Task, Told, count_part
from .workers import Files, Hands

LOCAL = "local"
"""The address that stands for a cluster of this machine alone, started for the scan."""
QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}
TRIES = 2
"""So often a cluster of this machine is started, if it does not come up."""
AGAIN = 3
"""So often a part whose actor died is tried again."""


def cluster(address: str, n: int) -> Hands:
    """On a Ray cluster: `local` starts one with `n` processors here and ends it afterwards; else the one at an address
    is joined, with as many actors as it has processors for (at most `n`, if n is not 0).

    Raises MissingExtraError without Ray, SourceError where no cluster answers or a part cannot be counted.
    """
    try:
        import ray as imported
    except ImportError:
        raise MissingExtraError("a scan on Ray", "ray") from None
    ray: Any = imported

    def count(job: Job, todo: Iterator[Task], told: Told) -> Iterator[tuple[Part, Files]]:
        with _joined(ray, address, n):
            try:
                free = int(ray.available_resources().get("CPU", 1))
                yield from _spread(ray, job, todo, told, max(1, min(free, n or free)))
            except ray.exceptions.RayError as error:
                raise SourceError(
                    f"the cluster could not count a part: {_line(error)}; what is done so far is kept: "
                    "go on with --resume"
                ) from None

    return count


@contextmanager
def _joined(ray: Any, address: str, n: int) -> Iterator[None]:
    """Connected, and quiet: no dashboard, no statistics, no line on the terminal. Only our own connection is ended.

    Ray prints on standard output when a worker dies, whatever its options say; so the function that does is put aside.
    """
    import os
    import warnings

    if ray.is_initialized():
        yield
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address == LOCAL:
        options |= {"address": "local", "include_dashboard": False, "num_cpus": n or None}
    else:
        options |= {"address": address}
    speaker = getattr(getattr(ray, "_private", None), "worker", None)
    speaks = getattr(speaker, "print_to_stdstream", None)
    if speaks is not None:
        speaker.print_to_stdstream = lambda *words, **more: None  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _init(ray, address, options)
        try:
            yield
        finally:
            ray.shutdown()
    finally:
        if speaks is not None:
            speaker.print_to_stdstream = speaks  # type: ignore[union-attr]


def _init(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Ray gives a node of its own 30 s to start and then raises a bare Exception; a busy machine may need a second try.

    Raises SourceError where no cluster answers.
    """
    last = TRIES if address == LOCAL else 1
    for at in range(1, last + 1):
        try:
            ray.init(**options)
            return
        except Exception as error:
            if at == last:
                raise SourceError(f"no Ray cluster at {address}: {_line(error)}") from None


def _spread(ray: Any, job: Job, todo: Iterator[Task], told: Told, n: int) -> Iterator[tuple[Part, Files]]:
    """Hand out parts, one per actor at a time; an actor that died is begun anew by Ray, and its part with it."""

    class Counter:
        def __init__(self, job: Job) -> None:
            self.job, self.model = job, job.open()

        def count(self, task: Task) -> Files:
            return count_part(self.model, self.job, task)

    remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=AGAIN)(Counter)
    idle = [remote.remote(job) for _ in range(n)]
    running: dict[Any, tuple[Task, Any]] = {}
    for task in todo:
        if not idle:
            yield from _finished(ray, running, idle, told)
        actor = idle.pop()
        running[actor.count.remote(task)] = task, actor
    while running:
        yield from _finished(ray, running, idle, told)


def _finished(
    ray: Any, running: dict[Any, tuple[Task, Any]], idle: list[Any], told: Told
) -> Iterator[tuple[Part, Files]]:
    done, _ = ray.wait(list(running), num_returns=1)
    for reference in done:
        task, actor = running.pop(reference)
        files: Files = ray.get(reference)
        idle.append(actor)
        told(task.part.n_character, tokens_in(files))
        yield task.part, files


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
