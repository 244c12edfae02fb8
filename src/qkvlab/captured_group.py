"""A captured model with fewer K/V heads: measured in the live model, its weights changed for a while, and written."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .checkpoint.attention import AttentionFile, attention_of, open_attention
from .checkpoint.decode import read_array, read_rows
from .checkpoint.folder import copied, copy_beside, shard_names, write_folder
from .checkpoint.stores import FileStore, read_checkpoint
from .checkpoint.tensors import TensorInfo
from .checkpoint.write import Entry, encoded
from .errors import UnsupportedError
from .grouped import ROWS, LayerCost, ModelCost, log_shares, relative_error, weigh
from .grouping import Plan, turned_keys, turned_values
from .kvcache import cache_of_config
from .live import LiveModel
from .livetrace import LiveTrace
from .rearranged import check_arranged, count_key, rearranged, shape_of, touched
from .rewrite import FLOATS, STORED, Plans, Progress, named_type, usual_type
from .spec import ModelSpec
from .trace import Trace

KEPT = ("q", "k", "v", "turns")
"""What a run must keep for its keys before rotation and its values, so that nothing is run again when the model has its
own weights back."""


class CapturedWay:
    """How a captured model's K/V heads are grouped: by the table of arrangements, measured in transformers itself."""

    def __init__(self, model: LiveModel) -> None:
        self.model = model
        self.live = replace(open_attention(model.hf, attention=model.attention), name=model.spec.name)

    def check(self, n_shared: int, method: str, writes: bool) -> None:
        """Raises UnsupportedError where this model cannot have so many K/V heads, or has no files to write from."""
        check_arranged(self.live, n_shared, method)
        if not self.model.gives_raw:
            raise UnsupportedError(f"{self.live.name}: how {self.live.family} rotates its keys is not known here")
        if writes and not self.model.on_disk:
            raise UnsupportedError(
                f"{self.live.name} is in memory only: save it (model.save_pretrained) and group that folder"
            )

    def number_type(self, dtype: str | None) -> str:
        if dtype is not None or not self.model.on_disk:
            return named_type(dtype or "float32")
        return usual_type(read_checkpoint(self.model.source.path))

    def trace(self, ids: tuple[int, ...]) -> Trace:
        return self.model.trace(ids=ids, positions="all", keep=KEPT).run()

    def spec(self, layer: int) -> ModelSpec:
        """As a plan is made for one layer: with that layer's own rotation."""
        return replace(self.model.spec, rotation=self.live.rotation_of(layer), qk_norm=self.live.qk_norm)

    def bytes_per_token(self, n_shared: int | None) -> int:
        """Of the K/V cache that transformers keeps, in 16 bits, for so many K/V heads (None: its own)."""
        config = dict(self.live.config)
        cache = cache_of_config(config if n_shared is None else _counted(self.live, config, n_shared))
        return 0 if cache is None else cache.bytes_per_token

    def measured(
        self, plans: Plans, trace: Trace, told: Callable[[list[int], str], Iterator[int]]
    ) -> tuple[tuple[LayerCost, ...], ModelCost | None]:
        costs, own = [], self._predictions(trace)
        for layer in told(list(plans), "measuring"):
            plan = plans[layer]
            after = self._run({layer: plan}, trace)
            k_error = relative_error(after.k_raw(layer), turned_keys(plan, trace.k_raw(layer)))
            v_error = relative_error(after.v(layer), turned_values(plan, trace.v(layer)))
            kl = None if own is None else weigh(own, self._predictions(after), trace.ids).kl
            costs.append(LayerCost(layer, k_error, v_error, kl))
        if own is None:
            return tuple(costs), None
        return tuple(costs), weigh(own, self._predictions(self._run(plans, trace)), trace.ids)

    def _run(self, plans: Mapping[int, Plan], trace: Trace) -> LiveTrace:
        """The same text with these layers grouped: heads that share stand there as often as they have members."""
        arrays: dict[str, Array] = {}
        for layer, plan in plans.items():
            arrays |= rearranged(self.live, replace(plan, repeated=True), layer)
        with changed_weights(self.model, arrays):
            return self.model.trace(ids=trace.ids, positions="all", keep=KEPT).run()

    def _predictions(self, trace: Trace) -> Any:
        """Log shares of a block of positions, by its first; None where there is no output head."""
        if not self.model.spec.has_output:
            return None
        return lambda start: log_shares(trace.logits[start : start + ROWS])

    def write(self, plans: Plans, target: Path, dtype: str | None, n_shared: int, progress: Progress) -> int:
        """Write the folder; returns the size of its weights. Raises SourceError; nothing half-written is left."""
        source = self.model.source
        store = FileStore(source.name, read_checkpoint(source.path))
        file = attention_of(store)
        entries = [(info.path, entry) for info, entry in _entries(file, store, plans, dtype)]
        done, total = 0, sum(entry.nbytes for _, entry in entries)

        def wrote(size: int) -> None:
            nonlocal done
            done += size
            progress("writing", done, total)

        config = dict(store.metadata)
        if not next(iter(plans.values())).repeated:
            config = _counted(file, config, n_shared)
        if dtype is not None:
            config.pop("torch_dtype", None)
            config["dtype"] = dtype
        shards = shard_names(store.checkpoint, entries)
        return write_folder(target, shards, config, partial(copy_beside, source.path), wrote)


@contextmanager
def changed_weights(model: LiveModel, arrays: Mapping[str, Array]) -> Iterator[None]:
    """The live model with these tensors for a while; nobody else runs it meanwhile, and its own come back bit for
    bit."""
    import torch

    tensors = model.hf.state_dict()
    with model.run_lock, torch.no_grad():
        own = {name: tensors[name].clone() for name in arrays}
        try:
            for name, array in arrays.items():
                tensors[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))
            yield
        finally:
            for name, tensor in own.items():
                tensors[name].copy_(tensor)


def _counted(file: AttentionFile, config: dict[str, Any], n_shared: int) -> dict[str, Any]:
    """The configuration with so many K/V heads; the text model's own part of it, where there are several."""
    key, inner = count_key(file), config.get("text_config")
    assert key is not None
    if isinstance(inner, Mapping) and config.get("model_type") != file.family:
        return config | {"text_config": {**inner, key: n_shared}}
    return config | {key: n_shared}


def _entries(
    file: AttentionFile, store: FileStore, plans: Plans, dtype: str | None
) -> Iterator[tuple[TensorInfo, Entry]]:
    """Every tensor of the new folder, with where it came from."""
    layer_of = touched(file, plans)
    arranged = lru_cache(maxsize=1)(lambda layer: rearranged(file, plans[layer], layer))

    def changed(name: str, stored: str) -> Iterator[Array]:
        yield encoded(arranged(layer_of[name])[name], stored)

    for name, info in store.checkpoint.tensors.items():
        stored = STORED[dtype] if dtype and info.kind in FLOATS else info.kind
        if name in layer_of:
            shape = shape_of(file, plans[layer_of[name]], name)
            yield info, Entry(name, shape, partial(changed, name, stored), stored)
        elif stored == info.kind:
            yield info, copied(info, name)
        else:
            yield info, Entry(name, info.shape, partial(_decoded, info, stored), stored)


def _decoded(info: TensorInfo, stored: str) -> Iterator[Float[Array, "..."]]:
    """Another tensor in another number type, some rows at a time."""
    if len(info.shape) != 2:
        yield encoded(read_array(info), stored)
        return
    step = max(1, (1 << 22) // info.shape[1])
    for start in range(0, info.shape[0], step):
        yield encoded(read_rows(info, slice(start, start + step)), stored)
