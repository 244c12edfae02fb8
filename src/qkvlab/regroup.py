"""Model → a Hugging Face folder with fewer K/V heads, and what that costs: `qkvlab group`.

The grouped model is made layer by layer, and written tensor by tensor; how it is measured and stored depends on the
engine that runs it (`native_group`, `captured_group`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ._shapes import Array
from .checkpoint.folder import check_target
from .errors import CheckpointError, HeadError, TextError, UnsupportedError
from .export import parse_layers
from .grouped import LayerCost, ModelCost
from .grouping import make_plan
from .model import Model
from .reference import reference_text
from .rewrite import Plans, Progress, own_tokenizer
from .spec import ModelSpec
from .trace import Trace

MOST_TOKENS = 1024
"""A longer text is measured up to here."""


@dataclass(frozen=True)
class Grouping:
    """The answer of `qkvlab group`."""

    model: str
    method: str
    layers: tuple[int, ...]
    kv_heads: tuple[int, int]
    """Before and after, in each of these layers."""
    bytes_per_token: tuple[int, int]
    """K/V cache in 16 bits, before and after."""
    text: str
    """What was measured on, in words; empty where nothing was."""
    costs: tuple[LayerCost, ...]
    whole: ModelCost | None
    groups: tuple[tuple[int, ...], ...]
    """For `cluster`: the order of the K/V heads in each layer, groups side by side; empty for the other methods."""
    notes: tuple[str, ...]
    path: str = ""
    size: int = 0
    """The folder that was written, and its weights in bytes."""
    dtype: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def group(
    model: Model,
    n_kv_head: int,
    target: Path | None = None,
    *,
    method: str = "mean",
    layers: Sequence[int] | None = None,
    text: str | None = None,
    ids: Sequence[int] | None = None,
    dtype: str | None = None,
    seed: int = 0,
    progress: Progress = lambda what, done, of: None,
) -> Grouping:
    """Give a model fewer K/V heads, measure what that costs on a text, and write it to a folder (without one: measure).

    `method` is a key of `METHODS`; `layers` (default: all) may be some of them, and then the folder keeps the model's
    K/V-head count, with the shared heads repeated. `text` or `ids` is what it is fitted and measured on (default: the
    reference text shipped with the package); `dtype` the number type written (default: the file's own; float32 for the
    quantised numbers of a GGUF). Raises UnsupportedError, TextError, HeadError or SourceError.
    """
    way = _way(model)
    way.check(n_kv_head, method, target is not None)
    chosen = _chosen(model, layers)
    named = way.number_type(dtype)
    if target is not None:
        check_target(target)
    ids, described = _text(model, method, text, ids)
    repeated = len(chosen) < model.spec.n_layer
    trace = way.trace(ids) if ids else None
    plans = {
        layer: make_plan(way.spec(layer), n_kv_head, method, *_fitted_on(model, trace, layer, method),
                         repeated=repeated, seed=seed + layer)
        for layer in _told(chosen, "fitting", progress)
    }  # fmt: skip
    told = partial(_told, progress=progress)
    costs, whole = way.measured(plans, trace, told) if trace is not None else ((), None)
    size = way.write(plans, target, dtype, n_kv_head, progress) if target is not None else 0
    return Grouping(
        model=model.badge,
        method=method,
        layers=tuple(chosen),
        kv_heads=(model.spec.n_kv_head, n_kv_head),
        bytes_per_token=(way.bytes_per_token(None), way.bytes_per_token(None if repeated else n_kv_head)),
        text=described,
        costs=costs,
        whole=whole,
        groups=tuple(plan.order for plan in plans.values()) if method == "cluster" else (),
        notes=tuple(_notes(model, way, method, list(plans), repeated, trace is not None, target is not None)),
        path="" if target is None else str(target),
        size=size,
        dtype="" if target is None else named,
    )


@runtime_checkable
class Way(Protocol):
    """How the K/V heads of one kind of model are checked, measured and written."""

    def check(self, n_shared: int, method: str, writes: bool) -> None: ...
    def number_type(self, dtype: str | None) -> str: ...
    def trace(self, ids: tuple[int, ...]) -> Trace: ...
    def spec(self, layer: int) -> ModelSpec: ...
    def bytes_per_token(self, n_shared: int | None) -> int: ...
    def measured(
        self, plans: Plans, trace: Trace, told: Callable[[list[int], str], Iterator[int]]
    ) -> tuple[tuple[LayerCost, ...], ModelCost | None]: ...
    def write(self, plans: Plans, target: Path, dtype: str | None, n_shared: int, progress: Progress) -> int: ...


def _way(model: Model) -> Way:
    """The way of this model: the native engine's, or through transformers."""
    if model.native:
        from .native_group import NativeWay

        return NativeWay(model)
    from .captured_group import CapturedWay
    from .live import LiveModel

    assert isinstance(model, LiveModel)
    return CapturedWay(model)


