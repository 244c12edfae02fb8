"""Why this score? An exact split of q · k into pairs of writers: who put into the query what meets what in the key."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ._shapes import Array, Float
from .errors import TokenError
from .mechanism import rotate, score
from .models.common import turns
from .questions import TokenRef, token_index
from .residual_parts import Component, Parts, frozen_rms, parts_read
from .scoring import Scoring
from .spec import Head
from .trace import Address, Trace

PAIRS = 20
"""How many pairs `to_dict` lists."""


@dataclass(frozen=True)
class Pair:
    """A writer into the query, one into the key, and what their meeting adds to the score."""

    query: str
    key: str
    value: float


@dataclass(frozen=True)
class Why:
    """A score as the sum of its parts: score = Σ matrix + Σ apart + remainder."""

    model: str
    head: str
    kv_head: int
    query: TokenRef
    key: TokenRef
    components: tuple[Component, ...]
    matrix: Float[Array, "component component"]
    """Entry (a, b): what a in the query and b in the key add to the scaled score, float64."""
    score: float
    """As the model gives it, float32 and edited."""
    apart: dict[str, float]
    """What is no product of a query and a key: the mask (0: the pair is visible), a soft cap, a bias by position, edits
    of this very head."""

    @property
    def sum(self) -> float:
        """All parts together, without what is listed apart."""
        return float(self.matrix.sum())

    @property
    def remainder(self) -> float:
        """What the parts do not explain: rounding of the model's float32."""
        return self.score - self.sum - sum(self.apart.values())

    @cached_property
    def by_query(self) -> Float[Array, " component"]:
        """What each writer into the query adds, against the whole key; they sum to `sum`."""
        return self.matrix.sum(axis=1)

    @cached_property
    def by_key(self) -> Float[Array, " component"]:
        """What each writer into the key adds, against the whole query; they sum to `sum`."""
        return self.matrix.sum(axis=0)

    def pairs(self, top: int | None = None) -> list[Pair]:
        """The pairs, largest first, whichever their sign."""
        order = np.argsort(-np.abs(self.matrix), axis=None, kind="stable")[:top]
        places = zip(*np.unravel_index(order, self.matrix.shape), strict=True)
        names = [component.name for component in self.components]
        return [Pair(names[a], names[b], float(self.matrix[a, b])) for a, b in places]

    def to_dict(self, top: int = PAIRS) -> dict[str, Any]:
        """As plain JSON values.

        `components`: each writer with what it adds from the query's side and from the key's, largest first; `layers`:
        the same added up by layer, heads, MLP and biases apart (layer null: what stands before the first);
        `pairs`: the `top` largest pairs.
        """
        sides = zip(self.components, self.by_query.tolist(), self.by_key.tolist(), strict=True)
        rows = [{**vars(component), "query": a, "key": b} for component, a, b in sides]
        return {
            "model": self.model,
            "head": self.head,
            "kv_head": self.kv_head,
            "query": vars(self.query),
            "key": vars(self.key),
            "score": self.score,
            "sum": self.sum,
            "apart": self.apart,
            "remainder": self.remainder,
            "components": sorted(rows, key=lambda row: -max(abs(row["query"]), abs(row["key"]))),
            "layers": _by_layer(rows),
            "pairs": [vars(pair) for pair in self.pairs(top)],
        }


def why(trace: Trace, query: str | int, key: str | int, head: Address) -> Why:
    """Why does this query score this key so at this head? The score, split exactly into pairs of what made the two.

    q_i · k_j / √d_head = Σ over components a, b of (R_i W_qᵀ a_i) · (R_j W_kᵀ b_j) / √d_head, where Σ a_i and Σ b_j are
    the x that attention reads at i and j: embedding, position, biases, each earlier head's write, each earlier MLP's,
    every norm on their way (before attention, after a write, of q and k per head) frozen at its scale in this run,
    rotation R inside. The biases of q and k are a component of their own. float64. On an edited trace the parts are
    the edited run's; what edits do to this head's own q, k or scores is listed apart.

    It says what the score is made of, not what it would be without a part: norms and weights would then differ.
    Raises TokenError for a pair that the mask or an edit hides, HeadError, UnsupportedError.
    """
    spec, at = trace.spec, trace.spec.head(head)
    i, j = token_index(trace.tokens, query), token_index(trace.tokens, key)
    _check_visible(trace, at, i, j)
    given = float(trace.score_rows(at, [i])[0, j])
    if not np.isfinite(given):
        raise TokenError(f"an edit hides #{j} {trace.tokens[j]!r} from #{i} {trace.tokens[i]!r} at head {at}")
    rule = trace.scoring(at.layer)
    components, a, b = _sides(trace, at, i, j)
    plain = _plain_score(trace, at, i, j) if _edited_here(trace, at) or not rule.plain else None
    apart = {"mask": 0.0}
    if plain is not None:
        apart |= _between(rule, at, i, j, plain, len(trace))
    if plain is not None and _edited_here(trace, at):
        apart["edits"] = given - plain - sum(apart.values())
    return Why(
        model=trace.model.badge,
        head=str(at),
        kv_head=spec.kv_head(at),
        query=TokenRef(i, trace.tokens[i]),
        key=TokenRef(j, trace.tokens[j]),
        components=components,
        matrix=a @ b.T * rule.scale,
        score=given,
        apart=apart,
    )


