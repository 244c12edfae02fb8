"""Work cut into pieces, one thread per processor, while the matrix library keeps to one thread of its own.

Its own threads wait for each other in every single product; on a machine that is busy elsewhere each wait can take a
time slice, and a text of 4,096 tokens took ten times as long. After it they keep a processor busy for a while.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread, local
from typing import Any

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

_calling = local()
"""Of each thread that calls: whether it is to work alone."""

Piece = Callable[[], Any]
Done = SimpleQueue[BaseException | None]
"""One entry per piece that has ended: what it raised, if anything."""


def in_parallel(pieces: Sequence[Piece]) -> None:
    """Do all pieces, in any order. NumPy and PyTorch let go of the interpreter while they compute.

    The caller takes pieces like any helper, so that a helper who is late (a busy machine) costs no wait.
    """
    if len(pieces) < 2 or WORKERS == 1 or getattr(_calling, "alone", False):
        for piece in pieces:
            piece()
        return
    with one_blas_thread():
        todo, done = deque(pieces), Done()
        for _ in range(min(len(pieces), WORKERS) - 1):
            _helpers().put((todo, done))
        _take(todo, done)
        for error in [done.get() for _ in pieces]:
            if error is not None:
                raise error


@contextmanager
def one_processor() -> Iterator[None]:
    """Within it, what this thread asks for is done by this thread alone."""
    before, _calling.alone = getattr(_calling, "alone", False), True
    try:
        yield
    finally:
        _calling.alone = before


@lru_cache(maxsize=256)
def shares(*counts: int, most: int = WORKERS) -> list[list[slice]]:
    """Several runs of items, `counts` long, cut evenly for up to `most` workers: for each, a slice of every run."""
    n_piece = max(1, min(most, WORKERS))
    total, starts = sum(counts), [sum(counts[:i]) for i in range(len(counts))]
    ends = sorted({total * piece // n_piece for piece in range(n_piece + 1)})
    return [[slice(max(a - start, 0), max(b - start, 0)) for start in starts] for a, b in pairwise(ends)]


@cache
def _helpers() -> SimpleQueue[tuple[deque[Piece], Done]]:
    """Where threads of our own wait for work: one per processor but one, for as long as the process lives."""
    inbox: SimpleQueue[tuple[deque[Piece], Done]] = SimpleQueue()

    def help_others() -> None:
        while True:
            _take(*inbox.get())

    for _ in range(WORKERS - 1):
        Thread(target=help_others, name="qkvlab", daemon=True).start()
    return inbox


def _take(todo: deque[Any], done: Done) -> None:
    """Do pieces until none is left. (Not `deque[Piece]`: a check of that type looks inside while others take.)"""
    while True:
        try:
            piece = todo.popleft()
        except IndexError:
            return
        try:
            piece()
        except BaseException as error:  # handed to the caller, who raises it
            done.put(error)
        else:
            done.put(None)


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@cache
def multiplies_small() -> bool:
    """Has the matrix library a way of its own for small products? OpenBLAS has one where there is AVX-512; elsewhere it
    copies every matrix into its own order first, which is dear for two or three queries."""
    return all(
        library.get("architecture") in ("SkylakeX", "Cooperlake", "SapphireRapids") for library in _blas().info()
    )


_lock = Lock()
_inside = 0
_limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The setting belongs to the process: the first to come changes it, the last to leave puts it back."""
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = _blas().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()
