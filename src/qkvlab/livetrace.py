"""A text's way through a live transformers model: kept while the model runs by itself, edits applied on the way."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._shapes import Array, Float
from .edits import Edit, Here, checked, edit_scores
from .errors import UnsupportedError
from .mechanism import rotate
from .models.attending import Run, to_numpy
from .models.transformers import running
from .scoring import Scoring
from .text import Tokens
from .trace import Address, Cancelled, Trace

if TYPE_CHECKING:
    from .live import LiveModel

TAPS = ("x", "normed", "q", "k", "v", "z", "out", "mlp", "final", "turns", "gated", "cross", "mixer", "embedding",
        "position", "token type")  # fmt: skip
"""What a run of a live model can keep."""


class LiveTrace(Trace):
    """A text's way through a live model. The model runs once, whole, when the trace is first asked for anything."""

    model: "LiveModel"

    def __init__(
        self,
        model: "LiveModel",
        ids: Sequence[int],
        tokens: Tokens | None,
        edits: Sequence[Edit],
        positions: Literal["last", "all"],
        inputs: dict[str, Any],
        keep: tuple[str, ...],
    ) -> None:
        super().__init__(model, ids, tokens, edits, positions)
        self.inputs = inputs
        self.kept_taps = keep
        self.taken: dict[str, Array] = {}
        self.scorings: dict[int, Scoring] = {}

    def with_edits(self, edits: Sequence[Edit]) -> "LiveTrace":
        """The same text with these edits instead."""
        edits = checked(edits, self.spec, len(self))
        return LiveTrace(self.model, self.ids, self.text_tokens, edits, self.positions, self.inputs, self.kept_taps)

    @property
    def own_keys(self) -> bool:
        return self.model.stack.keys == "own"

    # ---- what is kept

    def normed(self, layer: int) -> Float[Array, "query d_model"]:
        return self._kept_of(layer, "normed")

    def out(self, layer: int) -> Float[Array, "query d_model"]:
        return self._kept_of(layer, "out")

    def mlp(self, layer: int) -> Float[Array, "query d_model"]:
        self._check_any_layer(layer)
        return self._get(f"layer.{layer}.mlp", 0)

    def step(self, layer: int, role: str) -> Float[Array, "query width"]:
        """What a step of `models/live_writes.py` gives: an embedding (layer 0), a mixer's write, what enters W_o of
        the decoder's other attention. Raises UnsupportedError where there is no such step."""
        return self._get(f"layer.{layer}.{role}", 0)

    def x(self, layer: int) -> Float[Array, "query d_model"]:
        if layer != self.spec.n_layer:
            self._check_any_layer(layer)
        return self._get(f"layer.{layer}.x", 0)

    def q_raw(self, layer: int) -> Float[Array, "head query d_head"]:
        return self._unturned(layer, "q")

    def k_raw(self, layer: int) -> Float[Array, "kv_head key d_head"]:
        return self._unturned(layer, "k")

    @cached_property
    def final(self) -> Float[Array, "query d_model"]:
        return self._get(f"layer.{self.spec.n_layer}.final", 0)

    def scoring(self, layer: int) -> Scoring:
        self._check_layer(layer)
        self.run()
        return self.scorings[layer]

    def write(self, head: Address) -> Float[Array, "query d_model"]:
        """What one head adds to the residual, through its gate where the family has one."""
        at = self.spec.head(head)
        z = self.z(at.layer)[at.head]
        if self.model.family.gated:
            width = self.spec.d_value
            z = self._kept_of(at.layer, "gated")[:, at.head * width : (at.head + 1) * width]
        return z @ self.model.w_o(at)

    def visible(self, layer: int, query: int) -> tuple[int, int]:
        if self.model.stack.keys == "encoder":
            return 0, self.k(layer).shape[1]
        return super().visible(layer, query)

    def logits_at(self, rows: slice) -> Float[Array, "query vocab"]:
        """The logits of some positions, by the model itself."""
        if not self.spec.has_output:
            raise UnsupportedError(f"{self.spec.name} has no output head, so it has no logits and no words")
        self.run()
        last = range(len(self))[rows] == range(len(self) - 1, len(self))
        if not last and "logits" not in self.taken:
            self.positions = "all"
            capture([self])
        return self.taken["logits"][rows] if "logits" in self.taken else self.taken["last logits"]

    def logits_of(self, ids: Sequence[int], at: int) -> Float[Array, " word"]:
        logits: np.ndarray = self.logits_at(slice(at, at + 1))[0, list(ids)]
        return logits

    def check_output_head(self) -> None:
        some = slice(0, min(64, self.spec.n_vocab))
        head = self.model.hf.get_output_embeddings()
        bias = 0 if getattr(head, "bias", None) is None else to_numpy(head.bias)[some]
        plain = self.model.weights.unembedding[some] @ self.final[-1] + bias
        given = self.logits_at(slice(len(self) - 1, len(self)))[0, some]
        if np.abs(plain - given).max() > 1e-3 * np.abs(given).max():
            raise UnsupportedError(
                f"{self.spec.name}: between its last norm and its logits there is more than the unembedding (a cap, a "
                "scale), so a head has no direct effect in logits; ablate it instead"
            )

    # ---- running

    @property
    def layers_done(self) -> int:
        return self.spec.n_layer if self.scorings else 0

    def run(self, layers: int | None = None, cancelled: Callable[[], bool] | None = None) -> "LiveTrace":
        """Run the model now; it runs whole. `cancelled` is asked between layers, and stops it by Cancelled."""
        if not self.scorings:
            capture([self], cancelled)
        return self

    def _get(self, name: str, steps: int) -> Array:
        self.run()
        if name not in self.taken:
            self.kept_taps = TAPS
            capture([self])
        if name not in self.taken:
            raise UnsupportedError(f"{self.spec.name}: {name} is not there to be captured")
        return self.taken[name]

    def _check_any_layer(self, layer: Any) -> None:
        if layer not in self.spec.no_attention:
            self._check_layer(layer)

    def unedited(self, layer: int, name: str) -> Array:
        """q, k, v or z of a layer as it was before the edits of this layer."""
        self._kept_of(layer, name)
        return self.taken.get(f"layer.{layer}.{name}_unedited", self.taken[f"layer.{layer}.{name}"])

    def turns(self, layer: int) -> tuple[Array, Array] | None:
        """cos and sin of every rotation pair at every position, [token, pairs], as the model used them in a layer;
        None where it does not rotate."""
        self._kept_of(layer, "q")
        if "turns" not in self.kept_taps:
            self._get(f"layer.{self.spec.n_layer}.final", 0)
        turns = self.taken.get(f"layer.{layer}.turns")
        return None if turns is None else (turns[0], turns[1])

    def _unturned(self, layer: int, name: str) -> Array:
        """q or k before its rotation: turned back by the angles the model used."""
        family = self.model.family
        if family.rotation == "unknown":
            raise UnsupportedError(
                f"{self.spec.name}: how {self.spec.family} rotates is not known here, so {name}_raw cannot be given"
            )
        array = self.unedited(layer, name)
        if name == "q" and family.scaled_q:
            array = array / np.float32(self.model.q_scale(layer))
        turns = self.turns(layer)
        if turns is None:
            return array
        cos, sin = turns
        size = cos * cos + sin * sin  # 1, or the square of the factor that scaled rotations stretch by
        return rotate(array, cos / size, -sin / size, "half" if family.rotation == "half" else "adjacent")


