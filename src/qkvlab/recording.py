"""What a trace keeps, and how much of it the next trace can use again."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from .edits import Edit
from .spec import ModelSpec

Array = np.ndarray[Any, np.dtype[np.float32]]

ROOM = 64
"""Rows to spare behind the keys and values of a text: what is typed next is appended, and nothing copied."""
WORTH_ROOM = range(16, 1025)
"""Text lengths that get room at once: below, a copy costs nothing; above, the room would."""
MOST_PIECES = 8


class Rows:
    """An array that grows along one axis and is always whole. Traces of a growing text share it; each sees its first
    rows. Rows are written once: a trace may append behind the last written row, else it copies what it shares.
    """

    def __init__(self, array: Array, axis: int, written: int | None = None) -> None:
        self._lock = Lock()
        self._axis = axis
        self._written = array.shape[axis] if written is None else written
        self._array = _roomy(array, axis, self._written) if written is None else array

    @property
    def nbytes(self) -> int:
        return self._array.nbytes

    def first(self, n: int) -> Array:
        """The first `n` rows, read-only."""
        return _fixed(_part(self._array, self._axis, 0, n))

    def extended(self, start: int, new: Array) -> "Rows":
        """Rows that agree with this up to `start` and go on with `new`."""
        stop = start + new.shape[self._axis]
        with self._lock:
            if self._written == start and stop <= self._array.shape[self._axis]:
                self._written = stop
                _part(self._array, self._axis, start, stop)[...] = new
                return self
        array = _roomy(self.first(start), self._axis, stop)
        _part(array, self._axis, start, stop)[...] = new
        return Rows(array, self._axis, stop)


class Pieces:
    """An array that grows along one axis and is put together when asked: what nothing later in the run reads.

    A word typed again begins a new piece behind the rows that stand, which are neither copied nor moved.
    """

    def __init__(self, array: Array, axis: int, before: Sequence[Array] = ()) -> None:
        self._axis = axis
        self._pieces = (*before, array)

    @property
    def nbytes(self) -> int:
        return sum(piece.nbytes for piece in self._pieces)

    def first(self, n: int) -> Array:
        """The first `n` rows, read-only."""
        if len(self._pieces) > 1:
            self._pieces = (np.concatenate(self._pieces, axis=self._axis),)
        return _fixed(_part(self._pieces[0], self._axis, 0, n))

    def pick(self, rows: np.ndarray) -> Array:
        """Some rows, rising; nothing is put together for them."""
        start, picked = 0, []
        for piece in self._pieces:
            stop = start + piece.shape[self._axis]
            picked.append(piece.take(rows[(start <= rows) & (rows < stop)] - start, axis=self._axis))
            start = stop
        return np.concatenate(picked, axis=self._axis) if len(picked) > 1 else picked[0]

    def extended(self, start: int, new: Array) -> "Pieces":
        """Rows that agree with this up to `start` and go on with `new`."""
        kept, n = list[Array](), 0
        for piece in self._pieces:
            size = min(piece.shape[self._axis], start - n)
            if size <= 0:
                break
            part = _part(piece, self._axis, 0, size)
            kept.append(part if piece.shape[self._axis] - size <= ROOM else part.copy())  # a view keeps the whole alive
            n += size
        if len(kept) >= MOST_PIECES:
            kept = [np.concatenate(kept, axis=self._axis)]
        return Pieces(new, self._axis, kept)


def _part(array: Array, axis: int, start: int, stop: int) -> Array:
    """Rows from `start` to before `stop`, as a view."""
    return array[start:stop] if axis == 0 else array[:, start:stop]


def _fixed(view: Array) -> Array:
    view.flags.writeable = False
    return view


def _roomy(array: Array, axis: int, n: int) -> Array:
    """The array at the start of one of `n` rows, and of more where that is worth it; itself if it has as many."""
    shape = list(array.shape)
    shape[axis] = n + ROOM if n in WORTH_ROOM else n
    if shape[axis] == array.shape[axis]:
        return array
    roomy = np.empty(shape, array.dtype)
    _part(roomy, axis, 0, array.shape[axis])[...] = array
    return roomy


def first_rows(
    spec: ModelSpec,
    old_ids: Sequence[int],
    old_edits: Sequence[Edit],
    n_done: int,
    ids: Sequence[int],
    edits: Sequence[Edit],
) -> list[int]:
    """For every layer, the first query row that must be computed anew; those before it are the old trace's.

    The old trace has run `n_done` layers to their end. Causal models share the rows of the longest common prefix
    of the token ids, in every layer up to the first whose edits differ; from there on, the rows before the first
    one such an edit can change. An encoder, where every row sees the whole text, shares all rows or none.
    """
    common = next((i for i, (a, b) in enumerate(zip(old_ids, ids, strict=False)) if a != b), None)
    shared = min(len(old_ids), len(ids)) if common is None else common
    if not spec.causal and not (shared == len(ids) == len(old_ids)):
        return [0] * spec.n_layer
    rows, first = [], shared
    if not old_edits and not edits:
        return [shared if layer < n_done else 0 for layer in range(spec.n_layer)]
    reached = [[(edit, edit.layers(spec)) for edit in listed] for listed in (old_edits, edits)]
    for layer in range(spec.n_layer):
        old, new = ([edit for edit, layers in listed if layer in layers] for listed in reached)
        if layer >= n_done:
            first = 0
        for edit in _moved(old, new):
            first = min(first, edit.first_row if spec.causal else 0)
        first = _settled(first, new, spec.causal)
        rows.append(first)
    return rows


def _moved(old: Sequence[Edit], new: Sequence[Edit]) -> list[Edit]:
    """The edits in which two lists differ, order and repetition included: what is left between equal ends."""
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    most = min(len(old), len(new)) - start
    end = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
    return [*old[start : len(old) - end], *new[start : len(new) - end]]


def _settled(first: int, edits: Sequence[Edit], causal: bool) -> int:
    """The first new row once every edit that names a new row has its own first row among them."""
    while True:
        due = [edit.first_row if causal else 0 for edit in edits if any(token >= first for token in edit.tokens())]
        if min(due, default=first) >= first:
            return first
        first = min(due)
