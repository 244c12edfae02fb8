"""A model under a plan → its files: tensor by tensor, those the plan leaves alone bit for bit.

W_q, W_k, W_v and W_o are made anew when their turn comes, so that no second model is ever in memory.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from ._shapes import Array
from .checkpoint.config_of import config_of_gguf, tokenizer_files
from .checkpoint.decode import read_array, read_rows
from .checkpoint.folder import copied, copy_beside, shard_names, write_folder
from .checkpoint.layouts import LLAMA_LAYER, LLAMA_MODEL, Row, plain_names
from .checkpoint.tensors import Checkpoint, TensorInfo
from .checkpoint.write import Entry, encoded
from .errors import CheckpointError, UnsupportedError, one_of
from .grouping import Plan, new_keys, new_outputs, new_queries, new_values
from .model import Model
from .models.weights import size_of, turned_rows

if TYPE_CHECKING:
    from .text import Tokenizer

Plans = dict[int, Plan]
Progress = Callable[[str, int, int], None]
"""`progress(what, done, of)`: layers while it is measured, bytes while it is written."""
Change = Callable[[Plan, Array], Array]
CHANGES: dict[str, Change] = {"q": new_queries, "k": new_keys, "v": new_values, "o": new_outputs}
STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FLOATS = ("F32", "F16", "BF16", "F64")
"""Number types that a changed weight keeps; any other is written as F32."""


def number_type(model: Model, dtype: str | None) -> str:
    """The number type of the folder: the one asked for, that of most of the file's matrices, or float32."""
    return usual_type(model.checkpoint) if dtype is None else named_type(dtype)


def named_type(dtype: str) -> str:
    """A number type by its name. Raises UnsupportedError for another."""
    if dtype not in STORED:
        raise UnsupportedError(one_of("the number type", dtype, STORED))
    return dtype


def usual_type(checkpoint: Checkpoint) -> str:
    """The number type of most of a file's matrices; float32 where it is none that is written here."""
    kinds = [info.kind for info in checkpoint.tensors.values() if len(info.shape) == 2]
    own = {stored: name for name, stored in STORED.items()}
    return own.get(max(sorted(set(kinds)), key=kinds.count), "float32")


def write_grouped(
    model: Model, plans: Plans, target: Path, dtype: str | None, n_kv_head: int, progress: Progress
) -> int:
    """Write the folder; returns the size of its weights in bytes. Raises SourceError; nothing half-written is left."""
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
        config["dtype"] = number_type(model, dtype)

    def others(folder: Path) -> None:
        if own.format != "gguf":
            copy_beside(model.source.path, folder)
        elif (tokenizer := own_tokenizer(model)) is not None:
            tokenizer_files(tokenizer, own.metadata, model.spec.n_context, folder)

    return write_folder(target, shard_names(own, entries), config, others, wrote)


def own_tokenizer(model: Model) -> "Tokenizer | None":
    """The model's tokenizer, or None where it is none that is read here."""
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
