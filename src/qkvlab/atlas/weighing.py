"""Scores of some heads → their weights, and all that is asked of them, while they are small enough to be near.

The division by the row's sum is left to what is read, so that no number of the square is touched for it; the entropy
comes without a logarithm per weight.
"""

from dataclasses import dataclass

import numpy as np

from .._shapes import Array, Float, Int

LEAST = np.float32(-200.0)
"""Below this e^x is exactly 0 in float32: hidden keys get it, so that 0 times it is 0 and not nothing."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """The weights of some heads as e / total, with what their rows have in common."""

    e: Float[Array, "head query key"]
    """e^(score - the row's largest)"""
    total: Float[Array, "head query"]
    """What to divide by: Σ e, and a sink's share."""
    entropy: Float[Array, "head query"]
    """-Σ w log w, in nats"""
    top: Float[Array, "head query"]
    """The row's largest e."""

    def n_heaviest(self) -> Int[Array, "head query"]:
        """How many keys have the row's largest weight: packed to bits, eight keys are counted at once."""
        bits = np.packbits(self.e == self.top[..., None], axis=-1)
        if rest := -bits.shape[-1] % 8:
            bits = np.concatenate([bits, np.zeros((*bits.shape[:2], rest), np.uint8)], axis=-1)
        counted: Array = np.bitwise_count(bits.view(np.uint64)).sum(axis=-1, dtype=np.int64)
        return counted

    def of(self, flat: Int[Array, " pair"]) -> Float[Array, "head pair"]:
        """e of (query, key) pairs, given as query · n_key + key."""
        taken: Array = self.e.reshape(len(self.e), -1).take(flat, axis=1)
        return taken


def weigh(scores: Float[Array, "head query key"], sinks: Float[Array, " head"] | None = None) -> Weighed:
    """Weights of scores, which are overwritten. `sinks` are these heads' own.

    With s the scores less their row's largest, Z = Σ e^s (+ the sink's) and w = e^s / Z:
    -Σ w log w = (log Z · Σ e^s - Σ e^s s) / Z.
    """
    largest = scores.max(axis=-1)
    if sinks is not None:
        largest = np.maximum(largest, sinks[:, None])
    scores -= np.where(np.isfinite(largest), largest, 0)[..., None]
    np.maximum(scores, LEAST, out=scores)
    e = np.exp(scores)
    own = e.sum(axis=-1)
    total = own if sinks is None else own + np.exp(np.maximum(sinks[:, None] - largest, LEAST))
    top = np.ones_like(own) if sinks is None else e.max(axis=-1)
    entropy = (np.log(total) * own - np.vecdot(e, scores)) / total
    return Weighed(e, total, entropy, top)
