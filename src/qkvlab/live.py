"""A live transformers model as a Model: the same traces, edits and questions, captured while it runs by itself."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Literal

import numpy as np

from ._shapes import Array, Float
from .checkpoint.source import Source
from .edits import Edit, Here, checked, edit_scores
from .errors import CheckpointError, MissingExtraError, TextError, UnsupportedError, one_of
from .model import POSITIONS, Model
from .models.attending import Run, to_numpy
from .models.hooks import own_layers, reach
from .models.live_spec import family_of, spec_of, stack_of
from .models.transformers import running
from .scoring import Scoring
from .spec import Head
from .text import Special, Tokens, from_tokenizer_json
from .trace import Address, Trace

TAPS = ("x", "normed", "q", "k", "v", "z", "out", "mlp", "final", "turns", "gated")
"""What a run of a live model can keep."""


def open_live(model: Any, tokenizer: Any = None, *, attention: str | None = None, name: str = "") -> "LiveModel":
    """A live transformers model, opened where it is: its weights, dtype and device stay its own.

    `attention` says which one a head address means where there are several: encoder, decoder (default) or cross.
    Raises UnsupportedError for a model whose attention cannot be captured, with the reason, before anything runs.
    """
    try:
        from transformers import PreTrainedModel
    except ImportError:
        raise MissingExtraError("a live transformers model", "transformers") from None
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedError(f"expected a transformers PreTrainedModel; got {type(model).__name__}")
    return LiveModel(model, tokenizer, attention, name or model.config.name_or_path or type(model).__name__)


def open_folder(source: Source, tokenizer: Any = None, *, attention: str | None = None) -> "LiveModel":
    """A folder of safetensors of any family, through transformers. No pickle is read and no code of the folder run.

    Raises MissingExtraError without transformers, CheckpointError for files it cannot read, UnsupportedError.
    """
    folder = source.path if source.path.is_dir() else source.path.parent
    family = json.loads((folder / "config.json").read_bytes())["model_type"]
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(f"{source.name}, of the family {family},", "transformers") from None
    if not any(folder.glob("*.safetensors*")):
        raise CheckpointError(f"{source.name}: there are no .safetensors files beside config.json")
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        names = [name for name in config.architectures or [] if hasattr(transformers, name)]
        maker: Any = getattr(transformers, names[0]) if names else transformers.AutoModelForCausalLM
        model, report = maker.from_pretrained(
            folder, config=config, use_safetensors=True, dtype="auto", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{source.name}: transformers cannot open it: {_one_line(error)}") from None
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise CheckpointError(
            f"{source.name}: {len(lacking)} weights are missing ({', '.join(lacking[:3])} ...), and transformers would "
            "fill them with random numbers"
        )
    if tokenizer is None and (folder / "tokenizer.json").is_file():
        tokenizer = from_tokenizer_json(folder / "tokenizer.json")
    opened = open_live(model.eval(), tokenizer, attention=attention, name=source.name)
    opened.source = source
    return opened


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


class LiveWeights:
    """The weights that questions ask for, read from the live modules as float32 arrays when asked."""

    def __init__(self, model: "LiveModel") -> None:
        self._model = model

    def prefetch(self, layers: Any) -> None:
        """Nothing to do: the model is in memory."""

    @cached_property
    def attention(self) -> Any:
        """W_q, W_k and W_v of every head, by the table of layouts. Raises UnsupportedError for a type not in it."""
        from .checkpoint.attention import open_attention

        return open_attention(self._model.hf, attention=self._model.attention)

    def layer(self, layer: int) -> "LiveLayer":
        """The weights of attention in one layer."""
        layers = own_layers(self._model.hf.base_model, self._model.stack)
        return LiveLayer(self, layer, reach(layers[layer % len(layers)], self._model.stack.o), self._model.spec.d_value)

    @cached_property
    def unembedding(self) -> Float[Array, "vocab d_model"]:
        """The output head, [vocab, d_model]."""
        return to_numpy(self._model.hf.get_output_embeddings().weight)

    def vector(self, field: str) -> Float[Array, " d_model"]:
        """`final_norm`: the gain of the last norm, ones where there is none."""
        stack, family = self._model.stack, self._model.family
        norm = reach(self._model.hf.base_model, stack.final) if stack.final else None
        if field != "final_norm" or norm is None or getattr(norm, "weight", None) is None:
            return np.ones(self._model.spec.d_model, np.float32)
        gain: np.ndarray = to_numpy(norm.weight) + np.float32(family.gain)
        return gain


class LiveLayer:
    """The weights of attention in one layer of a live model."""

    def __init__(self, weights: LiveWeights, layer: int, o: Any, d_value: int) -> None:
        self._weights, self._layer, self._o, self._d_value = weights, layer, o, d_value

    @cached_property
    def w_o(self) -> Float[Array, "tile columns width"]:
        weight = to_numpy(self._o.weight)  # Conv1D keeps [d_in, d_out], a linear layer [d_out, d_in]
        return (weight if type(self._o).__name__ == "Conv1D" else np.ascontiguousarray(weight.T))[None]

    @cached_property
    def b_o(self) -> Float[Array, " d_model"] | None:
        bias = getattr(self._o, "bias", None)
        return None if bias is None else to_numpy(bias)

    def head_w_o(self, head: int, d_head: int) -> Float[Array, "d_value d_model"]:
        return self.w_o[0, head * self._d_value : (head + 1) * self._d_value]

    @cached_property
    def _qkv(self) -> Any:
        return self._weights.attention.layer(self._layer)

    def __getattr__(self, name: str) -> Any:
        """`w_q`, `w_k`, `w_v` and their biases, [head, d_model, d_head] and [head, d_head]."""
        if name not in ("w_q", "w_k", "w_v", "b_q", "b_k", "b_v"):
            raise AttributeError(name)
        return getattr(self._qkv, name)


class LiveModel(Model):
    """A transformers model in memory. `spec.family` is its `model_type`; head addresses mean `attention`."""

    native = False

    def __init__(self, model: Any, tokenizer: Any, attention: str | None, name: str) -> None:
        self.hf = model
        self.family = family_of(model)
        self.attention, self.stack = stack_of(model, self.family, attention)
        if not self.stack.whole and model.main_input_name != "input_ids":
            raise UnsupportedError(
                f"{name}: its encoder reads {model.main_input_name}, not token ids; ask for "
                "its decoder or cross attention"
            )
        self.spec = spec_of(model, self.family, self.stack, name)
        self.weights = LiveWeights(self)  # type: ignore[assignment]
        self.source = Source(Path(name), name)
        self.known_mean_z = None
        self.given_tokenizer = tokenizer
        self.run_lock = RLock()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that was given. Raises UnsupportedError where there is none, or none we read exactly."""
        from . import text

        if self.given_tokenizer is None:
            raise UnsupportedError(f"{self.spec.name}: no tokenizer was given; pass tokenizer=, or trace token ids")
        if isinstance(self.given_tokenizer, text.Tokenizer):
            return self.given_tokenizer
        library = getattr(self.given_tokenizer, "backend_tokenizer", None)
        if library is None:
            raise UnsupportedError(
                f"{self.spec.name}: {type(self.given_tokenizer).__name__} is not a fast tokenizer, so tokens have no "
                "exact place in the text; pass a fast one, or trace token ids"
            )
        return text.from_library(library, self.spec.name)

    def trace(
        self,
        text: str | Tokens | None = None,
        *,
        ids: Sequence[int] | np.ndarray | None = None,
        edits: Sequence[Edit] = (),
        positions: Literal["last", "all"] = "last",
        special: Special = True,
        near: Sequence[Trace] = (),
        source: Mapping[str, Any] | Sequence[int] | str | None = None,
        keep: Sequence[str] = TAPS,
    ) -> "LiveTrace":
        """As `Model.trace`. `source` is what the encoder reads where head addresses mean a decoder's attention: a
        text, token ids, or the encoder's own inputs by name. `keep` names the taps to keep (default: all); another
        one that is asked for later costs one more run.
        """
        if (text is None) == (ids is None):
            raise TextError("a trace needs either a text or token ids")
        if not isinstance(positions, str) or positions not in POSITIONS:
            raise UnsupportedError(one_of("positions", positions, POSITIONS))
        for name in keep:
            if name not in TAPS:
                raise UnsupportedError(one_of("the tap", name, TAPS))
        tokens = text if isinstance(text, Tokens) else self.encode(text, special=special) if text is not None else None
        chosen = self._read_ids(tokens.ids if tokens is not None else ids)
        inputs = self._source(source)
        edits = checked(edits, self.spec, len(chosen))
        return LiveTrace(self, chosen, tokens, edits, positions, inputs, tuple(keep))

    def traces(self, texts: Sequence[str | Sequence[int]], **options: Any) -> "list[LiveTrace]":
        """One trace per text (or list of ids), all run as one batch; the padding is taken out again.

        Decoders alone are padded on the left, as for generation; where positions are counted from the first place of
        the batch (encoders, and decoders beside one), on the right. `options` as in `trace`, without edits.
        """
        if options.get("edits"):
            raise UnsupportedError("edits act in one text; give trace one text at a time")
        made = [self.trace(**({"text": t} if isinstance(t, str) else {"ids": t}), **options) for t in texts]
        if made:
            capture(made)
        return made

    def mean_z(self, layer: int) -> Float[Array, "head d_value"]:
        """Each head's mean blend over the reference text, kept while the model is open."""
        from .reference import computed_mean_z

        if self.known_mean_z is None:
            self.known_mean_z = computed_mean_z(self)
        means: np.ndarray = self.known_mean_z[layer]
        return means

    def words(self, direction: Float[Array, "rows d_model"]) -> Float[Array, "rows vocab"]:
        if not self.spec.has_output:
            raise UnsupportedError(f"{self.spec.name} has no output head, so its values cannot be read as words")
        if self.centred:
            direction = direction - direction.mean(-1, keepdims=True)
        logits: np.ndarray = (direction * self.weights.vector("final_norm")) @ self.weights.unembedding.T
        return logits

    @property
    def centred(self) -> bool:
        return self.family.centred

    @property
    def badge(self) -> str:
        """As `Model.badge`; where a head address could mean several attentions, also which one it means."""
        return self.spec.name + (f" · {self.attention} attention" if len(self.family.stacks) > 1 else "")

    @property
    def needs_source(self) -> bool:
        """Whether a trace needs what an encoder reads, besides its own text."""
        return self.stack.whole and len(self.family.stacks) > 1

    @cached_property
    def scale(self) -> float:
        """What q · k is multiplied by in every layer, as a run over one token shows it. Raises UnsupportedError where
        layers differ."""
        start = getattr(self.hf.config.get_text_config(), "bos_token_id", None)
        token = start if isinstance(start, int) and 0 <= start < self.spec.n_vocab else 0
        rules = self.trace(ids=[token], keep=()).run().scorings
        scales = {rule.scale for rule in rules.values()}
        if len(scales) != 1:
            raise UnsupportedError(f"{self.spec.name}: its layers scale q · k by {len(scales)} different factors")
        return scales.pop()

    def q_scale(self, layer: int) -> float:
        """What the module itself multiplies q by."""
        layers = own_layers(self.hf.base_model, self.stack)
        return float(reach(layers[layer % len(layers)], self.stack.attention).scaling)

    def w_o(self, head: Head) -> Float[Array, "d_value d_model"]:
        return self.weights.layer(head.layer).head_w_o(head.head, self.spec.d_value)

    def _source(self, source: Any) -> dict[str, Any]:
        import torch

        if source is None:
            if self.needs_source:
                raise TextError(
                    f"{self.spec.name}: its {self.attention} attention needs what the encoder reads; pass source="
                )
            return {}
        if not self.needs_source:
            raise TextError(f"{self.spec.name}: its {self.attention} attention reads no encoder; leave source= out")
        if isinstance(source, Mapping):
            return dict(source)
        ids = self.encode(source).ids if isinstance(source, str) else self._read_ids(source)
        return {"input_ids": torch.tensor([list(ids)], device=self.hf.device)}


