"""Opening a model: a name → files → specification, weights and tokenizer, ready to trace."""

import json
import weakref
from collections import deque
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._shapes import Array, Float
from .checkpoint.config import CONFIG_READERS, spec_from_config
from .checkpoint.gguf_config import spec_from_gguf
from .checkpoint.layouts import LAYOUTS, Layout, plain_names
from .checkpoint.source import DEFAULT, Progress, Source, resolve
from .checkpoint.stores import read_checkpoint
from .checkpoint.tensors import Checkpoint
from .edits import Edit, checked
from .errors import CheckpointError, ConfigError, SourceError, TextError, TokenError, UnsupportedError, one_of, shown
from .models import Weights, unembed
from .recording import first_rows
from .spec import Head, ModelSpec, is_whole
from .text import Special, Tokens
from .trace import Trace

if TYPE_CHECKING:
    from .text import Tokenizer

POSITIONS = ("last", "all")
REMEMBERED = 8
"""How many of the traces still in use somewhere are asked for rows that a new one can share."""


def read_spec(checkpoint: Checkpoint, name: str, allow: Collection[str] = ()) -> tuple[ModelSpec, Layout]:
    """What model a checkpoint holds and how it stores it. Raises ConfigError or UnsupportedError."""
    if isinstance(allow, str):
        raise ConfigError(f"allow_config is the text {shown(allow)}; expected a list of keys")
    if checkpoint.format == "gguf":
        spec = spec_from_gguf(checkpoint, name=name, allow=allow)
        return spec, LAYOUTS["gguf", checkpoint.metadata["general.architecture"]]
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    if not checkpoint.metadata and not (folder / "config.json").is_file():
        raise CheckpointError(f"{checkpoint.path.name}: there is no config.json beside it, which says how to read it")
    model_type = checkpoint.metadata.get("model_type")
    family = {"gpt2": "gpt2", "bert": "bert", "roberta": "bert"}.get(str(model_type), "llama")
    layout = LAYOUTS["safetensors", family]
    names = plain_names(layout, checkpoint.tensors)
    return spec_from_config(checkpoint.metadata, names, name=name, allow=allow), layout


def open_model(
    name: Any = DEFAULT,
    tokenizer: Any = None,
    *,
    attention: str | None = None,
    progress: Progress | None = None,
    allow_config: Collection[str] = (),
) -> "Model":
    """Open a model by alias (`smollm2`, `minilm`), path (a .gguf or .safetensors file, a Hugging Face folder) or
    hub name (`org/name`); or a live transformers model, with its tokenizer if texts are to be traced.

    An alias that is not on this machine yet is downloaded; `progress(done, total)` is told, in bytes. A folder of
    a family that the native engine does not compute is opened through transformers (the extra of that name).
    `attention` says which one head addresses mean in a model that has several: encoder, decoder (default) or cross.
    Raises SourceError, CheckpointError, UnsupportedError, ConfigError or MissingExtraError, always one line.
    """
    if hasattr(name, "forward") and hasattr(name, "config"):
        from .live import open_live

        return open_live(name, tokenizer, attention=attention)
    if not isinstance(name, str | Path):
        raise SourceError(
            f"a model is opened by name or path, or is a live transformers model; got {type(name).__name__}"
        )
    return open_source(resolve(name, progress=progress), tokenizer, attention=attention, allow_config=allow_config)


