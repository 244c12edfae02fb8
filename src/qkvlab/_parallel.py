"""Work cut into pieces, one thread per processor, while the matrix library keeps to one thread of its own.

Its own threads wait for each other in every single product; on a machine that is busy elsewhere each wait can take a
time slice, and a text of 4,096 tokens took ten times as long. Pieces of our own meet once per layer.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import Any

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(pieces: Sequence[Callable[[], Any]]) -> None:
    """Do all pieces, in any order. NumPy and PyTorch let go of the interpreter while they compute."""
    if len(pieces) < 2 or WORKERS == 1:
        for piece in pieces:
            piece()
        return
    with one_blas_thread():
        waiting = [_pool().submit(piece) for piece in pieces[1:]]
        pieces[0]()
        for future in waiting:
            future.result()


def shares(n: int) -> list[slice]:
    """`n` items as one run of neighbours per worker (some are empty where there are fewer items)."""
    ends = [n * worker // WORKERS for worker in range(WORKERS + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="qkvlab")


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


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
