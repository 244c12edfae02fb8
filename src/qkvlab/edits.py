"""The interventions, as small typed values that serialise to JSON. Each says exactly what it changes.

Edits act in the order of the forward pass (k, v, q, a head's own keys, scores, z), then as listed. Every edit has a
`strength` from 0 to 1: linear between the unedited and the edited array; a mute multiplies the key's weight by
1 - strength before renormalising. Tokens are named by position, scopes as `13.8` (head), `13` (layer) or `all`,
K/V heads as `layer.kv_head`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ._shapes import Array, Float
from .aim import least_shift
from .errors import EditError, HeadError, one_of, shown
from .mechanism import rotate, share_kv
from .models.common import turns
from .spec import Head, ModelSpec, is_whole

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
            object.__setattr__(self, field.name, _read(self.kind, field, getattr(self, field.name)))

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
        layer = int(self.where) if _is_layer(self.where) else spec.head(self.where).layer
        if layer >= spec.n_layer:
            raise HeadError(f"there is no layer {layer}; {spec.name} has layers 0 to {spec.n_layer - 1}")
        return range(layer, layer + 1)

    def heads(self, spec: ModelSpec, layer: int) -> range:
        if self.where == "all" or _is_layer(self.where):
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


LARGEST = 1e6
"""The largest number an edit may bring in: far beyond any use, far below what float32 cannot square."""


def _count(least: int, value: Any) -> int | None:
    return int(value) if is_whole(value) and least <= value < 2**31 else None


def _number(least: float, most: float, value: Any) -> float | None:
    good = isinstance(value, Real) and not isinstance(value, bool)
    return float(value) if good and least <= value <= most else None


def _vector(value: Any) -> tuple[Any, ...] | None:
    listed = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(listed, list | tuple) or not listed:
        return None
    numbers = tuple(_number(-LARGEST, LARGEST, x) for x in listed)
    return None if None in numbers else numbers


def _target(value: Any) -> str | tuple[Any, ...] | None:
    return value if isinstance(value, str) and value in ("zero", "mean") else _vector(value)


def _head(value: Any) -> str | None:
    try:
        Head.parse(value)
    except HeadError:
        return None
    return value if isinstance(value, str) else None


def _scope(value: Any) -> str | None:
    return value if isinstance(value, str) and (value == "all" or _is_layer(value)) else _head(value)


def _is_layer(where: str) -> bool:
    return where.isascii() and where.isdigit() and len(where) < 6


_NUMBERS = f"from -{LARGEST:,.0f} to {LARGEST:,.0f}"
READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        ("token", "source", "query", "key", "first_layer", "last_layer"), ("a whole number from 0", partial(_count, 0))
    ),
    "n_kv_head": ("a whole number from 1", partial(_count, 1)),
    "strength": ("a number from 0 to 1", partial(_number, 0.0, 1.0)),
    "factor": (f"a number from 0 to {LARGEST:,.0f}", partial(_number, 0.0, LARGEST)),
    **dict.fromkeys(("amount", "margin"), (f"a number {_NUMBERS}", partial(_number, -LARGEST, LARGEST))),
    "shift": (f"a vector: a list of numbers {_NUMBERS}", _vector),
    "to": (f"'zero', 'mean', or a vector: a list of numbers {_NUMBERS}", _target),
    **dict.fromkeys(("head", "kv_head"), ("layer.head as a text, for example '13.8'", _head)),
    "where": ("a head ('13.8'), a layer ('13') or 'all', as a text", _scope),
}
"""Field → what it holds, in words, and the reader that makes it plain: None where it is something else."""


def _read(kind: str, field: Field[Any], value: Any) -> Any:
    if value is None and field.default is None:
        return None
    expected, read = READERS[field.name]
    plain = read(value)
    if plain is None:
        raise EditError(f"{kind}: {field.name} is {shown(value)}; expected {expected}")
    return plain


def _check_length(kind: str, vector: Sequence[float], d_head: int) -> None:
    if len(vector) != d_head:
        raise EditError(f"{kind}: the vector has {len(vector)} numbers; expected {d_head}, one per component of a head")


def _check_visible(kind: str, spec: ModelSpec, layer: int, query: int, key: int) -> None:
    if spec.causal and key > query:
        raise EditError(f"{kind}: token #{key} comes after #{query}, and a causal model cannot see it from there")
    window = spec.window_of(layer)
    if window is not None and abs(query - key) >= window:
        raise EditError(f"{kind}: token #{key} is outside the window of {window} keys that #{query} sees")


# ---- k and v: one K/V head, and all who read it


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
        _check_length(self.kind, self.shift, spec.d_head)

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


# ---- q: one query of one head


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
        _check_length(self.kind, self.shift, spec.d_head)

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
        _check_visible(self.kind, spec, self.layers(spec)[0], self.query, self.key)
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


# ---- one head's own q and k: its scores change, the shared K/V stay


@dataclass(frozen=True, kw_only=True)
class Tie(InScope):
    """Let a head's keys be its own queries: k_j := q_j, as rotated. Unmasked, its scores are then symmetric."""

    kind = "tie"
    stages = ("pair",)

    def pair(self, q: Array, k: Array, here: Here) -> tuple[Array, Array]:
        return q, self._mix(k, q)


