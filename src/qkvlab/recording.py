"""What a trace keeps, and how much of it the next trace can use again."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from .edits import Edit
from .spec import ModelSpec

Array = np.ndarray[Any, np.dtype[np.float32]]

ROOM = 64
"""Rows to spare behind a text: the next typed tokens are appended without copying what stands."""
WORTH_ROOM = range(16, 1025)
"""Text lengths that get room at once: below, a copy costs nothing; above, the room would."""


class Rows:
    """An array that grows along one axis. Traces of a growing text share it; each sees its own first rows.

    Rows are written once: a trace may append behind the last written row, else it copies what it shares.
    """

    def __init__(self, array: Array, axis: int) -> None:
        self._lock = Lock()
        self._axis = axis
        self._written = array.shape[axis]
        self._array = self._with_room(array, self._written) if self._written in WORTH_ROOM else array

    def first(self, n: int) -> Array:
        """The first `n` rows, read-only."""
        view = self._array[:n] if self._axis == 0 else self._array[:, :n]
        view.flags.writeable = False
        return view

    def extended(self, start: int, new: Array) -> "Rows":
        """Rows that agree with this up to `start` and go on with `new`."""
        stop = start + new.shape[self._axis]
        with self._lock:
            if self._written == start and stop <= self._array.shape[self._axis]:
                self._written = stop
                self._part(start, stop)[...] = new
                return self
        return Rows(np.concatenate([self.first(start), new], axis=self._axis), self._axis)

    def _part(self, start: int, stop: int) -> Array:
        return self._array[start:stop] if self._axis == 0 else self._array[:, start:stop]

    def _with_room(self, array: Array, n: int) -> Array:
        shape = list(array.shape)
        shape[self._axis] = n + ROOM
        roomy = np.empty(shape, array.dtype)
        (roomy[:n] if self._axis == 0 else roomy[:, :n])[...] = array
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
    for layer in range(spec.n_layer):
        old, new = ([e for e in es if layer in e.layers(spec)] for es in (old_edits, edits))
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
