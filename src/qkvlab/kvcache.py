"""What keeping keys and values costs: cache bytes for a context, as the model is and as it could be."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import UnsupportedError, one_of
from .kvlayers import Kept, Layers, layers_of, window_notes
from .spec import ModelSpec

ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Cache:
    """The K/V cache of one text. Sizes in bytes."""

    dtype: str
    """The element type assumed; a serving engine may choose another."""
    bytes_per_token: int
    """What one more token adds while no window is full."""
    context: int
    bytes: int
    """For `context` tokens, after they were read: a layer with a sliding window then keeps the last window - 1 of them
    (the next token's own key makes it the window), which is what transformers' cache keeps."""
    layers: dict[str, int] = field(default_factory=dict)
    """Layers by what they keep: full, window, chunk, latent, indexed, shared, state, none; cross: of an encoder."""
    note: str = ""
    """What is particular about it, in words; empty where there is nothing."""
    otherwise: dict[str, int] = field(default_factory=dict)
    """Kept another way, in words → bytes a token."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def cache_size(
    spec: ModelSpec, context: int | None = None, *, dtype: str = "float16", n_kv_head: int | None = None
) -> Cache | None:
    """How many bytes do the keys and values of `context` tokens take? (default: the model's longest context)

    2 (K and V) · layers · K/V heads · d_head · bytes per element, per token. `n_kv_head` asks for another grouping:
    the number of query heads for multi-head attention, 1 for multi-query. None for an encoder, which keeps none.
    Source: Ainslie et al. 2023, section 1; Llama-3-8B: 131,072 bytes a token.
    """
    if not spec.causal:
        return None
    heads = spec.n_kv_head if n_kv_head is None else n_kv_head
    if heads < 1 or spec.n_head % heads:
        raise UnsupportedError(f"{spec.n_head} query heads cannot share {heads} K/V heads evenly")
    windows = [spec.window_of(layer) for layer in range(spec.n_layer)]
    kept = [Kept("window" if w else "full", 2 * heads * spec.d_head, w - 1 or None if w else None) for w in windows]
    return _cache(Layers(tuple(kept), spec.n_context, notes=window_notes(kept)), context, dtype, None)


def cache_of_config(
    config: Mapping[str, Any], context: int | None = None, dtype: str = "float16", *, source: int | None = None
) -> Cache | None:
    """The same from a config.json of any family: grouped, windowed, shared between layers, latent (MLA), linear.

    For an encoder–decoder, `context` counts the decoder's tokens and `source` the encoder's (default: the fixed number
    of an audio encoder, else as many as `context`); both caches are in `bytes`. None for an encoder alone.
    Raises ConfigError for a configuration without the sizes, UnsupportedError for a layer kind that is not counted.
    """
    layers = layers_of(config)
    return None if layers is None else _cache(layers, context, dtype, source)


def _cache(layers: Layers, context: int | None, dtype: str, source: int | None) -> Cache:
    if dtype not in ELEMENT_BYTES:
        raise UnsupportedError(one_of("the element type", dtype, ELEMENT_BYTES))
    notes = list(layers.notes)
    if context is None and layers.n_context is None:
        notes.append("the configuration names no longest context, so this is one token: give --context")
    context = context if context is not None else layers.n_context or 1
    if context < 1:
        raise UnsupportedError(f"a context of {context} tokens has no cache; expected at least 1")
    each = ELEMENT_BYTES[dtype]
    own = [layer for layer in layers.kept if layer.kind != "cross"]
    total = sum(each * layer.numbers * min(context, layer.limit or context) for layer in own)
    cross = each * sum(layer.numbers for layer in layers.kept if layer.kind == "cross")
    if cross:
        source = source or layers.n_source or context
        notes.append(f"{cross * source:,} bytes of it are the encoder's {source:,} tokens, {cross:,} each, kept once")
    per_token = each * sum(layer.numbers for layer in own)
    other = each * sum(layer.numbers if layer.otherwise is None else layer.otherwise for layer in own)
    return Cache(
        dtype=dtype,
        bytes_per_token=per_token,
        context=context,
        bytes=total + cross * (source or 0),
        layers=dict(Counter(layer.kind for layer in layers.kept)),
        note="; ".join(notes),
        otherwise={layers.other: other} if layers.other else {},
    )
