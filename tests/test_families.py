"""Every row of the tables of families: a head's weights from the file are the projections of the module itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.checkpoint.attention import open_attention
from qkvlab.checkpoint.families import FAMILIES
from qkvlab.errors import UnsupportedError
from qkvlab.headweights import weights
from witness import check_layer, module_of, random, saved
from zoo import SQUARE, ZOO, zoo_model

MLA = ("deepseek_v2", "deepseek_v3")
BOTH = [("bart", "encoder"), ("bart", "cross"), ("t5", "encoder"), ("t5", "cross"), ("whisper", "encoder"),
        ("whisper", "cross")]  # fmt: skip
CASES = [(kind, "decoder") for kind in ZOO if kind not in MLA] + BOTH
MOE = {"num_experts": 3, "num_local_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
       "shared_expert_intermediate_size": 8}  # fmt: skip
WIDE, BIGCODE = {"head_dim": 10}, {"vocab_size": 53, "n_embd": 24, "n_head": 3, "n_layer": 3, "n_inner": 41}
EXTRA: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, SQUARE) for family in "olmo olmo3 cohere starcoder2 stablelm nemotron granite arcee exaone4 "
       "xlm-roberta".split()},
    **{family: (family, {**SQUARE, **WIDE}) for family in ("glm", "glm4", "seed_oss")},
    **{family: (family, {**SQUARE, **MOE}) for family in ("mixtral", "qwen2_moe")},
    "qwen3_moe": ("qwen3_moe", {**SQUARE, **MOE, **WIDE}),
    "helium": ("helium", {**SQUARE, "head_dim": 4}),
    "persimmon": ("persimmon", {**SQUARE, "num_attention_heads": 3, "num_key_value_heads": 3}),
    **{family: (family, ZOO["bart"].config) for family in ("mbart", "pegasus")},
    "gpt_bigcode": ("gpt_bigcode", BIGCODE),
    "gpt_bigcode, many K/V heads": ("gpt_bigcode", {**BIGCODE, "multi_query": False}),
}  # fmt: skip
"""Families beyond the zoo: name → (model type, configuration)."""


@pytest.mark.parametrize(("kind", "attention"), CASES)
def test_a_head_is_the_modules_own(kind: str, attention: str, folder: Path) -> None:
    model = zoo_model(kind)
    file = open_attention(saved(kind, "50GB", False, folder), attention=attention)
    for layer in file.attention_layers:
        check_layer(kind, model, file, layer, lambda h, layer=layer: file.head((layer, h)))


@pytest.mark.parametrize(("kind", "attention"), CASES)
def test_a_layer_is_its_heads(kind: str, attention: str, folder: Path) -> None:
    file = open_attention(saved(kind, "50GB", False, folder), attention=attention)
    layer = file.layer(file.attention_layers[-1])
    for h in range(file.n_head):
        own = file.head((file.attention_layers[-1], h))
        for name, array in own.arrays.items():
            whole = getattr(layer, name)
            at = own.kv_head if name[-1] in "kv" else h
            np.testing.assert_array_equal(array, whole if name == "b_o" else whole[at], err_msg=name)


@pytest.mark.parametrize("kind", ZOO)
def test_shards_a_bare_base_model_and_a_live_one_say_the_same(kind: str, folder: Path) -> None:
    whole = open_attention(saved(kind, "50GB", False, folder))
    address = (whole.attention_layers[0], whole.n_head - 1)
    expected = whole.head(address)
    sharded = saved(kind, "10KB", False, folder)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    for source in (sharded, saved(kind, "50GB", True, folder), zoo_model(kind)):
        found = weights(source, address)
        assert found.arrays.keys() == expected.arrays.keys() and found.bytes_read == expected.bytes_read
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array, expected.arrays[name])


@pytest.mark.parametrize("kind", MLA)
def test_latent_attention_is_its_factors(kind: str, folder: Path) -> None:
    import torch

    file = open_attention(saved(kind, "50GB", False, folder))
    module = module_of(zoo_model(kind), "decoder", 2)
    x, z = random(5, 24), random(6, 7, 8)
    with torch.no_grad():
        q = module.q_proj(x) if kind == "deepseek_v2" else module.q_b_proj(module.q_a_layernorm(module.q_a_proj(x)))
        narrow, turning = module.kv_a_proj_with_mqa(x).split((12, 4), dim=-1)
        k, v = module.kv_b_proj(module.kv_a_layernorm(narrow)).view(5, 6, 14).split((6, 8), dim=-1)
        out = module.o_proj(z.transpose(0, 1).reshape(7, -1)).numpy()

    def normed(a: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-6) * weight

    total, ours = np.zeros((7, 24)), x.numpy()
    for h in range(6):
        own = file.head((2, h))
        mine = ours @ own.w_q if kind == "deepseek_v2" else normed(ours @ own.q_down, own.q_norm) @ own.q_up
        latent = normed(ours @ own.kv_down, own.kv_norm)
        pairs = [(mine, q.view(5, 6, 10)[:, h]), (latent @ own.k_up, k[:, h]), (latent @ own.v_up, v[:, h])]
        for got, expected in [*pairs, (ours @ own.k_rope, turning)]:
            np.testing.assert_allclose(got, expected.numpy(), atol=2e-5)
        total += z[h].numpy() @ own.w_o
        for name in ("w_k", "w_v"):
            with pytest.raises(UnsupportedError, match=r"MLA.*no single matrix.*kv_down"):
                getattr(own, name)
    np.testing.assert_allclose(total, out, atol=3e-5)
    assert file.mla and (own.w_q if kind == "deepseek_v2" else own.q_down).shape[0] == 24
    with pytest.raises(UnsupportedError, match=r"MLA"):
        file.layer(0)


@pytest.mark.parametrize("kind", EXTRA)
def test_families_beyond_the_zoo(kind: str) -> None:
    import torch
    import transformers

    family, sizes = EXTRA[kind]
    config = transformers.AutoConfig.for_model(family, **sizes)
    torch.manual_seed(len(family))
    model = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    file = open_attention(model)
    check_layer(kind, model, file, 1, lambda h: file.head((1, h)))


def test_every_row_of_the_table_stores_its_attention_as_a_tested_one() -> None:
    def layouts(families: set[str]) -> set[Any]:
        return {
            (tuple(stack.tensors.items()), stack.arrangement, stack.in_out, stack.single_kv)
            for family in families for variants in FAMILIES[family].stacks.values() for stack in variants
        }  # fmt: skip

    tested = {kind.family for kind in ZOO.values()} | {family for family, _ in EXTRA.values()}
    for family in FAMILIES:
        assert layouts({family}) <= layouts(tested), f"{family} stores its attention as no tested family does"
