"""A layer's attention under a plan, of any family: its tensors as they are stored, by the table of arrangements."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from einops import rearrange

from ._shapes import Array
from .checkpoint.arrange import ARRANGEMENTS, Place, Sizes
from .checkpoint.attention import AttentionFile
from .errors import UnsupportedError, one_of
from .grouping import METHODS, Plan, check_count, new_keys, new_outputs, new_queries, new_values

ARRANGED = ("split", "blocks", "grouped")
"""Arrangements whose heads may be merged and moved. Not with a gate between blend and W_o, nor through a latent."""
HARMLESS = ("rotary_emb.inv_freq",)
"""Tensors of attention that say nothing of heads."""


def count_key(file: AttentionFile) -> str | None:
    """The configuration's key for the K/V-head count; None for a family that has none."""
    keys = file.stack.keys.n_kv_head
    return next((key for key in keys if file.config.get(key) is not None), keys[0] if keys else None)


def check_arranged(file: AttentionFile, n_shared: int, method: str) -> None:
    """Can this checkpoint's K/V heads become so many? Raises UnsupportedError, saying why not."""
    if method not in METHODS:
        raise UnsupportedError(one_of("the method", method, METHODS))
    if file.mla or len(file.table.stacks) > 1 or count_key(file) is None:
        raise UnsupportedError(
            f"{file.name}: a model of the family {file.family} has no count of K/V heads in its configuration, so "
            "fewer cannot be written"
        )
    clipped = [note for note in file.notes if "clipped" in note]
    if file.stack.arrangement not in ARRANGED or clipped:
        why = clipped[0] if clipped else "a gate stands between each head's blend and W_o"
        raise UnsupportedError(f"{file.name}: its heads cannot be merged or moved as they are: {why}")
    _check_tensors(file)
    check_count(file.name, file.n_kv_head, n_shared)


def _check_tensors(file: AttentionFile) -> None:
    """Is attention nothing but Q, K, V, W_o and norms that all heads share? Raises UnsupportedError."""
    layer = file.attention_layers[0]
    stem = f"{file.prefix}{file.stack.tensors['o'].format(i=layer)}".rpartition(".")[0] + "."
    own = {f"{file.prefix}{tensor.format(i=layer)}" for tensor in file.stack.tensors.values()}
    for name in sorted(file.store.names):
        part, _, kind = name.rpartition(".")
        if not name.startswith(stem) or name.endswith(HARMLESS) or (part in own and kind in ("weight", "bias")):
            continue
        shared = "norm" in part.removeprefix(stem) and file.store.info(name).shape == (file.d_head,)
        if not shared or ".norms." in part:
            raise UnsupportedError(
                f"{file.name}: {name!r} {list(file.store.info(name).shape)} belongs to single heads or to all of them "
                "together, and what becomes of it with fewer K/V heads is not known here"
            )


def touched(file: AttentionFile, plans: Iterable[int]) -> dict[str, int]:
    """The tensors that a plan may change → their layer."""
    names = {}
    for layer in plans:
        for tensor in file.stack.tensors.values():
            for kind in ("weight", "bias"):
                name = f"{file.prefix}{tensor.format(i=layer)}.{kind}"
                if name in file.store.names and not (tensor == file.stack.tensors["o"] and kind == "bias"):
                    names[name] = layer
    return names


def shape_of(file: AttentionFile, plan: Plan, name: str) -> tuple[int, ...]:
    """The shape of a touched tensor under a plan."""
    own = file.store.info(name).shape
    part = next((part for part in "qkv" if _is(file, part, name)), None)
    return own if part is None else (_places(file, plan)[part].total, *own[1:])


def rearranged(file: AttentionFile, plan: Plan, layer: int) -> dict[str, Array]:
    """The touched tensors of a layer under a plan, float32, by name."""
    w, places = file.layer(layer), _places(file, plan)
    made = {
        "q": (new_queries(plan, w.w_q), None if w.b_q is None else new_queries(plan, w.b_q[:, None])),
        "k": (new_keys(plan, w.w_k), None if w.b_k is None else new_keys(plan, w.b_k[:, None])),
        "v": (new_values(plan, w.w_v), None if w.b_v is None else new_values(plan, w.b_v[:, None])),
    }
    stem = {part: f"{file.prefix}{tensor.format(i=layer)}" for part, tensor in file.stack.tensors.items()}
    found = {f"{stem['o']}.weight": rearrange(new_outputs(plan, w.w_o), "head d d_model -> d_model (head d)")}
    for part, arrays in made.items():
        for kind, array in zip(("weight", "bias"), arrays, strict=True):
            if array is not None:
                _lay(found, f"{stem[part]}.{kind}", places[part], array)
    return {name: table[:, 0] if name.endswith(".bias") else table for name, table in found.items()}


def _lay(found: dict[str, Array], name: str, place: Place, array: Array) -> None:
    """Put the rows of a part where they lie in their tensor."""
    rows = rearrange(array, "head d_in d -> (head d) d_in")
    found.setdefault(name, np.empty((place.total, rows.shape[1]), np.float32))[place.rows()] = rows


def _is(file: AttentionFile, part: str, name: str) -> bool:
    before, after = file.stack.tensors[part].split("{i}")
    stem = name.rpartition(".")[0]
    return stem.startswith(file.prefix + before) and stem.endswith(after)


def _places(file: AttentionFile, plan: Plan) -> dict[str, Place]:
    sizes: Sizes = file.sizes if plan.repeated else replace(file.sizes, n_kv_head=plan.n_shared)
    return ARRANGEMENTS[file.stack.arrangement][0](sizes)
