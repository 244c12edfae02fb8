"""Trace → one head's arrays, exact: what a person compares cell by cell, and drags."""

import numpy as np

from ._shapes import Array, Float
from .edits import Ablate, Edit
from .spec import Head
from .trace import Address, Trace


def head_arrays(trace: Trace, before: Trace, head: Address, query: int) -> dict[str, Array]:
    """What does one head compute with? Arrays by name, for T tokens and d = d_head:

    `q`, `k`, `v` [T, d]: as they enter the scores, after the edits of arrays; `q_before`, `k_before`, `v_before`: those
    of the trace `before` the edits, where an edit reaches them; `x` [d_model]: what W_q multiplies at the query;
    `value_lengths` [T]: |v W_o|; `gram` [d, d]: W_o W_oᵀ, so that |z W_o|² = z gram zᵀ; `mean_z` [d]: the mean over
    the reference text, where an edit ablates this head to it; `key_bias` [T], `distance_bias` [2T - 1]: what is added
    to the scores by key, or by key - query, in the families that do so.
    """
    at = trace.spec.head(head)
    w_o = trace.model.w_o(at)
    arrays = {"q": trace.queries(at), "k": trace.keys(at), "v": trace.values(at)}
    unedited = {"q": before.queries(at), "k": before.keys(at), "v": before.values(at)}
    arrays |= {
        **{f"{name}_before": unedited[name] for name in arrays if _edited(trace, at, name)},
        "x": trace.normed(at.layer)[query],
        "value_lengths": np.linalg.norm(arrays["v"] @ w_o, axis=-1),
        "gram": w_o @ w_o.T,
        **_biases(trace, at),
    }
    if any(isinstance(edit, Ablate) and edit.to == "mean" for edit in _reaching(trace, at)):
        arrays["mean_z"] = trace.model.mean_z(at.layer)[at.head]
    return arrays


def head_rule(trace: Trace, head: Address) -> dict[str, float | None] | None:
    """What stands between q · k and the weights of one head besides scale, mask and position: its soft cap and its
    sink; None in most families."""
    at = trace.spec.head(head)
    rule = trace.scoring(at.layer)
    if rule.plain:
        return None
    return {"softcap": rule.softcap, "sink": None if rule.sinks is None else float(rule.sinks[at.head])}


def _biases(trace: Trace, head: Head) -> dict[str, Array]:
    rule = trace.scoring(head.layer)
    named = {"key_bias": rule.key_bias, "distance_bias": rule.distance_bias}
    return {name: bias[head.head] for name, bias in named.items() if bias is not None}


def raw_arrays(trace: Trace, head: Address) -> dict[str, Float[Array, "token d_head"]]:
    """One head's queries and keys before rotation and before any edit of its own, `q_raw` and `k_raw`, [T, d_head]."""
    at = trace.spec.head(head)
    return {"q_raw": trace.q_raw(at.layer)[at.head], "k_raw": trace.k_raw(at.layer)[trace.spec.kv_head(at)]}


def _edited(trace: Trace, head: Head, stage: str) -> bool:
    """Whether an edit reaches an array of a head: through an earlier layer, or directly. (To compare the numbers would
    not tell: rows that are computed again in other company differ by rounding.)"""
    earlier = any(edit.layers(trace.spec).start < head.layer for edit in trace.edits)
    return earlier or any(stage in edit.stages for edit in _reaching(trace, head))


def _reaching(trace: Trace, head: Head) -> list[Edit]:
    spec, (layer, number) = trace.spec, head
    return [edit for edit in trace.edits if layer in edit.layers(spec) and number in edit.heads(spec, layer)]
