"""A trace → a safetensors file that any tool can read: every tap by its name, and in the metadata what it is of."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from . import __version__
from .checkpoint.write import Entry, write_safetensors
from .errors import HeadError
from .spec import Head, ModelSpec
from .trace import Trace


def parse_layers(text: str, spec: ModelSpec) -> range:
    """`0-29` or `13` as a range of layers. Raises HeadError."""
    first, dash, last = text.partition("-")
    numbers = [first, last if dash else first]
    if not all(n.strip().isascii() and n.strip().isdigit() and len(n) < 8 for n in numbers):
        raise HeadError(f"{text[:40]!r} is not a range of layers; write it as 0-{spec.n_layer - 1}, or one number")
    start, stop = (int(n) for n in numbers)
    if not start <= stop < spec.n_layer:
        raise HeadError(f"layers {text} are not within 0-{spec.n_layer - 1} of {spec.name}")
    return range(start, stop + 1)


def save_trace(
    trace: Trace,
    path: Path,
    *,
    layers: range | None = None,
    scores: bool = False,
    max_bytes: int | None = None,
    announce: Callable[[int], None] = lambda size: None,
) -> int:
    """Write x, q_raw, k_raw, q, k, v, z of these layers (scores and weights if asked), final and logits; float32.
    Of a captured family, what it gives: no q_raw and k_raw where its rotation is not known, x alone of layers without
    attention.

    Returns the size in bytes. Raises LimitError over `max_bytes`, before anything is computed or written.
    """
    layers = range(trace.spec.n_layer) if layers is None else layers
    entries = [entry for layer in layers for entry in _layer(trace, layer, scores)]
    n, spec = len(trace), trace.spec
    entries.append(Entry("final", (n, spec.d_model), lambda: iter([trace.final])))
    if spec.has_output:
        rows = n if trace.positions == "all" else 1
        entries.append(Entry("logits", (rows, spec.n_vocab), lambda: iter([trace.logits])))
    return write_safetensors(path, entries, _metadata(trace), max_bytes=max_bytes, announce=announce)


def _layer(trace: Trace, layer: int, scores: bool) -> Iterator[Entry]:
    n, spec = len(trace), trace.spec
    queries, keys = (spec.n_head, n, spec.d_head), (spec.n_kv_head, n, spec.d_head)
    blends, values = (spec.n_head, n, spec.d_value), (spec.n_kv_head, n, spec.d_value)

    def entry(name: str, shape: tuple[int, ...], read: Callable[[int], np.ndarray]) -> Entry:
        return Entry(f"layer.{layer}.{name}", shape, lambda: iter([read(layer)]))

    yield entry("x", (n, spec.d_model), trace.x)
    if layer in spec.no_attention:
        return
    if trace.model.gives_raw:
        yield entry("q_raw", queries, trace.q_raw)
        yield entry("k_raw", keys, trace.k_raw)
    yield entry("q", queries, trace.q)
    yield entry("k", keys, trace.k)
    yield entry("v", values, trace.v)
    yield entry("z", blends, trace.z)
    if scores:
        heads = [Head(layer, head) for head in range(spec.n_head)]
        pattern = (spec.n_head, n, n)
        yield Entry(f"layer.{layer}.scores", pattern, lambda: (trace.scores(head) for head in heads))
        yield Entry(f"layer.{layer}.weights", pattern, lambda: (trace.weights(head) for head in heads))


def _metadata(trace: Trace) -> dict[str, str]:
    values = {
        "tokens": trace.tokens,
        "offsets": trace.offsets,
        "ids": trace.ids,
        "special": trace.special,
        "spec": trace.spec.to_dict(),
        "edits": [edit.to_dict() for edit in trace.edits],
    }
    return {
        "model": trace.model.badge,
        "model_sha256": trace.model.source.sha256 or "",
        "made_by": f"qkvlab {__version__}",
        **{name: json.dumps(value, ensure_ascii=False) for name, value in values.items()},
    }
