"""Model → a Hugging Face folder with fewer K/V heads, and what that costs: `qkvlab group`.

Tensor by tensor: those of another kind are copied bit for bit, W_q, W_k, W_v and W_o made anew from their plan when
their turn comes, so that no second model is ever in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange

from ._shapes import Array
from .checkpoint.config_of import config_of_gguf, tokenizer_files
from .checkpoint.decode import read_array, read_rows
from .checkpoint.folder import check_target, copied, copy_beside, shard_names, write_folder
from .checkpoint.layouts import LLAMA_LAYER, LLAMA_MODEL, Row, plain_names
from .checkpoint.tensors import TensorInfo
from .checkpoint.write import Entry, encoded
from .errors import CheckpointError, HeadError, TextError, UnsupportedError, one_of
from .export import parse_layers
from .grouped import LayerCost, ModelCost, Predictions, compare, grouped_model, layer_errors, run_from
from .grouping import Plan, check_grouping, make_plan, new_keys, new_outputs, new_queries, new_values
from .kvcache import cache_size
from .model import Model
from .models.weights import size_of, turned_rows
from .reference import reference_text
from .spec import ModelSpec
from .trace import Trace

if TYPE_CHECKING:
    from .text import Tokenizer

MOST_TOKENS = 1024
"""A longer text is measured up to here."""
Plans = dict[int, Plan]
Change = Callable[[Plan, Array], Array]
STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
CHANGES: dict[str, Change] = {
    "q": new_queries,
    "k": new_keys,
    "v": new_values,
    "o": new_outputs,
}
FLOATS = ("F32", "F16", "BF16", "F64")
Progress = Callable[[str, int, int], None]
"""`progress(what, done, of)`: layers while it is measured, bytes while it is written."""


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
    check_grouping(model.spec, n_kv_head, method)
    chosen = _chosen(model, layers)
    named = _named(model, dtype)
    if target is not None:
        check_target(target)
    ids, described = _text(model, method, text, ids)
    repeated = len(chosen) < model.spec.n_layer
    trace = model.trace(ids=ids) if ids else None
    plans = {
        layer: make_plan(model.spec, n_kv_head, method, *_fitted_on(model, trace, layer, method), repeated=repeated,
                         seed=seed + layer)
        for layer in _told(chosen, "fitting", progress)
    }  # fmt: skip
    costs, whole = _measured(model, plans, trace, progress) if trace is not None else ((), None)
    size = _write(model, plans, target, dtype, n_kv_head, progress) if target is not None else 0
    before = cache_size(model.spec)
    after = before if repeated else cache_size(model.spec, n_kv_head=n_kv_head)
    assert before is not None and after is not None
    return Grouping(
        model=model.badge,
        method=method,
        layers=tuple(chosen),
        kv_heads=(model.spec.n_kv_head, n_kv_head),
        bytes_per_token=(before.bytes_per_token, after.bytes_per_token),
        text=described,
        costs=costs,
        whole=whole,
        groups=tuple(plan.order for plan in plans.values()) if method == "cluster" else (),
        notes=tuple(_notes(model, method, repeated, trace is not None, target is not None)),
        path="" if target is None else str(target),
        size=size,
        dtype="" if target is None else named,
    )


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


def _named(model: Model, dtype: str | None) -> str:
    """The number type of the folder: the one asked for, that of most of the file's matrices, or float32."""
    if dtype is not None:
        if dtype not in STORED:
            raise UnsupportedError(one_of("the number type", dtype, STORED))
        return dtype
    kinds = [info.kind for info in model.checkpoint.tensors.values() if len(info.shape) == 2]
    own = {stored: name for name, stored in STORED.items()}
    return own.get(max(sorted(set(kinds)), key=kinds.count), "float32")


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


def _measured(
    model: Model, plans: Plans, trace: Trace, progress: Progress
) -> tuple[tuple[LayerCost, ...], ModelCost | None]:
    costs, own = [], Predictions(model.weights, trace.final)
    for layer in _told(list(plans), "measuring", progress):
        k_error, v_error = layer_errors(model, layer, plans[layer], trace.normed(layer))
        kl = None
        if model.spec.has_output:
            alone = grouped_model(model, {layer: plans[layer]})
            kl = compare(own, run_from(alone.spec, alone.weights, layer, trace.x(layer)), trace.ids).kl
        costs.append(LayerCost(layer, k_error, v_error, kl))
    if not model.spec.has_output:
        return tuple(costs), None
    grouped, first = grouped_model(model, plans), min(plans)
    after = run_from(grouped.spec, grouped.weights, first, trace.x(first))
    return tuple(costs), compare(own, after, trace.ids)


def _told(layers: Sequence[int], what: str, progress: Progress) -> Iterator[int]:
    for done, layer in enumerate(layers):
        progress(what, done, len(layers))
        yield layer
    progress(what, len(layers), len(layers))


def _notes(model: Model, method: str, repeated: bool, measured: bool, written: bool) -> Iterator[str]:
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
    if method == "aligned" and model.spec.qk_norm:
        yield "Keys are normalised per head (qk-norm), so only the values were turned."
    if method == "cluster" and not measured:
        yield "The groups were chosen by the weights, not by a text."
    if written and model.checkpoint.format == "gguf":
        if _tokenizer(model) is None:
            yield "The folder has no tokenizer: the GGUF's is none that is read here."
        yield "The GGUF's numbers were dequantised; rows of Q and K stand in the order that transformers reads."


