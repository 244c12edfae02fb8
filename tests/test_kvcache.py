"""What keeping keys and values costs, in numbers a reader can check by hand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qkvlab.errors import UnsupportedError
from qkvlab.kvcache import ELEMENT_BYTES, Cache, cache_of_config, cache_size
from qkvlab.kvtables import ENCODERS, WITNESSED
from qkvlab.model import open_model
from qkvlab.spec import ModelSpec
from zoo import PLAIN, SIZES, SQUARE, ZOO, zoo_inputs, zoo_model

LLAMA_3_8B = ModelSpec(
    name="Llama-3-8B", family="llama", n_layer=32, n_head=32, n_kv_head=8, d_head=128, d_model=4096, d_ff=14336,
    n_vocab=128_256, n_context=8192, norm_eps=1e-5, activation="silu", mask="causal",
)  # fmt: skip
GIB = 1 << 30


def bytes_of(spec: ModelSpec = LLAMA_3_8B, context: int | None = None, **kwargs: Any) -> int:
    found = cache_size(spec, context, **kwargs)
    assert found is not None
    return found.bytes


def test_llama_3_8b() -> None:
    """2 · 32 layers · 8 K/V heads · 128 components · 2 bytes = 131,072 bytes a token; 8,192 tokens: 1 GiB."""
    found = cache_size(LLAMA_3_8B)
    assert found == Cache("float16", 131_072, 8192, GIB, {"full": 32})
    assert found is not None and json.loads(json.dumps(found.to_dict())) == {
        "dtype": "float16", "bytes_per_token": 131_072, "context": 8192, "bytes": GIB,
        "layers": {"full": 32}, "note": "", "otherwise": {},
    }  # fmt: skip


def test_grouping_is_what_saves() -> None:
    assert bytes_of(n_kv_head=32) == 4 * GIB, "with one K/V head per query head: four times as much"
    assert bytes_of(n_kv_head=1) == GIB // 8, "with one K/V head for all: an eighth"


@pytest.mark.parametrize("dtype", ELEMENT_BYTES)
def test_element_types(dtype: str) -> None:
    size = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}[dtype]
    found = cache_size(LLAMA_3_8B, 3, dtype=dtype)
    assert found == Cache(dtype, 65_536 * size, 3, 3 * 65_536 * size, {"full": 32})


def test_smollm2() -> None:
    spec = replace(LLAMA_3_8B, n_layer=30, n_head=9, n_kv_head=3, d_head=64)
    found = cache_size(spec, 8192)
    assert found is not None and found.bytes_per_token == 23_040 and found.bytes == 180 << 20


def test_a_windowed_layer_keeps_its_window_less_one() -> None:
    """The next token's own key makes it the window."""
    windowed = replace(LLAMA_3_8B, window=1000, windowed_layers=tuple(range(8, 32)))
    per_layer = 4096
    found = cache_size(windowed, 3000)
    assert found is not None and found.bytes_per_token == 131_072
    assert found.bytes == per_layer * (8 * 3000 + 24 * 999)
    assert found.layers == {"full": 8, "window": 24}
    assert found.note == "24 layers with a sliding window of 1,000 keep 999 tokens from step to step: the window - 1"
    assert bytes_of(windowed, 999) == 131_072 * 999, "shorter than the window, nothing is dropped"
    assert bytes_of(windowed, 1001) == 131_072 * 1001 - 24 * 2 * per_layer


def test_beyond_the_models_own_limit_is_a_question_one_may_ask() -> None:
    assert bytes_of(LLAMA_3_8B, 1_000_000) == 131_072_000_000


def test_an_encoder_keeps_none() -> None:
    assert cache_size(replace(LLAMA_3_8B, family="bert", mask="bidirectional")) is None


@pytest.mark.parametrize("context", [0, -1])
def test_a_context_of_nothing(context: int) -> None:
    with pytest.raises(UnsupportedError, match="at least 1"):
        cache_size(LLAMA_3_8B, context)


def test_an_element_type_that_is_not_known() -> None:
    with pytest.raises(UnsupportedError, match="float16"):
        cache_size(LLAMA_3_8B, dtype="flaot16")


