"""GGUF metadata → ModelSpec: the same three lists of keys as config.json has, under llama.cpp's names."""

from collections.abc import Collection
from typing import Any

import numpy as np

from ..errors import ConfigError, UnsupportedError, shown
from ..spec import ModelSpec, Rotation
from .config import Keys
from .tensors import Checkpoint

ARCHITECTURES = ("llama", "qwen2", "qwen3")

USED = frozenset(
    """block_count context_length embedding_length feed_forward_length attention.head_count
    attention.head_count_kv attention.key_length attention.value_length attention.layer_norm_rms_epsilon
    attention.sliding_window rope.freq_base rope.dimension_count rope.scaling.type rope.scaling.factor
    rope.scaling.original_context_length rope.scaling.yarn_log_multiplier rope.scaling.attn_factor
    rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow vocab_size""".split()
)
REFUSED: dict[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "rope.scaling.finetuned": (False, True),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "attention.causal": (True,),
    "tensor_data_layout": ("Meta AI original pth",),
}
HARMLESS = ("general.", "tokenizer.", "quantize.", "imatrix.", "split.")
"""What these begin with describes the file, not the computation."""


def spec_from_gguf(checkpoint: Checkpoint, *, name: str, allow: Collection[str] = ()) -> ModelSpec:
    """The metadata of a GGUF file as a ModelSpec. Raises ConfigError or UnsupportedError, as for config.json."""
    meta = checkpoint.metadata
    architecture = Keys(meta, checkpoint.path.name).text("general.architecture")
    if architecture not in ARCHITECTURES:
        raise UnsupportedError(
            f"{checkpoint.path.name}: the GGUF architecture {shown(architecture)} is not one this version computes "
            f"(it does: {', '.join(ARCHITECTURES)})"
        )
    allowed = _sort_keys(meta, architecture, checkpoint.path.name, allow)
    own = {key.removeprefix(f"{architecture}."): value for key, value in meta.items()}
    keys = Keys(own, checkpoint.path.name)
    n_head, d_model = keys.count("attention.head_count"), keys.count("embedding_length")
    n_kv_head = keys.count("attention.head_count_kv", n_head)
    if n_head % n_kv_head:
        raise ConfigError(f"{name}: {n_head} query heads cannot share {n_kv_head} K/V heads evenly")
    d_head = keys.count("attention.key_length", d_model // n_head)
    if keys.count("attention.value_length", d_head) != d_head:
        raise UnsupportedError(f"{name}: keys of {d_head} and values of another length are not computed here")
    n_layer = keys.layers("block_count")
    window = own.get("attention.sliding_window", 0)
    if isinstance(window, bool) or not isinstance(window, int) or window < 0:
        raise ConfigError(f"{keys.where}: attention.sliding_window is {shown(window)}; expected a whole number")
    window = window or None
    return ModelSpec(
        name=name,
        family="llama",
        n_layer=n_layer,
        n_head=n_head,
        n_kv_head=n_kv_head,
        d_head=d_head,
        d_model=d_model,
        d_ff=keys.count("feed_forward_length"),
        n_vocab=_vocabulary(checkpoint, keys),
        n_context=keys.count("context_length"),
        norm_eps=keys.number("attention.layer_norm_rms_epsilon"),
        activation="silu",
        mask="causal",
        rotation=rotation_from(checkpoint, keys, d_head),
        qk_norm=architecture == "qwen3",
        qkv_bias="blk.0.attn_q.bias" in checkpoint.tensors,
        out_bias="blk.0.attn_output.bias" in checkpoint.tensors,
        mlp_bias="blk.0.ffn_up.bias" in checkpoint.tensors,
        window=window,
        windowed_layers=tuple(range(n_layer)) if window else (),
        tied_embeddings="output.weight" not in checkpoint.tensors,
        allowed_config=allowed,
    )


def _sort_keys(meta: dict[str, Any], architecture: str, where: str, allow: Collection[str]) -> tuple[str, ...]:
    allowed = []
    for full, value in meta.items():
        key = full.removeprefix(f"{architecture}.")
        if full.startswith(HARMLESS) or (full != key and key in USED - REFUSED.keys()):
            continue
        if full != key and key in REFUSED and isinstance(value, bool | int | float | str) and value in REFUSED[key]:
            continue
        if full not in allow:
            reason = "changes the computation" if key in REFUSED else "is unknown to this version"
            raise ConfigError(
                f"{where}: the key {shown(full)} ({shown(value)}) {reason}; to go on without it, and have every "
                f"result say so, pass --allow-config {shown(full)[1:-1]}"
            )
        allowed.append(full)
    return tuple(allowed)


def _vocabulary(checkpoint: Checkpoint, keys: Keys) -> int:
    tokens = checkpoint.metadata.get("tokenizer.ggml.tokens")
    if "token_embd.weight" in checkpoint.tensors:
        rows = checkpoint.tensors["token_embd.weight"].shape[0]
        if keys.count("vocab_size", rows) != rows:
            raise ConfigError(f"{keys.where}: vocab_size disagrees with the {rows} rows of token_embd.weight")
        return rows
    return keys.count("vocab_size", len(tokens) if tokens else 1)


def rotation_from(checkpoint: Checkpoint, keys: Keys, d_head: int) -> Rotation:
    base = keys.number("rope.freq_base", 10_000.0)
    dims = keys.count("rope.dimension_count", d_head)
    if dims != d_head or dims % 2:
        raise ConfigError(f"{keys.where}: {dims} rotated dims do not fit a head of {d_head}")
    kind = keys.text("rope.scaling.type", "linear" if "rope.scaling.factor" in keys.values else "none")
    scaling: dict[str, Any] = {}
    if "rope_freqs.weight" in checkpoint.tensors:
        if kind != "none":
            raise ConfigError(f"{keys.where}: has both rope_freqs.weight and the rotation scaling {shown(kind)}")
        from .decode import read_array

        factors = read_array(checkpoint.tensors["rope_freqs.weight"])
        if factors.shape != (dims // 2,) or not np.all((factors > 0) & np.isfinite(factors)):
            raise ConfigError(f"{keys.where}: rope_freqs.weight must hold {dims // 2} positive numbers")
        scaling = {"kind": "factors", "factors": tuple(float(factor) for factor in factors)}
    elif kind == "linear":
        scaling = {"kind": "linear", "factor": keys.number("rope.scaling.factor")}
    elif kind == "yarn":
        if base == 1:
            raise ConfigError(f"{keys.where}: rope.freq_base is 1, where all pairs turn alike; yarn needs another base")
        factor = keys.number("rope.scaling.factor")
        scaling = {
            "kind": "yarn",
            "factor": factor,
            "original_context": keys.count("rope.scaling.original_context_length"),
            "beta_fast": keys.number("rope.scaling.yarn_beta_fast", 32.0),
            "beta_slow": keys.number("rope.scaling.yarn_beta_slow", 1.0),
            "attention_factor": 0.1 * float(np.log(factor)) + 1 if factor > 1 else 1.0,
        }
    elif kind != "none":
        raise UnsupportedError(f"{keys.where}: the rotation scaling {shown(kind)} is not one of linear, yarn")
    return Rotation(base, dims, scaling=tuple(sorted(scaling.items())))
