"""A live transformers model as a Model: the same traces, edits and questions, captured while it runs by itself."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from ._shapes import Array, Float
from .checkpoint.source import Source
from .edits import Edit, checked
from .errors import MissingExtraError, TextError, UnsupportedError, one_of
from .livetrace import TAPS, LiveTrace, capture
from .model import Model
from .models.attending import to_numpy
from .models.hooks import own_layers, reach
from .models.live_spec import family_of, spec_of, stack_of
from .models.live_writes import way_of
from .spec import Head
from .text import Special, Tokens
from .trace import Trace

_LOCKS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""One lock per live model, however often it is opened: a run sets hooks and its attention implementation."""


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
    on_disk = False
    """Whether it was opened from files, which are then what it is made of."""

    def __init__(self, model: Any, tokenizer: Any, attention: str | None, name: str) -> None:
        self.hf = model
        self.family = family_of(model)
        self.attention, self.stack = stack_of(model, self.family, attention)
        self.way = way_of(model.config.get_text_config(), self.attention)
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
        self.run_lock = _LOCKS.setdefault(model, RLock())

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
        for name in keep:
            if name not in TAPS:
                raise UnsupportedError(one_of("the tap", name, TAPS))
        tokens, chosen = self._chosen(text, ids, positions, special)
        inputs = self._source(source)
        edits = checked(edits, self.spec, len(chosen))
        return LiveTrace(self, chosen, tokens, edits, positions, inputs, tuple(keep))

    def traces(self, texts: Sequence[str | Sequence[int]] | Mapping[str, Any], **options: Any) -> "list[LiveTrace]":
        """One trace per text (or list of ids), all run as one batch; the padding is taken out again. A tokenizer's own
        padded batch, `input_ids` and `attention_mask`, is one text per row, without its padding.

        Decoders alone are padded on the left, as for generation; where positions are counted from the first place of
        the batch (encoders, and decoders beside one), on the right. `options` as in `trace`, without edits.
        """
        if options.get("edits"):
            raise UnsupportedError("edits act in one text; give trace one text at a time")
        if isinstance(texts, Mapping):
            texts = _without_padding(texts)
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
    def rotates(self) -> bool:
        return self.family.rotation != "none" and not getattr(self.hf.config.get_text_config(), "alibi", False)

    @property
    def latent_queries(self) -> bool:
        """Whether q is x W_down, normalised, W_up (DeepSeek V3), and no one W_q."""
        return bool(getattr(self.hf.config.get_text_config(), "q_lora_rank", None))

    @property
    def badge(self) -> str:
        """As `Model.badge`; where a head address could mean several attentions, also which one it means."""
        return self.spec.name + (f" · {self.attention} attention" if len(self.family.stacks) > 1 else "")

    @property
    def gives_raw(self) -> bool:  # type: ignore[override]
        return self.family.rotation != "unknown"

    def alone(self) -> "LiveModel":
        """The model as one text is enough for it: beside an encoder, with head addresses that mean the encoder's
        attention."""
        if not self.needs_source:
            return self
        opened = open_live(self.hf, self.given_tokenizer, attention="encoder", name=self.spec.name)
        opened.source = self.source
        return opened

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


def _without_padding(batch: Mapping[str, Any]) -> list[list[int]]:
    """The ids of every row of a tokenizer's batch that its attention mask leaves. Raises TextError."""
    if "input_ids" not in batch or "attention_mask" not in batch:
        raise TextError(f"a batch has input_ids and attention_mask; got {', '.join(map(str, batch)) or 'nothing'}")
    ids, mask = (np.asarray(batch[name]) for name in ("input_ids", "attention_mask"))
    if ids.ndim != 2 or ids.shape != mask.shape:
        raise TextError(
            f"input_ids has shape {list(ids.shape)} and attention_mask {list(mask.shape)}; expected two alike"
        )
    return [[int(token) for token in row[kept != 0]] for row, kept in zip(ids, mask, strict=True)]
