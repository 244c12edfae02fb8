"""Tiny random models of every native family, made from transformers configs, and changed copies of their folders."""

import json
from pathlib import Path
from typing import Any

# Odd sizes everywhere: distinct primes where the architecture allows, so that a swapped axis cannot pass.
TINY: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10},
    "llama-mqa": {"hidden_size": 28, "num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 6},
    "llama-biases": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama-linear": {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 5000.0}},
    "llama-llama3": {
        "rope_parameters": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32, "rope_theta": 500.0,
        }
    },
    "llama-yarn": {
        "rope_parameters": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 700.0,
        }
    },
    "mistral-window": {"sliding_window": 5, "num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen2-window": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 10},
    "gpt2": {},
    "gpt2-wide": {"n_embd": 34, "n_head": 2, "n_inner": 37},
    "bert": {},
    "roberta": {"pad_token_id": 1},
}  # fmt: skip

LLAMA_SIZES = {
    "vocab_size": 53, "hidden_size": 28, "intermediate_size": 41, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 10, "max_position_embeddings": 128, "initializer_range": 0.3,
}  # fmt: skip
GPT2_SIZES = {"vocab_size": 53, "n_embd": 30, "n_layer": 3, "n_head": 3, "n_positions": 64, "initializer_range": 0.3}
BERT_SIZES = {
    "vocab_size": 53, "hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 41,
    "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip


def make_tiny(kind: str) -> Any:
    """A small random transformers model, in float32 and eager attention, its norms and biases random too."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    family = kind.partition("-")[0]
    sizes = {"gpt2": GPT2_SIZES, "bert": BERT_SIZES, "roberta": BERT_SIZES}.get(family, LLAMA_SIZES)
    config = AutoConfig.for_model(family, **{**sizes, **TINY[kind]})
    torch.manual_seed(len(kind))
    maker = AutoModel if family in ("bert", "roberta") else AutoModelForCausalLM
    model = maker.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                centre = 1.0 if name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.3 * torch.randn_like(parameter))
    return model


def edit_config(folder: Path, target: Path, **changes: Any) -> Path:
    """A copy of a model folder with a changed config.json; a value of None removes the key."""
    target.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((target / "config.json").read_text())
    for key, value in changes.items():
        config.pop(key, None) if value is None else config.__setitem__(key, value)
    (target / "config.json").write_text(json.dumps(config))
    return target
