"""Heads switched off together: the logits without every set of a layer's heads, many sets in one run of the model."""

from collections.abc import Iterator, Sequence

import numpy as np
from einops import rearrange

from .._parallel import one_blas_thread
from .._shapes import Array, Float
from ..mechanism import write
from ..models import FAMILIES, no_tap, unembed
from ..trace import Trace

ROWS = 320
"""So many rows are multiplied at once: enough that the weights are read for many, few enough for the caches."""


def logits_without(
    trace: Trace, layer: int, sets: Sequence[Sequence[int]]
) -> Iterator[Float[Array, "set query vocab"]]:
    """The logits of a text without each of these sets of one layer's heads (their z at zero), some sets at a time.

    As of a trace with those ablations, which runs once for each (four times as long, for a short text).
    """
    at_once = max(1, ROWS // len(trace))
    for first in range(0, len(sets), at_once):
        with one_blas_thread():
            yield _logits(trace, layer, sets[first : first + at_once])


def _logits(trace: Trace, layer: int, sets: Sequence[Sequence[int]]) -> Float[Array, "set query vocab"]:
    model, spec, n_set = trace.model, trace.spec, len(sets)
    family, rows, apart = FAMILIES[spec.family], range(len(trace)), _Apart(n_set)
    z = np.tile(trace.z(layer)[:, None], (1, n_set, 1, 1))
    for number, off in enumerate(sets):
        z[list(off), number] = 0
    w = model.weights.layer(layer)
    out = write(rearrange(z, "head set row d -> head (set row) d"), w.w_o, w.b_o)
    x = family.mlp(spec, w, layer, np.tile(trace.x(layer), (n_set, 1)), out, rows, no_tap)
    for above in range(layer + 1, spec.n_layer):
        w = model.weights.layer(above)
        out = family.attention(spec, w, above, x, rows, apart)
        x = family.mlp(spec, w, above, x, out, rows, no_tap)
    logits = unembed(model.weights, family.final(spec, model.weights, x))
    return logits.reshape(n_set, len(rows), -1)


class _Apart:
    """The tap of a run in which several texts stand one below the other: in attention each has heads of its own, so
    that none sees another, and all have the same positions."""

    def __init__(self, n_text: int) -> None:
        self.n_text = n_text

    def wants_scores(self, layer: int) -> bool:
        return False

    def __call__(self, name: str, array: Array, rows: range) -> Array:
        stage = name.rpartition(".")[2]
        if stage in ("q_raw", "k_raw", "q", "k", "v") and array.shape[1] != len(rows):
            return rearrange(array, "head (text row) d -> (text head) row d", text=self.n_text)
        if stage == "z":
            return rearrange(array, "(text head) row d -> head (text row) d", text=self.n_text)
        return array