@dataclass(frozen=True, kw_only=True)
class StopRotation(InScope):
    """Undo the rotation of a head's queries and keys: what it looks for without knowing where."""

    kind = "stop-rotation"
    stages = ("pair",)

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        if spec.rotation is None:
            raise EditError(
                f"{self.kind}: {spec.name} does not turn its queries and keys, or not all alike: nothing to undo"
            )

    def pair(self, q: Array, k: Array, here: Here) -> tuple[Array, Array]:
        assert here.spec.rotation is not None
        cos, sin = turns(here.spec.rotation, 0, len(q))
        factor = float(cos[0, 0])  # position 0 does not turn; scaled rotations stretch by this, and it stays
        cos, sin, pairs = cos / factor, sin / factor, here.spec.rotation.pairs
        still_q, still_k = rotate(q[None], cos, -sin, pairs)[0], rotate(k[None], cos, -sin, pairs)[0]
        return self._mix(q, still_q), self._mix(k, still_k)


# ---- scores


@dataclass(frozen=True, kw_only=True)
class Mute(InScope):
    """Hide one key from a head, a layer or all heads; from one query if `query` is given, else from every query.

    The others' weights renormalise; a query left without any key has weights 0 and z 0.
    """

    kind = "mute"
    stages = ("scores",)
    key: int
    query: int | None = None

    def tokens(self) -> tuple[int, ...]:
        return (self.key,) if self.query is None else (self.key, self.query)

    @property
    def first_row(self) -> int:
        return self.key if self.query is None else self.query

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        if self.query is not None:
            for layer in self.layers(spec):
                _check_visible(self.kind, spec, layer, self.query, self.key)

    def apply(self, array: Array, here: Here) -> Array:
        if self.key >= array.shape[-1]:
            return array
        edited = array.copy()
        rows = slice(None) if self.query is None else _row(self.query, here.rows)
        edited[:, rows, self.key] += math.log1p(-self.strength) if self.strength < 1 else -math.inf
        return edited


@dataclass(frozen=True, kw_only=True)
class Strengthen(InScope):
    """Add `amount` to the score of one query-key pair (a negative amount weakens it)."""

    kind = "strengthen"
    stages = ("scores",)
    query: int
    key: int
    amount: float

    def tokens(self) -> tuple[int, ...]:
        return (self.key, self.query)

    @property
    def first_row(self) -> int:
        return self.query

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        for layer in self.layers(spec):
            _check_visible(self.kind, spec, layer, self.query, self.key)

    def apply(self, array: Array, here: Here) -> Array:
        edited = array.copy()
        if self.query in here.rows:
            edited[:, here.rows.index(self.query), self.key] += self.strength * self.amount
        return edited


@dataclass(frozen=True, kw_only=True)
class ScaleScores(InScope):
    """Multiply all scores by `factor` (an inverse temperature): 0 makes the weights uniform, a large one a choice."""

    kind = "scale-scores"
    stages = ("scores",)
    factor: float

    def apply(self, array: Array, here: Here) -> Array:
        seen = np.isfinite(array)
        return np.where(seen, self._mix(1.0, self.factor) * np.where(seen, array, 0), array).astype(array.dtype)


# ---- z


@dataclass(frozen=True, kw_only=True)
class Ablate(InScope):
    """Replace a head's blend before W_o: by zero, by its mean over the reference text, or by a given vector."""

    kind = "ablate"
    stages = ("z",)
    to: Literal["zero", "mean"] | tuple[float, ...] = "zero"

    def check(self, spec: ModelSpec, n_token: int) -> None:
        super().check(spec, n_token)
        if not isinstance(self.to, str):
            _check_length(self.kind, self.to, spec.d_value)

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


