"""What would sharing all K/V heads of some layers cost? Layers by what each alone costs, then all together."""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from .edits import ShareKV
from .errors import UnsupportedError
from .kvcache import cache_size
from .model import Model
from .reference import reference_text
from .trace import Trace

ROWS = 64
"""Logits are taken for so many positions at once."""


def share_layers(layers: Sequence[int]) -> list[ShareKV]:
    """Give the K/V heads of these layers their mean: one edit for every run of neighbours."""

    def joined(runs: list[ShareKV], layer: int) -> list[ShareKV]:
        if runs and runs[-1].last_layer == layer - 1:
            return [*runs[:-1], ShareKV(first_layer=runs[-1].first_layer, last_layer=layer)]
        return [*runs, ShareKV(first_layer=layer, last_layer=layer)]

    return reduce(joined, sorted(set(layers)), [])


def mean_loss(trace: Trace) -> float:
    """How surprised is the model by this text? The mean of -log p(next token), in nats."""
    total = 0.0
    for start in range(0, len(trace) - 1, ROWS):
        stop = min(start + ROWS, len(trace) - 1)
        logits = trace.logits_at(slice(start, stop))
        top = logits.max(axis=-1, keepdims=True)
        logs = np.log(np.exp(logits - top).sum(axis=-1, dtype=np.float64)) + top[:, 0]
        total += float((logs - logits[np.arange(stop - start), list(trace.ids[start + 1 : stop + 1])]).sum())
    return total / (len(trace) - 1)


def sharing_steps(model: Model) -> Iterator[dict[str, Any]]:
    """Measure it, one forward pass per step: {"done", "total"} again and again, then the answer:

    `order`: layers, cheapest first; `loss` (nats) and `bytes_per_token` (16 bits) with the first 0 to n_layer of them
    shared; `measured_on`: a sentence. Raises UnsupportedError where there is nothing to share or to predict.
    """
    check_sharing(model)
    spec = model.spec
    plain = model.trace(ids=model.tokenizer.encode(reference_text()).ids[: spec.n_context])
    total = 2 * spec.n_layer
    losses = [mean_loss(plain)]
    alone = []
    for layer in range(spec.n_layer):
        yield {"done": layer, "total": total}
        alone.append(mean_loss(plain.with_edits(share_layers([layer]))))
    order = sorted(range(spec.n_layer), key=alone.__getitem__)
    losses.append(alone[order[0]])
    for n in range(2, spec.n_layer + 1):
        yield {"done": spec.n_layer + n - 1, "total": total}
        losses.append(mean_loss(plain.with_edits(share_layers(order[:n]))))
    yield {"order": order, "loss": losses, "bytes_per_token": bytes_per_token(model), "measured_on": ""}


def bytes_per_token(model: Model) -> list[int]:
    """The cache's bytes per token, at 16 bits, with 0 to n_layer layers shared."""
    own, one = cache_size(model.spec), cache_size(model.spec, n_kv_head=1)
    assert own is not None and one is not None
    n = model.spec.n_layer
    return [(own.bytes_per_token * (n - shared) + one.bytes_per_token * shared) // n for shared in range(n + 1)]


def check_sharing(model: Model) -> None:
    """Raise UnsupportedError where sharing K/V heads means nothing."""
    if not model.spec.has_output:
        raise UnsupportedError(f"{model.spec.name} predicts nothing and keeps no cache, so sharing has no cost there")
    if model.spec.n_kv_head == 1:
        raise UnsupportedError(f"{model.spec.name} has one K/V head in every layer: there is nothing left to share")
