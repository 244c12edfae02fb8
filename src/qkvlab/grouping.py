"""Fewer K/V heads: how the heads of a layer are grouped, brought into agreement and merged. Weights in, weights out.

Ainslie et al. 2023, section 2.1: an existing checkpoint's K/V heads become fewer by taking the mean of each group
(better than keeping one of them, better than drawing them anew), and then 5 % of the training is spent once more.
Before the mean, two things may be done that leave the function as it is, so that less is lost in it: other heads may
share (`cluster`), and the heads of a group may be turned towards each other (`aligned`):

    scores    q·k = (R q)·(R k)        R: one angle per rotation pair, which commutes with the rotation by position
    blend     z W_o = (z T)(Tᵀ W_o)    T: any orthogonal matrix, and z T is the blend of the values v T
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange

from ._parallel import one_blas_thread
from ._shapes import Array, Float
from .errors import UnsupportedError, one_of
from .mechanism import rotate, share_kv
from .spec import ModelSpec

METHODS = {
    "mean": "the mean of each group",
    "first": "the first head of each group",
    "random": "heads drawn anew, as spread as the layer's own",
    "cluster": "the mean of each group; the heads most alike share",
    "aligned": "the mean of each group, after its heads were turned towards each other",
}
"""How several K/V heads become one."""
TURNS_OF_THE_FIT = 30
"""Each head is turned to the sum of the others so many times; it settles in fewer."""


@dataclass(frozen=True)
class Plan:
    """What happens to the K/V heads of one layer. Kept instead of the new weights: it is small."""

    n_shared: int
    """How many different K/V heads are left."""
    order: tuple[int, ...]
    """The K/V heads, so that those who share stand side by side."""
    merge: Literal["mean", "first", "random", "none"] = "mean"
    phases: Array | None = None
    """By how much the keys of each head turn in each rotation pair, in radians, [kv_head, pairs]."""
    turns: Array | None = None
    """By which orthogonal matrix the values of each head turn, [kv_head, d_head, d_head]."""
    repeated: bool = False
    """Each merged head stands there as often as it has members: for a model whose other layers keep theirs."""
    pairs: Literal["half", "adjacent"] = "half"
    seed: int = 0

    @property
    def moves_queries(self) -> bool:
        """Whether W_q changes, too."""
        return self.phases is not None or self.order != tuple(sorted(self.order))

    @property
    def moves_outputs(self) -> bool:
        """Whether W_o changes, too."""
        return self.turns is not None or self.order != tuple(sorted(self.order))


# ---- one layer's weights under a plan; biases are one more row


def turned_keys(plan: Plan, keys: Float[Array, "kv_head rows d_head"]) -> Float[Array, "kv_head rows d_head"]:
    """W_k (or the keys of a text before rotation by position) as the groups see it, nothing merged yet."""
    return _turned(plan, keys, 1)[list(plan.order)]


def turned_values(plan: Plan, values: Float[Array, "kv_head rows d_head"]) -> Float[Array, "kv_head rows d_head"]:
    """W_v (or the values of a text) as the groups see it, nothing merged yet."""
    turned = values if plan.turns is None else (values @ plan.turns).astype(values.dtype)
    return turned[list(plan.order)]


def new_keys(plan: Plan, keys: Float[Array, "kv_head rows d_head"]) -> Float[Array, "shared rows d_head"]:
    """W_k, or its bias as one row, after the merge."""
    return _merged(plan, turned_keys(plan, keys), stream=0)


def new_values(plan: Plan, values: Float[Array, "kv_head rows d_head"]) -> Float[Array, "shared rows d_head"]:
    """W_v, or its bias as one row, after the merge."""
    return _merged(plan, turned_values(plan, values), stream=1)


def new_queries(plan: Plan, queries: Float[Array, "head rows d_head"]) -> Float[Array, "head rows d_head"]:
    """W_q, or its bias as one row: each head turns as its K/V head does, and goes where that one goes."""
    group = len(queries) // len(plan.order)
    return _turned(plan, queries, group)[readers(plan, group)]


def new_outputs(plan: Plan, outputs: Float[Array, "head d_head d_model"]) -> Float[Array, "head d_head d_model"]:
    """W_o by head: it undoes the turn of the values, and goes where their head goes."""
    group = len(outputs) // len(plan.order)
    if plan.turns is not None:
        undo = np.repeat(plan.turns.swapaxes(1, 2), group, axis=0)
        outputs = (undo @ outputs).astype(outputs.dtype)
    return outputs[readers(plan, group)]


def readers(plan: Plan, group: int) -> list[int]:
    """The query heads in the order of their K/V heads: each K/V head's own stay behind it, in order."""
    return [kv_head * group + member for kv_head in plan.order for member in range(group)]


