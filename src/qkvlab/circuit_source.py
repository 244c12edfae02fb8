"""Where a circuit's weights come from: one layer's W_q, W_k, W_v and W_o at a time, of any model that gives them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ._shapes import Array, Float
from .circuit_measures import words_through
from .errors import CheckpointError, ConfigError, HeadError, UnsupportedError
from .models.weights import head_rows
from .spec import Head, Rotation

if TYPE_CHECKING:
    from collections.abc import Collection

    from .checkpoint.source import Progress
    from .model import Model


@runtime_checkable
class AttentionWeights(Protocol):
    """One layer, float32: W_q [head, d_model, d_head], W_k [kv_head, d_model, d_head], W_v [kv_head, d_model,
    d_value], W_o [head, d_value, d_model]; biases or None."""

    @property
    def w_q(self) -> Array: ...
    @property
    def w_k(self) -> Array: ...
    @property
    def w_v(self) -> Array: ...
    @property
    def w_o(self) -> Array: ...
    @property
    def b_q(self) -> Array: ...
    @property
    def b_k(self) -> Array: ...


@runtime_checkable
class CircuitSource(Protocol):
    """A model's attention weights, layer by layer; whatever keeps a layer no longer than it is asked for can be read
    at any size."""

    @property
    def name(self) -> str: ...
    @property
    def n_head(self) -> int: ...
    @property
    def n_kv_head(self) -> int: ...
    @property
    def d_head(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def qk_norm(self) -> bool: ...
    @property
    def rotation(self) -> Rotation | None: ...
    @property
    def attention_layers(self) -> tuple[int, ...]: ...
    @property
    def mla(self) -> bool: ...
    def layer(self, layer: int) -> AttentionWeights: ...


@runtime_checkable
class WordSource(Protocol):
    """A source that knows the way from word to word, too, which a copying score needs."""

    def why_no_words(self) -> str | None:
        """Why there is no way from word to word; None where there is one."""
        ...

    def word_circuit(self) -> Array:
        """Uᵀ E, [d_model, d_model]: from the embedding to the output head, the final norm's gain within."""
        ...

    def through(self, words: Array, layer: int) -> Array:
        """The same with the gains of the norms before attention, and of one after it, in a layer."""
        ...


@runtime_checkable
class RotationByLayer(Protocol):
    """A source whose layers do not all turn alike."""

    def rotation_of(self, layer: int) -> Rotation | None: ...


@dataclass(frozen=True)
class NativeLayer:
    """A layer of an opened model, W_o cut by head."""

    w_q: Array
    w_k: Array
    w_v: Array
    w_o: Array
    b_q: Array = None
    b_k: Array = None


class NativeSource:
    """An opened model as a source of circuits; layers that no trace has read yet are read and not kept."""

    mla = False

    def __init__(self, model: "Model") -> None:
        spec = model.spec
        self.model = model
        self.name, self.family = spec.name, spec.family
        self.n_head, self.n_kv_head = spec.n_head, spec.n_kv_head
        self.d_head, self.d_model = spec.d_head, spec.d_model
        self.qk_norm, self.rotation = spec.qk_norm, spec.rotation
        self.attention_layers = tuple(range(spec.n_layer))

    def layer(self, layer: int) -> NativeLayer:
        w = self.model.weights.some(layer, ("w_q", "w_k", "w_v", "w_o", "b_q", "b_k"))
        tiles = w.pop("w_o")
        w_o = np.stack([head_rows(tiles, head, self.d_head) for head in range(self.n_head)])
        return NativeLayer(w_o=w_o, **w)

    def why_no_words(self) -> str | None:
        if self.model.spec.has_output:
            return None
        return f"{self.name} has no output head, so no head can be said to copy a word"

    def word_circuit(self) -> Float[Array, "d_model d_model"]:
        """Uᵀ E with the final norm's gain; a LayerNorm's centring is taken in, of what it reads and what it is told."""
        spec, weights = self.model.spec, self.model.weights
        words = words_through(weights.word_rows, spec.n_vocab, spec.d_model) * weights.vector("final_norm")[:, None]
        if self.family == "gpt2":
            words = words - words.mean(axis=0)
            words = words - words.mean(axis=1, keepdims=True)
        return words

    def through(self, words: Float[Array, "d_model d_model"], layer: int) -> Float[Array, "d_model d_model"]:
        gained: Array = words * self.model.weights.some(layer, ["attn_norm"])["attn_norm"]
        return gained


