"""What keeping keys and values costs: cache bytes for a context, as the model is and as it could be."""

from dataclasses import asdict, dataclass
from typing import Any

from .errors import UnsupportedError, one_of
from .spec import ModelSpec

ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Cache:
    """The K/V cache of one text. Sizes in bytes."""

    dtype: str
    """The element type assumed; a serving engine may choose another."""
    bytes_per_token: int
    context: int
    bytes: int
    """For `context` tokens; a layer with a sliding window keeps no more than its window."""

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
    context = spec.n_context if context is None else context
    if context < 1:
        raise UnsupportedError(f"a context of {context} tokens has no cache; expected at least 1")
    heads = spec.n_kv_head if n_kv_head is None else n_kv_head
    if heads < 1 or spec.n_head % heads:
        raise UnsupportedError(f"{spec.n_head} query heads cannot share {heads} K/V heads evenly")
    if dtype not in ELEMENT_BYTES:
        raise UnsupportedError(one_of("the element type", dtype, ELEMENT_BYTES))
    per_layer = 2 * heads * spec.d_head * ELEMENT_BYTES[dtype]
    kept = [min(context, spec.window_of(layer) or context) for layer in range(spec.n_layer)]
    return Cache(dtype, per_layer * spec.n_layer, context, per_layer * sum(kept))
