"""Trace → what changes the prediction: each head's direct effect, ablation, an edit at every strength."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .edits import Ablate
from .errors import TokenError, UnsupportedError
from .mechanism import softmax
from .model import Model
from .text import quoted
from .trace import Address, Trace

LISTED = 12
"""How many tokens an error lists at most."""
MOST, EARLIER = 6, 3
"""A prediction shows so many of the most probable words, and of those that were so before an edit."""


def tracked_ids(model: Model, tracked: Sequence[int | str]) -> list[int]:
    """Which vocabulary entries are these? Each is an id, or a text that is exactly one token of this model.

    Raises TokenError for anything else, and says which tokens the text is cut into.
    """
    return [_tracked_id(model, name) for name in tracked]


def _tracked_id(model: Model, name: int | str) -> int:
    if isinstance(name, int):
        if not 0 <= name < model.spec.n_vocab:
            raise TokenError(f"id {name} is not in the vocabulary of 0 to {model.spec.n_vocab - 1}")
        return name
    ids = model.tokenizer.encode(name, special=False).ids
    if len(ids) != 1:
        cut = " ".join(quoted(model.word(token)) for token in ids[:LISTED]) + (" ..." if len(ids) > LISTED else "")
        raise TokenError(f"{quoted(name[:60])} is {len(ids)} tokens here: {cut or 'none'}; only one can be tracked")
    return ids[0]


def direct_effects(trace: Trace, at: int, ids: Sequence[int]) -> Float[Array, "layer head"]:
    """What does each head's own write at a position add to a word's logit? [layer, head]

    The logit is that of ids[0]; with two ids, it is the difference between theirs. Through the final norm with its
    scale frozen at what it is there, and the unembedding: together with the embedding, the MLPs and the biases, these
    sum to the logit itself. Raises UnsupportedError without an output head.
    """
    spec, direction = trace.spec, frozen_direction(trace, at, ids)
    effects = np.zeros((spec.n_layer, spec.n_head), np.float32)
    for layer in spec.attention_layers:
        tiles = trace.model.weights.layer(layer).w_o
        along = (tiles @ direction.reshape(len(tiles), -1, 1)).sum(axis=0).reshape(spec.n_head, spec.d_value)
        effects[layer] = (trace.z(layer)[:, at] * along).sum(axis=-1)
    return effects


def frozen_direction(trace: Trace, at: int, ids: Sequence[int]) -> Float[Array, " d_model"]:
    """The direction along which a vector written into the last residual at a position moves the logit of ids[0]
    (with two ids: less that of ids[1]), the final norm's scale held: vector · direction is what it adds."""
    _check_output(trace)
    trace.check_output_head()
    model, x = trace.model, trace.x(trace.spec.n_layer)[at].astype(np.float64)
    rows = model.weights.unembedding[list(ids)].astype(np.float64)
    direction = (rows[0] - rows[1] if len(ids) == 2 else rows[0]) * model.weights.vector("final_norm")
    if model.centred:
        x, direction = x - x.mean(), direction - direction.mean()
    frozen: np.ndarray = (direction / np.sqrt(np.mean(x * x) + model.spec.norm_eps)).astype(np.float32)
    return frozen


def ablated(trace: Trace, head: Address, at: int, ids: Sequence[int]) -> tuple[float, float]:
    """What would the prediction at a position lose without this head? (effect, ids[0]'s probability then)

    The effect is the logit of ids[0] (with two ids: less that of ids[1]) as it is, minus as it is with the head's
    blend at zero, on top of the trace's own edits. Layers below the head are not run again.
    """
    return ablation_effect(trace, without_head(trace, head), at, ids)


def without_head(trace: Trace, head: Address) -> Trace:
    """The same with the head's blend at zero, on top of the trace's own edits."""
    return trace.with_edits([*trace.edits, Ablate(where=str(trace.spec.head(head)))])


def ablation_effect(trace: Trace, without: Trace, at: int, ids: Sequence[int]) -> tuple[float, float]:
    """What `ablated` says of a trace and the same without a head."""
    _check_output(trace)
    logits = without.logits_at(slice(at, at + 1))[0]
    lost = trace.logits_of(ids, at) - logits[list(ids)]
    return float(lost[0] - lost[1] if len(ids) == 2 else lost[0]), float(_shares(logits)[ids[0]])


def strength_curve(
    trace: Trace, places: Sequence[int], strength: float, at: int, ids: Sequence[int]
) -> tuple[list[float], list[float]]:
    """The probabilities and logits of some words at a position, with some of the trace's edits, named by their
    places, at this strength."""
    edits = [replace(edit, strength=strength) if place in places else edit for place, edit in enumerate(trace.edits)]
    logits = trace.with_edits(edits).logits_at(slice(at, at + 1))[0]
    return _shares(logits)[list(ids)].tolist(), logits[list(ids)].tolist()


def prediction(before: Trace, after: Trace, at: int, ids: Sequence[int]) -> dict[str, Any]:
    """What comes after a position, without and with the edits? As plain JSON values.

    `rows`: the most probable words, those after, then those before that are not among them; `tracked`: the ids.
    """
    logits = {"before": before.logits_at(slice(at, at + 1))[0]}
    logits["after"] = logits["before"] if after is before else after.logits_at(slice(at, at + 1))[0]
    shares = {when: _shares(row) for when, row in logits.items()}

    def said(token: int) -> dict[str, Any]:
        sides = {when: {"p": float(shares[when][token]), "logit": float(row[token])} for when, row in logits.items()}
        return {"id": token, "text": after.model.word(token), **sides}

    best = [*_most(logits["after"], MOST), *_most(logits["before"], EARLIER)]
    return {"at": at, "rows": [said(token) for token in dict.fromkeys(best)], "tracked": [said(token) for token in ids]}


def _most(logits: Float[Array, " vocab"], n: int) -> list[int]:
    n = min(n, len(logits))
    best = np.argpartition(-logits, n - 1)[:n]
    order: list[int] = best[np.argsort(-logits[best], kind="stable")].tolist()
    return order


def _shares(logits: Float[Array, " vocab"]) -> Float[Array, " vocab"]:
    return softmax(logits.astype(np.float64))


def _check_output(trace: Trace) -> None:
    if not trace.spec.has_output:
        raise UnsupportedError(f"{trace.spec.name} has no output head, so no head has an effect on a prediction")