@pytest.mark.parametrize("n_kv_head", [0, -8, 5, 64])
def test_a_grouping_no_model_could_have(n_kv_head: int) -> None:
    with pytest.raises(UnsupportedError, match="32 query heads"):
        cache_size(LLAMA_3_8B, n_kv_head=n_kv_head)


# ---- any family, from its config.json alone: transformers' cache object is the witness

EVEN = {**SIZES, "intermediate_size": 44}
EVEN_SQUARE = {**SQUARE, "intermediate_size": 44}
MLA = ZOO["deepseek_v3"].config
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 12, "mamba_d_state": 4}
MORE: dict[str, dict[str, Any]] = {
    "gemma3n_text": {
        **SIZES, "num_hidden_layers": 7, "num_kv_shared_layers": 2, "sliding_window": 5, "laurel_rank": 5,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"] * 2 + ["full_attention"],
        "hidden_size_per_layer_input": 6, "vocab_size_per_layer_input": 53, "activation_sparsity_pattern": [0.0] * 7,
    },
    "gemma4_text": {
        **SIZES, "num_hidden_layers": 6, "num_kv_shared_layers": 2, "sliding_window": 5, "global_head_dim": 14,
        "layer_types": ["sliding_attention", "full_attention"] * 3, "hidden_size_per_layer_input": 6,
        "vocab_size_per_layer_input": 53,
    },
    "gpt_bigcode": {"vocab_size": 53, "n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 64},
    "codegen": {"vocab_size": 53, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64, "rotary_dim": 4},
    "llama4_text": {
        **EVEN, "attention_chunk_size": 5, "num_local_experts": 2, "num_experts_per_tok": 1,
        "intermediate_size_mlp": 20, "num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0],
    },
    "minicpm3": MLA,
    "glm4_moe_lite": MLA,
    "youtu": MLA,
    "deepseek_v32": {**MLA, "index_head_dim": 8, "index_n_heads": 2, "index_topk": 4},
    "longcat_flash": {
        **{k: v for k, v in MLA.items() if k != "num_hidden_layers"}, "num_layers": 2, "head_dim": 4, "moe_topk": 2,
        "zero_expert_num": 1, "expert_ffn_hidden_size": 12, "ffn_hidden_size": 30,
    },
    "bailing_hybrid": {**MLA, "layer_group_size": 2},
    "lfm2": {**SQUARE, "full_attn_idxs": [1], "conv_L_cache": 3},
    "mamba": {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4},
    "jamba": {
        **EVEN_SQUARE, "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2,
        "num_experts_per_tok": 1, "use_mamba_kernels": False,
    },
    "bamba": {**EVEN_SQUARE, "attn_layer_indices": [1], **MAMBA},
    "granitemoehybrid": {
        **EVEN_SQUARE, "num_local_experts": 0, "layer_types": ["mamba", "attention", "mamba"], **MAMBA,
    },
    "falcon_h1": {**SIZES, "mamba_d_ssm": 24, **MAMBA, "mamba_d_head": 6},
    "nemotron_h": {
        **SIZES, "hybrid_override_pattern": "M*-", "mamba_num_heads": 4, "mamba_head_dim": 6, "ssm_state_size": 4,
        "n_groups": 2,
    },
    "minimax": {**EVEN, "num_local_experts": 2, "num_experts_per_tok": 1, "block_size": 4, "num_hidden_layers": 4},
    "olmo3": {**SQUARE, "sliding_window": 5, "num_hidden_layers": 4},
    "exaone4": {**SQUARE, "sliding_window": 5, "num_hidden_layers": 4},
    "starcoder2": {**SQUARE, "sliding_window": 5},
    "mixtral": {**EVEN, "sliding_window": 5, "num_local_experts": 2},
    "phimoe": {**EVEN_SQUARE, "sliding_window": 5, "num_local_experts": 2},
    "qwen3_moe": {
        **EVEN, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 12, "use_sliding_window": True,
        "sliding_window": 5,
    },
    "bert": {**PLAIN, "is_decoder": True},
    "mistral": {**SIZES, "sliding_window": 1},
}  # fmt: skip
"""Families beside the zoo's, by model type; a mistral whose window is a single token."""


def real_bytes(made: Any) -> int:
    """The bytes of every key, value and indexer key that transformers keeps."""
    made = [made] if made is not None else []
    parts = [part for cache in made for part in (getattr(cache, "self_attention_cache", cache),)]
    parts += [cache.cross_attention_cache for cache in made if hasattr(cache, "cross_attention_cache")]
    kept = [getattr(layer, name, None) for part in parts for layer in part.layers for name in TENSORS]
    return sum(tensor.nbytes for tensor in kept if tensor is not None)


TENSORS = ("keys", "values", "indexer_keys")


def check_against(model: Any, inputs: Callable[[list[int]], dict[str, Any]]) -> None:
    """3 tokens are short of every window, 13 beyond; config.json as saved, and with every default written out."""
    import torch

    for n in (3, 13):
        given = inputs([(5 * i + 3) % 50 for i in range(n)])
        with torch.no_grad():
            out = model(**given, use_cache=True)
        made = getattr(out, "past_key_values", None)
        made = getattr(out, "cache_params", None) if made is None else made
        source = given["input_ids"].shape[1] if "decoder_input_ids" in given and "input_ids" in given else None
        for use_diff in (True, False):
            config = json.loads(model.config.to_json_string(use_diff=use_diff))
            found = cache_of_config(config, n, "float32", source=source)
            assert (found is None) == (made is None)
            assert found is None or found.bytes == real_bytes(made)


@pytest.mark.parametrize("kind", list(ZOO))
def test_the_zoo_keeps_what_the_configuration_says(kind: str) -> None:
    check_against(zoo_model(kind), lambda ids: zoo_inputs(kind, ids))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", list(MORE))
def test_more_families_keep_what_the_configuration_says(family: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **MORE[family]), dtype=torch.float32).eval()
    check_against(model, lambda ids: {"input_ids": torch.tensor([ids])})


