"""What a checkpoint is, from its headers alone: family, heads, how Q, K and V are stored, parameters, cache bytes."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .census import BUFFERS, cache_of, context_of, parameters, windows_of
from .checkpoint.attention import attention_of
from .checkpoint.config import CONFIG_READERS
from .checkpoint.gguf_config import ARCHITECTURES
from .checkpoint.layouts import Layout, plain_names
from .checkpoint.remote import RemoteStore, open_named
from .checkpoint.source import Progress
from .checkpoint.stores import Store
from .checkpoint.tensors import Checkpoint, TensorInfo
from .kvcache import Cache, cache_size
from .model import read_spec
from .models.weights import check_tensors
from .spec import ModelSpec

PARTS = ("embedding", "q", "k", "v", "o", "mlp", "norms", "output")


@dataclass(frozen=True)
class Anatomy:
    """The answer of `qkvlab inspect`."""

    model: str
    path: str
    format: str
    family: str
    layers: int
    query_heads: int
    kv_heads: int
    d_head: int
    d_model: int
    context: int | None
    mask: str
    stored: str
    """How Q, K and V lie in the file, in words."""
    number_types: dict[str, int]
    """Number type in the file → how many parameters have it."""
    parameters: dict[str, int]
    """By part; `total` adds them up. A tied output head counts once, as the embedding."""
    kv_cache: Cache | None
    cache_note: str
    """What there is to say beside the cache's size, or in its place."""
    ignored_config: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect(
    name: str,
    *,
    context: int | None = None,
    allow_config: Collection[str] = (),
    progress: Progress | None = None,
) -> Anatomy:
    """Read the headers of a model's files, and nothing else; those of a hub name that is not in the local cache are
    read on the hub.

    Any family with a row in the tables of `checkpoint/families.py`. Raises SourceError, CheckpointError,
    UnsupportedError or ConfigError, always one line.
    """
    store = open_named(name, progress=progress)
    checkpoint = store.checkpoint() if isinstance(store, RemoteStore) else store.checkpoint
    native = checkpoint.metadata.get("model_type") in CONFIG_READERS
    if checkpoint.format == "gguf":
        native = checkpoint.metadata.get("general.architecture") in ARCHITECTURES
    found = _native(store, checkpoint, context, allow_config) if native else _by_table(store, checkpoint, context)
    where = f"{store.name} on the Hugging Face hub" if isinstance(store, RemoteStore) else str(checkpoint.path)
    return Anatomy(model=store.name, path=where, format=checkpoint.format, **found)


def _native(store: Store, checkpoint: Checkpoint, context: int | None, allow_config: Collection[str]) -> dict[str, Any]:
    """Of a family that runs here: every tensor and every key of the configuration is checked."""
    spec, layout = read_spec(checkpoint, store.name, allow_config)
    cache = cache_size(spec, context)
    return {
        "family": _family(checkpoint),
        "layers": spec.n_layer,
        "query_heads": spec.n_head,
        "kv_heads": spec.n_kv_head,
        "d_head": spec.d_head,
        "d_model": spec.d_model,
        "context": spec.n_context,
        "mask": spec.mask if not spec.windowed_layers else f"{spec.mask}, window {spec.window}",
        "stored": layout.stored,
        "number_types": _kinds(check_tensors(spec, checkpoint, layout).values()),
        "parameters": _parameters(spec, checkpoint, layout),
        "kv_cache": cache,
        "cache_note": "" if cache else "none: an encoder reads its text at once",
        "ignored_config": spec.allowed_config,
    }


def _by_table(store: Store, checkpoint: Checkpoint, context: int | None) -> dict[str, Any]:
    """Of any other family in the tables: its attention is checked, everything else is counted by name."""
    file = attention_of(store)
    cache, note = cache_of(file, context)
    window, _ = windows_of(file.config, file.attention_layers)
    counted = [info for name, info in checkpoint.tensors.items() if not BUFFERS.search(name)]
    return {
        "family": file.family,
        "layers": file.n_layer,
        "query_heads": file.n_head,
        "kv_heads": file.n_kv_head,
        "d_head": file.d_head,
        "d_model": file.d_model,
        "context": context_of(file.config),
        "mask": file.table.mask + (f", window {window}" if window else ""),
        "stored": file.stored,
        "number_types": _kinds(counted),
        "parameters": parameters(store, checkpoint.tensors),
        "kv_cache": cache,
        "cache_note": note,
        "ignored_config": (),
    }


def _kinds(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """Number type → how many numbers have it; a tensor that serves several parts counts once."""
    kinds: Counter[str] = Counter()
    for info in {info.name: info for info in tensors}.values():
        kinds[info.kind] += info.size
    return dict(kinds.most_common())


def _family(checkpoint: Checkpoint) -> str:
    key = "general.architecture" if checkpoint.format == "gguf" else "model_type"
    return str(checkpoint.metadata[key])


def _parameters(spec: ModelSpec, checkpoint: Checkpoint, layout: Layout) -> dict[str, int]:
    counts = dict.fromkeys(PARTS, 0)
    names = plain_names(layout, checkpoint.tensors)
    for row in [*layout.model, *layout.layer]:
        copies = range(spec.n_layer) if "{i}" in row.source else range(1)
        for layer in copies:
            name = names.get(row.source.format(i=layer))
            if name is not None and not (row.when == "untied" and not spec.untied):
                counts[_part(row.field)] += checkpoint.tensors[name].size // row.part[1]
    return {**counts, "total": sum(counts.values())}


def _part(field: str) -> str:
    if "norm" in field:
        return "norms"
    if field == "unembedding":
        return "output"
    if field in ("embedding", "positions", "token_types"):
        return "embedding"
    letter = field.split("_")[1]
    return letter if letter in PARTS else "mlp"