class LiveTrace(Trace):
    """A text's way through a live model. The model runs once, whole, when the trace is first asked for anything."""

    model: LiveModel

    def __init__(
        self,
        model: LiveModel,
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
        return self.spec.n_layer if self.taken else 0

    def run(self, layers: int | None = None, cancelled: Callable[[], bool] | None = None) -> "LiveTrace":
        """Run the model now; it runs whole. `cancelled` is asked between layers, and stops it by Cancelled."""
        if not self.taken:
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

    def _unturned(self, layer: int, name: str) -> Array:
        """q or k before its rotation: turned back by the angles the model used."""
        family, array = self.model.family, self._kept_of(layer, f"{name}_unedited" if self.edits else name)
        if family.rotation == "unknown":
            raise UnsupportedError(
                f"{self.spec.name}: how {self.spec.family} rotates is not known here, so {name}_raw cannot be given"
            )
        if name == "q" and family.scaled_q:
            array = array / np.float32(self.model.q_scale(layer))
        turns = self.taken.get(f"layer.{layer}.turns")
        if turns is None:
            return array
        cos, sin = turns
        from .mechanism import rotate

        size = cos * cos + sin * sin  # 1, or the square of the factor that scaled rotations stretch by
        return rotate(array, cos / size, -sin / size, "half" if family.rotation == "half" else "adjacent")


class _Keeper:
    """Keeps what a run shows to the traces of its batch, and applies the edits of its only one."""

    def __init__(self, traces: Sequence[LiveTrace], cancelled: Callable[[], bool] | None) -> None:
        self.traces = traces
        self.cancelled = cancelled
        self.taps = frozenset(tap for trace in traces for tap in trace.kept_taps)
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
        from .trace import Cancelled

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
    """Run the model once over these texts, padded on the left, and keep what each trace wants."""
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
    run = Run(model.spec, model.family, model.stack, keeper, real, real)
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


def _forward(model: LiveModel, traces: Sequence[LiveTrace], ids: Any, mask: Any, run: Run) -> Any:
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
        inputs |= traces[0].inputs
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


def _source_rows(model: LiveModel, traces: Sequence[LiveTrace]) -> list[np.ndarray]:
    """Which of the encoder's positions are keys: all that its own mask leaves."""
    given = traces[0].inputs
    mask = given.get("attention_mask")
    if mask is not None:
        return [np.flatnonzero(to_numpy(mask[text])) for text in range(len(traces))]
    if "input_ids" in given:
        return [np.arange(given["input_ids"].shape[1])] * len(traces)
    return [np.arange(model.hf.config.max_source_positions)] * len(traces)