def open_circuit_source(
    name: str | Path, *, progress: "Progress | None" = None, allow_config: "Collection[str]" = ()
) -> CircuitSource:
    """The attention weights of a model by alias, path or hub name: of any family that has a row in the tables. What is
    not on this machine is read from the hub by byte ranges. Raises as `open_model` and `open_attention` do."""
    from .checkpoint.attention import open_attention
    from .checkpoint.source import HUB_NAME, local, resolve
    from .model import is_native, open_source

    found = local(name)
    if found is None and HUB_NAME.fullmatch(str(name)):
        return open_attention(name, progress=progress)
    source = found or resolve(name, progress=progress)
    if not is_native(source.path):
        return open_attention(source.path, progress=progress)
    try:
        return NativeSource(open_source(source, allow_config=allow_config))
    except UnsupportedError as error:
        if isinstance(error, ConfigError):
            raise
        return open_attention(source.path, progress=progress)


def rotation_at(source: CircuitSource, layer: int) -> Rotation | None:
    """The rotation of a layer; of every layer alike, unless the source tells them apart by `rotation_of(layer)`."""
    if isinstance(source, RotationByLayer):
        return source.rotation_of(layer)
    return source.rotation


def check_plain(source: CircuitSource) -> None:
    """Raise UnsupportedError where a head has no W_q, W_k, W_v of its own to multiply."""
    if source.mla:
        raise UnsupportedError(
            f"{source.name} makes its keys and values from one latent with a norm between (MLA), so none of its heads "
            "has one matrix W_q W_kᵀ or W_v W_o"
        )


def read_layer(source: CircuitSource, layer: int) -> AttentionWeights:
    """One layer's weights. Raises CheckpointError where one of them is not finite: no measure of it means anything."""
    w = source.layer(layer)
    for name in ("w_q", "w_k", "w_v", "w_o"):
        for number, matrix in enumerate(getattr(w, name)):
            if not np.isfinite(matrix).all():
                raise CheckpointError(
                    f"{source.name}: {name} of layer {layer}, head {number}, holds numbers not finite"
                )
    return w


def why_no_qk(source: CircuitSource) -> str | None:
    """Why no matrix W_q W_kᵀ gives this model's scores; None where one does."""
    if not source.qk_norm:
        return None
    return f"{source.name} normalises q and k of each head before they meet, so its scores come from no matrix W_q W_kᵀ"


def check_qk(source: CircuitSource) -> None:
    """Raise UnsupportedError where no matrix W_q W_kᵀ gives the scores."""
    check_plain(source)
    reason = why_no_qk(source)
    if reason is not None:
        raise UnsupportedError(reason)


def words_of(source: CircuitSource) -> WordSource | None:
    """The way from word to word of this source: its own, or that of the files it lies in."""
    from .checkpoint.attentionfile import AttentionFile
    from .file_words import FileWords

    if isinstance(source, WordSource):
        return source
    return FileWords(source) if isinstance(source, AttentionFile) else None


def why_no_words(source: CircuitSource) -> str | None:
    """Why no head of this source has a copying score; None where they have."""
    words = words_of(source)
    if words is not None:
        return words.why_no_words()
    return f"{source.name} is read here without its vocabulary, so no head can be said to copy a word"


def source_head(source: CircuitSource, address: "Head | tuple[int, int] | str") -> Head:
    """Read a head's address and check that the source has it. Raises HeadError."""
    head = Head.parse(address)
    layers = source.attention_layers
    if head.layer not in layers or not 0 <= head.head < source.n_head:
        contiguous = layers == tuple(range(layers[0], layers[-1] + 1))
        listed = f"{layers[0]} to {layers[-1]}" if contiguous else ", ".join(map(str, layers))
        raise HeadError(
            f"there is no head {head}: {source.name} has attention in layers {listed} "
            f"with query heads 0 to {source.n_head - 1}"
        )
    return head
