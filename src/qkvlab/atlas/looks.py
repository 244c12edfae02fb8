"""Position: at which offset does each query look most, how far, how evenly? Counted per head, argmax and mass."""

from collections.abc import Sequence

import numpy as np

from .._shapes import Array, Float, Int
from ..scoring import Scoring
from .weighing import Weighed

LOOKS = ("self", "previous", "next", "first")
"""Where a query may look most: offset 0, -1, +1, or the window's first token."""
SUMS = ("distance", "entropy", *(f"mass:{look}" for look in LOOKS))
"""Quantities of every query: tokens, nats, and weights."""


class Looks:
    """What is asked of every query of a window, and the numbers as they come in."""

    def __init__(self, queries: Int[Array, " query"], n_token: int) -> None:
        self.queries = queries
        self.n_token = n_token
        targets = np.array([targets_of(look, queries) for look in LOOKS])
        self.there = (targets >= 0) & (targets < n_token)
        """[look, query] whether that key exists."""
        self.flat = queries * n_token + np.where(self.there, targets, 0)
        at = np.arange(n_token, dtype=np.float32)
        self.distances = abs(at - at[:, None])

    def chance(self, scoring: Scoring) -> dict[str, float]:
        """For each look, the hits of weights spread evenly over what each query sees."""
        first, last = seen(scoring, self.queries, self.n_token)
        targets = [targets_of(look, self.queries) for look in LOOKS]
        hits = [((first <= target) & (target < last)) / (last - first) for target in targets]
        return {look: float(each.sum()) for look, each in zip(LOOKS, hits, strict=True)}

    def read(self, weighed: Weighed) -> tuple[Float[Array, "look head query"], Float[Array, "sum head query"]]:
        """Hits of each look, and each of `SUMS`, of some heads' queries."""
        total = weighed.total[:, self.queries]
        e = weighed.of(self.flat.reshape(-1)).reshape(len(total), *self.flat.shape).swapaxes(0, 1)
        e = e * self.there[:, None]
        heaviest = (e == weighed.top[:, self.queries]) & self.there[:, None]
        hits = heaviest / weighed.n_heaviest()[:, self.queries]
        distance = np.vecdot(weighed.e, self.distances)[:, self.queries] / total
        return hits, np.stack([distance, weighed.entropy[:, self.queries], *(e / total)])


def targets_of(look: str, queries: Int[Array, " query"]) -> Int[Array, " query"]:
    """The key that a look means, which need not exist."""
    return {"self": queries, "previous": queries - 1, "next": queries + 1, "first": 0 * queries}[look]


def seen(scoring: Scoring, queries: Sequence[int] | Array, n_token: int) -> tuple[Array, Array]:
    """The first key that each query sees, and the one after the last."""
    at, far = np.asarray(queries), scoring.window or n_token
    last = at + 1 if scoring.causal else np.minimum(n_token, at + far)
    return np.maximum(0, at - far + 1), last
