"""The way from word to word of a checkpoint, read from its files: what a copying score needs besides W_v and W_o."""

import numpy as np

from ._shapes import Array, Float
from .checkpoint.attention import AttentionFile
from .checkpoint.stores import Reading
from .checkpoint.tensors import TensorInfo
from .checkpoint.wordnames import WORD_NAMES, WordNames
from .circuit_measures import words_through
from .errors import CheckpointError


class FileWords:
    """The vocabulary of an AttentionFile and the gains of the norms it meets, all at scale 1."""

    def __init__(self, file: AttentionFile) -> None:
        self.file = file
        self.names = WORD_NAMES.get(file.family, WordNames())

    def why_no_words(self) -> str | None:
        """Why there is no way from word to word; None where there is one."""
        file, names = self.file, self.names
        if file.table.mask == "bidirectional":
            return f"{file.name} has no output head, so no head can be said to copy a word"
        if file.store.format == "gguf" or file.family not in WORD_NAMES:
            return f"{file.name} is read here without its vocabulary, so no head can be said to copy a word"
        for key, value in names.only:
            if file.config.get(key, value) != value:
                return f"{file.name} has {key} {file.config[key]}, so what a word's embedding becomes is not known here"
        if self._named(names.embedding) is None or self._named(names.final) is None:
            return f"{file.name} holds no {names.embedding} or no {names.final}, so no head can be said to copy a word"
        if self._width(names.embedding) != file.d_model:
            return f"{file.name} widens its embeddings to the residual, so no head can be said to copy a word"
        if self._head() is None:
            return f"{file.name} has no output head, so no head can be said to copy a word"
        return None

    def word_circuit(self) -> Float[Array, "d_model d_model"]:
        """Uᵀ E with the final norm's gain, and the embedding's norm where there is one; centring taken in."""
        names, embedding, head = self.names, self._matrix(self.names.embedding), self._head()
        assert head is not None
        n_vocab = min(embedding.shape[0], head.shape[0])

        def rows(some: slice) -> tuple[Array, Array]:
            reading = Reading(self.file.store)
            return tuple(reading.rows(info, some.start, some.stop) for info in (embedding, head))  # type: ignore[return-value]

        words = words_through(rows, n_vocab, self.file.d_model) * self._gain(names.final)[:, None]
        if names.centred:
            words = words - words.mean(axis=0)
            words = words - words.mean(axis=1, keepdims=True)
        if names.embedded:
            words = words * self._gain(names.embedded)
            words = words - words.mean(axis=1, keepdims=True)
        return words

    def through(self, words: Float[Array, "d_model d_model"], layer: int) -> Float[Array, "d_model d_model"]:
        """The same as one layer reads it, and as it is added: with the gains of the norms around attention."""
        read = next((name for name in self.names.read if self._named(name, layer) is not None), None)
        if read is not None:
            words = words * self._gain(read, layer)
        elif self.names.read:
            raise CheckpointError(f"{self.file.name}: layer {layer} has no norm {self.names.read[-1].format(i=layer)}")
        return words * self._gain(self.names.written, layer)[:, None] if self.names.written else words

    def _named(self, name: str, layer: int = 0) -> str | None:
        full = f"{self.file.prefix}{name.format(i=layer)}.weight"
        return full if full in self.file.store.names else None

    def _matrix(self, name: str, layer: int = 0) -> TensorInfo:
        full = self._named(name, layer)
        if full is None:
            raise CheckpointError(f"{self.file.name}: the tensor {name.format(i=layer) + '.weight'!r} is missing")
        return self.file.store.info(full)

    def _width(self, name: str) -> int:
        return self._matrix(name).shape[-1]

    def _head(self) -> TensorInfo | None:
        """The output head: its own, or the embedding's where they are one."""
        store = self.file.store
        places = ("", self.file.prefix, self.file.prefix.removesuffix("model."))
        for name in (f"{before}{head}.weight" for head in self.names.heads for before in places):
            if name in store.names:
                return store.info(name)
        tied = store.metadata.get("tie_word_embeddings", self.file.config.get("tie_word_embeddings", self.names.tied))
        return self._matrix(self.names.embedding) if tied else None

    def _gain(self, name: str, layer: int = 0) -> Float[Array, " d_model"]:
        info = self._matrix(name, layer)
        if info.shape != (self.file.d_model,):
            raise CheckpointError(
                f"{self.file.name}: {info.name!r} has shape {list(info.shape)}; expected [{self.file.d_model}]"
            )
        gain: Array = Reading(self.file.store).vector(info, 0, info.shape[0]) + np.float32(self.names.gain)
        return gain
