"""The independent witness for `why`: a transformers model in float64, norms frozen, from which writes are taken out.

Recorded once: the scale of every norm, each head's blend and each MLP's output. Then the same model runs with all of
them held, so that q and k are linear in the writes; one write set to zero at one position changes the score by exactly
its part. Nothing of the package is used.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface

Gone = dict[str, list[int]]
"""Name of a component → the rows of the batch in which its write is taken out; "" is no component."""
PLACES: dict[str, dict[str, str]] = {
    "llama": {"layers": "model.layers", "w_o": "self_attn.o_proj", "mlp": "mlp", "words": "model.embed_tokens"},
    "gpt2": {"layers": "transformer.h", "w_o": "attn.c_proj", "mlp": "mlp", "words": "transformer.wte",
             "positions": "transformer.wpe"},
    "bert": {"layers": "encoder.layer", "w_o": "attention.output.dense", "mlp": "output.dense",
             "words": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings",
             "types": "embeddings.token_type_embeddings"},
}  # fmt: skip


class Frozen:
    """A model that gives q and k of a layer as they are with one write taken out, for any number of writes at once."""

    def __init__(self, model: Any, ids: list[int]) -> None:
        self.model = copy.deepcopy(model).double().eval()
        self.ids = torch.tensor([ids])
        kind = self.model.config.model_type
        self.family = {"gpt2": "gpt2", "bert": "bert", "roberta": "bert"}.get(kind, "llama")
        self.places = PLACES[self.family]
        self.n_head = self.model.config.num_attention_heads
        self.recorded: dict[str, Any] = {}
        self.record = True
        self._run([""], 0)
        self.record = False

    def queries(self, layer: int, head: int, position: int, without: Sequence[str]) -> np.ndarray:
        """One head's query, [without, d_head], each time with one write (or "", none) gone from the residual there."""
        q: np.ndarray = self._run(without, position)[layer][0][:, head, position].numpy()
        return q

    def keys(self, layer: int, head: int, position: int, without: Sequence[str]) -> np.ndarray:
        """The key that the head reads, likewise."""
        k = self._run(without, position)[layer][1]
        key: np.ndarray = k[:, head // (self.n_head // k.shape[1]), position].numpy()
        return key

    def _run(self, without: Sequence[str], position: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """q and k of every layer as they enter the scores, [without, head, token, d_head]."""
        met: list[tuple[torch.Tensor, torch.Tensor]] = []

        def attend(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: Any = None, **kwargs: Any) -> Any:
            met.append((q, k))
            group = q.shape[1] // k.shape[1]
            scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2) * q.shape[-1] ** -0.5
            if self.family != "bert":
                scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
            return (scores.softmax(-1) @ v.repeat_interleave(group, 1)).transpose(1, 2).contiguous(), None

        AttentionInterface.register("frozen", attend)
        self.model.config._attn_implementation = "frozen"
        gone = {name: [row] for row, name in enumerate(without)}
        with torch.no_grad(), contextlib.ExitStack() as hooks:
            for name, module in self.model.named_modules():
                for hook in self._hooks(name, module, gone, position):
                    hooks.callback(hook.remove)
            self.model(self.ids.expand(len(without), -1))
        return met

    def _hooks(self, name: str, module: Any, gone: Gone, position: int) -> Iterator[Any]:
        """What holds this module's output, and takes its write out of the rows that are to go without it."""
        layer, _, rest = name.partition(self.places["layers"] + ".")[2].partition(".")

        def less(component: str, output: Any, what: Any = None) -> Any:
            output = output.expand(*self._rows(gone), -1, -1).clone()
            if component in gone:
                rows = output[gone[component], position]
                output[gone[component], position] = rows * 0 if what is None else rows - what
            return output

        for place, component in (("words", "embedding"), ("positions", "position"), ("types", "token type")):
            if name == self.places.get(place):
                yield module.register_forward_hook(lambda m, a, out, component=component: less(component, out))
        if layer and rest == self.places["w_o"]:
            yield module.register_forward_pre_hook(lambda m, args: (self._blends(args[0], int(layer), gone, position),))
            if getattr(module, "bias", None) is not None:
                yield module.register_forward_hook(lambda m, a, out: less(f"attention bias {layer}", out, module.bias))
        if layer and rest == self.places["mlp"]:
            yield module.register_forward_hook(lambda m, a, out: less(f"mlp {layer}", self._held(name, out)))
        if "Norm" in type(module).__name__:
            yield module.register_forward_hook(lambda m, args, out: self._normed(name, m, args[0]))
            if getattr(module, "bias", None) is not None:
                yield module.register_forward_hook(lambda m, a, out: less(_bias_name(layer, rest), out, module.bias))

    def _rows(self, gone: Gone) -> tuple[int, ...]:
        return (sum(map(len, gone.values())),)

    def _held(self, name: str, output: Any) -> Any:
        if self.record:
            self.recorded[name] = output
        return self.recorded[name]

    def _blends(self, z: Any, layer: int, gone: Gone, position: int) -> Any:
        z = self._held(f"z {layer}", z).expand(*self._rows(gone), -1, -1).clone()
        heads = z.view(*z.shape[:-1], self.n_head, -1)
        for head in range(self.n_head):
            heads[gone.get(f"{layer}.{head}", []), position, head] = 0
        return z

    def _normed(self, name: str, module: Any, x: Any) -> Any:
        """Gain times x over the recorded scale, plus the bias."""
        bias = getattr(module, "bias", None)
        if bias is not None:
            x = x - x.mean(-1, keepdim=True)
        eps = module.eps if hasattr(module, "eps") else module.variance_epsilon
        scale = self._held(name, torch.sqrt((x * x).mean(-1, keepdim=True) + eps))
        return x / scale * module.weight + (0 if bias is None else bias)


def _bias_name(layer: str, rest: str) -> str:
    """The component that a LayerNorm's bias is, at the layer that is asked about."""
    if rest == "ln_1":
        return "norm bias"
    sub = {"attention.output.LayerNorm": "(attention)", "output.LayerNorm": "(mlp)"}.get(rest)
    return f"norm bias {layer} {sub}" if sub else "another" if layer else "norm bias (embedding)"
