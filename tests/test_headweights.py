"""One head's weights from the file, for every family: held against the projections of the transformers module."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.checkpoint.attention import AttentionFile, open_attention
from qkvlab.checkpoint.families import FAMILIES
from qkvlab.errors import UnsupportedError
from qkvlab.headweights import weights
from zoo import SQUARE, ZOO, zoo_model

MLA = ("deepseek_v2", "deepseek_v3")
BOTH = [("bart", "encoder"), ("bart", "cross"), ("t5", "encoder"), ("t5", "cross"), ("whisper", "encoder"),
        ("whisper", "cross")]  # fmt: skip
CASES = [(kind, "decoder") for kind in ZOO if kind not in MLA] + BOTH
EXTRA = """mixtral qwen2_moe qwen3_moe olmo olmo3 cohere glm glm4 starcoder2 stablelm nemotron granite helium seed_oss
arcee exaone4 persimmon gpt_bigcode mbart pegasus xlm-roberta""".split()


@cache
def saved(kind: str, shard: str, base: bool, folder: Path) -> Path:
    target = folder / f"{kind}-{shard}-{base}"
    model = zoo_model(kind)
    (model.base_model if base else model).save_pretrained(target, max_shard_size=shard)
    return target


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


# ---- the witness: what the module itself computes, split as its own forward splits it


def module_of(model: Any, attention: str, layer: int) -> Any:
    """The attention module of a layer, found by walking the model."""
    named = {
        "encoder": lambda name: ".encoder." in f".{name}",
        "decoder": lambda name: ".decoder." in f".{name}" and "EncDec" not in name and "encoder_attn" not in name,
        "cross": lambda name: "EncDec" in name or "encoder_attn" in name,
    }[attention] if model.config.is_encoder_decoder else lambda name: True  # fmt: skip
    found = [
        module for name, module in model.named_modules()
        if named(name) and type(module).__name__.endswith("Attention") and children(module)
    ]  # fmt: skip
    return found[0] if type(model).__name__.startswith("Albert") else found[layer]


OUTPUTS = ("o_proj", "out_proj", "c_proj", "dense", "out", "out_lin", "Wo", "o")
PARTS = ("q_proj", "q", "q_lin", "c_attn", "query_key_value", "Wqkv", "qkv_proj", "q_b_proj")


def children(module: Any) -> dict[str, Any]:
    """The projections of a module by name, where it is one that projects."""
    own = dict(module.named_children())
    inner = own.get("self")
    if inner is not None:
        own |= {"query": inner.query, "key": inner.key, "value": inner.value, "out": own["output"].dense}
    return own if set(own) & {*PARTS, "query"} and set(own) & set(OUTPUTS) else {}


def projected(kind: str, module: Any, x: Any, n_head: int, d: int) -> list[Any]:
    """q, k, v of the module as [query head, token, d]: K/V heads repeated as the module repeats them."""
    own, family, n = children(module), ZOO[kind].family if kind in ZOO else kind, len(x)
    if family == "falcon":
        parts = module._split_heads(own["query_key_value"](x[None]))
        return [part[0].transpose(0, 1).expand(n_head, n, d) for part in parts]
    if family == "bloom":
        return [part[0] for part in module._reshape(own["query_key_value"](x[None]))]
    if family in ("gpt_neox", "persimmon"):
        fused = own["query_key_value"](x).view(n, n_head, 3, d)
        return [fused[:, :, part].transpose(0, 1) for part in range(3)]
    if family == "gpt_bigcode":
        return [part.expand(n_head, n, d) for part in heads(own["c_attn"](x), n_head, d)]
    names = next(
        names for names in (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"),
                            ("q", "k", "v"), ("c_attn",), ("Wqkv",), ("qkv_proj",))
        if set(names) <= set(own)
    )  # fmt: skip
    if len(names) == 3:
        parts = [own[name](x) for name in names]
        if family == "qwen3_next":
            q, gate = parts[0].view(n, n_head, 2 * d).chunk(2, dim=-1)
            parts = [q.reshape(n, -1), *parts[1:], gate.reshape(n, -1)]
    else:
        fused = own[names[0]](x)
        kv = (fused.shape[-1] - n_head * d) // 2
        parts = [fused[:, : n_head * d], fused[:, n_head * d : n_head * d + kv], fused[:, n_head * d + kv :]]
    split = [part.view(n, -1, d).transpose(0, 1) for part in parts]
    return [part.repeat_interleave(n_head // len(part), dim=0) for part in split]


def heads(fused: Any, n_head: int, d: int) -> list[Any]:
    """GPT-BigCode with one K/V head: all queries, the key, the value."""
    q, k, v = fused.split((n_head * d, d, d), dim=-1)
    return [part.view(len(fused), -1, d).transpose(0, 1) for part in (q, k, v)]


def output_of(module: Any) -> Any:
    own = children(module)
    return next(own[name] for name in OUTPUTS if name in own)


def random(*shape: int) -> Any:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def check_layer(kind: str, model: Any, file: AttentionFile, layer: int, found: Callable[[int], Any]) -> None:
    """Every head of one layer: x W + b against the module's q, k, v (and gate); Σ z W_o + b_o against its output."""
    import torch

    at = file.attention_layers.index(layer)
    module = module_of(model, file.attention, at)
    x, z = random(5, file.d_model), random(file.n_head, 7, file.d_value)
    with torch.no_grad():
        theirs = projected(kind, module, x, file.n_head, file.d_head)
        out = output_of(module)(z.transpose(0, 1).reshape(7, -1)).numpy()
    total = np.zeros((7, file.d_model))
    for h in range(file.n_head):
        own = found(h)
        assert own.kv_head == h // (file.n_head // file.n_kv_head)
        for part, expected in zip(("q", "k", "v", "gate"), theirs, strict=False):
            bias = getattr(own, f"b_{part}")
            ours = x.numpy() @ getattr(own, f"w_{part}") + (0 if bias is None else bias)
            np.testing.assert_allclose(ours, expected[h].numpy(), atol=2e-5, err_msg=f"{part} of head {layer}.{h}")
        total += z[h].numpy() @ own.w_o
    np.testing.assert_allclose(total + (0 if own.b_o is None else own.b_o), out, atol=3e-5)


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
    assert file.mla and (own.w_q is None) is False if kind == "deepseek_v2" else own.q_down.shape == (24, 14)
    with pytest.raises(UnsupportedError, match=r"MLA"):
        file.layer(0)