# ---- writing


def _write(model: Model, plans: Plans, target: Path, dtype: str | None, n_kv_head: int, progress: Progress) -> int:
    entries = list(_entries(model, plans, dtype))
    done, total = 0, sum(entry.nbytes for _, entry in entries)

    def wrote(size: int) -> None:
        nonlocal done
        done += size
        progress("writing", done, total)

    own = model.checkpoint
    config = config_of_gguf(model.spec, own) if own.format == "gguf" else dict(own.metadata)
    repeated = next(iter(plans.values())).repeated
    config |= {"num_key_value_heads": model.spec.n_kv_head if repeated else n_kv_head}
    if dtype is not None or own.format == "gguf":
        config.pop("torch_dtype", None)
        config["dtype"] = _named(model, dtype)

    def others(folder: Path) -> None:
        if own.format != "gguf":
            copy_beside(model.source.path, folder)
        elif (tokenizer := _tokenizer(model)) is not None:
            tokenizer_files(tokenizer, own.metadata, model.spec.n_context, folder)

    return write_folder(target, shard_names(own, entries), config, others, wrote)


def _tokenizer(model: Model) -> "Tokenizer | None":
    try:
        return model.tokenizer
    except (UnsupportedError, CheckpointError):
        return None


def _entries(model: Model, plans: Plans, dtype: str | None) -> Iterator[tuple[Path | None, Entry]]:
    """Every tensor of the new folder, with the file it came from where that was a safetensors file."""
    layout, gguf = model.weights.layout, model.checkpoint.format == "gguf"
    names = plain_names(layout, model.checkpoint.tensors)
    places: dict[str, tuple[Row, int | None, Row]] = {
        row.source: (row, None, top) for row, top in zip(layout.model, LLAMA_MODEL, strict=True)
    }
    for at in range(model.spec.n_layer):
        for row, ours in zip(layout.layer, LLAMA_LAYER, strict=True):
            places[row.source.format(i=at)] = (row, at, ours)
    for plain, name in names.items():
        info = model.checkpoint.tensors[name]
        if plain not in places:
            if not gguf:
                yield info.path, copied(info, name)
            continue
        row, layer, ours = places[plain]
        if row.when == "untied" and not model.spec.untied:
            continue
        new = ("" if ours.field == "unembedding" else "model.") + ours.source.format(i=layer)
        plan = plans.get(layer) if layer is not None else None
        entry = _entry(model, info, row, plan, new if gguf else name, dtype)
        yield None if gguf else info.path, entry


def _entry(model: Model, info: TensorInfo, row: Row, plan: Plan | None, name: str, dtype: str | None) -> Entry:
    part = row.field.removeprefix("w_").removeprefix("b_")
    moved = plan is not None and (
        part in ("k", "v") or (part == "q" and plan.moves_queries) or (row.field == "w_o" and plan.moves_outputs)
    )
    stored = STORED[dtype] if dtype else info.kind if info.kind in FLOATS else "F32"
    if plan is not None and moved and part in CHANGES:
        shape = _new_shape(info.shape, part, plan)
        return Entry(name, shape, partial(_changed, model, info, row, part, plan, stored), stored)
    if info.kind == stored and not row.turned:
        return copied(info, name)
    return Entry(name, info.shape, partial(_decoded, model, info, row, stored), stored)


def _new_shape(shape: tuple[int, ...], part: str, plan: Plan) -> tuple[int, ...]:
    if part not in ("k", "v") or plan.repeated:
        return shape
    return (shape[0] * plan.n_shared // len(plan.order), *shape[1:])


def _changed(model: Model, info: TensorInfo, row: Row, part: str, plan: Plan, stored: str) -> Iterator[Array]:
    """One attention weight or bias: by head, under the plan, and back into rows."""
    d_head = model.spec.d_head
    flat = _rows(model, info, row)
    if part == "o":
        by_head = np.ascontiguousarray(rearrange(flat, "d_model (head d) -> head d d_model", d=d_head))
        yield encoded(rearrange(new_outputs(plan, by_head), "head d d_model -> d_model (head d)"), stored)
        return
    table = flat if flat.ndim == 2 else flat[:, None]
    by_head = np.ascontiguousarray(rearrange(table, "(head d) d_in -> head d_in d", d=d_head))
    made = rearrange(CHANGES[part](plan, by_head), "head d_in d -> (head d) d_in")
    yield encoded(made if flat.ndim == 2 else made[:, 0], stored)


def _rows(model: Model, info: TensorInfo, row: Row) -> Array:
    flat: Array = read_array(info)
    if not row.turned:
        return flat
    return flat[turned_rows(size_of(model.spec, row.d_out) // model.spec.d_head, model.spec.d_head)]


def _decoded(model: Model, info: TensorInfo, row: Row, stored: str) -> Iterator[Array]:
    """Any other tensor as float32 and then as it is stored, some rows at a time."""
    if row.turned or len(info.shape) != 2:
        yield encoded(_rows(model, info, row), stored)
        return
    step = max(1, (1 << 22) // info.shape[1])
    for start in range(0, info.shape[0], step):
        yield encoded(read_rows(info, slice(start, start + step)), stored)