class _Keeper:
    """Keeps what a run shows to the traces of its batch, and applies the edits of its only one."""

    def __init__(self, traces: Sequence[LiveTrace], cancelled: Callable[[], bool] | None) -> None:
        self.traces = traces
        self.cancelled = cancelled
        self.taps = frozenset(tap for trace in traces for tap in trace.kept_taps)
        if traces[0].edits:
            self.taps |= {"q", "k"}  # which edits of q and of scores read
        self.taken: list[dict[str, Array]] = [{} for _ in traces]
        self.scorings: list[dict[int, Scoring]] = [{} for _ in traces]
        self.changed: dict[Edit, dict[int, int]] = {edit: {} for edit in traces[0].edits}

    def wants(self, name: str) -> bool:
        return name in self.taps

    def keep(self, text: int, layer: int, name: str, array: Array) -> None:
        if name in self.taps:
            array = array.view()
            array.flags.writeable = False
            self.taken[text][f"layer.{layer}.{name}"] = array

    def scored(self, text: int, layer: int, scoring: Scoring) -> None:
        self.scorings[text][layer] = scoring

    def between_layers(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled

    def edits_of(self, layer: int) -> frozenset[str]:
        trace = self.traces[0]
        acting = [edit for edit in trace.edits if layer in edit.layers(trace.spec)]
        return frozenset(stage for edit in acting for stage in edit.stages)

    def edit(self, layer: int, stage: str, array: Array) -> Array:
        trace = self.traces[0]
        if stage in ("q", "k"):
            self.taken[0][f"layer.{layer}.{stage}_unedited"] = array
        for edit in trace.edits:
            if stage in edit.stages and layer in edit.layers(trace.spec):
                edited = edit.apply(array, self._here(layer))
                self._note(layer)(edit, array, edited, 0)
                array = edited
        return array

    def edit_scores(self, layer: int, scores: Array) -> Array:
        trace, rule = self.traces[0], self.scorings[0][layer]
        q, rows = self.taken[0][f"layer.{layer}.q"], range(len(trace))

        def score_head(head: int, own_q: Array, own_k: Array) -> Array:
            return rule.scores(own_q[None], own_k[None], rows, head)[0]

        heads = range(trace.spec.n_head)
        return edit_scores(trace.edits, self._here(layer), heads, scores, score_head, q, self._note(layer))

    def _here(self, layer: int) -> Here:
        trace, rule = self.traces[0], self.scorings[0].get(layer)
        keys = self.taken[0].get(f"layer.{layer}.k")
        scale = None if rule is None else rule.scale
        return Here(trace.spec, layer, range(len(trace)), k=keys, mean_z=trace.model.mean_z, scale=scale)

    def _note(self, layer: int) -> Callable[[Edit, Array, Array, int], None]:
        def note(edit: Edit, before: Array, after: Array, start: int) -> None:
            if after is not before:
                differs = (before != after).any(axis=-1).any(axis=0)
                if differs.any():
                    row = start + int(differs.argmax())
                    self.changed[edit][layer] = min(row, self.changed[edit].get(layer, row))

        return note


def capture(traces: Sequence[LiveTrace], cancelled: Callable[[], bool] | None = None) -> None:
    """Run the model once over these texts, padded to one length, and keep what each trace wants."""
    import torch

    model, n = traces[0].model, max(len(trace) for trace in traces)
    left = model.stack.causal and len(model.family.stacks) == 1
    starts = [n - len(trace) if left else 0 for trace in traces]
    real = [np.arange(start, start + len(trace)) for start, trace in zip(starts, traces, strict=True)]
    ids = torch.full(
        (len(traces), n), getattr(model.hf.config.get_text_config(), "pad_token_id", None) or 0, device=model.hf.device
    )
    mask = torch.zeros_like(ids)
    for row, trace in enumerate(traces):
        ids[row, real[row]] = torch.tensor(trace.ids, device=ids.device)
        mask[row, real[row]] = 1
    keeper = _Keeper(traces, cancelled)
    run = Run(model.spec, model.family, model.stack, keeper, real, real, model.way)
    with model.run_lock, running(model.hf, run):
        result = _forward(model, traces, ids, mask, run)
        logits = getattr(result, "logits", None) if model.spec.has_output else None
    for text, trace in enumerate(traces):
        if logits is not None:
            every = trace.positions == "all"
            own = logits[text] if len(logits[text]) == 1 else logits[text][real[text] if every else real[text][-1:]]
            keeper.taken[text]["logits" if every else "last logits"] = to_numpy(own)
        trace.taken, trace.scorings = {**trace.taken, **keeper.taken[text]}, keeper.scorings[text]
        trace._changed = keeper.changed


def _forward(model: "LiveModel", traces: Sequence[LiveTrace], ids: Any, mask: Any, run: Run) -> Any:
    """Call the model as its signature asks for."""
    from inspect import signature

    stack, hf = model.stack, model.hf
    padded = bool((mask == 0).any())
    if not stack.whole:
        return hf.get_encoder()(input_ids=ids, **({"attention_mask": mask} if padded else {}))
    decoder = len(model.family.stacks) > 1
    names = signature(hf.forward).parameters
    inputs: dict[str, Any] = {"decoder_input_ids" if decoder else "input_ids": ids}
    if decoder:
        inputs |= {name: _for_all(value, len(traces)) for name, value in traces[0].inputs.items()}
    if padded:
        inputs["decoder_attention_mask" if decoder else "attention_mask"] = mask
        if stack.causal and not decoder and "position_ids" in names:
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if "use_cache" in names:
        inputs["use_cache"] = False
    if "logits_to_keep" in names and stack.causal and not padded and traces[0].positions == "last":
        inputs["logits_to_keep"] = 1
    if stack.keys == "encoder":
        run.real_keys = _source_rows(model, traces)
    return hf(**inputs)


def _for_all(value: Any, n_text: int) -> Any:
    """What an encoder reads, once for every text of a batch; other values as they are."""
    alone = hasattr(value, "expand") and value.ndim > 0 and len(value) == 1
    return value.expand(n_text, *value.shape[1:]) if alone else value


def _source_rows(model: "LiveModel", traces: Sequence[LiveTrace]) -> list[np.ndarray]:
    """Which of the encoder's positions are keys: all that its own mask leaves."""
    given = traces[0].inputs
    mask = given.get("attention_mask")
    if mask is not None:
        return [np.flatnonzero(to_numpy(mask[min(text, len(mask) - 1)])) for text in range(len(traces))]
    if "input_ids" in given:
        return [np.arange(given["input_ids"].shape[1])] * len(traces)
    return [np.arange(model.hf.config.max_source_positions)] * len(traces)
