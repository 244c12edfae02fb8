"""Opening the attention of any checkpoint, without building a model: a name → the family's row → an AttentionFile."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError, UnsupportedError, one_of, shown
from ..spec import Rotation
from .arrange import ARRANGEMENTS, Sizes
from .attentionfile import AttentionFile
from .config import Keys
from .families import FAMILIES, GGUF
from .heads import HeadWeights, LayerAttention
from .rotations import gguf_rotation, layer_rotation
from .rows import PREFIXES, Family, Stack, stack_of
from .source import Progress
from .stores import FileStore, LiveStore, Store

__all__ = ["AttentionFile", "HeadWeights", "LayerAttention", "attention_of", "open_attention", "open_store"]


def open_attention(model: Any, *, attention: str = "decoder", progress: Progress | None = None) -> AttentionFile:
    """Open the attention of a checkpoint by alias, path or hub name, or of a live transformers model.

    `attention` says which of an encoder-decoder model's attentions a head address means: "decoder", "encoder" or
    "cross"; a model with one attention has no choice. Only headers are read. A hub name that is not in the local cache
    is read from the hub by byte ranges. Raises SourceError, CheckpointError, ConfigError, UnsupportedError.
    """
    return attention_of(open_store(model, progress=progress), attention)


def open_store(model: Any, *, progress: Progress | None = None) -> Store:
    """The tensors behind a name, a path or a live model."""
    if isinstance(model, str | Path):
        from .remote import open_named

        return open_named(model, progress=progress)
    if hasattr(model, "state_dict") and hasattr(model, "config"):
        return LiveStore(model)
    raise UnsupportedError(
        f"a model is given by name or path, or as a live transformers model; got a {type(model).__name__}"
    )


def attention_of(store: Store, attention: str = "decoder") -> AttentionFile:
    """The attention in a store. Raises CheckpointError, ConfigError, UnsupportedError."""
    family, config, table = family_of(store)
    attention = chosen(table, attention, store.name)
    stack = stack_of(table, config, attention)
    sizes = sizes_of(stack, config, _where(store))
    for key, value in table.must:
        if config.get(key, value) != value:
            raise UnsupportedError(f"{_where(store)}: {key} is {shown(config[key])}; only {value} is known here")
    prefix, layers = _layers(store, table, stack, sizes, config)
    names = {prefix + norm.format(i=layers[0]) + ".weight" for norm in stack.norms}
    qk_norm = not names.isdisjoint(store.names) or bool(store.format != "gguf" and config.get("use_qk_norm"))
    return AttentionFile(
        name=store.name, family=family, attention=attention, sizes=sizes, qk_norm=qk_norm,
        rotations=_rotations(store, table, config, sizes), attention_layers=layers,
        stored=_stored(stack), notes=tuple(_notes(table, stack, config, qk_norm)),
        store=store, table=table, stack=stack, config=config, prefix=prefix,
    )  # fmt: skip


def family_of(store: Store) -> tuple[str, Mapping[str, Any], Family]:
    """The family's name, its own configuration (the text model's, of several), and its row in the table."""
    config: Mapping[str, Any] = store.metadata
    if store.format == "gguf":
        name = Keys(config, store.name).text("general.architecture")
        if name not in GGUF:
            raise UnsupportedError(f"{store.name}: {one_of('the GGUF architecture', name, GGUF)}")
        own = {key.removeprefix(f"{name}."): value for key, value in config.items()}
        return name, own, GGUF[name]
    if not config:
        raise CheckpointError(f"{store.name}: there is no config.json beside it, which says how to read it")
    name = Keys(config, _where(store)).text("model_type")
    inner = config.get("text_config")
    if name not in FAMILIES and isinstance(inner, Mapping) and inner.get("model_type") in FAMILIES:
        return str(inner["model_type"]), inner, FAMILIES[str(inner["model_type"])]
    if name not in FAMILIES:
        raise UnsupportedError(f"{store.name}: {one_of('the model type', name, FAMILIES)}")
    return name, config, FAMILIES[name]


def chosen(table: Family, attention: str, name: str) -> str:
    """Which of the family's stacks is meant; the only one where there is one and nothing else was asked for."""
    if attention not in ("decoder", "encoder", "cross"):
        raise UnsupportedError(one_of("the attention", attention, ("decoder", "encoder", "cross")))
    if attention in table.stacks:
        return attention
    if attention == "decoder" and len(table.stacks) == 1:
        return next(iter(table.stacks))
    raise UnsupportedError(f"{name} has no {attention} attention (it has: {', '.join(table.stacks)})")


