"""A model's weights as canonical float32 arrays: checked against the specification at once, decoded when needed."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from einops import rearrange

from .._memory import keep_freed_memory
from ..checkpoint.decode import read_array, read_rows, read_tiles, read_tiles_in_out
from ..checkpoint.layouts import Layout, Row, plain_names
from ..checkpoint.tensors import Checkpoint, TensorInfo
from ..errors import CheckpointError, ConfigError
from ..spec import ModelSpec

Vector = np.ndarray[Any, np.dtype[np.float32]]
Matrix = np.ndarray[Any, np.dtype[np.float32]]
Tiles = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class LayerWeights:
    """One layer. W_q, W_k, W_v are [head, d_model, d_head]; other matrices [tile, d_in, width]; None: not there."""

    attn_norm: Vector
    w_q: Tiles
    w_k: Tiles
    w_v: Tiles
    w_o: Tiles
    mlp_norm: Vector
    w_up: Tiles
    w_down: Tiles
    b_q: Matrix | None = None
    b_k: Matrix | None = None
    b_v: Matrix | None = None
    b_o: Vector | None = None
    q_norm: Vector | None = None
    k_norm: Vector | None = None
    attn_norm_bias: Vector | None = None
    mlp_norm_bias: Vector | None = None
    w_gate: Tiles | None = None
    b_gate: Vector | None = None
    b_up: Vector | None = None
    b_down: Vector | None = None

    def head_w_o(self, head: int, d_head: int) -> Matrix:
        """W_o of one head, [d_head, d_model]."""
        return head_rows(self.w_o, head, d_head)


def head_rows(w_o: Tiles, head: int, d_head: int) -> Matrix:
    """The rows of W_o, kept in tiles of columns, that one head's blend multiplies, [d_head, d_model]."""
    rows: Matrix = rearrange(w_o[:, head * d_head : (head + 1) * d_head], "tile d width -> d (tile width)")
    return rows


def tile_width(d_out: int) -> int:
    """How many columns of a matrix to keep side by side: the divisor of d_out nearest to 32, if any is near."""
    near = sorted(range(16, 129), key=lambda width: abs(width - 32))
    return next((width for width in near if d_out % width == 0), d_out)


class Weights:
    """The weights of one checkpoint. Layers are decoded on first use, two at a time, and kept."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, layout: Layout) -> None:
        keep_freed_memory()
        self.spec = spec
        self.layout = layout
        self._tensors = check_tensors(spec, checkpoint, layout)
        self._futures: dict[int, Future[LayerWeights]] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="qkvlab-weights")

    def prefetch(self, layers: Iterable[int]) -> None:
        """Start decoding these layers in the background, in this order."""
        with self._lock:
            for layer in layers:
                if layer not in self._futures:
                    self._futures[layer] = self._pool.submit(self._read_layer, layer)

    def layer(self, layer: int) -> LayerWeights:
        """One layer's weights, decoded now if they were not yet."""
        if layer not in self._futures:
            self.prefetch([layer])
        return self._futures[layer].result()

    def some(self, layer: int, fields: Collection[str]) -> dict[str, Any]:
        """Only these fields of a layer, by name; what was not decoded before is read now and not kept."""
        if layer in self._futures:
            known = self.layer(layer)
            return {field: getattr(known, field) for field in fields}
        return dict.fromkeys(fields) | self._read_fields(layer, fields)

    def embed(self, ids: Sequence[int]) -> Matrix:
        """The embedding rows of these tokens, [query, d_model]; only their bytes are read."""
        if "embedding" in self.__dict__:
            return self.embedding[list(ids)]
        rows: Matrix = read_rows(self._tensors["embedding"], list(ids))
        return rows

    def vector(self, field: str) -> Vector:
        """A vector of the model itself: `final_norm`, `embed_norm_bias`, ..."""
        if field not in self._vectors:
            self._vectors[field] = read_array(self._tensors[field])
        return self._vectors[field]

    @cached_property
    def _vectors(self) -> dict[str, Vector]:
        return {}

    @cached_property
    def embedding(self) -> Matrix:
        """All embeddings, [vocab, d_model]."""
        return read_array(self._tensors["embedding"])

    @cached_property
    def unembedding(self) -> Matrix:
        """The output head, [vocab, d_model]: logits = final · unembeddingᵀ."""
        return read_array(self._tensors["unembedding"]) if self.spec.untied else self.embedding

    def word_rows(self, some: slice) -> tuple[Matrix, Matrix]:
        """These words' embeddings and unembeddings, [some, d_model] each; read now, not kept."""
        rows = [read_rows(self._tensors[name], some) for name in ("embedding", "unembedding")[: 1 + self.spec.untied]]
        return rows[0], rows[-1]

    @cached_property
    def positions(self) -> Matrix:
        """The learned position table, [position, d_model]."""
        return read_array(self._tensors["positions"])

    @cached_property
    def token_type(self) -> Vector:
        """The embedding of token type 0, [d_model]: every text here is one segment."""
        row: Vector = read_rows(self._tensors["token_types"], [0])[0]
        return row

    def _read_layer(self, layer: int) -> LayerWeights:
        return LayerWeights(**self._read_fields(layer, [row.field for row in self.layout.layer]))

    def _read_fields(self, layer: int, fields: Collection[str]) -> dict[str, Any]:
        arrays = {}
        for row in self.layout.layer:
            source = row.source.format(i=layer)
            if row.field in fields and source in self._tensors:
                arrays[row.field] = _read(self._tensors[source], row, self.spec)
        return arrays


