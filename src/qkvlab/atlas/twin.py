"""The twin: the same model with the entries of each weight matrix shuffled, as a measure of what needs no learning.

Sizes, norms, biases and the spread of every matrix's numbers stay; where they stand is drawn anew from the seed. What
a head of the twin scores, a head scores by position, mask and numbers' sizes alone. Matrices are shuffled as they are
kept (a native model's W_q and a live model's W_q hold the same numbers, but their twins are two draws).

Peak memory: the twin's own matrices, decoded, beside what the original holds, and one matrix's order while it is drawn.
The original is not touched.
"""

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import fields, replace
from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np

from .._shapes import Array, Float
from ..checkpoint.decode import read_array
from ..model import Model
from ..models.weights import LayerWeights, Weights


def twin(model: Model, seed: int = 0) -> Model:
    """The model with each weight matrix's entries shuffled; the same seed gives the same twin."""
    return _NativeTwin(model, seed) if model.native else _live_twin(model, seed)


def _order(seed: int, name: str) -> np.random.Generator:
    """Draws of one matrix, which depend on the seed and its name alone."""
    return np.random.default_rng((seed, crc32(name.encode())))


def shuffled(array: Float[Array, "..."], seed: int, name: str) -> Float[Array, "..."]:
    """A copy with all its entries in a drawn order."""
    copy = np.array(array, order="C")
    _order(seed, name).shuffle(copy.reshape(-1))
    return copy


class _NativeTwin(Model):
    """A native model that reads its matrices shuffled."""

    def __init__(self, model: Model, seed: int) -> None:
        spec = replace(model.spec, name=f"{model.spec.name}, weights shuffled (seed {seed})")
        weights: Any = TwinWeights(model.weights, seed)
        super().__init__(spec, weights, replace(model.source, sha256=None, alias=None), model.checkpoint)
        self._of = model

    @cached_property
    def tokenizer(self) -> Any:
        return self._of.tokenizer

    def mean_z(self, layer: int) -> Float[Array, "head d_head"]:
        """Over the reference text, computed here: the cache knows models by their files, and the twin has none."""
        from ..reference import computed_mean_z

        if self.known_mean_z is None:
            self.known_mean_z = computed_mean_z(self)
        means: np.ndarray = self.known_mean_z[layer]
        return means


class TwinWeights(Weights):
    """What a forward pass asks of weights, each matrix shuffled when it is first asked for, and kept."""

    def __init__(self, weights: Weights, seed: int) -> None:
        self._own, self._seed = weights, seed
        self.spec, self.layout = weights.spec, weights.layout
        self._layers: dict[int, LayerWeights] = {}

    def prefetch(self, layers: Any) -> None:
        """Nothing to do: layers are made when asked for."""

    def layer(self, layer: int) -> LayerWeights:
        if layer not in self._layers:
            own = self._own._read_layer(layer)
            matrices = {}
            for field in fields(own):
                value = getattr(own, field.name)
                if value is not None and field.name.startswith("w_"):
                    matrices[field.name] = shuffled(value, self._seed, f"{layer} {field.name}")
            self._layers[layer] = replace(own, **matrices)
        return self._layers[layer]

    def some(self, layer: int, fields: Collection[str]) -> dict[str, Any]:
        return {field: getattr(self.layer(layer), field) for field in fields}

    def vector(self, field: str) -> Array:
        return self._own.vector(field)

    def embed(self, ids: Sequence[int]) -> Array:
        return self.embedding[list(ids)]

    def word_rows(self, some: slice) -> tuple[Array, Array]:
        return self.embedding[some], self.unembedding[some]

    @cached_property
    def embedding(self) -> Array:
        return self._matrix("embedding")

    @cached_property
    def unembedding(self) -> Array:
        return self._matrix("unembedding") if self._own.spec.untied else self.embedding

    @cached_property
    def positions(self) -> Array:
        return self._matrix("positions")

    @cached_property
    def token_type(self) -> Array:
        return self._matrix("token_types")[0]

    def _matrix(self, name: str) -> Array:
        """Read anew, so that the original keeps no more than it did."""
        return shuffled(read_array(self._own._tensors[name]), self._seed, name)


def _live_twin(model: Any, seed: int) -> Model:
    """A copy of a live model, every parameter of two axes or more shuffled in place; of three or more (experts), each
    matrix by itself. Weights that are tied stay tied."""
    import torch

    from ..live import open_live

    copied = deepcopy(model.hf)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            if parameter.ndim < 2 or not parameter.is_floating_point():
                continue
            draws = torch.Generator().manual_seed(int(_order(seed, name).integers(2**62)))
            for matrix in [parameter] if parameter.ndim == 2 else parameter.unbind(0):
                flat = matrix.reshape(-1)
                matrix.copy_(flat[torch.randperm(flat.numel(), generator=draws).to(flat.device)].reshape(matrix.shape))
    name = f"{model.spec.name}, weights shuffled (seed {seed})"
    attention = model.attention if len(model.family.stacks) > 1 else None
    return open_live(copied, model.given_tokenizer, attention=attention, name=name)
