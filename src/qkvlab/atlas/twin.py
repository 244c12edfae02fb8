"""The twin: the same model with the entries of each weight matrix shuffled, as a measure of what needs no learning.

Sizes, norms, biases and the spread of every matrix's numbers stay; where they stand is drawn anew from the seed. What
a head of the twin scores, a head scores by position, mask and numbers' sizes alone. Matrices are shuffled as they are
kept (a native model's W_q and a live model's W_q hold the same numbers, but their twins are two draws).

Peak memory: the twin's own matrices, decoded, beside what the original holds, and one matrix's order while it is drawn.
The original is not touched.
"""

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import fields, replace
from functools import cached_property
from threading import Lock
from typing import Any
from zlib import crc32

import numpy as np

from .._shapes import Array, Float
from ..checkpoint.decode import read_array
from ..model import Model
from ..models.weights import LayerWeights, Matrix, Vector, Weights


def twin(model: Model, seed: int = 0) -> Model:
    """The model with each weight matrix's entries shuffled; the same seed gives the same twin."""
    return _NativeTwin(model, seed) if model.native else _live_twin(model, seed)


def _order(seed: int, name: str) -> np.random.Generator:
    """Draws of one matrix, which depend on the seed and its name alone."""
    return np.random.default_rng((seed, crc32(name.encode())))


def shuffled(array: Float[Array, "..."], seed: int, name: str) -> Float[Array, "..."]:
    """A copy with all its entries in a drawn order."""
    copy: np.ndarray = np.array(array, order="C")
    _order(seed, name).shuffle(copy.reshape(-1))
    return copy


class _NativeTwin(Model):
    """A native model that reads its matrices shuffled."""

    def __init__(self, model: Model, seed: int) -> None:
        spec = replace(model.spec, name=f"{model.spec.name}, weights shuffled (seed {seed})")
        super().__init__(
            spec, TwinWeights(model.weights, seed), replace(model.source, sha256=None, alias=None), model.checkpoint
        )
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
    """The weights of a native model, each matrix shuffled when it is first asked for, and kept."""

    def __init__(self, weights: Weights, seed: int) -> None:
        # no call up: what the original has checked is not checked again
        self.spec, self.layout, self._seed = weights.spec, weights.layout, seed
        self._tensors = weights._tensors
        self._futures, self._lock = {}, Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="qkvlab-twin")

    def _read_layer(self, layer: int) -> LayerWeights:
        own = super()._read_layer(layer)
        matrices = {
            field.name: shuffled(value, self._seed, f"{layer} {field.name}")
            for field in fields(own)
            if field.name.startswith("w_") and (value := getattr(own, field.name)) is not None
        }
        return replace(own, **matrices)

    def some(self, layer: int, fields: Collection[str]) -> dict[str, Any]:
        return {field: getattr(self.layer(layer), field) for field in fields}

    def embed(self, ids: Sequence[int]) -> Matrix:
        rows: Matrix = self.embedding[list(ids)]
        return rows

    def word_rows(self, some: slice) -> tuple[Matrix, Matrix]:
        return self.embedding[some], self.unembedding[some]

    @cached_property
    def embedding(self) -> Matrix:
        return self._matrix("embedding")

    @cached_property
    def unembedding(self) -> Matrix:
        return self._matrix("unembedding") if self.spec.untied else self.embedding

    @cached_property
    def positions(self) -> Matrix:
        return self._matrix("positions")

    @cached_property
    def token_type(self) -> Vector:
        row: Vector = self._matrix("token_types")[0]
        return row

    def _matrix(self, name: str) -> Matrix:
        """Read anew, so that the original keeps no more than it did."""
        matrix: Matrix = shuffled(read_array(self._tensors[name]), self._seed, name)
        return matrix


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
