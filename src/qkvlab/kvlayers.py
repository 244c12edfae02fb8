"""What does each layer keep of a token, in numbers? Read from a config.json of any family, by tables.

The witness is transformers' own cache object (`cache_utils.py`, 5.23): the tests hold every family they can build to
its tensors, byte for byte. Where an engine could keep less, or more, that stands beside it as `otherwise`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .checkpoint.config import MAX_LAYERS
from .errors import ConfigError, UnsupportedError, one_of, shown
from .kvtables import (
    ATTENTIONS,
    ENCODERS,
    HEAD_SIZES,
    KINDS,
    NAMES,
    OWN_CACHE,
    PATTERNS,
    SEQ2SEQ,
    STATE_ONLY,
    STATE_SIGNS,
    WITNESSED,
    Config,
)


@dataclass(frozen=True)
class Kept:
    """What one layer keeps."""

    kind: str
    """full, window, chunk, latent, indexed, shared, state or cross."""
    numbers: int = 0
    """Numbers a token: its K and its V, of every K/V head."""
    limit: int | None = None
    """It keeps no more tokens than this from one step to the next; None: all of them."""
    otherwise: int | None = None
    """Numbers a token, kept the other way that `Layers.other` names."""


@dataclass(frozen=True)
class Layers:
    """What a model's layers keep, and in words what is particular about it."""

    kept: tuple[Kept, ...]
    n_context: int | None
    """The longest context the configuration names."""
    n_source: int | None = None
    """Tokens of the encoder, where their number is fixed."""
    other: str = ""
    notes: tuple[str, ...] = ()


WINDOWS = {"window": "a sliding window", "chunk": "chunks"}


def layers_of(config: Config) -> Layers | None:
    """What do this model's layers keep? None for an encoder, which keeps nothing.

    Raises ConfigError for a configuration without the sizes, UnsupportedError for a layer kind that is not counted.
    """
    own = _decoder(config)
    family = str(own.get("model_type", ""))
    if family in ENCODERS and not own.get("is_decoder"):
        return None
    if family in OWN_CACHE:
        raise UnsupportedError(f"config.json: {family} keeps its keys in a way of its own, which is not counted here")
    n_layer = _n_layer(own, family)
    if family in STATE_ONLY:
        return Layers((Kept("state"),) * n_layer, _context(own), notes=(STATE_NOTE.format(n=n_layer),))
    kinds = _kinds(own, family, n_layer)
    kept = tuple(_kept(_overridden(own, family, layer, kind), family, kind) for layer, kind in enumerate(kinds))
    shared = _count(own, "num_kv_shared_layers", 0)
    if shared:
        kept = (*kept[: n_layer - shared], *[Kept("shared")] * shared)
    crossing = bool(config.get("is_encoder_decoder")) or family in SEQ2SEQ
    if crossing:
        kept += tuple(Kept("cross", layer.numbers) for layer in kept)
    source = own.get("max_source_positions") if family in ("whisper", "speech_to_text") else None
    return Layers(kept, _context(own), source, _other(own, family), tuple(_notes(own, family, kept)))


def _decoder(config: Config) -> Config:
    """The part of a configuration that describes the text decoder, where there are several."""
    for part in ("text_config", "decoder", "llm_config", "language_config"):
        inner = config.get(part)
        if isinstance(inner, Mapping):
            return _decoder(inner)
    return config


def _n_layer(config: Config, family: str) -> int:
    listed = config.get("layers_block_type") or config.get("layer_types") or config.get("hybrid_override_pattern")
    listed = len(listed) if isinstance(listed, list | str) else None
    return _size(config, "layers", listed, most=MAX_LAYERS) * ATTENTIONS.get(family, 1)


def _kinds(config: Config, family: str, n_layer: int) -> list[str]:
    named = config.get("layer_types") or config.get("layers_block_type")
    if named is None and family in PATTERNS:
        named = PATTERNS[family](config, n_layer)
    if named is None:
        sign = next((key for key in config if any(sign in key for sign in STATE_SIGNS)), None)
        if sign is not None:
            raise UnsupportedError(
                f"config.json: {family or 'this model'} has {shown(sign)} and no layer_types, so which of its layers "
                "keep keys and values cannot be told"
            )
        windowed = config.get("sliding_window") is not None and config.get("use_sliding_window") is not False
        chunked = config.get("attention_chunk_size") is not None
        named = ["sliding_attention" if windowed else "chunked_attention" if chunked else "full_attention"] * n_layer
    if not isinstance(named, list) or len(named) != n_layer:
        raise ConfigError(f"config.json: layer_types must name the kind of each of the {n_layer} layers")
    for name in named:
        if not isinstance(name, str) or name not in KINDS:
            raise UnsupportedError(f"config.json: {one_of('the cache of a layer of type', name, KINDS)}")
    if family == "gemma4_text":
        named = [*named[:-1], "full_attention"]  # transformers forces the last one
    return [KINDS[name] for name in named]


def _kept(config: Config, family: str, kind: str) -> Kept:
    if kind in ("state", "none"):
        return Kept(kind)
    limit = None
    if kind in ("window", "chunk"):
        size = _size(config, "window") if kind == "window" else _count(config, "attention_chunk_size")
        limit = size - 1 or None  # a window of 1: transformers slices [-0:], which keeps everything
    if config.get("kv_lora_rank") is not None:
        return _latent(config, kind, limit)
    heads = _size(config, "heads")
    kv_heads, once = _kv_heads(config, family, heads)
    d_head = _head_size(config, family, heads)
    d_value = _count(config, "v_head_dim", d_head)
    numbers = kv_heads * (d_head + d_value)
    return Kept(kind, numbers, limit, None if once == kv_heads else once * (d_head + d_value))


