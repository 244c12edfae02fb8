"""Tiny random models of many transformers families, made from configs: nothing is downloaded, sizes are odd."""

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One tiny model: its family (`model_type`), the configuration and the transformers class that builds it."""

    family: str
    config: dict[str, Any]
    auto: str = "AutoModelForCausalLM"
    text: bool = True
    """Whether it reads token ids alone; False: its encoder needs an input of its own."""


SIZES = {
    "vocab_size": 53, "hidden_size": 24, "intermediate_size": 41, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 128, "initializer_range": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SQUARE = {k: v for k, v in SIZES.items() if k != "head_dim"}
"""Where d_head is d_model / heads."""
PLAIN = {k: v for k, v in SQUARE.items() if k != "num_key_value_heads"}
"""Where every query head has its own K/V head."""
OLD = {"vocab_size": 53, "n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 64, "initializer_range": 0.3}
BART = {
    "vocab_size": 53, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 37, "decoder_ffn_dim": 41, "max_position_embeddings": 64,
    "init_std": 0.3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
MASKED = "AutoModelForMaskedLM"

ZOO: dict[str, Kind] = {
    "llama": Kind("llama", SIZES),
    "mistral": Kind("mistral", {**SIZES, "sliding_window": 5}),
    "qwen2": Kind("qwen2", {**SQUARE, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": Kind("qwen3", SIZES),
    "gemma": Kind("gemma", SIZES),
    "gemma2": Kind("gemma2", {**SIZES, "sliding_window": 5, "query_pre_attn_scalar": 7}),
    "gemma3": Kind("gemma3_text", {**SIZES, "sliding_window": 5, "query_pre_attn_scalar": 7}),
    "phi": Kind("phi", {**SQUARE, "num_attention_heads": 3, "num_key_value_heads": 3, "partial_rotary_factor": 0.5}),
    "phi3": Kind("phi3", {**SQUARE, "sliding_window": 5}),
    "olmo2": Kind("olmo2", SQUARE),
    "cohere2": Kind("cohere2", {**SIZES, "sliding_window": 5, "sliding_window_pattern": 2}),
    "cohere": Kind("cohere", SQUARE),
    "mixtral": Kind("mixtral", {**SIZES, "intermediate_size": 44, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen2_moe": Kind("qwen2_moe", {
        **SQUARE, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 16,
    }),
    "qwen3_moe": Kind("qwen3_moe", {
        **SIZES, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
    }),
    "smollm3": Kind("smollm3", {**SQUARE, "no_rope_layers": [1, 0, 1]}),
    "gpt2": Kind("gpt2", OLD),
    "gpt_neox": Kind("gpt_neox", {**PLAIN, "num_attention_heads": 3, "rotary_pct": 0.5}),
    "gptj": Kind("gptj", {**OLD, "rotary_dim": 4}),
    "gpt_neo": Kind("gpt_neo", {
        "vocab_size": 53, "hidden_size": 24, "num_layers": 3, "num_heads": 3, "intermediate_size": 41, "window_size": 5,
        "max_position_embeddings": 64, "attention_types": [[["global", "local"], 1], [["global"], 1]],
        "initializer_range": 0.3,
    }),
    "falcon": Kind("falcon", {
        **PLAIN, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": False, "alibi": False,
    }),
    "falcon-7b": Kind("falcon", {**PLAIN, "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False}),
    "falcon-rw": Kind("falcon", {
        **PLAIN, "multi_query": False, "parallel_attn": False, "bias": True, "alibi": True,
    }),
    "bloom": Kind("bloom", {"vocab_size": 53, "hidden_size": 24, "n_layer": 3, "n_head": 3, "initializer_range": 0.3}),
    "mpt": Kind("mpt", {"vocab_size": 53, "d_model": 24, "n_layers": 3, "n_heads": 4, "max_seq_len": 64}),
    "opt": Kind("opt", {**PLAIN, "ffn_dim": 41, "word_embed_proj_dim": 24}),
    "bert": Kind("bert", PLAIN, MASKED),
    "roberta": Kind("roberta", {**PLAIN, "pad_token_id": 1, "bos_token_id": 0}, MASKED),
    "distilbert": Kind("distilbert", {
        "vocab_size": 53, "dim": 24, "n_layers": 3, "n_heads": 3, "hidden_dim": 41, "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }, MASKED),
    "modernbert": Kind("modernbert", {
        **PLAIN, "global_attn_every_n_layers": 2, "local_attention": 6, "cls_token_id": 1, "sep_token_id": 2,
    }, MASKED),
    "electra": Kind("electra", {**PLAIN, "embedding_size": 12}, MASKED),
    "albert": Kind("albert", {**PLAIN, "embedding_size": 12}, MASKED),
    "bart": Kind("bart", BART, "AutoModelForSeq2SeqLM"),
    "t5": Kind("t5", {
        "vocab_size": 53, "d_model": 24, "d_kv": 10, "d_ff": 41, "num_layers": 2, "num_decoder_layers": 3,
        "num_heads": 3, "relative_attention_num_buckets": 6, "relative_attention_max_distance": 11,
        "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0,
    }, "AutoModelForSeq2SeqLM"),
    "whisper": Kind("whisper", {
        **BART, "num_mel_bins": 5, "max_source_positions": 15, "max_target_positions": 64, "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }, "AutoModelForSpeechSeq2Seq", text=False),
    "gpt_oss": Kind("gpt_oss", {
        **SIZES, "intermediate_size": 44, "sliding_window": 5, "num_local_experts": 3, "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 700.0},
    }),
    "deepseek_v3": Kind("deepseek_v3", {
        **PLAIN, "num_key_value_heads": 6, "q_lora_rank": 14, "kv_lora_rank": 12, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 6, "v_head_dim": 8, "n_routed_experts": 4, "n_group": 2, "topk_group": 1,
        "num_experts_per_tok": 2, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "n_shared_experts": 1,
    }),
    "deepseek_v2": Kind("deepseek_v2", {
        **PLAIN, "num_key_value_heads": 6, "q_lora_rank": None, "kv_lora_rank": 12, "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 6, "v_head_dim": 8, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
        "num_experts_per_tok": 2, "moe_intermediate_size": 12, "first_k_dense_replace": 1, "n_shared_experts": 1,
    }),
    "qwen3_next": Kind("qwen3_next", {
        **SIZES, "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
        "linear_key_head_dim": 6, "linear_value_head_dim": 6, "num_experts": 3, "num_experts_per_tok": 2,
        "moe_intermediate_size": 12, "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1,
        "full_attention_interval": 2, "partial_rotary_factor": 0.5,
    }),
}  # fmt: skip
"""Every kind the tests know. Windows and uneven sizes are there on purpose."""


@cache
def zoo_model(kind: str) -> Any:
    """The random model. Shared: leave it as it was."""
    return build(kind)


def build(kind: str, **changes: Any) -> Any:
    """A random model of its own, float32, in evaluation mode; norms and biases are random too."""
    import torch
    import transformers

    entry = ZOO[kind]
    config = transformers.AutoConfig.for_model(entry.family, **{**entry.config, **changes})
    torch.manual_seed(len(kind))
    model = getattr(transformers, entry.auto).from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                centre = 1.0 if name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.3 * torch.randn_like(parameter))
            elif parameter.std() < 0.05 or parameter.std() > 0.6:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def zoo_inputs(kind: str, ids: list[int]) -> dict[str, Any]:
    """What the model's forward takes for these ids (a decoder's, where there are an encoder and a decoder)."""
    import torch

    entry, tokens = ZOO[kind], torch.tensor([ids])
    if entry.auto == "AutoModelForSpeechSeq2Seq":
        mel = torch.randn(1, entry.config["num_mel_bins"], 2 * entry.config["max_source_positions"],
                          generator=torch.Generator().manual_seed(5))  # fmt: skip
        return {"input_features": mel, "decoder_input_ids": tokens}
    if entry.auto == "AutoModelForSeq2SeqLM":
        return {"input_ids": torch.tensor([[7, 30, 11, 4, 23]]), "decoder_input_ids": tokens}
    return {"input_ids": tokens}
