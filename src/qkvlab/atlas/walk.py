"""One window's way through a model, layer by layer: what a scan reads of each, and nothing of it kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .._parallel import in_parallel, one_blas_thread, shares
from .._shapes import Array, Float
from ..mechanism import kv_head_of, split_heads
from ..model import Model
from ..models import FAMILIES
from ..models.common import no_tap
from ..scoring import Scoring
from .weighing import Weighed, weigh


@dataclass(frozen=True, eq=False)
class Seen:
    """One layer, as the forward pass had it."""

    layer: int
    x: Float[Array, "query d_model"]
    """The residual that enters the layer."""
    q: Float[Array, "head query d_head"]
    k: Float[Array, "kv_head key d_head"]
    z: Float[Array, "head query d_value"]
    written: Float[Array, "head query d_value"]
    """What W_o multiplies: z, or z through its gate where the family has one."""
    scoring: Scoring

    def for_each_part(self, work: Callable[[slice, Weighed], None]) -> None:
        """Hand the weights of a layer to `work`, cut by query heads into one piece for each processor.

        What is done between the array operations takes turns, so more pieces take longer. No number depends on the cut.
        """
        n_head, rows, sinks = len(self.q), range(self.q.shape[1]), self.scoring.sinks
        read = np.array([kv_head_of(head, n_head, len(self.k)) for head in range(n_head)])

        def part(heads: slice) -> None:
            scores = self.scoring.scores(self.q[heads], self.k[read[heads]], rows, heads.start)
            work(heads, weigh(scores, None if sinks is None else sinks[heads]))

        in_parallel([partial(part, heads) for (heads,) in shares(n_head)])


def walk(model: Model, ids: Sequence[int], layers: Sequence[int]) -> Iterator[Seen]:
    """These layers, in order. The native engine runs no further than the last of them and drops each as it goes; a
    live model runs whole, and its layers are let go one after the other."""
    return _native(model, ids, layers) if model.native else _traced(model, ids, layers)


def _traced(model: Model, ids: Sequence[int], layers: Sequence[int]) -> Iterator[Seen]:
    family = getattr(model, "family", None)  # of a live model
    gated = family is not None and family.gated
    taps = ("x", "q", "k", "z", *(["gated"] if gated else []))
    options: dict[str, Any] = {} if family is None else {"keep": taps}
    trace: Any = model.trace(ids=ids, **options)
    for at in layers:
        z = written = trace.z(at)
        if gated:
            written = np.ascontiguousarray(split_heads(trace._kept_of(at, "gated"), len(z)))
        yield Seen(at, trace.x(at), trace.q(at), trace.k(at), z, written, trace.scoring(at))
        for name in taps if options else ():
            trace.taken.pop(f"layer.{at}.{name}", None)


def _native(model: Model, ids: Sequence[int], layers: Sequence[int]) -> Iterator[Seen]:
    spec, weights, family = model.spec, model.weights, FAMILIES[model.spec.family]
    rows, last = range(len(ids)), max(layers)
    chosen = model._read_ids(ids)
    weights.prefetch(range(last + 1))
    x = family.embed(spec, weights, list(chosen), rows)
    for at in range(last + 1):
        tap = _Taken()
        with one_blas_thread():
            out = family.attention(spec, weights.layer(at), at, x, rows, tap)
        if at in layers:
            scoring = Scoring(spec.d_head**-0.5, spec.causal, spec.window_of(at))
            q, k, z = (tap.kept[name] for name in ("q", "k", "z"))
            yield Seen(at, x, q, k, z, z, scoring)
        if at < last:
            with one_blas_thread():
                x = family.mlp(spec, weights.layer(at), at, x, out, rows, no_tap)


class _Taken:
    """A tap that keeps q, k and z of one layer."""

    def __init__(self) -> None:
        self.kept: dict[str, Array] = {}

    def wants_scores(self, layer: int) -> bool:
        return False

    def __call__(self, name: str, array: Array, rows: range) -> Array:
        stage = name.rpartition(".")[2]
        if stage in ("q", "k", "z"):
            self.kept[stage] = array
        return array
