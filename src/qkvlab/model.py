"""Opening a model: a name → files → specification, weights and tokenizer, ready to trace."""

import json
import weakref
from collections import deque
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from ._shapes import Array, Float
from .checkpoint import gguf, safetensors
from .checkpoint.config import spec_from_config
from .checkpoint.gguf_config import spec_from_gguf
from .checkpoint.layouts import LAYOUTS, Layout, plain_names
from .checkpoint.source import DEFAULT, Progress, Source, resolve
from .checkpoint.tensors import Checkpoint
from .edits import Edit
from .errors import CheckpointError, SourceError, TextError, TokenError, UnsupportedError
from .models import Weights, unembed
from .recording import first_rows
from .spec import Head, ModelSpec
from .trace import Trace

if TYPE_CHECKING:
    from .text import Tokenizer, Tokens

REMEMBERED = 8
"""How many of the traces still in use somewhere are asked for rows that a new one can share."""


def read_checkpoint(path: Path) -> Checkpoint:
    """The header of a file or folder, whichever of the two formats it is in. Raises CheckpointError."""
    return gguf.read_header(path) if path.suffix == ".gguf" else safetensors.read_header(path)


def read_spec(checkpoint: Checkpoint, name: str, allow: Collection[str] = ()) -> tuple[ModelSpec, Layout]:
    """What model a checkpoint holds and how it stores it. Raises ConfigError or UnsupportedError."""
    if checkpoint.format == "gguf":
        spec = spec_from_gguf(checkpoint, name=name, allow=allow)
        return spec, LAYOUTS["gguf", checkpoint.metadata["general.architecture"]]
    if not checkpoint.metadata:
        raise CheckpointError(f"{checkpoint.path.name}: there is no config.json beside it, which says how to read it")
    model_type = checkpoint.metadata.get("model_type")
    family = {"gpt2": "gpt2", "bert": "bert", "roberta": "bert"}.get(str(model_type), "llama")
    layout = LAYOUTS["safetensors", family]
    names = plain_names(layout, checkpoint.tensors)
    return spec_from_config(checkpoint.metadata, names, name=name, allow=allow), layout


def open_model(
    name: str | Path = DEFAULT, *, progress: Progress | None = None, allow_config: Collection[str] = ()
) -> "Model":
    """Open a model by alias (`smollm2`, `minilm`), path (a .gguf or .safetensors file, a Hugging Face folder) or
    hub name (`org/name`).

    An alias that is not on this machine yet is downloaded; `progress(done, total)` is told, in bytes.
    Raises SourceError, CheckpointError, UnsupportedError or ConfigError, always one line.
    """
    if not isinstance(name, str | Path):
        raise SourceError(f"a model is opened by name or path; got {type(name).__name__}")
    source = resolve(name, progress=progress)
    checkpoint = read_checkpoint(source.path)
    spec, layout = read_spec(checkpoint, source.name, allow_config)
    return Model(spec, Weights(spec, checkpoint, layout), source, checkpoint)


