"""The independent witness for `why` on captured models: the model in float64, made linear by hand, and autograd.

One run of transformers' own forward, in which every norm multiplies by the ratio its output has to its input (held),
and every embedding, blend of heads and MLP output is a leaf. Then q at one position is a linear map of the leaves, and
a leaf's part of q is its gradient times itself. Nothing of the package is used.
"""

import contextlib
import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask


@dataclass(frozen=True)
class Named:
    """What the parts of a family are called: the end of their module names."""

    layers: str
    """What every module of the stack's layers has in its name."""
    w_o: str = "self_attn.o_proj"
    mlp: str = "mlp"
    words: str = "embed_tokens"
    positions: str = ""
    types: str = ""
    cross: str = ""
    attention: str = "self_attn"
    beside: str = ""
    """What the embeddings of the stack have in their names, where there are others."""


@dataclass
class Leaves:
    """The leaves of one run by component, in the order of the layers, and q and k of every layer."""

    found: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    met: list[tuple[torch.Tensor, torch.Tensor, float]] = field(default_factory=list)

    def keep(self, what: str, tensor: torch.Tensor) -> torch.Tensor:
        leaf = tensor.detach().clone().requires_grad_()
        self.found.setdefault(what, []).append(leaf)
        return leaf


class Linear:
    """Parts of q and of k of one head by component, from gradients of the linear model."""

    def __init__(self, model: Any, named: Named, inputs: dict[str, Any], n_head: int) -> None:
        self.model, self.named, self.n_head = copy.deepcopy(model).double().eval(), named, n_head
        self.leaves = Leaves()
        self._run({name: t.double() if t.is_floating_point() else t for name, t in inputs.items()})

    def matrix(self, layer: int, head: int, query: int, key: int) -> dict[tuple[str, str], float]:
        """What each pair of components adds to the scaled score: (in the query, in the key) → value."""
        q, k, scale = self.leaves.met[layer]
        a = self._parts(q[0, head, query], query)
        b = self._parts(k[0, head // (q.shape[1] // k.shape[1]), key], key)
        return {(one, two): float(a[one] @ b[two]) * scale for one in a for two in b}

    def _parts(self, vector: torch.Tensor, row: int) -> dict[str, np.ndarray]:
        """component → its part of this vector, by one gradient per coordinate."""
        names = [(what, number) for what, leaves in self.leaves.found.items() for number in range(len(leaves))]
        leaves = [self.leaves.found[what][number] for what, number in names]
        found: dict[str, np.ndarray] = {}
        for at, coordinate in enumerate(vector):
            slopes = torch.autograd.grad(coordinate, leaves, retain_graph=True, allow_unused=True)
            for (what, number), leaf, slope in zip(names, leaves, slopes, strict=True):
                if slope is None:
                    continue
                product = (slope * leaf.detach()).reshape(-1, *leaf.shape[-2:]).sum(0)[row]
                heads = self.n_head if what in ("", "cross ") else 1
                for head, part in enumerate(product.reshape(heads, -1).sum(1)):
                    name = f"{what}{number}.{head}" if heads > 1 else what + str(number) * (what == "mlp ")
                    found.setdefault(name, np.zeros(len(vector)))[at] = float(part)
        return found

    def _run(self, inputs: dict[str, Any]) -> None:
        def attend(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: Any = None, **kwargs: Any) -> Any:
            if self._inside(module):
                self.leaves.met.append((q, k, q.shape[-1] ** -0.5 if scaling is None else scaling))
            eager = sys.modules[type(module).__module__].eager_attention_forward
            return eager(module, q, k, v, mask, scaling=scaling, **kwargs)

        AttentionInterface.register("linear", attend)
        AttentionMaskInterface.register("linear", eager_mask)
        for module in self.model.modules():
            if "config" in module.__dict__:
                module.config._attn_implementation = "linear"
        self.names = {id(module): name for name, module in self.model.named_modules()}
        with contextlib.ExitStack() as undo:
            for name, module in self.model.named_modules():
                for handle in self._hooks(name, module):
                    undo.callback(handle.remove)
            self.model(**inputs)

    def _inside(self, module: Any) -> bool:
        name = self.names[id(module)]
        return self.named.layers in name and name.endswith(self.named.attention)

    def _hooks(self, name: str, module: Any) -> list[Any]:
        if "norm" in name.lower().rpartition(".")[2] and getattr(module, "weight", None) is not None:
            return [module.register_forward_hook(_held_norm)]
        keep, named = self.leaves.keep, self.named
        embeddings = {named.words: "embedding", named.positions: "position", named.types: "token type"}
        for end, what in embeddings.items():
            if end and name.endswith(end) and named.beside in name:
                return [module.register_forward_hook(lambda m, a, out, what=what: keep(what, out))]
        if named.layers not in name:
            return []
        for end, what in ((named.w_o, ""), (named.cross, "cross ")):
            if end and name.endswith(end):
                return [module.register_forward_pre_hook(lambda m, args, what=what: (keep(what, args[0]),))]
        if name.endswith(named.mlp):
            return [module.register_forward_hook(_first(lambda out: keep("mlp ", out)))]
        return []


def _first(change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A hook that changes what a module gives, or the first of several things."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return hook


def _held_norm(module: Any, args: Any, output: Any) -> Any:
    """The same output, as a linear map of the input: its mean taken away where the module takes it, times a ratio."""
    x, bias = args[0], getattr(module, "bias", None)
    if isinstance(module, torch.nn.LayerNorm) or "Cohere" in type(module).__name__:
        x = x - x.mean(-1, keepdim=True)
    shift = 0 if bias is None else bias
    return x * ((output - shift) / x).detach() + shift