KINDS: dict[str, type[Edit]] = {
    edit.kind: edit
    for edit in (
        ShiftKey,
        SwapValue,
        ShareKV,
        ShiftQuery,
        AimQuery,
        Tie,
        StopRotation,
        Mute,
        Strengthen,
        ScaleScores,
        Ablate,
    )
}
"""Every edit by the name it has in JSON."""


def edit_from_dict(values: Any) -> Edit:
    """The edit that `to_dict` wrote. Raises EditError for anything else, naming what was wrong."""
    if not isinstance(values, Mapping):
        raise EditError(f"an edit must be an object with a kind; got {shown(values)}")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise EditError(one_of("the edit", kind, KINDS))
    wanted = {field.name: field for field in fields(KINDS[kind])}
    given = {name: value for name, value in values.items() if name != "kind"}
    for name, value in given.items():
        if name not in wanted:
            raise EditError(f"{kind}: {one_of('the field', name, wanted)}")
        given[name] = _read(kind, wanted[name], value)
    missing = [n for n, f in wanted.items() if n not in given and f.default is MISSING]
    if missing:
        raise EditError(f"{kind}: the field {', '.join(missing)} is missing")
    return KINDS[kind](**given)


def checked(edits: Any, spec: ModelSpec, n_token: int) -> tuple[Edit, ...]:
    """These edits, each able to act on this model and a text of `n_token` tokens. Raises EditError."""
    if not isinstance(edits, Iterable):
        raise EditError(f"edits is {shown(edits)}; expected a list of them")
    listed = tuple(edits)
    for edit in listed:
        if not isinstance(edit, Edit):
            raise EditError(f"{shown(edit)} is not an edit; make one from qkvlab.edits, or from JSON by edit_from_dict")
        edit.check(spec, n_token)
    return listed


def visible(spec: ModelSpec, layer: int, query: int, n_token: int) -> tuple[int, int]:
    """The first key this query can see and the one after the last."""
    window = spec.window_of(layer)
    first = 0 if window is None else max(0, query - window + 1)
    last = query + 1 if spec.causal else n_token if window is None else min(n_token, query + window)
    return first, last


def edit_scores(
    edits: Iterable[Edit],
    here: Here,
    heads: range,
    scores: Float[Array, "heads rows key"],
    recompute: Callable[[int, Array, Array], Array],
    q: Float[Array, "head query d_head"],
    note: Callable[[Edit, Array, Array, int], None] = lambda edit, before, after, start: None,
) -> Float[Array, "heads rows key"]:
    """The scores of these heads after the edits of a head's own q and k, then those of the scores.

    `q` holds every query up to the last row; `recompute(head, q, k)` scores one head's rows anew, masked. `note` is
    told of every edit with the array before and after it, and the position of its first row.
    """
    acting = [edit for edit in edits if here.layer in edit.layers(here.spec)]
    for head in heads:
        own_q, own_k = q[head], here.k[here.spec.kv_head(Head(here.layer, head))]
        pair = own_q, own_k
        for edit in acting:
            if isinstance(edit, Tie | StopRotation) and head in edit.heads(here.spec, here.layer):
                before = pair
                pair = edit.pair(*pair, here)
                note(edit, np.stack(before), np.stack(pair), 0)
        if pair[0] is not own_q or pair[1] is not own_k:
            scores = scores.copy()
            scores[head - heads.start] = recompute(head, *pair)
    for edit in acting:
        reached = edit.heads(here.spec, here.layer)
        both = range(max(heads.start, reached.start), min(heads.stop, reached.stop))
        if "scores" in edit.stages and len(both):
            span = slice(both.start - heads.start, both.stop - heads.start)
            scores, unedited = scores.copy(), scores
            scores[span] = edit.apply(scores[span], here)
            note(edit, unedited, scores, min(here.rows, default=0))
    return scores


def _row(token: int, rows: Sequence[int]) -> slice:
    at = rows.index(token) if token in rows else len(rows)
    return slice(at, at + 1)


def _shifted(array: Array, head: int, token: int, shift: Any, strength: float, here: Here) -> Array:
    if token not in here.rows:
        return array
    edited = array.copy()
    edited[head, here.rows.index(token)] += np.asarray(shift, array.dtype) * array.dtype.type(strength)
    return edited