class Model:
    """A real model, opened: its specification, its weights (float32, decoded when needed) and its tokenizer."""

    def __init__(self, spec: ModelSpec, weights: Weights, source: Source, checkpoint: Checkpoint) -> None:
        self.spec = spec
        self.weights = weights
        self.source = source
        self.checkpoint = checkpoint
        self.known_mean_z: Array | None = None
        self._recent: deque[weakref.ref[Trace]] = deque(maxlen=REMEMBERED)
        self._lock = Lock()

    def __repr__(self) -> str:
        spec = self.spec
        return f"<Model {spec.name}: {spec.n_layer} layers, {spec.n_head} query heads on {spec.n_kv_head} K/V heads>"

    @property
    def badge(self) -> str:
        """What every result says it runs on: the model, its file's number type, and any key that was passed over."""
        passed = "".join(f" · {key} ignored" for key in self.spec.allowed_config)
        return self.spec.name + passed

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The model's own tokenizer. Raises UnsupportedError where it is none we read; token ids still work."""
        from . import text

        folder = self.source.path if self.source.path.is_dir() else self.source.path.parent
        if self.checkpoint.format == "gguf":
            return text.from_gguf(self.checkpoint.metadata)
        if (folder / "tokenizer.json").is_file():
            return text.from_tokenizer_json(folder / "tokenizer.json")
        if (folder / "vocab.txt").is_file() and self.spec.family == "bert":
            return text.from_vocab_txt(folder / "vocab.txt", lower=_lower_case(folder / "tokenizer_config.json"))
        raise UnsupportedError(
            f"{self.spec.name}: there is no tokenizer.json beside the weights, so text cannot be read; "
            "put one there, or trace token ids"
        )

    def word(self, token: int) -> str:
        """How an entry of the vocabulary prints: " Italian"; #id where there is no tokenizer to ask."""
        try:
            return self.tokenizer.word(token)
        except UnsupportedError:
            return f"#{token}"

    def encode(self, text: str, *, special: bool = True) -> "Tokens":
        """The text as this model's tokens, with character offsets.

        Raises TextError if there is nothing to trace, or more than the model was made for.
        """
        tokens = self.tokenizer.encode(text, special)
        self._check_length(len(tokens), f"a text of {len(text):,} characters")
        return tokens

    def trace(
        self,
        text: str | None = None,
        *,
        ids: Sequence[int] | None = None,
        edits: Sequence[Edit] = (),
        positions: Literal["last", "all"] = "last",
        special: bool = True,
    ) -> Trace:
        """Follow a text (or token `ids`) through the model. Nothing runs until the trace is asked for something.

        `edits` change the run (see `qkvlab.edits`); `positions` says whether `logits` are the last token's or all;
        `special=False` leaves out the special tokens the tokenizer adds. Rows that an earlier trace still in use
        has in common with this one are shared, not computed again.
        Raises TextError, TokenError or EditError.
        """
        if (text is None) == (ids is None):
            raise TextError("a trace needs either a text or token ids")
        tokens = self.encode(text, special=special) if text is not None else None
        chosen = tokens.ids if tokens is not None else tuple(ids if ids is not None else ())
        if tokens is None:
            self._check_ids(chosen)
        for edit in edits:
            edit.check(self.spec, len(chosen))
        trace = Trace(self, chosen, tokens, edits, positions, self._best_base(chosen, edits))
        with self._lock:
            self._recent.append(weakref.ref(trace))
        return trace

    def w_o(self, head: Head) -> Float[Array, "d_head d_model"]:
        """The output projection of one query head, [d_head, d_model]."""
        return self.weights.layer(head.layer).head_w_o(head.head, self.spec.d_head)

    def words(self, direction: Float[Array, "rows d_model"]) -> Float[Array, "rows vocab"]:
        """What vectors written into the residual say directly to the output head: logits, up to each row's scale.

        Through the final norm's gain, with its scale left at 1 (LayerNorm's centring included, its bias not).
        Raises UnsupportedError for a model without an output head.
        """
        if not self.spec.has_output:
            raise UnsupportedError(f"{self.spec.name} has no output head, so its values cannot be read as words")
        if self.spec.family == "gpt2":
            direction = direction - direction.mean(-1, keepdims=True)
        return unembed(self.weights, direction * self.weights.vector("final_norm"))

    def mean_z(self, layer: int) -> Float[Array, "head d_head"]:
        """Each head's mean blend over the reference text, first position left out, [head, d_head]."""
        from .reference import mean_z

        return mean_z(self)[layer]

    def _best_base(self, ids: Sequence[int], edits: Sequence[Edit]) -> Trace | None:
        with self._lock:
            alive = [trace for ref in self._recent if (trace := ref()) is not None]

        def shared(trace: Trace) -> int:
            return sum(first_rows(self.spec, trace.ids, trace.edits, trace.layers_done, ids, edits))

        best = max(alive, key=shared, default=None)
        return best if best is not None and shared(best) else None

    def _check_length(self, n_token: int, what: str) -> None:
        if n_token == 0:
            raise TextError("the text is empty; give at least one character")
        if n_token > self.spec.n_context:
            raise TextError(
                f"{what} is {n_token:,} tokens; {self.spec.name} was made for {self.spec.n_context:,} at most"
            )

    def _check_ids(self, ids: Sequence[int]) -> None:
        self._check_length(len(ids), "the list of ids")
        for at, token in enumerate(ids):
            if not 0 <= token < self.spec.n_vocab:
                raise TokenError(f"id {token} at #{at} is not in the vocabulary of 0 to {self.spec.n_vocab - 1}")


def _lower_case(settings: Path) -> bool:
    """do_lower_case of a tokenizer_config.json; true where it does not say (BERT's own default)."""
    try:
        found = json.loads(settings.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return bool(found.get("do_lower_case", True)) if isinstance(found, dict) else True
