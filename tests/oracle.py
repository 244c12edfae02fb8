"""Every tap of a transformers model, caught by its attention registry and module hooks: the independent witness."""

import contextlib
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

PARTS: dict[str, dict[str, str]] = {
    "llama": {"layers": "model.layers", "attention": "self_attn", "mlp": "mlp", "final": "model.norm"},
    "gpt2": {"layers": "transformer.h", "attention": "attn", "mlp": "mlp", "final": "transformer.ln_f"},
    "bert": {"layers": "encoder.layer", "attention": "attention.self", "mlp": "output.dense", "final": ""},
}


def reach(module: Any, path: str) -> Any:
    for name in path.split(".") if path else []:
        module = getattr(module, name)
    return module


def numpy(tensor: Any) -> np.ndarray:
    """Without the batch axis, as float32."""
    return tensor.detach().float().numpy()[0]


def every_tap(model: Any, ids: list[int]) -> dict[str, np.ndarray]:
    """name → array for all taps of all layers of one text."""
    family = {"gpt2": "gpt2", "bert": "bert", "roberta": "bert"}.get(model.config.model_type, "llama")
    parts, taps = PARTS[family], {}
    order = iter(range(10_000))

    def catch(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: Any = None, **kwargs: Any) -> Any:
        layer, scale = next(order), scaling if scaling is not None else q.shape[-1] ** -0.5
        group = q.shape[1] // k.shape[1]
        scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2) * scale
        if mask is not None:
            scores = scores.masked_fill(mask[..., : k.shape[2]] < -1e30, float("-inf"))
        weights = scores.softmax(-1)
        z = weights @ v.repeat_interleave(group, 1)
        for name, tensor in {"q": q, "k": k, "v": v, "scores": scores, "weights": weights, "z": z}.items():
            taps[f"layer.{layer}.{name}"] = numpy(tensor)
        return z.transpose(1, 2).contiguous(), weights

    AttentionInterface.register("oracle", catch)
    AttentionMaskInterface.register("oracle", eager_mask)
    before = model.config._attn_implementation
    with contextlib.ExitStack() as hooks, torch.no_grad():
        hooks.callback(lambda: setattr(model.config, "_attn_implementation", before))
        model.config._attn_implementation = "oracle"
        for layer, block in enumerate(reach(model, parts["layers"])):
            _hook_layer(hooks, taps, family, layer, block)
        result = model(torch.tensor([ids]), use_cache=False)
        if family != "bert":
            taps["final"] = taps.pop("final", None)
    if family == "bert":
        taps["final"] = numpy(result.last_hidden_state)
    else:
        with torch.no_grad():
            taps["final"] = numpy(reach(model, parts["layers"].rpartition(".")[0])(torch.tensor([ids]))[0])
        taps["logits"] = numpy(result.logits)
    return {name: array for name, array in taps.items() if array is not None}


def _hook_layer(hooks: Any, taps: dict[str, Any], family: str, layer: int, block: Any) -> None:
    at = f"layer.{layer}."

    def keep_input(name: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            x = args[0] if args else kwargs["hidden_states"]
            taps[at + name] = numpy(x)

        return hook

    def keep_output(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            taps[at + name] = numpy(output[0] if isinstance(output, tuple) else output)

        return hook

    def before(module: Any, name: str) -> None:
        hooks.callback(module.register_forward_pre_hook(keep_input(name), with_kwargs=True).remove)

    def after(module: Any, name: str) -> None:
        hooks.callback(module.register_forward_hook(keep_output(name)).remove)

    before(block, "x")
    if family == "llama":
        attention = block.self_attn
        before(attention, "normed")
        after(attention, "out")
        after(block.mlp, "mlp")
        after(attention.q_norm if hasattr(attention, "q_norm") else attention.q_proj, "q_flat")
        after(attention.k_norm if hasattr(attention, "k_norm") else attention.k_proj, "k_flat")
    elif family == "gpt2":
        before(block.attn, "normed")
        after(block.attn, "out")
        after(block.mlp, "mlp")
    else:
        before(block.attention.self, "normed")
        after(block.attention.output.dense, "out")
        after(block.output.dense, "mlp")


def raw(taps: dict[str, np.ndarray], layer: int, which: str, d_head: int) -> np.ndarray | None:
    """q_raw or k_raw as [head, query, d_head], where the family has its own module for it."""
    flat = taps.get(f"layer.{layer}.{which}_flat")
    if flat is None:
        return None
    return flat.reshape(flat.shape[0], -1, d_head).swapaxes(0, 1)
