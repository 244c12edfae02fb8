"""What all edits have: where they act, what they name, what they check before they run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, get_args

from .._shapes import Array
from ..errors import EditError, HeadError
from ..spec import Head, ModelSpec
from .values import is_layer, read_field

Stage = Literal["k", "v", "q", "pair", "scores", "z"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Here:
    """Where an edit acts: the layer, the query positions at hand, and that layer's arrays so far."""

    spec: ModelSpec
    layer: int
    rows: Sequence[int]
    k: Array = None
    """[kv_head, key, d_head], as it enters the scores, up to the last row."""
    mean_z: Callable[[int], Array] | None = None
    """Layer → the heads' mean z over the reference text, [head, d_head]."""
    scale: float | None = None
    """What q · k is multiplied by in this layer; None: 1/√d_head."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What all edits have. Use the classes below.

    Making one reads its fields (see `READERS`) and keeps them as plain Python values, so that edits compare and
    serialise. Raises EditError for a value that could never act, whatever the model and the text.
    """

    kind: ClassVar[str]
    stages: ClassVar[tuple[Stage, ...]]
    """Which of the layer's arrays it changes."""
    strength: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, read_field(self.kind, field, getattr(self, field.name)))

    def layers(self, spec: ModelSpec) -> range:
        """The layers it acts in."""
        raise NotImplementedError

    def heads(self, spec: ModelSpec, layer: int) -> range:
        """The query heads it reaches in one of its layers."""
        raise NotImplementedError

    def tokens(self) -> tuple[int, ...]:
        """The positions it names."""
        return ()

    @property
    def first_row(self) -> int:
        """The earliest query position whose numbers it can change (in a causal model)."""
        return min(self.tokens(), default=0)

    def check(self, spec: ModelSpec, n_token: int) -> None:
        """Raise EditError if it cannot act on this model and a text of `n_token` tokens."""
        for token in self.tokens():
            if token >= n_token:
                raise EditError(f"{self.kind}: there is no token #{token}; the text has #0 to #{n_token - 1}")
        try:
            self.heads(spec, self.layers(spec)[0])
        except HeadError as error:
            raise EditError(f"{self.kind}: {error}") from None

    def apply(self, array: Array, here: Here) -> Array:
        """The edited copy of the stage's array."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain JSON values: its kind and its fields."""
        return {"kind": self.kind, **asdict(self)}

    def _mix(self, before: Array, after: Array) -> Array:
        return after if self.strength == 1 else before + self.strength * (after - before)


@dataclass(frozen=True, kw_only=True)
class InKVHead(Edit):
    """An edit of one K/V head: every query head that reads it feels it."""

    kv_head: str
    """Written `layer.kv_head`."""

    def _address(self, spec: ModelSpec) -> tuple[int, int]:
        address = Head.parse(self.kv_head)
        if address.layer >= spec.n_layer or address.head >= spec.n_kv_head:
            raise HeadError(
                f"there is no K/V head {address}: {spec.name} has layers 0 to {spec.n_layer - 1} "
                f"with K/V heads 0 to {spec.n_kv_head - 1}"
            )
        return address.layer, address.head

    def layers(self, spec: ModelSpec) -> range:
        layer = self._address(spec)[0]
        return range(layer, layer + 1)

    def heads(self, spec: ModelSpec, layer: int) -> range:
        first = self._address(spec)[1] * spec.group
        return range(first, first + spec.group)


@dataclass(frozen=True, kw_only=True)
class InScope(Edit):
    """An edit within query heads: `where` is a head (`13.8`), a layer (`13`) or `all`."""

    where: str = "all"

    def layers(self, spec: ModelSpec) -> range:
        if self.where == "all":
            return range(spec.n_layer)
        layer = int(self.where) if is_layer(self.where) else spec.head(self.where).layer
        if layer >= spec.n_layer:
            raise HeadError(f"there is no layer {layer}; {spec.name} has layers 0 to {spec.n_layer - 1}")
        return range(layer, layer + 1)

    def heads(self, spec: ModelSpec, layer: int) -> range:
        if self.where == "all" or is_layer(self.where):
            return range(spec.n_head)
        head = spec.head(self.where).head
        return range(head, head + 1)


@dataclass(frozen=True, kw_only=True)
class InHead(Edit):
    """An edit within exactly one query head."""

    head: str
    """Written `layer.head`."""

    def layers(self, spec: ModelSpec) -> range:
        layer = spec.head(self.head).layer
        return range(layer, layer + 1)

    def heads(self, spec: ModelSpec, layer: int) -> range:
        head = spec.head(self.head).head
        return range(head, head + 1)


def check_length(kind: str, vector: Sequence[float], d_head: int) -> None:
    if len(vector) != d_head:
        raise EditError(f"{kind}: the vector has {len(vector)} numbers; expected {d_head}, one per component of a head")


def check_visible(kind: str, spec: ModelSpec, layer: int, query: int, key: int) -> None:
    if spec.causal and key > query:
        raise EditError(f"{kind}: token #{key} comes after #{query}, and a causal model cannot see it from there")
    window = spec.window_of(layer)
    if window is not None and abs(query - key) >= window:
        raise EditError(f"{kind}: token #{key} is outside the window of {window} keys that #{query} sees")


def visible(spec: ModelSpec, layer: int, query: int, n_token: int) -> tuple[int, int]:
    """The first key this query can see and the one after the last."""
    window = spec.window_of(layer)
    first = 0 if window is None else max(0, query - window + 1)
    last = query + 1 if spec.causal else n_token if window is None else min(n_token, query + window)
    return first, last
