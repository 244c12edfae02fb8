"""Vector → words: what a value or a blend, written into the residual, promotes and suppresses at the output head."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .spec import Head
from .trace import Address, Trace

STANDS_OUT = 5.0
"""A word stands out when its logit lies this many standard deviations from the vocabulary's mean. (Random values
of SmolLM2 reach 4.2 to 5.8; see docs/decisions.md.)"""
SAMPLE = 64
"""How many values of a head are looked at, at most, to tell which words are extreme for most of them."""


@dataclass(frozen=True)
class Word:
    """A vocabulary entry and how far its logit lies from the mean, in standard deviations over the vocabulary."""

    id: int
    text: str
    sigma: float
    always: bool = False
    """Extreme for most values of this head in this text, so no news about this token."""


@dataclass(frozen=True)
class Words:
    """What a vector, through W_o and the output head, says directly."""

    promotes: tuple[Word, ...]
    suppresses: tuple[Word, ...]
    stands_out: bool
    """Whether any promoted word that is not `always` reaches the threshold."""
    threshold: float = STANDS_OUT


def words(trace: Trace, vectors: Float[Array, "rows d_model"], top: int = 5) -> list[Words]:
    """What each of these vectors, written into the residual, promotes and suppresses most at the output head."""
    logits = trace.model.words(vectors)
    sigmas = (logits - logits.mean(-1, keepdims=True)) / np.maximum(logits.std(-1, keepdims=True), 1e-30)
    return [_extremes(trace, row, top, frozenset()) for row in sigmas]


def head_words(trace: Trace, head: Address, indices: Sequence[int], query: int, top: int = 5) -> dict[str, Any]:
    """What do these tokens' values, and a query's blend z, say in words at one head? As plain JSON values.

    `values`, one for each index, and `blend`. Raises UnsupportedError for a model without an output head.
    """
    at = trace.spec.head(head)
    z = trace.z(at.layer)[at.head, query]
    *said, blend = value_words(trace, at, indices, top, z[None])
    values = [{"index": index, **asdict(words)} for index, words in zip(indices, said, strict=True)]
    return {"values": values, "blend": asdict(blend)}


def value_words(
    trace: Trace, head: Head, indices: Sequence[int], top: int = 5, others: Float[Array, "other d_head"] | None = None
) -> list[Words]:
    """The words of these tokens' values, then of `others` (vectors before W_o), with those marked that are extreme
    for most of the head's values."""
    values = trace.values(head)
    sample = np.unique(np.linspace(0, len(trace) - 1, min(len(trace), SAMPLE)).round().astype(int))
    vectors = [values[sample], values[list(indices)], *([] if others is None else [others])]
    logits = trace.model.words(np.concatenate(vectors) @ trace.model.w_o(head))
    logits -= logits.mean(-1, keepdims=True)
    logits /= np.maximum(logits.std(-1, keepdims=True), 1e-30)
    n = len(sample)
    extreme = (np.abs(logits[:n]) >= STANDS_OUT).sum(0)
    always = {int(i) for i in np.flatnonzero(extreme > n / 2)} if n > 2 else set()
    return [_extremes(trace, row, top, frozenset(always)) for row in logits[n:]]


def _extremes(trace: Trace, sigmas: Array, top: int, always: frozenset[int]) -> Words:
    """The `top` words at either end; of those that are `always` there, no more than half."""

    def listed(order: Array) -> tuple[Word, ...]:
        usual = [i for i in order if int(i) in always][: top // 2]
        news = [i for i in order if int(i) not in always][: top - len(usual)]
        chosen = [i for i in order if i in usual or i in news]
        return tuple(Word(int(i), trace.model.word(int(i)), float(sigmas[i]), int(i) in always) for i in chosen)

    n = min(top + len(always), len(sigmas))
    low = np.argpartition(sigmas, n - 1)[:n]
    high = np.argpartition(-sigmas, n - 1)[:n]
    promotes, suppresses = listed(high[np.argsort(-sigmas[high])]), listed(low[np.argsort(sigmas[low])])
    return Words(promotes, suppresses, any(word.sigma >= STANDS_OUT and not word.always for word in promotes))
