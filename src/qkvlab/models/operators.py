"""Attention that goes through torch's own operators alone: product, softmax, product, seen one by one.

Falcon, Bloom, MPT, GPT-J and GPT-Neo do not ask transformers' registry for an attention function; setting one does
nothing, without an error. Their eager forward is q · kᵀ, then softmax, then weights · v; Falcon's other one calls
torch's fused attention. While one of their attention modules runs, a torch function mode sees these, and hands on what
our own functions make of them. How the scores come from q · k is a small function per family, and in every run what
enters softmax is held to it by the last query.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import UnsupportedError
from ..scoring import Scoring

Given = Mapping[str, Any]
"""What the attention module's forward was called with, by name."""


@runtime_checkable
class Stages(Protocol):
    """What becomes of the three steps of one attention call; tensors [batch, head, query or key, d]."""

    def queries_keys(self, q: Any, k: Any) -> tuple[Any, Any]: ...
    def scores(self, scores: Any) -> Any: ...
    def values(self, v: Any) -> Any: ...
    def blends(self, z: Any) -> Any: ...
    def attend(self, q: Any, k: Any, v: Any, plain: Callable[[Any, Any, Any], Any]) -> Any: ...
    def check_mask(self, mask: Any) -> None: ...


@contextmanager
def seen(n_batch: int, name: str, stages: Stages) -> Iterator[None]:
    """Within: every product and softmax of attention goes through `stages`. Raises UnsupportedError at the end
    unless there was exactly one product, one softmax and one product, in this order, or one fused attention."""
    import torch
    from torch.overrides import TorchFunctionMode

    products = {
        torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm,
        torch.baddbmm, torch.Tensor.baddbmm,
    }  # fmt: skip
    biased = {torch.baddbmm, torch.Tensor.baddbmm}
    softmaxes = {torch.softmax, torch.Tensor.softmax, torch.nn.functional.softmax}
    steps: list[str] = []

    def heads(tensor: Any) -> Any:
        return tensor.reshape(n_batch, -1, *tensor.shape[-2:]) if tensor.ndim == 3 else tensor

    class Seen(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in products:
                at = 1 if func in biased else 0
                named = [kwargs[key] for key in ("batch1", "batch2") if key in kwargs]
                left, right = named or args[at : at + 2]
                if right.ndim < 3:  # a linear layer
                    return func(*args, **kwargs)
                steps.append("product")
                rest, kwargs = args[:at], {key: kwargs[key] for key in kwargs if not key.startswith("batch")}
                if "softmax" not in steps:
                    q, k = stages.queries_keys(heads(left), heads(right).transpose(-1, -2))
                    k = k.transpose(-1, -2)
                    return func(*rest, q.reshape(left.shape), k.reshape(right.shape), **kwargs)
                v = stages.values(heads(right))
                z = func(*rest, left, v.reshape(right.shape), **kwargs)
                return stages.blends(heads(z)).reshape(z.shape)
            if func is torch.nn.functional.scaled_dot_product_attention:
                steps.append("fused")
                q, k, v = args[:3]
                if kwargs.get("attn_mask") is not None:
                    stages.check_mask(kwargs["attn_mask"])
                return stages.attend(q, k, v, lambda q, k, v: func(q, k, v, *args[3:], **kwargs))
            if func in softmaxes:
                steps.append("softmax")
                return func(stages.scores(args[0]), *args[1:], **kwargs)
            return func(*args, **kwargs)

    with Seen():
        yield
    if steps not in (["product", "softmax", "product"], ["fused"]):
        raise UnsupportedError(
            f"{name}: its attention does not go through transformers' registry, and its own operators are "
            f"{', '.join(steps) or 'none'} instead of product, softmax, product"
        )


def _given_row(bias: Any, row: int, n_head: int, real: np.ndarray) -> np.ndarray:
    """The bias of one text of a batch by key, [head, key], float32, padding left out."""
    by_text = bias.detach().float().cpu().numpy().reshape(-1, n_head, bias.shape[-1])
    own: np.ndarray = by_text[min(row, len(by_text) - 1)][:, real]
    return own


def _gptj(module: Any, given: Given, plain: Scoring, row: int, real: np.ndarray) -> Scoring:
    return Scoring(1 / float(module.scale_attn), plain.causal, plain.window)


def _gpt_neo(module: Any, given: Given, plain: Scoring, row: int, real: np.ndarray) -> Scoring:
    return Scoring(1.0, plain.causal, plain.window)


def _falcon(module: Any, given: Given, plain: Scoring, row: int, real: np.ndarray) -> Scoring:
    alibi, scale = given.get("alibi"), float(module.inv_norm_factor)
    bias = None if alibi is None else _given_row(alibi, row, module.num_heads, real) * np.float32(scale)
    return Scoring(scale, plain.causal, plain.window, key_bias=bias)


def _bloom(module: Any, given: Given, plain: Scoring, row: int, real: np.ndarray) -> Scoring:
    bias = _given_row(given["alibi"], row, module.num_heads, real) * np.float32(module.beta)
    return Scoring(float(module.inv_norm_factor), plain.causal, plain.window, key_bias=bias)


def _mpt(module: Any, given: Given, plain: Scoring, row: int, real: np.ndarray) -> Scoring:
    bias = given["position_bias"][..., -1:, :]  # one row: by key alone
    bias = bias[..., bias.shape[-1] - int(real[-1]) - 1 :]
    own = bias.detach().float().cpu().numpy().reshape(module.n_heads, -1)[:, real]
    return Scoring(float(module.softmax_scale), plain.causal, plain.window, key_bias=own)


RULES: dict[str, Callable[[Any, Given, Scoring, int, np.ndarray], Scoring]] = {
    "gptj": _gptj,
    "gpt_neo": _gpt_neo,
    "falcon": _falcon,
    "bloom": _bloom,
    "mpt": _mpt,
}
"""(module, what its forward was given, scale and mask by the configuration, which text of the batch, its real keys)
→ how its scores come from q · k."""
