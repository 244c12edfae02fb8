"""One attention call of a live transformers model: its q, k, v and z handed to who keeps them, edited, and back."""

import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .._shapes import Array
from ..errors import UnsupportedError
from ..mechanism import hidden_keys
from ..scoring import Scoring
from ..spec import ModelSpec
from .live_families import Family, Stack
from .live_writes import PRE_NORM, Way

OURS = "qkvlab"
BLOCK_ROWS = 128


@runtime_checkable
class Keeper(Protocol):
    """Who is told of every intermediate of one run, per text of the batch, and may change some of them."""

    def keep(self, text: int, layer: int, name: str, array: Array) -> None: ...
    def edit(self, layer: int, stage: str, array: Array) -> Array: ...
    def edit_scores(self, layer: int, scores: Array) -> Array: ...
    def scored(self, text: int, layer: int, scoring: Scoring) -> None: ...
    def edits_of(self, layer: int) -> frozenset[str]: ...
    def wants(self, name: str) -> bool: ...
    def between_layers(self) -> None: ...


@dataclass
class Run:
    """One forward pass of a batch: where it is, and who is told."""

    spec: ModelSpec
    family: Family
    stack: Stack
    keeper: Keeper
    real: list[np.ndarray]
    """For each text, the places of its own tokens among the padded ones: queries."""
    real_keys: list[np.ndarray]
    way: Way = PRE_NORM
    """What the residual of this stack is made of."""
    layer: int = -1
    module: Any = None
    """The attention module that is running, or None."""
    given: dict[str, Any] = field(default_factory=dict)
    """What its forward was called with."""
    called: list[int] = field(default_factory=list)
    """The layers whose attention was seen, in order."""
    checked: list[tuple[Any, tuple[int | None, int]]] = field(default_factory=list)
    """Masks found equal to what the specification says, and for which (window, text)."""


running_now: ContextVar[Run | None] = ContextVar("qkvlab_run", default=None)


def register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    if OURS not in AttentionInterface._global_mapping:
        AttentionInterface.register(OURS, _attention)
        AttentionMaskInterface.register(OURS, sdpa_mask)


def _attention(module: Any, q: Any, k: Any, v: Any, mask: Any, **kwargs: Any) -> tuple[Any, None]:
    """The registered function: [batch, head, query, d] three times → [batch, query, head, d]."""
    run = running_now.get()

    def plain(q: Any, k: Any, v: Any) -> Any:
        return _plain(module, q, k, v, mask, **kwargs)

    if run is None or run.module is None:
        return plain(q, k, v).transpose(1, 2).contiguous(), None
    scale = kwargs.get("scaling")
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    if mask is None:
        _check_unmasked(run, module, kwargs)
    stages = Stages(run, lambda text: _scoring(run, scale, kwargs, text), mask)
    return stages.attend(q, k, v, plain).transpose(1, 2).contiguous(), None


def _plain(module: Any, q: Any, k: Any, v: Any, mask: Any, **kwargs: Any) -> Any:
    """z as the model's own attention gives it, [batch, head, query, d]: sdpa, or where sdpa has no word for it (a soft
    cap, sinks) the family's own eager function, some queries at a time, so that [head, T, T] is never held."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if kwargs.get("softcap") is None and kwargs.get("s_aux") is None:
        known = {key: kwargs[key] for key in ("scaling", "is_causal", "position_bias", "dropout") if key in kwargs}
        return sdpa_attention_forward(module, q, k, v, mask, **known)[0].transpose(1, 2)
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if eager is None:
        raise UnsupportedError(f"{type(module).__name__} has a soft cap or sinks and no eager attention to compute it")
    n_query, n_key, least = q.shape[2], k.shape[2], torch.finfo(q.dtype).min
    blocks = []
    for start in range(0, n_query, BLOCK_ROWS):
        rows = torch.arange(start, min(start + BLOCK_ROWS, n_query), device=q.device)
        if mask is not None:
            shown = mask[..., rows, :n_key]
        elif _is_causal(module, kwargs):
            shown = (torch.arange(n_key, device=q.device) <= rows[:, None])[None, None]
        else:
            shown = torch.ones(1, 1, len(rows), n_key, dtype=torch.bool, device=q.device)
        if shown.dtype == torch.bool:
            shown = torch.zeros_like(shown, dtype=q.dtype).masked_fill(~shown, least)
        blocks.append(eager(module, q[:, :, rows], k, v, shown, **kwargs)[0])
    return torch.cat(blocks, dim=1).transpose(1, 2)


def _is_causal(module: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the module, given no mask, hides what comes later."""
    given = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _scoring(run: Run, scale: float, kwargs: dict[str, Any], text: int) -> Scoring:
    """How this layer's scores come from q · k, from what the attention function was given."""
    spec, bias, sinks = run.spec, kwargs.get("position_bias"), kwargs.get("s_aux")
    return Scoring(
        scale,
        spec.causal,
        spec.window_of(run.layer),
        softcap=kwargs.get("softcap"),
        distance_bias=None if bias is None else _by_distance(spec, bias, text, len(run.real[text])),
        sinks=None if sinks is None else to_numpy(sinks),
    )


