"""What would sharing all K/V heads of some layers cost? Layers by what each alone costs, then all together."""

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint.source import cache_dir
from .edits import ShareKV
from .errors import UnsupportedError
from .kvcache import cache_size
from .model import Model
from .reference import checksum
from .trace import Trace

ROWS = 64
"""Logits are taken for so many positions at once."""


def sharing_steps(model: Model) -> Iterator[dict[str, Any]]:
    """What does sharing the K/V heads of more and more layers cost this model, in loss, and save, in cache?

    Yields {"done", "total"} while it is measured, and at last the answer: `order`: the layers, cheapest first; `loss`
    (nats) and `bytes_per_token` (16 bits) with the first 0 to n_layer of them shared; `measured_on`: a sentence.
    Kept in the cache folder; the default model's answer is shipped.
    Raises UnsupportedError where there is nothing to share, to predict or to read.
    """
    _check(model)
    name = checksum(model, sharing_text())
    path = cache_dir() / "sharing" / f"{name}.json"
    for known in (files("qkvlab").joinpath("data/sharing-smollm2.json").read_bytes, path.read_bytes):
        try:
            answer = json.loads(known())
            if answer["checksum"] == name:
                yield {part: answer[part] for part in ("order", "loss", "bytes_per_token", "measured_on")}
                return
        except (OSError, ValueError, TypeError, KeyError):
            pass  # not there, or damaged: measured anew
    for step in measure(model):
        yield step
    _keep(path, {"checksum": name, **step})


def measure(model: Model) -> Iterator[dict[str, Any]]:
    """The same, measured here and now: one forward pass between any two steps."""
    n_layer = model.spec.n_layer
    trace = model.trace(ids=model.tokenizer.encode(sharing_text()).ids[: model.spec.n_context])

    def done(passes: int) -> dict[str, int]:
        return {"done": passes, "total": 2 * n_layer}

    yield done(0)
    loss, alone = [mean_loss(trace)], []
    for layer in range(n_layer):
        yield done(1 + layer)
        alone.append(mean_loss(trace.with_edits(share_layers([layer]))))
    order = sorted(range(n_layer), key=alone.__getitem__)
    loss.append(alone[order[0]])
    for n in range(2, n_layer + 1):
        yield done(n_layer + n - 1)
        edits = [edit for layer in sorted(order[:n]) for edit in share_layers([layer])]
        trace = trace.with_edits(edits)  # an edit per layer: what stands below the newest one is not run again
        loss.append(mean_loss(trace))
    measured_on = f"{len(trace):,} tokens of plain English by the authors: prose, a dialogue, a few lines of code"
    yield {"order": order, "loss": loss, "bytes_per_token": bytes_per_token(model), "measured_on": measured_on}


def share_layers(layers: Sequence[int]) -> list[ShareKV]:
    """Give the K/V heads of each of these layers their mean: one edit for every run of neighbours."""

    def joined(runs: list[ShareKV], layer: int) -> list[ShareKV]:
        if runs and runs[-1].last_layer == layer - 1:
            return [*runs[:-1], ShareKV(first_layer=runs[-1].first_layer, last_layer=layer)]
        return [*runs, ShareKV(first_layer=layer, last_layer=layer)]

    return reduce(joined, sorted(set(layers)), [])


def mean_loss(trace: Trace) -> float:
    """How surprised is the model by this text? The mean of -log p(next token), in nats."""
    total, last = 0.0, len(trace) - 1
    for start in range(0, last, ROWS):
        stop = min(start + ROWS, last)
        logits = trace.logits_at(slice(start, stop)).astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        said = logits[np.arange(stop - start), list(trace.ids[start + 1 : stop + 1])]
        total += float((np.log(np.exp(logits).sum(axis=-1)) - said).sum())
    return total / last


def bytes_per_token(model: Model) -> list[int]:
    """How much does a token take in the cache, at 16 bits, with 0 to n_layer layers shared?"""
    own, one = cache_size(model.spec), cache_size(model.spec, n_kv_head=1)
    assert own is not None and one is not None
    n = model.spec.n_layer
    return [(own.bytes_per_token * (n - shared) + one.bytes_per_token * shared) // n for shared in range(n + 1)]


def sharing_text() -> str:
    """What the loss is measured on: a text shipped with the package, of our own."""
    return files("qkvlab").joinpath("data/sharing.txt").read_text(encoding="utf-8")


def _check(model: Model) -> None:
    if not model.native:
        raise UnsupportedError(
            f"{model.spec.name} runs in transformers, whole for every edit: the {2 * model.spec.n_layer} passes that "
            "sharing is measured by are made of native models only"
        )
    if not model.spec.has_output:
        raise UnsupportedError(f"{model.spec.name} predicts nothing and keeps no cache, so sharing has no cost there")
    if model.spec.n_kv_head == 1:
        raise UnsupportedError(f"{model.spec.name} has one K/V head in every layer: there is nothing left to share")


def _keep(path: Path, answer: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer), encoding="utf-8")
    except OSError:
        pass  # a cache that cannot be written costs time, not the answer