def check_tensors(spec: ModelSpec, checkpoint: Checkpoint, layout: Layout) -> dict[str, TensorInfo]:
    """Every tensor the specification asks for, by plain name (layers) or field (model), with its shape checked."""
    names = plain_names(layout, checkpoint.tensors)
    wanted: dict[str, tuple[str, Row]] = {}
    for row in layout.model:
        wanted[row.source] = (row.field, row)
    for layer in range(spec.n_layer):
        for row in layout.layer:
            source = row.source.format(i=layer)
            wanted[source] = (source, row)
    found = {}
    for source, (key, row) in wanted.items():
        needed = not row.when or getattr(spec, row.when)
        if source not in names:
            if needed:
                raise CheckpointError(f"{checkpoint.path.name}: the tensor {source!r} is missing")
            continue
        if not needed:
            if row.when == "untied":
                continue
            raise ConfigError(
                f"{checkpoint.path.name}: there is a tensor {source!r}, but by its configuration the model has none"
            )
        found[key] = _check_shape(checkpoint.tensors[names[source]], row, spec)
    for plain, name in names.items():
        if plain not in wanted and not any(re.fullmatch(pattern, plain) for pattern in layout.ignored):
            raise CheckpointError(
                f"{checkpoint.path.name}: the tensor {name!r} has no place in a {spec.family} model of "
                f"{spec.n_layer} layers, so the numbers would not be the model's own"
            )
    return found


def _check_shape(info: TensorInfo, row: Row, spec: ModelSpec) -> TensorInfo:
    d_out, d_in = size_of(spec, row.d_out) * row.part[1], size_of(spec, row.d_in)
    expected: tuple[int, ...] = (d_out, d_in)
    if row.role in ("vector", "per query head", "per kv head"):
        expected = (d_out,)
    elif row.in_out:
        expected = (d_in, d_out)
    if info.shape != expected:
        raise ConfigError(
            f"{info.path.name}: the tensor {info.name!r} has shape {list(info.shape)}, but the configuration "
            f"asks for {list(expected)}"
        )
    return info


def size_of(spec: ModelSpec, name: str) -> int:
    """A size by the name the layout tables use for it."""
    if name == "heads":
        return spec.n_head * spec.d_head
    if name == "kv_heads":
        return spec.n_kv_head * spec.d_head
    return int(getattr(spec, name))


def _read(info: TensorInfo, row: Row, spec: ModelSpec) -> np.ndarray:
    which, of = row.part
    n_rows = size_of(spec, row.d_out)
    block = slice(which * n_rows, (which + 1) * n_rows)
    order = turned_rows(n_rows // spec.d_head, spec.d_head) if row.turned else None
    if row.role == "vector":
        return read_array(info)
    if row.role in ("per query head", "per kv head"):
        bias = read_array(info)[block]
        bias = bias if order is None else bias[order]
        return bias.reshape(-1, spec.d_head)
    width = tile_width(n_rows) if row.role == "columns" else spec.d_head
    if row.in_out:
        return read_tiles_in_out(info, width, block)
    if order is None and of > 1:
        order = np.arange(n_rows)
    return read_tiles(info, width, order if order is None else order + block.start)


def turned_rows(n_head: int, d_head: int) -> np.ndarray:
    """Where each row of W_q or W_k lies in a GGUF file of architecture llama.

    llama.cpp's converter interleaves the two halves of every head (row 2j + s of the file is row s·d/2 + j of the
    model), because its rotation pairs neighbours; ours, like transformers', pairs i with i + d/2.
    """
    rows = np.arange(n_head * d_head).reshape(n_head, d_head // 2, 2)
    return rows.swapaxes(1, 2).reshape(-1)
