"""Which rotation does a layer of any family give its q and k, as far as its configuration says? None: not known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import QkvLabError
from ..spec import Rotation
from . import gguf_config
from .arrange import Sizes
from .config import Keys, rotation_from
from .rows import Rope
from .tensors import Checkpoint

_BASES = ("rope_theta", "rotary_emb_base")


def layer_rotation(rope: Rope | None, config: Mapping[str, Any], sizes: Sizes, layer: int) -> Rotation | None:
    """The rotation of one layer, or None where it has none, or one that is not known here (a longer-context scaling of
    another kind, say)."""
    if rope is None or (rope.off and config.get(rope.off)) or not _turns(rope, config, layer):
        return None
    try:
        found = _parameters(rope, config, layer)
        dims = _dims(rope, config, found, sizes)
        if found is None or dims < 2 or dims % 2:
            return None
        scaling = {key: value for key, value in found.items() if key != "partial_rotary_factor"}
        keys = Keys({**config, "rope_scaling": None, "rope_parameters": scaling}, "config.json")
        return replace(rotation_from(keys, dims), pairs=rope.pairs)
    except QkvLabError:
        return None


def gguf_rotation(
    rope: Rope | None, checkpoint: Checkpoint, config: Mapping[str, Any], sizes: Sizes
) -> Rotation | None:
    """The rotation that a GGUF file describes, the same in all layers; None where layers differ, or it is not known."""
    if rope is None or rope.layers != "all":
        return None
    keys = Keys(config, checkpoint.path.name)
    try:
        found = gguf_config.rotation_from(checkpoint, keys, keys.count("rope.dimension_count", sizes.d_head))
    except QkvLabError:
        return None
    return replace(found, pairs=rope.pairs)


def _turns(rope: Rope, config: Mapping[str, Any], layer: int) -> bool:
    """Whether q and k of this layer turn at all. (A 1 in `no_rope_layers` means that they do.)"""
    if rope.layers == "flagged":
        flags = config.get("no_rope_layers")
        return not isinstance(flags, list) or not layer < len(flags) or bool(flags[layer])
    return rope.layers != "sliding" or kind_of(config, layer) == "sliding_attention"


def kind_of(config: Mapping[str, Any], layer: int) -> str | None:
    """The entry of a layer in `layer_types`."""
    kinds = config.get("layer_types")
    return str(kinds[layer]) if isinstance(kinds, list) and layer < len(kinds) else None


def _parameters(rope: Rope, config: Mapping[str, Any], layer: int) -> dict[str, Any] | None:
    """The rotation's parameters with their base, as transformers 5 writes them in one place and others in several."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.layers == "by kind":
        found = found.get(kind_of(config, layer)) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    named = (config[key] for key in _BASES if config.get(key) is not None)
    base = found.get("rope_theta") or next(named, rope.base if rope.layers != "by kind" else None)
    return None if base is None else {**found, "rope_theta": base}


def _dims(rope: Rope, config: Mapping[str, Any], found: Mapping[str, Any] | None, sizes: Sizes) -> int:
    if sizes.d_rope:
        return sizes.d_rope
    keys = Keys(config, "config.json")
    if rope.dims_key and config.get(rope.dims_key) is not None:
        return keys.count(rope.dims_key)
    named = [where[key] for where in (found or {}, config) for key in rope.fraction_keys if where.get(key) is not None]
    return int(sizes.d_head * Keys({"share": named[0] if named else rope.fraction}, "config.json").number("share"))