def sizes_of(stack: Stack, config: Mapping[str, Any], where: str) -> Sizes:
    """The sizes by the keys of the table. Raises ConfigError where they cannot be."""
    keys = Keys(config, where)

    def size(names: tuple[str, ...], default: int | None = None) -> int:
        named = [name for name in names if config.get(name) is not None]
        return keys.count((named or [*names, ""])[0], default)

    n_layer = keys.layers(next((name for name in stack.keys.n_layer if name in config), stack.keys.n_layer[0]))
    n_head, d_model = size(stack.keys.n_head), size(stack.keys.d_model)
    n_kv_head = 1 if stack.single_kv else size(stack.keys.n_kv_head, n_head) if stack.keys.n_kv_head else n_head
    if n_head % n_kv_head:
        raise ConfigError(f"{where}: {n_head} query heads cannot share {n_kv_head} K/V heads evenly")
    if stack.arrangement == "latent":
        nope, rope, value = (keys.count(f"{name}_head_dim") for name in ("qk_nope", "qk_rope", "v"))
        q_rank = keys.count("q_lora_rank") if "q_down" in stack.tensors else 0
        return Sizes(
            n_layer, n_head, n_kv_head, nope + rope, value, d_model, nope, rope, q_rank, keys.count("kv_lora_rank")
        )
    default = stack.keys.default_d_head or (None if d_model % n_head else d_model // n_head)
    if default is None and not any(config.get(name) is not None for name in stack.keys.d_head):
        raise ConfigError(f"{where}: a width of {d_model} does not divide into {n_head} heads")
    d_head = size(stack.keys.d_head, default) if stack.keys.d_head else int(default or 0)
    d_value = keys.count("attention.value_length", d_head)
    if stack.turned and d_head % 2:
        raise ConfigError(f"{where}: a head of {d_head} components cannot turn in pairs")
    return Sizes(n_layer, n_head, n_kv_head, d_head, d_value, d_model)


def _layers(
    store: Store, table: Family, stack: Stack, sizes: Sizes, config: Mapping[str, Any]
) -> tuple[str, tuple[int, ...]]:
    """What stands before the names, and the layers that have attention."""
    first = next(iter(stack.tensors.values()))

    def having(prefix: str, layers: range) -> list[int]:
        return [layer for layer in layers if f"{prefix}{first.format(i=layer)}.weight" in store.names]

    every = range(sizes.n_layer)
    prefix = next((prefix for prefix in PREFIXES if having(prefix, every)), None)
    if prefix is None:
        quantised = " (it is quantised)" if config.get("quantization_config") else ""
        raise CheckpointError(
            f"{store.name}: no layer has a tensor {first.format(i='N') + '.weight'!r}{quantised}; "
            f"is it a {config.get('model_type', 'model')} checkpoint?"
        )
    found = having(prefix, every)
    if len(found) < sizes.n_layer and not table.hybrid:
        missing = next(layer for layer in every if layer not in found)
        raise CheckpointError(f"{store.name}: the tensor {prefix + first.format(i=missing) + '.weight'!r} is missing")
    extra = config.get(table.extra_layers, 0) if table.extra_layers else 0
    beyond = sizes.n_layer + (extra if isinstance(extra, int) else 0)
    if "{i}" in first and having(prefix, range(beyond, beyond + 1)):
        raise ConfigError(f"{store.name}: there is a layer {beyond}, but by its configuration the model has {beyond}")
    return prefix, tuple(found)


def _rotations(store: Store, table: Family, config: Mapping[str, Any], sizes: Sizes) -> tuple[Rotation | None, ...]:
    if store.format == "gguf" and isinstance(store, FileStore):
        return (gguf_rotation(table.rope, store.checkpoint, config, sizes),) * sizes.n_layer
    return tuple(layer_rotation(table.rope, config, sizes, layer) for layer in range(sizes.n_layer))


def _where(store: Store) -> str:
    return store.name if store.format == "gguf" else "config.json"


def _stored(stack: Stack) -> str:
    words = ARRANGEMENTS[stack.arrangement][1]
    words += ", stored [d_in, d_out] (Conv1D)" if stack.in_out else ""
    return words + ("; rows of Q and K interleaved per head for rotation" if stack.turned else "")


def _notes(table: Family, stack: Stack, config: Mapping[str, Any], qk_norm: bool) -> list[str]:
    outer, _, inner = table.clip.partition(".")
    found = config.get(outer)
    bound = found.get(inner) if isinstance(found, Mapping) else found
    return [
        *(["q and k are normalised before they meet"] if qk_norm else []),
        *(["z is multiplied by the sigmoid of x w_gate before W_o"] if "gate" in stack.tensors else []),
        *([f"q, k and v are clipped to ±{bound} after the projection"] if table.clip and bound else []),
    ]