def _by_distance(spec: ModelSpec, bias: Any, text: int, n: int) -> Array | None:
    """A bias [batch, head, query, key] that depends on key - query alone, as [head, 2n - 1]; None where it is zero."""
    table = to_numpy(bias[min(text, len(bias) - 1)])
    if not table.any():
        return None
    by_distance = np.concatenate([table[:, :n, 0][:, ::-1], table[:, 0, 1:n]], axis=1)
    columns = np.arange(n)[None] - np.arange(n)[:, None] + n - 1
    if not np.array_equal(by_distance[:, columns], table[:, :n, :n]):
        raise UnsupportedError(f"{spec.name}: its position bias does not depend on the distance alone")
    return by_distance


def to_numpy(tensor: Any) -> Array:
    """A tensor of any dtype and device as a float32 array."""
    array: np.ndarray = tensor.detach().float().cpu().numpy()
    return array


class Stages:
    """One attention call: every text's arrays go to the keeper, and come back edited."""

    def __init__(self, run: Run, scoring: Callable[[int], Scoring], mask: Any) -> None:
        self.run = run
        self.scoring = scoring
        self.edits = run.keeper.edits_of(run.layer)
        run.called.append(run.layer)
        self._q: Any = None
        self._k: Any = None
        if mask is not None:
            self.check_mask(mask)

    def check_mask(self, mask: Any) -> None:
        """Hold the mask that the model made to what its specification says, for every text. Raises UnsupportedError."""
        if self.run.stack.keys == "own":
            for text in range(len(self.run.real)):
                _check_mask(self.run, mask, text)

    def attend(self, q: Any, k: Any, v: Any, plain: Callable[[Any, Any, Any], Any]) -> Any:
        v = self.values(v)
        q, k = self.queries_keys(q, k)
        if not self.edits & {"pair", "scores"}:
            return self.blends(plain(q, k, v))
        import torch

        own, rule = to_numpy(q[0]), self.scoring(0)
        scores = rule.scores(own, to_numpy(self._distinct(k)[0]), range(own.shape[1]))
        weights = rule.weights(self.run.keeper.edit_scores(self.run.layer, scores))
        values = to_numpy(self._distinct(v)[0])
        z = weights @ np.repeat(values, len(weights) // len(values), axis=0)
        return self.blends(torch.from_numpy(z)[None].to(device=q.device, dtype=v.dtype))

    def queries_keys(self, q: Any, k: Any) -> tuple[Any, Any]:
        run, spec = self.run, self.run.spec
        distinct = self._distinct(k)
        if q.shape[1] != spec.n_head or distinct.shape[1] != spec.n_kv_head or q.shape[-1] != spec.d_head:
            raise UnsupportedError(
                f"{spec.name}: layer {run.layer} has {q.shape[1]} query heads of {q.shape[-1]} components on "
                f"{k.shape[1]} K/V heads; its configuration says {spec.n_head} of {spec.d_head} on {spec.n_kv_head}"
            )
        edited = self._through("k", distinct, run.real_keys)
        k = k if edited is distinct else edited.repeat_interleave(k.shape[1] // edited.shape[1], 1)
        for text in range(len(run.real)):
            run.keeper.scored(text, run.layer, self.scoring(text))
        self._q, self._k = self._through("q", q, run.real), edited
        return self._q, k

    def values(self, v: Any) -> Any:
        distinct = self._distinct(v)
        edited = self._through("v", distinct, self.run.real_keys)
        return v if edited is distinct else edited.repeat_interleave(v.shape[1] // edited.shape[1], 1)

    def scores(self, scores: Any) -> Any:
        """What enters softmax where it is seen: held to the rule by the last query of every text, then edited."""
        import torch

        for text, rows in enumerate(self.run.real):
            q, k = to_numpy(self._q[text][:, rows[-1:]]), to_numpy(self._k[text][:, rows])
            said = self.scoring(text).scores(q, k, range(len(rows) - 1, len(rows)))[:, 0]
            seen = _hidden_as_inf(to_numpy(scores[text][:, rows[-1], rows]))
            size = max(1.0, float(np.abs(said[np.isfinite(said)]).max(initial=0)))
            share = 1e-3 if scores.dtype == torch.float32 and self._q.dtype == torch.float32 else 5e-2
            if not np.allclose(said, seen, rtol=0, atol=share * size):
                raise UnsupportedError(
                    f"{self.run.spec.name}: what enters softmax in layer {self.run.layer} is not what q, k, bias and "
                    "mask give by the rule known for its family"
                )
        if not self.edits & {"pair", "scores"}:
            return scores
        edited = self.run.keeper.edit_scores(self.run.layer, _hidden_as_inf(to_numpy(scores[0])))
        return torch.from_numpy(edited)[None].to(device=scores.device, dtype=scores.dtype)

    def blends(self, z: Any) -> Any:
        return self._through("z", z, self.run.real)

    def _distinct(self, tensor: Any) -> Any:
        """Keys or values, one per K/V head, where the module repeats them for the query heads that share them."""
        import torch

        n, wanted = tensor.shape[1], self.run.spec.n_kv_head
        if n == wanted or n % wanted:
            return tensor
        one = tensor[:, :: n // wanted]
        if not torch.equal(one.repeat_interleave(n // wanted, 1), tensor):
            raise UnsupportedError(f"{self.run.spec.name}: query heads that share a K/V head read different keys")
        return one

    def _through(self, stage: str, tensor: Any, real: Sequence[np.ndarray]) -> Any:
        """Hand each text's array [head, token, d] to the keeper; the tensor, edited where an edit acts."""
        import torch

        run = self.run
        if not run.keeper.wants(stage) and stage not in self.edits:
            return tensor
        for text, rows in enumerate(real):
            array = to_numpy(tensor[text])
            array = array if len(rows) == array.shape[1] else array[:, rows]
            if stage in self.edits:
                edited = run.keeper.edit(run.layer, stage, array)
                if edited is not array:
                    tensor = torch.from_numpy(np.ascontiguousarray(edited))[None].to(tensor)
                    array = edited
            run.keeper.keep(text, run.layer, stage, array)
        return tensor


def _hidden_as_inf(scores: Array) -> Array:
    """Scores whose hidden places hold a number type's least value (or less), as -inf: what softmax makes of them."""
    return np.where(scores < np.finfo(np.float32).min / 4, np.float32(-np.inf), scores)


def _check_mask(run: Run, mask: Any, text: int) -> None:
    """Hold the mask that the model made to what its specification says. Raises UnsupportedError."""
    import torch

    window = run.spec.window_of(run.layer)
    if any(mask is known and (window, text) == about for known, about in run.checked):
        return
    seen = mask[min(text, len(mask) - 1), 0]
    seen = (seen if seen.dtype == torch.bool else seen > torch.finfo(seen.dtype).min / 4).cpu().numpy()
    rows = run.real[text]
    n = len(rows)
    seen = np.broadcast_to(seen, (max(rows) + 1, seen.shape[1])) if seen.shape[0] == 1 else seen
    for start in range(0, n, BLOCK_ROWS):
        queries = range(start, min(start + BLOCK_ROWS, n))
        shown = seen[np.ix_(rows[start : queries.stop], rows)]
        hidden = hidden_keys(queries, n, run.spec.causal, window)
        said = np.concatenate([np.ones((len(queries), n - hidden.shape[1]), bool), np.isfinite(hidden)], axis=1)
        if not np.array_equal(shown, said):
            raise UnsupportedError(
                f"{run.spec.name}: layer {run.layer} hides {int((~shown).sum()):,} keys from queries {start} to "
                f"{queries.stop - 1}; by its configuration ({run.spec.mask}, window {window}) it would be "
                f"{int((~said).sum()):,}"
            )
    run.checked.append((mask, (window, text)))


def _check_unmasked(run: Run, module: Any, kwargs: dict[str, Any]) -> None:
    """Without a mask the module's own flag decides: hold it, too, to the specification. Raises UnsupportedError."""
    causal = _is_causal(module, kwargs)
    longest, window = max(map(len, run.real)), run.spec.window_of(run.layer)
    if run.stack.keys == "own" and longest > 1 and (causal != run.spec.causal or (window or longest) < longest):
        raise UnsupportedError(
            f"{run.spec.name}: layer {run.layer} runs without a mask and {'' if causal else 'not '}causal; by its "
            f"configuration it is {run.spec.mask}, window {window}"
        )