def _latent(config: Config, kind: str, limit: int | None) -> Kept:
    """MLA: the normed latent and the rotated part all heads share; expanded, each head's own K and V."""
    turned = _count(config, "qk_rope_head_dim")
    numbers = _count(config, "kv_lora_rank") + turned
    if kind == "indexed":
        numbers += _count(config, "index_head_dim")
    per_head = _count(config, "qk_nope_head_dim") + turned + _count(config, "v_head_dim")
    return Kept("latent" if kind == "full" else kind, numbers, limit, _size(config, "heads") * per_head)


def _kv_heads(config: Config, family: str, heads: int) -> tuple[int, int]:
    """K/V heads as transformers keeps them, and as many as the model has."""
    if family in ("falcon", "gpt_bigcode"):
        if family == "falcon" and config.get("new_decoder_architecture"):
            return heads, _count(config, "num_kv_heads", heads)  # repeated for the query heads, then kept
        return (1, 1) if config.get("multi_query", True) else (heads, heads)
    if family in SEQ2SEQ and "num_key_value_heads" not in config:
        return heads, heads
    kv_heads = _size(config, "kv_heads", default=heads)
    if heads % kv_heads:
        raise ConfigError(f"{heads} query heads cannot share {kv_heads} K/V heads evenly")
    return kv_heads, kv_heads


def _head_size(config: Config, family: str, heads: int) -> int:
    given = next((config[name] for name in NAMES["d_head"] if isinstance(config.get(name), int)), None)
    default = HEAD_SIZES.get(family) or _size(config, "d_model") // heads
    return _whole("head_dim", default if given is None else given)


def _overridden(config: Config, family: str, layer: int, kind: str) -> Config:
    """The configuration of one layer, where it names some of its own (Gemma 4's full layers)."""
    per_layer = config.get("per_layer_config")
    if isinstance(per_layer, Mapping):
        own = per_layer.get(str(layer), per_layer.get(layer))
        return {**config, **own} if isinstance(own, Mapping) else config
    if family == "gemma4_text" and kind == "full":
        few = config.get("num_global_key_value_heads") if config.get("attention_k_eq_v", True) else None
        size = {"head_dim": config.get("global_head_dim", 512)}
        return {**config, **size, **({"num_key_value_heads": few} if few else {})}
    return config


STATE_NOTE = "{n} layers keep a state of fixed size instead of keys and values; it is not counted"


def _other(config: Config, family: str) -> str:
    if config.get("kv_lora_rank") is not None:
        return "each head's own K and V, expanded from the latent"
    if family == "falcon" and config.get("new_decoder_architecture"):
        return "each K/V head once, not once for every query head that reads it"
    return ""


def window_notes(kept: Sequence[Kept]) -> tuple[str, ...]:
    """Which layers keep the end of the text only, and how much of it?"""
    counts = Counter((layer.kind, layer.limit) for layer in kept if layer.limit is not None)
    return tuple(
        f"{n} layers with {WINDOWS[kind]} of {limit + 1:,} keep {limit:,} tokens from step to step: the window - 1"
        for (kind, limit), n in counts.items()
    )


def _notes(config: Config, family: str, kept: tuple[Kept, ...]) -> list[str]:
    notes = list(window_notes([layer for layer in kept if layer.kind != "cross"]))
    if config.get("kv_lora_rank") is not None:
        notes.append("what is kept is the latent all heads share (MLA) and its rotated part")
    if any(layer.kind == "indexed" for layer in kept):
        notes.append("the keys of the sparse attention's indexer are counted with it")
    shared = sum(layer.kind == "shared" for layer in kept)
    if shared:
        notes.append(f"{shared} layers keep none: they read the keys and values of an earlier layer")
    states = sum(layer.kind == "state" for layer in kept)
    if states:
        notes.append(STATE_NOTE.format(n=states))
    if family == "gpt_neo":
        notes.append("layers with local attention keep all tokens, too: transformers does not cut them")
    if family == "falcon" and config.get("new_decoder_architecture"):
        notes.append("transformers keeps each K/V head repeated for the query heads that read it")
    if family not in WITNESSED:
        notes.append(f"{family or 'this model type'} is read by the usual keys; no test compares it with a real cache")
    return notes


def _context(config: Config) -> int | None:
    value = next((config[name] for name in NAMES["context"] if isinstance(config.get(name), int)), None)
    return value if value is not None and value > 0 else None


def _size(config: Config, what: str, default: int | None = None, most: int = 2**31) -> int:
    for name in NAMES[what]:
        if config.get(name) is not None:
            value = _whole(name, config[name])
            if value > most:
                raise ConfigError(f"config.json: {name} is {value:,}; expected at most {most:,}")
            return value
    if default is None:
        raise ConfigError(f"config.json: names none of {', '.join(NAMES[what])}, which the cache is counted from")
    return default


def _count(config: Config, name: str, default: int | None = None) -> int:
    value = config.get(name)
    if value is None and default is not None:
        return default
    return _whole(name, value) if value != 0 or default != 0 else 0


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        got = "missing" if value is None else shown(value)
        raise ConfigError(f"config.json: {name} is {got}; expected a positive whole number")
    return value