def test_the_families_called_witnessed_are() -> None:
    assert {*MORE} | {kind.family for kind in ZOO.values()} >= WITNESSED
    assert {*MORE} | {kind.family for kind in ZOO.values()} <= WITNESSED | ENCODERS


def cache_of(config: dict[str, Any], *args: Any, **kwargs: Any) -> Cache:
    found = cache_of_config(config, *args, **kwargs)
    assert found is not None
    return found


LLAMA_CONFIG = {
    "model_type": "llama", "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_size": 4096, "max_position_embeddings": 8192,
}  # fmt: skip


def test_llama_3_8b_from_its_configuration() -> None:
    assert cache_of(LLAMA_CONFIG) == cache_size(LLAMA_3_8B)
    assert cache_of({**LLAMA_CONFIG, "num_key_value_heads": None}).bytes == 4 * GIB


@pytest.mark.parametrize("kind", ["llama", "llama-mqa", "mistral-window", "qwen2-window", "qwen3", "gpt2", "bert"])
def test_native_models_agree_with_their_configuration(kind: str, tiny: Callable[[str], tuple[Any, Path]]) -> None:
    spec, config = open_model(tiny(kind)[1]).spec, json.loads((tiny(kind)[1] / "config.json").read_text())
    for context in (3, 29, None):
        assert cache_of_config(config, context) == cache_size(spec, context)


def test_a_latent_is_stated_both_ways() -> None:
    """DeepSeek-V3: 512 + 64 numbers a layer and token; expanded 128 heads of 192 and 128, 71 times as much."""
    config = {
        "model_type": "deepseek_v3", "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
        "max_position_embeddings": 163_840,
    }  # fmt: skip
    found = cache_of(config)
    assert found.bytes_per_token == 61 * 576 * 2 == 70_272 and found.layers == {"latent": 61}
    assert list(found.otherwise.values()) == [61 * 128 * (192 + 128) * 2] and "expanded" in next(iter(found.otherwise))
    assert "latent" in found.note