def _turned(plan: Plan, rows: Float[Array, "head rows d_head"], group: int) -> Float[Array, "head rows d_head"]:
    if plan.phases is None:
        return rows
    angles = np.repeat(plan.phases, group, axis=0)
    by_row = np.moveaxis(rows, 0, 1)  # `rotate` has an angle per position: here the heads stand in their place
    turned = rotate(by_row.astype(np.float64), np.cos(angles), np.sin(angles), plan.pairs)
    return np.moveaxis(turned, 1, 0).astype(rows.dtype)


def _merged(plan: Plan, heads: Float[Array, "kv_head rows d_head"], stream: int) -> Float[Array, "shared rows d_head"]:
    if plan.merge == "none":
        return heads
    members = len(heads) // plan.n_shared
    if plan.merge == "mean":
        shared = share_kv(heads, plan.n_shared)[::members]
    elif plan.merge == "first":
        shared = heads[::members]
    else:
        draw = np.random.default_rng([plan.seed, stream, heads.shape[1]])
        shared = draw.normal(heads.mean(), heads.std(), heads[::members].shape).astype(heads.dtype)
    return np.repeat(shared, members, axis=0) if plan.repeated else shared


# ---- which heads share, and how they are turned


def fit_phases(
    keys: Float[Array, "member rows d_head"], pairs: Literal["half", "adjacent"] = "half"
) -> Float[Array, "member pairs"]:
    """The angles that bring the keys of one group into agreement, pair by pair, in radians, [member, pairs].

    With each pair as a complex number κ: each head in turn takes the angle of Σ_rows κ̄ · (the sum of the others), the
    exact least-squares answer for it. `keys` are the components that turn, of a text before rotation by position,
    biases included.
    """
    wide = keys.astype(np.float64)
    first, second = (wide[..., ::2], wide[..., 1::2]) if pairs == "adjacent" else np.split(wide, 2, axis=-1)
    planes = first + 1j * second
    angles = np.zeros((len(keys), planes.shape[-1]))
    turned = planes.copy()
    for _ in range(TURNS_OF_THE_FIT):
        for member in range(1, len(keys)):
            others = turned.sum(axis=0) - turned[member]
            angles[member] = np.angle((planes[member].conj() * others).sum(axis=0))
            turned[member] = planes[member] * np.exp(1j * angles[member])
    return angles


def fit_turns(values: Float[Array, "member rows d_head"]) -> Float[Array, "member d_head d_head"]:
    """The orthogonal matrices that bring the values of one group into agreement, [member, d_head, d_head].

    Procrustes (Schönemann 1966), each head in turn towards the sum of the others: with U S Vᵀ = vᵀ · others, T = U Vᵀ.
    """
    wide = values.astype(np.float64)
    products = np.einsum("irx,jry->ijxy", wide, wide, optimize=True)
    turns = np.stack([np.eye(wide.shape[-1])] * len(wide))
    for _ in range(TURNS_OF_THE_FIT):
        for member in range(1, len(wide)):
            others = [other for other in range(len(wide)) if other != member]
            left, _, right = np.linalg.svd((products[member, others] @ turns[others]).sum(axis=0))
            turns[member] = left @ right
    return turns


def alike(
    keys: Float[Array, "kv_head rows d_head"], values: Float[Array, "kv_head rows d_head"]
) -> Float[Array, "kv_head kv_head"]:
    """How far apart are two K/V heads? Squared distance of their keys, and of their values, each as a share of the
    layer's mean square: half the sum over a group, by its size, is what its mean loses."""
    apart = np.zeros((len(keys), len(keys)))
    for rows in (keys, values):
        flat = rearrange(rows.astype(np.float64), "kv_head rows d -> kv_head (rows d)")
        products = flat @ flat.T
        squares = np.diag(products)
        apart += (squares[:, None] + squares - 2 * products) / max(float(squares.mean()), 1e-300)
    return apart


