"""How one layer turns q · k into weights, as one small value: scale, soft cap, position bias, mask, sinks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._shapes import Array, Float
from .mechanism import exponentials, group_queries, hide, score, softmax, ungroup


@dataclass(frozen=True, eq=False)
class Scoring:
    """Everything between q · k and the weights of one layer. Linear in the text, so that a trace can keep it.

    scores = hide(softcap(q · k · scale) + bias); weights = softmax(scores), over the keys and a head's sink if any.
    """

    scale: float
    causal: bool
    window: int | None = None
    """A query sees keys less than so far away; None: all that the mask allows."""
    softcap: float | None = None
    """s becomes c · tanh(s / c) before the mask (Gemma 2)."""
    key_bias: Float[Array, "head key"] | None = None
    """Added to the score by key alone (ALiBi as Bloom and MPT write it: the row's constant cancels in softmax)."""
    distance_bias: Float[Array, "head distance"] | None = None
    """Added by key - query; column key - query + n_query - 1 (T5's buckets, spread out)."""
    sinks: Float[Array, " head"] | None = None
    """A score per head that takes its share and hands over nothing (gpt-oss): rows sum to less than 1."""

    @property
    def plain(self) -> bool:
        """Whether there is nothing besides scale and mask."""
        return all(each is None for each in (self.softcap, self.key_bias, self.distance_bias, self.sinks))

    def scores(
        self,
        q: Float[Array, "head rows d_head"],
        k: Float[Array, "kv_head key d_head"],
        rows: Sequence[int],
        first_head: int = 0,
        *,
        masked: bool = True,
    ) -> Float[Array, "head rows key"]:
        """What enters softmax, for queries at positions `rows` of consecutive heads from `first_head` on."""
        heads = slice(first_head, first_head + q.shape[0])
        scores = ungroup(score(group_queries(q, k.shape[0]), k, self.scale), q.shape[0])
        if self.softcap is not None:
            scores = self.softcap * np.tanh(scores / self.softcap)
        if self.key_bias is not None:
            scores = scores + self.key_bias[heads, None, : k.shape[1]]
        if self.distance_bias is not None:
            zero = (self.distance_bias.shape[1] + 1 - k.shape[1]) - 1
            columns = np.arange(k.shape[1])[None] - np.asarray(rows)[:, None] + zero
            scores = scores + self.distance_bias[heads][:, columns]
        return hide(scores, rows, self.causal, self.window) if masked else scores

    def weights(self, scores: Float[Array, "head rows key"], first_head: int = 0) -> Float[Array, "head rows key"]:
        """softmax(scores); where there are sinks, they take their share first."""
        if self.sinks is None:
            return softmax(scores)
        sinks = self.sinks[first_head : first_head + scores.shape[0], None, None]
        both = np.concatenate([scores, np.broadcast_to(sinks, (*scores.shape[:2], 1))], axis=-1)
        both /= exponentials(both)
        return both[..., :-1]
