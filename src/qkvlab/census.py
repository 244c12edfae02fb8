"""What a checkpoint of any family holds, counted from its headers: parameters by part, windows, K/V cache."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .checkpoint.attention import AttentionFile, attention_of, family_of
from .checkpoint.stores import Store
from .checkpoint.tensors import TensorInfo
from .errors import UnsupportedError
from .kvcache import Cache, cache_of_config, cache_size
from .spec import ModelSpec

ATTENTION_PARTS = {
    "q": "q", "q_down": "q", "q_up": "q", "k": "k", "k_up": "k", "k_rope": "k", "v": "v", "v_up": "v", "o": "o",
    "gate": "gate", "kv_down": "latent",
}  # fmt: skip
"""What the table calls a part → what the count calls it; `latent` serves K and V alike."""

WORDS: tuple[tuple[str, str], ...] = (
    ("output", r"^(lm_head|embed_out|proj_out|output\.(weight|bias)|cls\.|predictions\.|vocab_|generator_|head\.)"),
    ("output", r"^decoder\.(weight|bias)$"),
    ("norms", r"norm|ln_|LayerNorm"),
    ("embedding", r"embed|embd|wte|wpe|(^|\.)shared\.|token_types|relative_attention_bias"),
    ("mlp", r"mlp|ffn|feed_forward|\.fc[12]\.|intermediate|output\.dense|lin[12]\.|DenseReluDense|experts"),
)
"""The part of every other tensor by a piece of its name, in this order; without any: other."""

BUFFERS = re.compile(r"inv_freq$|(^|\.)(attn|attention)\.(bias|masked_bias)$|position_ids$|final_logits_bias$")
"""What lies in files and is no parameter."""

CONTEXT = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions", "max_sequence_length", "n_ctx",
    "seq_length", "context_length",
)  # fmt: skip


def parameters(store: Store, tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Numbers by part, and `total`. Raises CheckpointError or ConfigError where a tensor of attention does not fit."""
    counts: Counter[str] = Counter()
    seen = set[str]()
    _, _, table = family_of(store)
    for attention in table.stacks:
        for part, name, size in _attention(attention_of(store, attention)):
            counts[part] += size
            seen.add(name)
    for name, info in tensors.items():
        if name not in seen and not BUFFERS.search(name):
            counts[next((part for part, words in WORDS if re.search(words, name)), "other")] += info.size
    known = ("embedding", "q", "k", "v", "o", "mlp", "norms", "output")
    found = {part: counts[part] for part in known} | {part: counts[part] for part in counts if part not in known}
    return {**found, "total": sum(counts.values())}


def _attention(file: AttentionFile) -> list[tuple[str, str, int]]:
    """(part, tensor, how many of its numbers) of every layer; where all layers share tensors, once."""
    shared = "{i}" not in file.stack.tensors["o"]
    found = []
    for layer in file.attention_layers[: 1 if shared else None]:
        for part in file.stack.tensors:
            if part.endswith("norm"):
                continue
            info = file.info(layer, part)
            place = file.places.get(part)
            share = (place.heads * place.width, place.total) if place else (1, 1)
            names = [info.name, info.name.removesuffix(".weight") + ".bias"]
            sizes = [file.store.info(name).size if name in file.store.names else 0 for name in names]
            found += [
                (ATTENTION_PARTS[part], name, size * share[0] // share[1])
                for name, size in zip(names, sizes, strict=True)
            ]
    return found


def context_of(config: Mapping[str, Any]) -> int | None:
    """The most tokens the model was made for, where the configuration says it."""
    return next((config[key] for key in CONTEXT if isinstance(config.get(key), int)), None)


def windows_of(config: Mapping[str, Any], layers: tuple[int, ...]) -> tuple[int | None, tuple[int, ...] | None]:
    """The sliding window, and the layers that have it; None for the layers where the configuration does not say."""
    window = config.get("sliding_window") or config.get("local_attention") or config.get("attention.sliding_window")
    if not isinstance(window, int) or isinstance(window, bool) or config.get("use_sliding_window") is False:
        return None, ()
    kinds = config.get("layer_types")
    if not isinstance(kinds, list):
        return window, None
    return window, tuple(layer for layer in layers if layer < len(kinds) and kinds[layer] == "sliding_attention")


def cache_of(file: AttentionFile, context: int | None) -> tuple[Cache | None, str]:
    """The K/V cache of a model by its table row, and what there is to say beside it (or instead of it)."""
    table = file.table
    if table.mask == "bidirectional":
        return None, "none: an encoder reads its text at once"
    if file.store.format != "gguf":
        try:
            return cache_of_config(file.config, context), ""
        except UnsupportedError as error:
            return None, f"not counted: {error}"
    context = context or context_of(file.config)
    if file.mla:
        return None, "not counted here: latent attention keeps one narrow vector a token instead of keys and values"
    if context is None:
        return None, "not counted: the configuration names no longest context; give one with --context"
    window, windowed = windows_of(file.config, file.attention_layers)
    if windowed is None:
        return None, "not counted: the configuration does not say which layers keep no more than their window"
    spec = ModelSpec(
        name=file.name, family=file.family, n_layer=len(file.attention_layers), n_head=file.n_head,
        n_kv_head=file.n_kv_head, d_head=file.d_head, d_model=file.d_model, d_ff=0, n_vocab=0, n_context=context,
        norm_eps=0.0, activation="", mask="causal", window=window,
        windowed_layers=tuple(file.attention_layers.index(layer) for layer in windowed),
    )  # fmt: skip
    hybrid = f"of the {len(file.attention_layers)} layers with attention; the others keep a state of fixed size"
    return cache_size(spec, context), hybrid if table.hybrid else ""