def choose_groups(apart: Float[Array, "kv_head kv_head"], n_shared: int) -> tuple[int, ...]:
    """The K/V heads in groups of one size, so that their means lose little: side by side, in rising order.

    From several starts (the order as it is; each head with its nearest first), two heads change places as long as
    that lowers the sum of distances within the groups. The best one found; it need not be the best there is.
    """
    size = len(apart) // n_shared
    starts = [list(range(len(apart)))] + [_nearest_first(apart, size, head) for head in range(len(apart))]
    found = [_exchanged(apart, start, size) for start in starts]
    best = min(found, key=lambda order: round(_within(apart, order, size), 9))
    groups = sorted(sorted(best[at : at + size]) for at in range(0, len(best), size))
    return tuple(head for group in groups for head in group)


def _nearest_first(apart: Array, size: int, head: int) -> list[int]:
    left, order = set(range(len(apart))), []
    while left:
        head = head if head in left else min(left)
        near = sorted(left, key=lambda other: (other != head, apart[head, other]))[:size]
        order += near
        left -= set(near)
    return order


def _exchanged(apart: Array, order: list[int], size: int) -> list[int]:
    lost, better = _within(apart, order, size), True
    while better:
        better = False
        for one in range(len(order)):
            for other in range((one // size + 1) * size, len(order)):
                order[one], order[other] = order[other], order[one]
                now = _within(apart, order, size)
                if now < lost - 1e-9:
                    lost, better = now, True
                else:
                    order[one], order[other] = order[other], order[one]
    return order


def _within(apart: Array, order: Sequence[int], size: int) -> float:
    groups = np.asarray(order).reshape(-1, size)
    return float(sum(apart[np.ix_(group, group)].sum() for group in groups))


def make_plan(
    spec: ModelSpec,
    n_shared: int,
    method: str,
    keys: Float[Array, "kv_head rows d_head"],
    values: Float[Array, "kv_head rows d_head"],
    *,
    repeated: bool = False,
    seed: int = 0,
) -> Plan:
    """How one layer's K/V heads become `n_shared`, by its keys and values on a text.

    Without a text, W_k and W_v themselves do for every method but `aligned` (their rows are then the inputs).
    """
    order = tuple(range(spec.n_kv_head))
    phases: Array | None = None
    turns: Array | None = None
    if method == "cluster":
        order = choose_groups(alike(keys, values), n_shared)
    if method == "aligned":
        groups = np.asarray(order).reshape(n_shared, -1)
        with one_blas_thread():  # many small products: threads would wait for each other
            turns = np.concatenate([fit_turns(values[group]) for group in groups])
            if not spec.qk_norm and spec.rotation is not None:
                turning = keys[..., : spec.rotation.dims]
                phases = np.concatenate([fit_phases(turning[group], spec.rotation.pairs) for group in groups])
    merge = {"first": "first", "random": "random"}.get(method, "mean")
    pairs = spec.rotation.pairs if spec.rotation is not None else "half"
    return Plan(n_shared, order, merge, phases, turns, repeated, pairs, seed)  # type: ignore[arg-type]


def check_grouping(spec: ModelSpec, n_shared: int, method: str) -> None:
    """Can this model's K/V heads become so many? Raises UnsupportedError, saying which numbers would do."""
    if method not in METHODS:
        raise UnsupportedError(one_of("the method", method, METHODS))
    if spec.family in ("gpt2", "bert"):
        raise UnsupportedError(
            f"{spec.name}: a model of the family {spec.family} has one K/V head per query head and no count of them in "
            "its configuration, so fewer cannot be written"
        )
    check_count(spec.name, spec.n_kv_head, n_shared)


def check_count(name: str, n_kv_head: int, n_shared: int) -> None:
    """Do so many K/V heads divide into so many groups? Raises UnsupportedError, saying which numbers would do."""
    fewer = [n for n in range(1, n_kv_head) if n_kv_head % n == 0]
    if n_shared in fewer:
        return
    if n_kv_head == 1:
        raise UnsupportedError(f"{name} has one K/V head in every layer: there is nothing left to group")
    reason = "that is what it has" if n_shared == n_kv_head else "they must be fewer and divide into equal groups"
    raise UnsupportedError(
        f"{name}: {n_kv_head} K/V heads cannot become {n_shared}: {reason}; possible are {', '.join(map(str, fewer))}"
    )