def _sides(
    trace: Trace, at: Head, query: int, key: int
) -> tuple[tuple[Component, ...], Float[Array, "component d_head"], Float[Array, "component d_head"]]:
    """Every component as a part of this head's q and of its k."""
    if trace.model.native:
        return _projected(trace, at, parts_read(trace, at.layer, [query, key]), query, key)
    from .captured_parts import captured_sides
    from .livetrace import LiveTrace

    assert isinstance(trace, LiveTrace)
    return captured_sides(trace, at, query, key)


def _between(rule: Scoring, at: Head, query: int, key: int, plain: float, n_token: int) -> dict[str, float]:
    """What the family adds between q · k and softmax, of one pair: a soft cap, a bias by position."""
    found = {}
    if rule.softcap is not None:
        found["soft cap"] = float(rule.softcap * np.tanh(plain / rule.softcap)) - plain
    biases = [] if rule.key_bias is None else [float(rule.key_bias[at.head, key])]
    if rule.distance_bias is not None:
        biases.append(float(rule.distance_bias[at.head, key - query + n_token - 1]))
    return found | ({"bias by position": sum(biases)} if biases else {})


def _check_visible(trace: Trace, at: Head, query: int, key: int) -> None:
    first, last = trace.visible(at.layer, query)
    if first <= key < last:
        return
    names = f"#{key} {trace.tokens[key]!r}", f"#{query} {trace.tokens[query]!r}"
    if trace.spec.causal and key > query:
        raise TokenError(f"token {names[0]} comes after {names[1]}, and a causal model cannot see it from there")
    raise TokenError(f"token {names[0]} is outside the keys #{first} to #{last - 1} that {names[1]} sees at head {at}")


def _projected(
    trace: Trace, at: Head, parts: Parts, query: int, key: int
) -> tuple[tuple[Component, ...], Float[Array, "component d_head"], Float[Array, "component d_head"]]:
    """Every component as a part of this head's q and of its k, as the two enter the score."""
    w, kv_head, vectors = trace.model.weights.layer(at.layer), trace.spec.kv_head(at), parts.vectors
    sides = (
        (vectors[:, 0], w.w_q[at.head], None if w.b_q is None else w.b_q[at.head], w.q_norm, query),
        (vectors[:, 1], w.w_k[kv_head], None if w.b_k is None else w.b_k[kv_head], w.k_norm, key),
    )
    components = list(parts.components)
    if trace.spec.qkv_bias:
        components.append(Component("bias of q and k", "bias"))
    made = []
    for x, matrix, bias, gain, position in sides:
        side = x @ matrix.astype(np.float64)
        if bias is not None:
            side = np.concatenate([side, bias[None].astype(np.float64)])
        if gain is not None:
            side = frozen_rms(side.sum(axis=0), gain.astype(np.float64), trace.spec.norm_eps)(side)
        made.append(_turned(trace, side, position))
    return tuple(components), made[0], made[1]


def _turned(trace: Trace, rows: Float[Array, "row d_head"], position: int) -> Float[Array, "row d_head"]:
    """These vectors, all rotated as at one position."""
    rotation = trace.spec.rotation
    if rotation is None:
        return rows
    cos, sin = (part.astype(rows.dtype) for part in turns(rotation, position, position + 1))
    return rotate(rows[:, None], cos, sin, rotation.pairs)[:, 0]


def _edited_here(trace: Trace, at: Head) -> bool:
    """Whether an edit acts on this head's own q, k or scores."""
    return any(
        at.layer in edit.layers(trace.spec)
        and at.head in edit.heads(trace.spec, at.layer)
        and {"k", "q", "pair", "scores"} & set(edit.stages)
        for edit in trace.edits
    )


def _plain_score(trace: Trace, at: Head, query: int, key: int) -> float:
    """q · k scaled, from the same x, as the model computes it, without the edits of this layer."""
    if not trace.model.native:
        from .livetrace import LiveTrace

        assert isinstance(trace, LiveTrace)
        q, k = trace.unedited(at.layer, "q")[at.head, query], trace.unedited(at.layer, "k")[trace.spec.kv_head(at), key]
        return float(q @ k) * trace.scoring(at.layer).scale
    q = _turned(trace, trace.q_raw(at.layer)[at.head, query : query + 1], query)
    k = _turned(trace, trace.k_raw(at.layer)[trace.spec.kv_head(at), key : key + 1], key)
    return float(score(q, k, trace.spec.d_head**-0.5)[0, 0])


def _by_layer(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each layer wrote in all, from either side."""
    layers = sorted({row["layer"] for row in rows}, key=lambda layer: -1 if layer is None else layer)
    kinds = tuple(dict.fromkeys(row["kind"] for row in rows))
    found = []
    for layer in layers:
        own = [row for row in rows if row["layer"] == layer]
        parts = {
            kind: {side: sum(row[side] for row in own if row["kind"] == kind) for side in ("query", "key")}
            for kind in kinds
            if any(row["kind"] == kind for row in own)
        }
        found.append({"layer": layer, **parts})
    return found