def is_native(path: Path) -> bool:
    """Whether the native engine is to open these files: all but a folder whose config.json names another family."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    if path.suffix == ".gguf" or not config.is_file():
        return True
    try:
        values = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True  # its reader says what is wrong
    kind = values.get("model_type") if isinstance(values, dict) else None
    return not isinstance(kind, str) or not kind or kind in CONFIG_READERS


def open_source(
    source: Source, tokenizer: Any = None, *, attention: str | None = None, allow_config: Collection[str] = ()
) -> "Model":
    """Open the model in these local files, by the native engine if it computes the family, else by transformers.

    Raises CheckpointError, UnsupportedError, ConfigError or MissingExtraError.
    """
    if not is_native(source.path):
        from .live_folder import open_folder

        return open_folder(source, tokenizer, attention=attention)
    if attention is not None:
        raise UnsupportedError(f"{source.name} has one attention; leave attention= out")
    checkpoint = read_checkpoint(source.path)
    spec, layout = read_spec(checkpoint, source.name, allow_config)
    return Model(spec, Weights(spec, checkpoint, layout), source, checkpoint)


class Model:
    """A real model, opened: its specification, its weights (float32, decoded when needed) and its tokenizer."""

    native = True
    """Whether its forward pass is computed here, and not by transformers."""
    gives_raw = True
    """Whether q and k are known before their rotation."""

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

    def alone(self) -> "Model":
        """The model as one text is enough for it: itself."""
        return self

    @property
    def centred(self) -> bool:
        """Whether the final norm takes the mean away (LayerNorm)."""
        return self.spec.family == "gpt2"

    @property
    def rotates(self) -> bool:
        """Whether q and k are turned by their positions, in whatever way."""
        return self.spec.rotation is not None

    @property
    def scale(self) -> float:
        """What q · k is multiplied by in every layer."""
        return float(self.spec.d_head**-0.5)

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

    def encode(self, text: str, *, special: Special = True) -> "Tokens":
        """The text as this model's tokens, with character offsets.

        Raises TextError if there is nothing to trace, or more than the model was made for.
        """
        tokens = self.tokenizer.encode(text, special)
        self._check_length(len(tokens), f"a text of {len(text):,} characters")
        return tokens

    def trace(
        self,
        text: str | Tokens | None = None,
        *,
        ids: Sequence[int] | np.ndarray | None = None,
        edits: Sequence[Edit] = (),
        positions: Literal["last", "all"] = "last",
        special: Special = True,
        near: Sequence[Trace] = (),
    ) -> Trace:
        """Follow a text (as typed, or as the tokens `encode` made of it; or token `ids`) through the model. Nothing
        runs until the trace is asked for something.

        `edits` change the run (see `qkvlab.edits`); `positions` says whether `logits` are the last token's or all;
        `special=False` leaves out the special tokens the tokenizer adds, `special="start"` puts the start token it
        names in front where it adds none. Rows that an earlier trace still in use
        (one of the last few, or of `near`) has in common with this one are shared, not computed again.
        Raises TextError, TokenError, EditError or UnsupportedError.
        """
        tokens, chosen = self._chosen(text, ids, positions, special)
        edits = checked(edits, self.spec, len(chosen))
        trace = Trace(self, chosen, tokens, edits, positions, self._best_base(chosen, edits, near))
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
        if self.centred:
            direction = direction - direction.mean(-1, keepdims=True)
        return unembed(self.weights, direction * self.weights.vector("final_norm"))

    def mean_z(self, layer: int) -> Float[Array, "head d_head"]:
        """Each head's mean blend over the reference text, first position left out, [head, d_head]."""
        from .reference import mean_z

        return mean_z(self)[layer]

    def _chosen(
        self, text: str | Tokens | None, ids: Any, positions: Any, special: Special
    ) -> tuple[Tokens | None, tuple[int, ...]]:
        """What a trace is asked of: the tokens of a text, if it was one, and the ids."""
        if (text is None) == (ids is None):
            raise TextError("a trace needs either a text or token ids")
        if not isinstance(positions, str) or positions not in POSITIONS:
            raise UnsupportedError(one_of("positions", positions, POSITIONS))
        tokens = text if isinstance(text, Tokens) else self.encode(text, special=special) if text is not None else None
        return tokens, self._read_ids(tokens.ids if tokens is not None else ids)

    def _best_base(self, ids: Sequence[int], edits: Sequence[Edit], near: Sequence[Trace]) -> Trace | None:
        with self._lock:
            recent = [trace for ref in self._recent if (trace := ref()) is not None]
        alive = [trace for trace in dict.fromkeys((*near, *recent)) if trace.model is self]

        shared = [sum(first_rows(self.spec, trace.ids, trace.edits, trace.layers_done, ids, edits)) for trace in alive]
        most = max(shared, default=0)
        return alive[shared.index(most)] if most else None

    def _check_length(self, n_token: int, what: str) -> None:
        if n_token == 0:
            raise TextError("the text is empty; give at least one character")
        if n_token > self.spec.n_context:
            raise TextError(
                f"{what} is {n_token:,} tokens; {self.spec.name} was made for {self.spec.n_context:,} at most"
            )

    def _read_ids(self, ids: Any) -> tuple[int, ...]:
        """Ids from a list, a NumPy array or any other sequence, each a whole number of the vocabulary."""
        listed = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(listed, Sequence) or isinstance(listed, str | bytes | bytearray):
            raise TokenError(f"the ids are {shown(ids)}; expected a list of whole numbers")
        self._check_length(len(listed), "the list of ids")
        for at, token in enumerate(listed):
            if not is_whole(token) or not 0 <= token < self.spec.n_vocab:
                last = self.spec.n_vocab - 1
                raise TokenError(
                    f"id {shown(token)} at #{at} is not in the vocabulary: a whole number from 0 to {last}"
                )
        return tuple(map(int, listed))


def _lower_case(settings: Path) -> bool:
    """do_lower_case of a tokenizer_config.json; true where it does not say (BERT's own default)."""
    try:
        found = json.loads(settings.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return bool(found.get("do_lower_case", True)) if isinstance(found, dict) else True
