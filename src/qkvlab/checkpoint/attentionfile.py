"""One stack of attention layers in a checkpoint: its sizes, and the weights of a layer or a head, when asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import CheckpointError, ConfigError, HeadError, UnsupportedError, shown
from ..mechanism import kv_head_of
from ..spec import Head, Rotation
from .arrange import ARRANGEMENTS, Place, Places, Sizes
from .heads import HeadWeights, LayerAttention
from .rotations import kind_of
from .rows import Family, Stack
from .stores import Reading, Store
from .tensors import TensorInfo

Matrix = np.ndarray[Any, np.dtype[np.float32]]

_PER_KV_HEAD = ("k", "v")
_SHARED = ("q_down", "kv_down", "k_rope")
_FACTORS = ("q_down", "q_up", "kv_down", "k_up", "v_up", "k_rope")


@dataclass(frozen=True, repr=False)
class AttentionFile:
    """One stack of attention layers in a checkpoint. Nothing is read until a layer or a head is asked for."""

    name: str
    family: str
    attention: str
    """Which of the model's attentions this is: decoder, encoder or cross."""
    sizes: Sizes
    qk_norm: bool
    rotations: tuple[Rotation | None, ...]
    """Of every layer; None where there is none, or it is not known."""
    attention_layers: tuple[int, ...]
    """The layers that have attention: all, but in models that mix it with other mechanisms."""
    stored: str
    notes: tuple[str, ...]
    store: Store = field(compare=False)
    table: Family = field(compare=False)
    stack: Stack = field(compare=False)
    config: Mapping[str, Any] = field(compare=False)
    prefix: str = ""

    @property
    def n_layer(self) -> int:
        return self.sizes.n_layer

    @property
    def n_head(self) -> int:
        return self.sizes.n_head

    @property
    def n_kv_head(self) -> int:
        return self.sizes.n_kv_head

    @property
    def d_head(self) -> int:
        return self.sizes.d_head

    @property
    def d_value(self) -> int:
        return self.sizes.d_value

    @property
    def d_model(self) -> int:
        return self.sizes.d_model

    @property
    def mla(self) -> bool:
        """Whether it is latent attention, whose q, k and v are no single matrices."""
        return self.stack.arrangement == "latent"

    @property
    def places(self) -> Places:
        return ARRANGEMENTS[self.stack.arrangement][0](self.sizes)

    def __repr__(self) -> str:
        return f"<AttentionFile {self.name}: {self.n_layer} layers, {self.n_head} heads on {self.n_kv_head} K/V heads>"

    def rotation_of(self, layer: int) -> Rotation | None:
        """The rotation of one layer's q and k; None where there is none, or it is not known."""
        return self.rotations[layer]

    @property
    def rotation(self) -> Rotation | None:
        """The rotation of q and k, where it is known and the same in all layers that have attention."""
        found = {self.rotations[layer] for layer in self.attention_layers}
        return found.pop() if len(found) == 1 else None

    def at(self, address: "Head | tuple[int, int] | str") -> Head:
        """A head address, checked. Raises HeadError."""
        head = Head.parse(address)
        if not (0 <= head.layer < self.n_layer and 0 <= head.head < self.n_head):
            raise HeadError(
                f"there is no head {head}: {self.name} has layers 0 to {self.n_layer - 1} "
                f"with query heads 0 to {self.n_head - 1}"
            )
        self._check_layer(head.layer)
        return head

    def layer(self, layer: int) -> LayerAttention:
        """All heads of one layer. Raises UnsupportedError for latent attention, HeadError for a layer without any."""
        if self.mla:
            raise UnsupportedError(
                f"{self.name} has latent attention (MLA): its W_q, W_k and W_v are no single matrices, a norm stands "
                "between their factors"
            )
        self._check_layer(layer)
        reading, arrays = Reading(self.store), dict[str, Matrix]()
        for part in ("q", "k", "v", "gate"):
            if part in self.stack.tensors:
                arrays |= self._whole(reading, layer, part)
        arrays["w_o"] = self._output(reading, layer, None).reshape(self.n_head, self.d_value, self.d_model)
        return LayerAttention(**arrays, b_o=self._bias(reading, layer, "o", 0, self.d_model))

    def head(self, address: "Head | tuple[int, int] | str") -> HeadWeights:
        """One head's weights; of q, k and v the bytes of its rows alone. Raises HeadError, CheckpointError."""
        at = self.at(address)
        reading, arrays = Reading(self.store), dict[str, Matrix]()
        kv_head = kv_head_of(at.head, self.n_head, self.n_kv_head)
        for part in self.stack.tensors:
            if part.endswith("norm"):
                arrays[part] = self._vector(reading, at.layer, part)
            elif part != "o":
                which = kv_head if part in _PER_KV_HEAD else 0 if part in _SHARED else at.head
                arrays |= self._rows_of(reading, at.layer, part, which)
        arrays["w_o"] = self._output(reading, at.layer, at.head)
        if (b_o := self._bias(reading, at.layer, "o", 0, self.d_model)) is not None:
            arrays["b_o"] = b_o
        return HeadWeights(
            self.name, self.family, at, kv_head, self.stored, self.mla, self.qk_norm, self.notes,
            reading.bytes_read, arrays,
        )  # fmt: skip

    def _check_layer(self, layer: int) -> None:
        if not 0 <= layer < self.n_layer:
            raise HeadError(f"there is no layer {layer}: {self.name} has layers 0 to {self.n_layer - 1}")
        if layer not in self.attention_layers:
            kind = kind_of(self.config, layer) or "another mechanism"
            having = ", ".join(map(str, self.attention_layers[:12]))
            raise HeadError(
                f"layer {layer} of {self.name} is {kind} and has no attention heads; the layers that have: {having}"
                + (", ..." if len(self.attention_layers) > 12 else "")
            )

    def _rows_of(self, reading: Reading, layer: int, part: str, head: int) -> dict[str, Matrix]:
        """One head's part, W and b by name: W is [d_in, width]."""
        place = self.places[part]
        start, stop = place.start(head), place.start(head) + place.width
        info = self.info(layer, part)
        if self.stack.in_out:
            w = reading.columns(info, start, stop, again=True)
        else:
            rows = reading.rows(info, start, stop)
            w = (rows[self._turn(part)] if self._is_turned(part) else rows).T
        b = self._bias(reading, layer, part, start, stop)
        if b is not None and self._is_turned(part):
            b = b[self._turn(part)]
        name = part if part in _FACTORS else f"w_{part}"
        return {name: w} | ({} if b is None else {f"b_{part}": b})

    def _whole(self, reading: Reading, layer: int, part: str) -> dict[str, Matrix]:
        """All heads' part, W and b by name: W is [head, d_in, width]."""
        place, info = self.places[part], self.info(layer, part)
        order, shape = place.rows(), (place.heads, place.width)
        if self.stack.in_out:
            w = reading.matrix(info)[:, order].reshape(-1, *shape).transpose(1, 0, 2)
        else:
            rows = self._some_rows(reading, info, order).reshape(*shape, -1)
            w = (rows[:, self._turn(part)] if self._is_turned(part) else rows).transpose(0, 2, 1)
        b = self._bias(reading, layer, part, 0, place.total)
        if b is not None:
            b = b[order].reshape(shape)
            b = b[:, self._turn(part)] if self._is_turned(part) else b
        return {f"w_{part}": w} | ({} if b is None else {f"b_{part}": b})

    def _some_rows(self, reading: Reading, info: TensorInfo, order: Any) -> Matrix:
        if isinstance(order, slice):
            return reading.rows(info, order.start, order.stop)
        found: Matrix = reading.matrix(info)[order]
        return found

    def _output(self, reading: Reading, layer: int, head: int | None) -> Matrix:
        """W_o of one head [d_value, d_model], or of all, one below the other."""
        info = self.info(layer, "o")
        which = slice(0, self.n_head) if head is None else slice(head, head + 1)
        start, stop = which.start * self.d_value, which.stop * self.d_value
        if self.stack.in_out:
            return reading.rows(info, start, stop)
        return reading.columns(info, start, stop).T

    def _bias(self, reading: Reading, layer: int, part: str, start: int, stop: int) -> Matrix | None:
        name = f"{self._stem(layer, part)}.bias"
        if name not in self.store.names:
            return None
        total = self.d_model if part == "o" else self.places[part].total
        return reading.vector(self._checked(name, (total,)), start, stop)

    def _vector(self, reading: Reading, layer: int, part: str) -> Matrix:
        size = self.sizes.q_rank if part == "q_norm" else self.sizes.kv_rank
        return reading.vector(self._checked(f"{self._stem(layer, part)}.weight", (size,)), 0, size)

    def _is_turned(self, part: str) -> bool:
        return self.stack.turned and part in ("q", "k")

    def _turn(self, part: str) -> Any:
        """Row 2j + s of a head in the file is row s · d/2 + j of the model."""
        return np.arange(self.places[part].width).reshape(-1, 2).T.reshape(-1)

    def _stem(self, layer: int, part: str) -> str:
        return self.prefix + self.stack.tensors[part].format(i=layer)

    def info(self, layer: int, part: str) -> TensorInfo:
        """Where the matrix of a part lies, with its shape checked. Raises CheckpointError, ConfigError."""
        if part == "o":
            shape = (self.d_model, self.n_head * self.d_value)
        else:
            place: Place = self.places[part]
            shape = (place.total, getattr(self.sizes, place.d_in))
        return self._checked(f"{self._stem(layer, part)}.weight", shape[::-1] if self.stack.in_out else shape)

    def _checked(self, name: str, shape: tuple[int, ...]) -> TensorInfo:
        if name not in self.store.names:
            raise CheckpointError(f"{self.name}: the tensor {name!r} is missing{self._quantised()}")
        info = self.store.info(name)
        if info.shape != shape:
            s = self.sizes
            raise ConfigError(
                f"{self.name}: the tensor {name!r} has shape {list(info.shape)}, but the configuration, with "
                f"{s.n_head} heads on {s.n_kv_head} K/V heads of {s.d_head} over a width of {s.d_model}, asks for "
                f"{list(shape)}{self._quantised()}"
            )
        return info

    def _quantised(self) -> str:
        found = self.config.get("quantization_config")
        method = found.get("quant_method") if isinstance(found, Mapping) else None
        return f"; it is quantised ({shown(method)}), which is not read here" if found else ""
