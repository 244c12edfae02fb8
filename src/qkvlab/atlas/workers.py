"""The parts of a scan, counted here, by several processes, or on a cluster: the same files from each.

Only so many parts are on their way at once as there are hands for, so memory does not grow with the corpus.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from threading import Thread

from ..errors import SourceError
from ..model import Model
from .store import tokens_in
from .tasks import Job, Part, Task, Told, count_part

Files = dict[str, bytes]
Hands = Callable[[Job, Iterator[Task], Told], Iterator[tuple[Part, Files]]]
"""Who counts: a job and its tasks → the parts as they are done, in any order."""

_model: Model | None = None
"""Of a process that counts: opened once."""


def here(model: Model) -> Hands:
    """In this process, one part after the other."""

    def count(job: Job, todo: Iterator[Task], told: Told) -> Iterator[tuple[Part, Files]]:
        own = job.shuffled(model)
        for task in todo:
            yield task.part, count_part(own, job, task, told)

    return count


def processes(n: int) -> Hands:
    """In `n` processes, each with the model of its own. Raises SourceError when one of them ends unasked."""

    def count(job: Job, todo: Iterator[Task], told: Told) -> Iterator[tuple[Part, Files]]:
        others, whole = set(active_children()), False
        pool = ProcessPoolExecutor(n, get_context("spawn"), _start, (job,))
        try:
            yield from _bounded(pool, job, todo, told, n)
            whole = True
        except BrokenProcessPool:
            raise SourceError(
                "a counting process ended unasked (out of memory, or killed); what is done so far is kept: "
                "go on with --resume, with fewer --workers if memory is short"
            ) from None
        finally:
            for process in () if whole else set(active_children()) - others:
                process.terminate()  # a part may take minutes: whoever interrupts a scan does not wait for it
            pool.shutdown(cancel_futures=True)

    return count


def _bounded(
    pool: ProcessPoolExecutor, job: Job, todo: Iterator[Task], told: Told, n: int
) -> Iterator[tuple[Part, Files]]:
    running: dict[Future[Files], Task] = {}
    for task in todo:
        running[pool.submit(_count, job, task)] = task
        if len(running) > n:
            yield from _finished(running, told)
    while running:
        yield from _finished(running, told)


def _finished(running: dict[Future[Files], Task], told: Told) -> Iterator[tuple[Part, Files]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        task = running.pop(future)
        files = future.result()
        told(task.part.n_character, tokens_in(files))
        yield task.part, files


def _start(job: Job) -> None:
    """In a counting process, once. An interrupt is the scan's own affair: it ends its processes itself."""
    import signal

    global _model
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_the_scan, daemon=True).start()
    _model = job.open()


def _end_with_the_scan() -> None:
    """A scan that is killed cannot end its processes, and they would wait for work for ever, each with its model."""
    scan = parent_process()
    if scan is not None:
        scan.join()
        os._exit(1)


def _count(job: Job, task: Task) -> Files:
    assert _model is not None
    return count_part(_model, job, task)
