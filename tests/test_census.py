"""`inspect` of families that do not run natively: parameters by part, windows, caches; from headers alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hostile import safetensors, sparse
from qkvlab.anatomy import inspect
from qkvlab.checkpoint.config import CONFIG_READERS
from qkvlab.errors import ConfigError, UnsupportedError
from terminal import launch, one_gib, run
from tiny_models import edit_config
from witness import saved
from zoo import ZOO, zoo_model

OTHERS = [kind for kind, entry in ZOO.items() if entry.family not in CONFIG_READERS]
BUFFERS = {"deepseek_v3": 2 * 4}
"""What transformers keeps as a buffer though it was trained: the bias that balances the experts."""


@pytest.mark.parametrize("kind", OTHERS)
def test_every_family_adds_up_to_what_transformers_counts(kind: str, folder: Path) -> None:
    model = zoo_model(kind)
    found = inspect(str(saved(kind, "10KB", False, folder)))
    assert (
        found.parameters["total"] == model.num_parameters() + BUFFERS.get(kind, 0) == sum(found.number_types.values())
    )
    assert sum(found.parameters.values()) == 2 * found.parameters["total"]
    named = dict(model.named_parameters())

    def size(*ends: str) -> int:
        return sum(p.numel() for name, p in named.items() if any(f".{end}." in f".{name}" for end in ends))

    fused = size("query_key_value", "Wqkv", "qkv_proj", "c_attn")
    if fused:
        assert sum(found.parameters[part] for part in "qkv") == fused
        assert found.parameters["k"] == found.parameters["v"]
        assert found.parameters["q"] * found.kv_heads == found.parameters["k"] * found.query_heads
    elif kind not in ("deepseek_v2", "deepseek_v3", "qwen3_next"):
        for part in "qkv":
            full = {"q": "query", "k": "key", "v": "value"}[part]
            ends = [f"{part}_proj", f"{part}_lin", f"SelfAttention.{part}", f"EncDecAttention.{part}", full]
            assert found.parameters[part] == size(*ends), part
    assert found.parameters["o"] == sum(
        p.numel() for name, p in named.items()
        if any(word in name for word in ("o_proj", "out_proj", "attn.c_proj", "attention.dense", "self_attn.dense",
                                         "out_lin", "attn.Wo", "Attention.o.", "attention.output.dense"))
        and "linear_attn" not in name
    )  # fmt: skip
    document = run("inspect", saved(kind, "50GB", False, folder), "--json").document()
    assert document["parameters"] == found.parameters and document["family"] == ZOO[kind].family
    assert run("inspect", saved(kind, "50GB", False, folder)).status == 0


def test_caches(folder: Path) -> None:
    def cache(kind: str, context: int = 100) -> Any:
        return inspect(str(saved(kind, "50GB", False, folder)), context=context)

    falcon = cache("falcon").kv_cache
    assert falcon.bytes == 100 * 3 * 2 * 6 * 4 * 2 and [*falcon.otherwise.values()] == [3 * 2 * 2 * 4 * 2]
    assert cache("falcon-7b").kv_cache.bytes == 100 * 3 * 2 * 1 * 4 * 2
    gemma2 = cache("gemma2")
    assert gemma2.kv_cache.bytes == (100 + 2 * 4) * 2 * 2 * 10 * 2 and gemma2.mask == "causal, window 5"
    mixed = cache("qwen3_next").kv_cache
    assert mixed.bytes == 100 * 2 * 2 * 2 * 10 * 2 and mixed.layers == {"full": 2, "state": 2}
    bart = cache("bart").kv_cache
    assert bart.bytes == 2 * 100 * 3 * 2 * 3 * 8 * 2 and "encoder's 100 tokens" in bart.note
    latent = cache("deepseek_v3").kv_cache
    assert latent.bytes == 100 * 3 * (12 + 4) * 2 and [*latent.otherwise.values()] == [3 * 6 * (10 + 8) * 2]
    assert cache("albert").kv_cache is None and "encoder" in cache("albert").cache_note
    alone = inspect(str(saved("bloom", "50GB", False, folder))).kv_cache
    assert alone.context == 1 and "give --context" in alone.note
    assert cache("bloom", 10).kv_cache.context == 10


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    falcon = saved("falcon", "50GB", False, folder)
    with pytest.raises(ConfigError, match=r"4 heads on 4 K/V heads of 6.*asks for \[72, 24\]"):
        inspect(str(edit_config(falcon, tmp_path / "a", num_kv_heads=4, num_attention_heads=4, hidden_size=24)))
    with pytest.raises(UnsupportedError, match=r"'rwkv' is not known.*falcon"):
        inspect(str(edit_config(falcon, tmp_path / "b", model_type="rwkv")))


def falcon_180b(folder: Path, shards: int) -> Path:
    """Headers as in Falcon-180B, in bfloat16, over files whose 359 GB of zeros take no space on disk."""
    d, heads, kv = 14_848, 232, 8
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.word_embeddings.weight": (65_024, d),
        "lm_head.weight": (65_024, d),
    }
    shapes |= {f"transformer.ln_f.{name}": (d,) for name in ("weight", "bias")}
    for layer in range(80):
        at = f"transformer.h.{layer}."
        shapes |= {f"{at}{ln}.{name}": (d,) for ln in ("ln_attn", "ln_mlp") for name in ("weight", "bias")}
        shapes |= {
            f"{at}self_attention.query_key_value.weight": ((heads + 2 * kv) * 64, d),
            f"{at}self_attention.dense.weight": (d, d), f"{at}mlp.dense_h_to_4h.weight": (4 * d, d),
            f"{at}mlp.dense_4h_to_h.weight": (d, 4 * d),
        }  # fmt: skip
    names, weight_map = list(shapes), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        header, end = dict[str, Any](), 0
        for name in names[shard::shards]:
            begin, end = end, end + 2 * int(np.prod(shapes[name]))
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [begin, end]}
            weight_map[name] = file
        head = safetensors(header)
        sparse(folder / file, head, len(head) + end)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "falcon", "hidden_size": d, "num_attention_heads": heads, "num_kv_heads": kv,
        "num_hidden_layers": 80, "new_decoder_architecture": True, "multi_query": True, "alibi": False, "bias": False,
        "max_position_embeddings": 2048,
    }))  # fmt: skip
    return folder


def test_180_billion_parameters_in_1_gib_of_address_space(tmp_path: Path) -> None:
    folder = falcon_180b(tmp_path, 81)
    found = launch("inspect", folder, "--json", limit=one_gib).document()
    assert found["parameters"]["total"] == 2 * 65_024 * 14_848 + 80 * (248 * 64 + 9 * 14_848) * 14_848 + 322 * 14_848
    assert found["parameters"]["q"] == 80 * 14_848**2 and found["parameters"]["k"] == 80 * 8 * 64 * 14_848
    assert found["kv_cache"]["bytes_per_token"] == 2 * 80 * 232 * 64 * 2  # as transformers keeps Falcon's new form
    assert [*found["kv_cache"]["otherwise"].values()] == [2 * 80 * 8 * 64 * 2]
    head = launch("weights", folder, "79.231", "--json", limit=one_gib).document()
    assert head["kv_head"] == 7 and head["bytes_read"] == 2 * (3 * 64 * 14_848 + 14_848**2)
