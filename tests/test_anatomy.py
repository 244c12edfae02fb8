"""What a checkpoint is, from its header alone: the real ones, tiny ones of every family, and one of 141 GB."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hostile import safetensors, sparse
from qkvlab.anatomy import inspect
from qkvlab.errors import QkvLabError
from terminal import launch, one_gib, run
from tiny_models import TINY, edit_config

KEYS = (
    "model path format family layers query_heads kv_heads d_head d_model context mask stored number_types parameters "
    "kv_cache cache_note ignored_config"
).split()
PARTS = "embedding q k v o mlp norms output total".split()


def test_smollm2(smollm2_path: Path) -> None:
    found = run("inspect", "smollm2", "--json").document()
    assert list(found) == KEYS and list(found["parameters"]) == PARTS
    assert found["kv_cache"] == {
        "dtype": "float16", "bytes_per_token": 23_040, "context": 8192, "bytes": 188_743_680, "layers": {"full": 30},
        "note": "", "otherwise": {},
    }  # fmt: skip
    sizes = [found[name] for name in ("layers", "query_heads", "kv_heads", "d_head", "d_model", "context")]
    assert sizes == [30, 9, 3, 64, 576, 8192]
    assert (found["format"], found["family"], found["mask"]) == ("gguf", "llama", "causal")
    assert "interleaved" in found["stored"] and found["ignored_config"] == []
    assert found["parameters"] == {
        "embedding": 49_152 * 576, "q": 30 * 576 * 576, "k": 30 * 192 * 576, "v": 30 * 192 * 576,
        "o": 30 * 576 * 576, "mlp": 30 * 3 * 576 * 1536, "norms": 61 * 576, "output": 0, "total": 134_515_008,
    }  # fmt: skip
    assert found["number_types"] == {"Q4_1": 106_168_320, "Q8_0": 28_311_552, "F32": 35_136}
    assert Path(found["path"]) == smollm2_path


def test_minilm_has_no_cache(minilm_path: Path) -> None:
    found = run("inspect", "minilm", "--json").document()
    assert list(found) == KEYS and found["kv_cache"] is None
    assert (found["family"], found["mask"], found["context"]) == ("bert", "bidirectional", 512)
    assert found["number_types"] == {"F32": 22_565_376} and found["parameters"]["total"] == 22_565_376
    flat = " ".join(run("inspect", "minilm").out.split())
    assert "K/V cache none" in flat and "encoder" in flat


def test_the_context_asked_about() -> None:
    cache = run("inspect", "smollm2", "--context", "1000", "--json").document()["kv_cache"]
    assert cache["context"] == 1000 and cache["bytes"] == 23_040_000
    flat = " ".join(run("inspect", "smollm2", "--context", "1000").out.split())
    assert "23,040 bytes a token, 22 MiB for 1,000 tokens, as float16" in flat
    assert run("inspect", "smollm2", "--context", str(10**30), "--json").document()["kv_cache"]["bytes"] > 10**34


def test_as_a_table_nothing_is_cut_off(smollm2_path: Path) -> None:
    for columns in (80, 120):
        shown = run("inspect", "smollm2", columns=columns)
        assert (shown.status, shown.err) == (0, "") and "…" not in shown.out
        assert str(smollm2_path) in "".join(shown.out.split())
        flat = " ".join(shown.out.split())
        for piece in ("layers 30", "9 per layer", "3 per layer (3 share one)", "180 MiB for 8,192 tokens"):
            assert piece in flat


@pytest.mark.parametrize("kind", TINY)
def test_every_family_adds_up_to_what_transformers_counts(kind: str, tiny: Callable[[str], tuple[Any, Path]]) -> None:
    model, folder = tiny(kind)
    found = inspect(str(folder))
    theirs = {name: parameter.numel() for name, parameter in model.named_parameters() if ".pooler" not in f".{name}"}
    assert found.parameters["total"] == sum(theirs.values()) == sum(found.number_types.values())
    assert sum(found.parameters[part] for part in PARTS[:-1]) == found.parameters["total"]

    def named(*words: str) -> int:
        return sum(size for name, size in theirs.items() if any(word in name for word in words))

    family = kind.partition("-")[0]
    if family == "gpt2":
        qkv, o = named("c_attn"), named("attn.c_proj")
        expected = {"q": qkv // 3, "k": qkv // 3, "v": qkv // 3, "o": o, "mlp": named("mlp"), "norms": named("ln_")}
        expected["embedding"] = named("wte", "wpe")
    elif family in ("bert", "roberta"):
        expected = {part: named(f"self.{word}.") for part, word in zip("qkv", ("query", "key", "value"), strict=True)}
        expected |= {"o": named("attention.output.dense"), "norms": named("LayerNorm")}
        expected |= {"embedding": named("embeddings") - named("embeddings.LayerNorm")}
    else:
        expected = {part: named(f"{part}_proj.") for part in "qkvo"}
        expected |= {"mlp": named("mlp"), "norms": named("norm"), "output": named("lm_head")}
    assert {part: found.parameters[part] for part in expected} == expected
    assert (found.family, found.layers) == (model.config.model_type, 3)
    assert (found.kv_cache is None) == (family in ("bert", "roberta"))
    assert json.loads(json.dumps(found.to_dict())) == run("inspect", folder, "--json").document()


def test_windows_are_stated_and_counted(tiny: Callable[[str], tuple[Any, Path]]) -> None:
    found = inspect(str(tiny("qwen2-window")[1]), context=100)
    assert found.kv_cache is not None and "window 4" in found.mask
    per_layer = 2 * 4 * 10 * 2
    assert found.kv_cache.bytes_per_token == 3 * per_layer
    assert found.kv_cache.bytes == per_layer * (100 + 2 * 3), "one full layer, two that keep 3 tokens"


def test_a_key_let_pass_is_stated(tiny: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    folder = edit_config(tiny("gpt2")[1], tmp_path / "m", scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(QkvLabError, match="scale_attn_by_inverse_layer_idx"):
        inspect(str(folder))
    found = inspect(str(folder), allow_config=["scale_attn_by_inverse_layer_idx", "unheard_of"])
    assert found.ignored_config == ("scale_attn_by_inverse_layer_idx",)


# ---- a model far larger than this machine

LLAMA_70B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "intermediate_size": 28_672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128_256,
    "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "attention_bias": False, "torch_dtype": "bfloat16",
    "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}  # fmt: skip


def fake_70b(folder: Path, shards: int) -> Path:
    """Headers as in Llama 3.1 70B, in bfloat16, over files whose 141 GB of zeros take no space on disk."""
    shapes = {"model.embed_tokens": (128_256, 8192), "model.norm": (8192,), "lm_head": (128_256, 8192)}
    for layer in range(80):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}{name}_layernorm": (8192,) for name in ("input", "post_attention")}
        shapes |= {f"{at}self_attn.{p}_proj": (n, 8192) for p, n in (("q", 8192), ("k", 1024), ("v", 1024))}
        shapes |= {f"{at}self_attn.o_proj": (8192, 8192), f"{at}mlp.down_proj": (8192, 28_672)}
        shapes |= {f"{at}mlp.{p}_proj": (28_672, 8192) for p in ("gate", "up")}
    names, weight_map = list(shapes), {}
    for shard in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        header, end = dict[str, Any](), 0
        for name in names[shard::shards]:
            begin, end = end, end + 2 * int(np.prod(shapes[name]))
            header[f"{name}.weight"] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [begin, end]}
            weight_map[f"{name}.weight"] = file
        head = safetensors(header)
        sparse(folder / file, head, len(head) + end)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(LLAMA_70B))
    return folder


@pytest.mark.parametrize("shards", [1, 30])
def test_70_billion_parameters_in_1_gib_of_address_space(shards: int, tmp_path: Path) -> None:
    folder = fake_70b(tmp_path, shards)
    found = launch("inspect", folder, "--json", limit=one_gib).document()
    assert found["parameters"]["total"] == 70_553_706_496
    assert found["parameters"]["output"] == found["parameters"]["embedding"] == 128_256 * 8192
    assert found["number_types"] == {"BF16": 70_553_706_496}
    assert found["kv_cache"]["bytes_per_token"] == 2 * 80 * 8 * 128 * 2 == 327_680
    assert found["kv_cache"]["bytes"] == 40 << 30 and found["kv_cache"]["context"] == 131_072
    assert (found["query_heads"], found["kv_heads"], found["d_head"]) == (64, 8, 128)


def test_the_real_models_in_1_gib_of_address_space(smollm2_path: Path, minilm_path: Path) -> None:
    for name, total in (("smollm2", 134_515_008), ("minilm", 22_565_376)):
        shown = launch("inspect", name, limit=one_gib)
        assert (shown.status, shown.err) == (0, "") and f"parameters {total:,}" in " ".join(shown.out.split())
