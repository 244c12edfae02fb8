"""Trace → pictures of all heads at once: a stamp of weights each, and where one query looks."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ._shapes import Array, Float, Int
from .trace import Trace

SIZE = 32
"""A stamp has at most so many rows and columns."""


def cells(n_token: int, size: int = SIZE) -> tuple[list[int], list[int]]:
    """Which query does each row of a stamp show, and which keys each column? Rows, then the columns' edges.

    Up to `size` tokens one of each; above, evenly spaced queries, first and last among them. Column c holds the keys
    from edges[c] to before edges[c + 1]: those nearest to the query of row c, so that the diagonal stays one.
    """
    if n_token <= size:
        return list(range(n_token)), list(range(n_token + 1))
    rows = [round(step * (n_token - 1) / (size - 1)) for step in range(size)]
    return rows, [0, *((a + b + 1) // 2 for a, b in pairwise(rows)), n_token]


def layer_stamps(trace: Trace, layer: int, rows: Sequence[int], edges: Sequence[int]) -> Array:
    """The stamps of a layer's heads, uint8 [head, row, column], where 255 is a weight of 1.

    A column of several keys shows the largest of their weights.
    """
    weights = trace.layer_weights(layer, rows)
    if len(edges) <= weights.shape[-1]:
        weights = np.maximum.reduceat(weights, edges[:-1], axis=-1)
    return np.rint(weights * 255).astype(np.uint8)


def looks(trace: Trace, layer: int, query: int, key: int | None = None) -> dict[str, Array]:
    """Where does this query look most, in every head of a layer?

    Arrays of [head], by name:
    `top_key`, `top_weight`: over all keys; `land_key`, `land_weight`: leaving out the query itself, the first
    position (the sink) and special tokens; -1 and 0 where nothing is left. With a `key` also `pair_score` (-inf where
    it is hidden) and `pair_weight`.
    """
    row = trace.layer_scores(layer, [query])
    scores, weights = row[:, 0], trace.weights_of(layer, row)[:, 0]
    heads = np.arange(len(weights))
    top = weights.argmax(axis=-1)
    found = {
        "top_key": top.astype(np.int32),
        "top_weight": weights[heads, top],
        **_landing(trace, layer, query, weights),
    }
    if key is not None:
        found |= {"pair_score": scores[:, key], "pair_weight": weights[:, key]}
    return found


def other_keys(trace: Trace, layer: int, query: int) -> Int[Array, " key"]:
    """The keys this query sees, without itself, the first position (the sink) and special tokens."""
    first, last = trace.visible(layer, query)
    keys = np.arange(first, last)
    return keys[(keys != query) & (keys != 0) & ~np.array(trace.special[first:last], bool)]


def _landing(trace: Trace, layer: int, query: int, weights: Float[Array, "head key"]) -> dict[str, Array]:
    keys = other_keys(trace, layer, query)
    if len(keys) == 0:
        return {"land_key": np.full(len(weights), -1, np.int32), "land_weight": np.zeros(len(weights), np.float32)}
    best = keys[weights[:, keys].argmax(axis=-1)]
    return {"land_key": best.astype(np.int32), "land_weight": weights[np.arange(len(weights)), best]}