def test_falcon_repeats_its_heads_before_it_keeps_them() -> None:
    """Falcon-40B: 128 query heads on 8 K/V heads of 64."""
    config = {"model_type": "falcon", "num_hidden_layers": 60, "num_attention_heads": 128, "num_kv_heads": 8,
              "hidden_size": 8192, "new_decoder_architecture": True}  # fmt: skip
    found = cache_of(config, 1)
    assert found.bytes == 2 * 60 * 128 * 64 * 2 and [*found.otherwise.values()] == [2 * 60 * 8 * 64 * 2]
    once = cache_of({**config, "new_decoder_architecture": False, "multi_query": True}, 1)
    assert once.bytes == 2 * 60 * 64 * 2 and not once.otherwise


def test_layers_that_share() -> None:
    """The last two of six keep none."""
    found = cache_of({"model_type": "gemma4_text", **MORE["gemma4_text"]}, 3, "int8")
    assert found.layers == {"window": 2, "full": 2, "shared": 2} and "2 layers keep none" in found.note
    assert found.bytes == 3 * (2 * 2 * 2 * 10 + 2 * 2 * 2 * 14)


def test_an_encoders_tokens_are_counted_apart() -> None:
    config = {"model_type": "t5", "num_layers": 6, "num_heads": 8, "d_kv": 64, "d_model": 512}
    per_token = 2 * 6 * 512 * 2
    assert cache_of(config, 10, source=7).bytes == per_token * 17
    assert cache_of(config, 10).bytes == per_token * 20, "as many as the decoder's, where nothing else is said"
    assert cache_of(config, 10).layers == {"full": 6, "cross": 6} and "kept once" in cache_of(config, 10).note
    whisper = {"model_type": "whisper", "decoder_layers": 4, "decoder_attention_heads": 6, "d_model": 384,
               "max_source_positions": 1500, "max_target_positions": 448}  # fmt: skip
    assert cache_of(whisper).bytes == 2 * 4 * 384 * 2 * (448 + 1500)


def test_the_part_of_a_configuration_that_speaks_of_text() -> None:
    assert cache_of(
        {"model_type": "llava", "text_config": LLAMA_CONFIG, "vision_config": {"num_hidden_layers": 3}}
    ) == (cache_of(LLAMA_CONFIG))


def test_a_family_nobody_compared_says_so() -> None:
    found = cache_of({**LLAMA_CONFIG, "model_type": "teuken"})
    assert found.bytes == GIB and "teuken is read by the usual keys" in found.note


def test_without_a_longest_context() -> None:
    bloom = {"model_type": "bloom", "n_layer": 3, "n_head": 5, "hidden_size": 35}
    assert cache_of(bloom).context == 1 and "--context" in cache_of(bloom).note
    assert cache_of(bloom, 11).bytes == 11 * 2 * 3 * 35 * 2 and "--context" not in cache_of(bloom, 11).note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1; expected a positive whole number"),
        ({"num_hidden_layers": 10**9}, "expected at most 10,000"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"num_key_value_heads": 5}, "32 query heads cannot share 5 K/V heads evenly"),
        ({"hidden_size": None}, "hidden_size"),
        ({"layer_types": ["full_attention"]}, "each of the 32 layers"),
        ({"layer_types": ["compressed_sparse_attention"] * 32}, "the cache of a layer of type 'compressed_sparse_att"),
        ({"layer_types": [["full_attention"]] * 32}, "not known"),
        ({"layer_types": ["sliding_attention"] * 32}, "sliding_window"),
        ({"kv_lora_rank": 4}, "qk_rope_head_dim is missing"),
        ({"model_type": "recurrent_gemma"}, "recurrent_gemma keeps its keys in a way of its own"),
        ({"model_type": "zamba9", "mamba_d_state": 4}, "zamba9 has 'mamba_d_state' and no layer_types"),
        ({"model_type": "cohere2", "sliding_window": 4, "sliding_window_pattern": "LLG"}, "'LLG'|LLG"),
    ],
)
def test_configurations_that_cannot_be_counted(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        cache_of_config({**LLAMA_CONFIG, **change}, 3)
    assert "\n" not in str(caught.value)