@pytest.mark.parametrize("family", EXTRA)
def test_families_that_share_a_row(family: str) -> None:
    import torch
    import transformers

    sizes = dict(SQUARE if family not in ("mbart", "pegasus") else ZOO["bart"].config)
    own = {"persimmon": {"num_attention_heads": 3, "num_key_value_heads": 3}, "helium": {"head_dim": 4}}
    heads = {"head_dim": 10} if family in ("glm", "glm4", "seed_oss", "qwen3_moe", "mixtral") else {}
    moe = {"num_experts": 3, "num_local_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
           "shared_expert_intermediate_size": 8} if "m" in family else {}  # fmt: skip
    old = {"n_embd": 24, "n_head": 3, "n_layer": 3, "n_inner": 41} if family == "gpt_bigcode" else {}
    if old:
        sizes = {"vocab_size": 53, "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(family, **{**sizes, **heads, **moe, **old, **own.get(family, {})})
    torch.manual_seed(len(family))
    model = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    file = open_attention(model)
    check_layer(family, model, file, 1, lambda h: file.head((1, h)))


def test_every_family_of_the_table_is_held_against_a_module() -> None:
    """Rows that are the very row of a tested family need no model of their own."""
    tested = {id(FAMILIES[kind.family]) for kind in ZOO.values()} | {id(FAMILIES[family]) for family in EXTRA}
    stacks = {id(stack) for family in FAMILIES.values() if id(family) in tested for stack in family.stacks.values()}
    tensors = {
        (tuple(stack.tensors.items()), stack.arrangement)
        for family in FAMILIES.values() if id(family) in tested
        for variants in family.stacks.values() for stack in variants
    }  # fmt: skip
    assert stacks
    for name, family in FAMILIES.items():
        for variants in family.stacks.values():
            for stack in variants:
                known = (tuple(stack.tensors.items()), stack.arrangement) in tensors
                assert known, f"{name} stores its attention as no tested family does"
