"""GGUF files of tiny transformers models, written with the `gguf` package as llama.cpp's converter would."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

STEMS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name: str) -> str:
    """`model.layers.2.self_attn.q_proj.weight` → `blk.2.attn_q.weight`."""
    stem, _, kind = name.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{STEMS[part]}.{kind}"


def permuted(weights: np.ndarray, n_head: int) -> np.ndarray:
    """llama.cpp, conversion of the Llama family: the two halves of each head's rows are interleaved."""
    shape = (n_head, 2, weights.shape[0] // n_head // 2, *weights.shape[1:])
    return weights.reshape(shape).swapaxes(1, 2).reshape(weights.shape)


def tensors_of(model: Any, permute: bool) -> dict[str, np.ndarray]:
    """GGUF name → float32 array, in the file's own row order."""
    config, found = model.config, {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = tensor.detach().float().numpy()
        if permute and ".q_proj." in name:
            array = permuted(array, config.num_attention_heads)
        if permute and ".k_proj." in name:
            array = permuted(array, config.num_key_value_heads)
        found[gguf_name(name)] = array
    return found


def metadata_of(model: Any) -> dict[str, Any]:
    """What the converter writes for a model without scaled rotation; keys without the architecture before them."""
    config = model.config
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }


def write(path: Path, architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Path:
    """One file. A metadata value of None is left out; a key that begins with a dot stands as it is, without it."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        full = key[1:] if key.startswith(".") else f"{architecture}.{key}"
        if value is None:
            continue
        if isinstance(value, bool):
            writer.add_bool(full, value)
        elif isinstance(value, int) and value < 0:
            writer.add_int32(full, value)
        elif isinstance(value, int):
            writer.add_uint32(full, value)
        elif isinstance(value, float):
            writer.add_float32(full, value)
        elif isinstance(value, str):
            writer.add_string(full, value)
        else:
            writer.add_array(full, value)
    for name, array in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
