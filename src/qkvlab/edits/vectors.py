"""Edits of whole vectors: k and v of a K/V head, felt by all who read it; one query; a head's blend z."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._shapes import Array
from ..aim import least_shift
from ..errors import EditError
from ..mechanism import share_kv
from ..spec import ModelSpec
from .base import Edit, Here, InHead, InKVHead, InScope, check_length, check_visible, visible


@dataclass(frozen=True, kw_only=True)
class ShiftKey(InKVHead):
    """Move one key: k += shift. A drag, stored as a shift so that it survives a change of the text."""

    kind = "shift-key"
    stages = ("k",)
    token: int
    shift: tuple[float, ...]

    def tokens(self) -> tuple[int, ...]:
        return (self.token,)

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        check_length(self.kind, self.shift, spec.d_head)

    def apply(self, array: Array, here: Here) -> Array:
        return _shifted(array, self._address(here.spec)[1], self.token, self.shift, self.strength, here)


@dataclass(frozen=True, kw_only=True)
class SwapValue(InKVHead):
    """Let one token hand over another token's value: v[token] := v[source]."""

    kind = "swap-value"
    stages = ("v",)
    token: int
    source: int

    def tokens(self) -> tuple[int, ...]:
        return (self.token, self.source)

    def apply(self, array: Array, here: Here) -> Array:
        head = self._address(here.spec)[1]
        if self.token not in here.rows or self.source not in here.rows:
            return array
        edited = array.copy()
        target, source = here.rows.index(self.token), here.rows.index(self.source)
        edited[head, target] = self._mix(array[head, target], array[head, source])
        return edited


@dataclass(frozen=True, kw_only=True)
class ShareKV(Edit):
    """Give the K/V heads of some layers their mean (per group), as a model with fewer K/V heads would have."""

    kind = "share-kv"
    stages = ("k", "v")
    first_layer: int
    last_layer: int
    """The last layer that shares, included."""
    n_kv_head: int = 1
    """How many different K/V heads are left in each of these layers."""

    def layers(self, spec: ModelSpec) -> range:
        return range(self.first_layer, self.last_layer + 1)

    def heads(self, spec: ModelSpec, layer: int) -> range:
        return range(spec.n_head)

    def check(self, spec: ModelSpec, n_token: int) -> None:
        if not self.first_layer <= self.last_layer < spec.n_layer:
            raise EditError(
                f"{self.kind}: layers {self.first_layer} to {self.last_layer} are not within 0 to {spec.n_layer - 1}"
            )
        if spec.n_kv_head % self.n_kv_head:
            raise EditError(f"{self.kind}: {spec.n_kv_head} K/V heads cannot be shared as {self.n_kv_head}")
        super().check(spec, n_token)

    def apply(self, array: Array, here: Here) -> Array:
        return self._mix(array, share_kv(array, self.n_kv_head))


@dataclass(frozen=True, kw_only=True)
class ShiftQuery(InHead):
    """Move one query: q += shift. A drag, stored as a shift so that it survives a change of the text."""

    kind = "shift-query"
    stages = ("q",)
    query: int
    shift: tuple[float, ...]

    def tokens(self) -> tuple[int, ...]:
        return (self.query,)

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        check_length(self.kind, self.shift, spec.d_head)

    def apply(self, array: Array, here: Here) -> Array:
        return _shifted(array, here.spec.head(self.head).head, self.query, self.shift, self.strength, here)


@dataclass(frozen=True, kw_only=True)
class AimQuery(InHead):
    """Turn one query by as little as possible until a chosen key wins by `margin` in score over all it can see."""

    kind = "aim-query"
    stages = ("q",)
    query: int
    key: int
    margin: float = 3.0

    def tokens(self) -> tuple[int, ...]:
        return (self.query, self.key)

    @property
    def first_row(self) -> int:
        return self.query

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        check_visible(self.kind, spec, self.layers(spec)[0], self.query, self.key)
        if spec.score_extras:
            raise EditError(
                f"{self.kind}: between q · k and the weights of {spec.name} there is {spec.score_extras}, so the "
                "smallest shift with this margin is not known; shift the query yourself (shift-query)"
            )

    def apply(self, array: Array, here: Here) -> Array:
        if self.query not in here.rows:
            return array
        spec, head = here.spec, here.spec.head(self.head)
        keys = here.k[spec.kv_head(head)]
        first, last = visible(spec, head.layer, self.query, len(keys))
        q = array[head.head, here.rows.index(self.query)]
        scale = spec.d_head**-0.5 if here.scale is None else here.scale
        shift = least_shift(q, keys[first:last], self.key - first, scale, self.margin)
        return _shifted(array, head.head, self.query, shift, self.strength, here)


@dataclass(frozen=True, kw_only=True)
class Ablate(InScope):
    """Replace a head's blend before W_o: by zero, by its mean over the reference text, or by a given vector."""

    kind = "ablate"
    stages = ("z",)
    to: Literal["zero", "mean"] | tuple[float, ...] = "zero"

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        if not isinstance(self.to, str):
            check_length(self.kind, self.to, spec.d_value)

    def apply(self, array: Array, here: Here) -> Array:
        edited = array.copy()
        heads = self.heads(here.spec, here.layer)
        span = slice(heads.start, heads.stop)
        target: Array = np.float32(0)
        if self.to == "mean":
            assert here.mean_z is not None
            target = here.mean_z(here.layer)[span, None, :]
        elif self.to != "zero":
            target = np.asarray(self.to, array.dtype)
        edited[span] = self._mix(array[span], np.broadcast_to(target, array[span].shape))
        return edited


def _shifted(array: Array, head: int, token: int, shift: Any, strength: float, here: Here) -> Array:
    if token not in here.rows:
        return array
    edited = array.copy()
    edited[head, here.rows.index(token)] += np.asarray(shift, array.dtype) * array.dtype.type(strength)
    return edited