def choose_layers(text: str, spec: ModelSpec) -> list[int]:
    """`all`, `last:10`, `first:3`, `0-29`, `13`, or several of these with commas between. Raises HeadError."""
    chosen: set[int] = set()
    for part in text.split(","):
        end, colon, count = part.strip().partition(":")
        if part.strip() == "all":
            chosen |= set(range(spec.n_layer))
        elif colon and end in ("first", "last"):
            if not (count.isascii() and count.isdigit() and 0 < int(count[:9]) <= spec.n_layer):
                raise HeadError(f"{part[:40]!r}: {spec.name} has {spec.n_layer} layers, so from 1 to {spec.n_layer} go")
            chosen |= set(range(spec.n_layer)[: int(count)] if end == "first" else range(spec.n_layer)[-int(count) :])
        else:
            chosen |= set(parse_layers(part, spec))
    return sorted(chosen)


def _chosen(model: Model, layers: Sequence[int] | None) -> list[int]:
    chosen = sorted(set(range(model.spec.n_layer) if layers is None else layers))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < model.spec.n_layer:
        raise HeadError(f"layers {chosen} are not within 0-{model.spec.n_layer - 1} of {model.spec.name}")
    return chosen


def _text(model: Model, method: str, text: str | None, ids: Sequence[int] | None) -> tuple[tuple[int, ...], str]:
    """The tokens to fit and measure on, and what they are in words; none where the model's text cannot be read."""
    what = "the ids given"
    if ids is None:
        what = "the text given" if text is not None else "the reference text shipped with QKV Lab"
        try:
            ids = model.tokenizer.encode(reference_text() if text is None else text).ids
        except (UnsupportedError, CheckpointError) as error:
            if method == "aligned" or text is not None:
                raise UnsupportedError(f"{method} is fitted and measured on a text, and {error}") from None
            return (), ""
    if len(ids) < 2:
        raise TextError(f"{what} is {len(ids)} tokens; what comes next is measured from 2 on")
    most = min(model.spec.n_context, MOST_TOKENS)
    cut = f"the first {most:,} tokens of {what}" if len(ids) > most else f"{what}, {len(ids):,} tokens"
    return tuple(ids[:most]), cut


def _fitted_on(model: Model, trace: Trace | None, layer: int, method: str) -> tuple[Array, Array]:
    """Keys before rotation and values of the text; W_k and W_v where there is none."""
    if trace is not None and method in ("cluster", "aligned"):
        return trace.k_raw(layer), trace.v(layer)
    if method == "cluster":
        w = model.weights.layer(layer)
        return w.w_k, w.w_v
    nothing = np.zeros((model.spec.n_kv_head, 1, model.spec.d_head), np.float32)
    return nothing, nothing


def _told(layers: Sequence[int], what: str, progress: Progress) -> Iterator[int]:
    for done, layer in enumerate(layers):
        progress(what, done, len(layers))
        yield layer
    progress(what, len(layers), len(layers))


def _notes(
    model: Model, way: "Way", method: str, layers: list[int], repeated: bool, measured: bool, written: bool
) -> Iterator[str]:
    if repeated:
        yield (
            "Only some layers are grouped, and a configuration has one K/V-head count for all: the folder keeps it, "
            "with the shared heads repeated. It is for measuring and saves no bytes."
        )
    elif measured:
        yield (
            "No training followed. Ainslie et al. 2023 train 5 % of the original tokens again after grouping; without "
            "that, a model with all its layers grouped is ruined by any of these methods."
        )
    if not measured:
        yield "Nothing was measured: there is no tokenizer that reads a text for this model."
    if method == "aligned" and way.spec(layers[0]).qk_norm:
        yield "Keys are normalised per head (qk-norm), so only the values were turned."
    elif method == "aligned" and (still := [layer for layer in layers if way.spec(layer).rotation is None]):
        listed = ", ".join(map(str, still))
        yield f"In layers {listed} keys do not rotate, or how is not known, so only the values were turned."
    if method == "cluster" and not measured:
        yield "The groups were chosen by the weights, not by a text."
    if written and model.native and model.checkpoint.format == "gguf":
        if own_tokenizer(model) is None:
            yield "The folder has no tokenizer: the GGUF's is none that is read here."
        yield "The GGUF's numbers were dequantised; rows of Q and K stand in the order that transformers reads."
