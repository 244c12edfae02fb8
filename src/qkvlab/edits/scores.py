"""Edits within a query head that leave the shared K/V alone: its own q and k, and its scores."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .._shapes import Array, Float
from ..errors import EditError
from ..mechanism import rotate
from ..models.common import turns
from ..spec import Head, ModelSpec
from .base import Edit, Here, InScope, check_visible


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
                check_visible(self.kind, spec, layer, self.query, self.key)

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
            check_visible(self.kind, spec, layer, self.query, self.key)

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
