"""What a transformers attention module itself computes, split into heads as its own forward splits them.

The witness for weights read from files: it knows the modules, and nothing of our tables.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qkvlab.checkpoint.attention import AttentionFile
from zoo import ZOO, zoo_model


@cache
def saved(kind: str, shard: str, base: bool, folder: Path) -> Path:
    target = folder / f"{kind}-{shard}-{base}"
    model = zoo_model(kind)
    (model.base_model if base else model).save_pretrained(target, max_shard_size=shard)
    return target


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
    if family in ("gpt_neox", "persimmon", "gpt_bigcode, many K/V heads"):
        fused = own.get("query_key_value", own.get("c_attn"))(x).view(n, n_head, 3, d)
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
