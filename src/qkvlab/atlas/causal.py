"""Causal check of named roles: what does the model lose at a role's queries when the head is ablated?

The head's z becomes its mean over the selection part; the change is read on windows of the report part, at the queries
that the role asks about, beside the other positions of the same windows, and beside a head of the same layer drawn at
random. A causal model: change of the loss, -log p of the token that comes next, in nats. A model that sees both sides
has no next token: change of the final vector, |Δ| / |final|. One ablation of a head serves all its roles.

Limits: at most `N_WINDOW` windows of text and `N_RANDOM` random texts, chosen by checksum, each role in turn, so a rare
role has few items (n says how many); a loss at the query need not be where the head's answer is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from .._parallel import in_parallel
from .._shapes import Array, Float
from ..edits import Ablate
from ..model import Model
from ..spec import Head
from ..trace import Trace
from .antecedents import COREFERENCE, Antecedents
from .counts import Counts, Options
from .repeats import random_texts
from .syntax import syntax_questions
from .treebank import Document
from .windows import Window, windows

N_WINDOW, N_RANDOM = 6, 3
ROWS, ROWS_EACH = 64, 8
"""Rows of logits at once, and those one processor sums up at a time."""


@dataclass(frozen=True)
class Place:
    """A window to check in: its tokens, and for each role the queries it asks about."""

    name: str
    ids: tuple[int, ...]
    queries: Mapping[str, tuple[int, ...]]


def checked_heads(roles: Mapping[str, Sequence[Head]], most: int | None = None) -> dict[str, list[Head]]:
    """The heads of each role that are checked: all, or the first ones, which are the best."""
    return {role: list(heads[:most]) for role, heads in roles.items() if heads}


def places(
    model: Model,
    documents: Iterable[Document],
    roles: Iterable[str],
    seed: int,
    options: Options | None = None,
    most: int = N_WINDOW,
    random: Sequence[int] = (),
) -> list[Place]:
    """Windows of these documents (the report part's) that hold queries of the roles, `most` or as many as it takes for
    every role to have one, and the first random texts of these numbers if a role is about them. The documents are gone
    through once."""
    options, wanted = options or Options(), set(roles)
    of_text = {role for role in wanted if not role.startswith("repeats:")}
    of_random = wanted - of_text
    found: list[Place] = []
    for document in documents if of_text else ():
        mentions = Antecedents(document)
        for number, window in enumerate(windows(model, document, options.window, examples=False)):
            queries = _queries(model, document, window, mentions, of_text)
            if queries:
                found.append(Place(f"{document.name}:{number}", window.ids, queries))
        found = _candidates(found, of_text, most)
    made = _random(model, of_random, seed, options, sorted(random)[:N_RANDOM])
    return [*_chosen(found, of_text, most), *made]


def _random(model: Model, roles: set[str], seed: int, options: Options, numbers: Sequence[int]) -> list[Place]:
    made = []
    for number in numbers if roles else ():
        text, _ = random_texts(model, seed, number, min(options.window, model.spec.n_context))
        asked = _with_next(model, text.queries, len(text.ids))
        made.append(Place(f"random:{number:03d}", text.ids, dict.fromkeys(sorted(roles), asked)))
    return made


def _queries(
    model: Model, document: Document, window: Window, mentions: Antecedents, roles: set[str]
) -> dict[str, tuple[int, ...]]:
    """For each role its queries in a window. Clark's roles ask about the same dependencies, here within the window:
    at the dependent where it looks at its head, at the head where that looks at the dependent."""
    kinds = syntax_questions(document, window, Counts(document.name), model.spec.causal)
    kinds |= mentions.questions(window) if COREFERENCE in roles else {}
    at: dict[str, Sequence[int] | Array] = {name: kind.queries for name, kind in kinds.items()}
    for name, kind in kinds.items():
        if not name.startswith("syntax:") or name.endswith(":forward"):
            continue
        relation, _, side = name.removeprefix("syntax:").rpartition(":")
        earlier = [int(window.last_token[right[0]]) for right in kind.right]
        both = {"head": kind.queries, "dependent": earlier} if side == "head" else {
            "head": earlier, "dependent": kind.queries
        }  # fmt: skip
        for direction, which in (("normal", "dependent"), ("transposed", "head")):
            role = f"clark:{relation}:{direction}"
            at[role] = [*at.get(role, ()), *both[which]]
    at |= {role: window.queries for role in roles if role.startswith("position:")}
    asked = {role: _with_next(model, at[role], len(window.ids)) for role in sorted(roles) if role in at}
    return {role: queries for role, queries in asked.items() if queries}


def _with_next(model: Model, queries: Sequence[int] | Array, n_token: int) -> tuple[int, ...]:
    """Those after which a token comes, where that is what is measured."""
    last = n_token - 1 if model.spec.causal else n_token
    return tuple(sorted({int(query) for query in queries if query < last}))


def _queues(found: Sequence[Place], roles: set[str], most: int) -> dict[str, list[Place]]:
    """For each role its first windows by checksum."""
    ordered = sorted(found, key=lambda place: sha256(place.name.encode()).digest())
    return {role: [place for place in ordered if role in place.queries][:most] for role in sorted(roles)}


def _candidates(found: Sequence[Place], roles: set[str], most: int) -> list[Place]:
    """Those that some role could take: what has to be held while documents come."""
    return list({place.name: place for queue in _queues(found, roles, most).values() for place in queue}.values())


def _chosen(found: Sequence[Place], roles: set[str], most: int) -> list[Place]:
    """Each role in turn takes its next, those with the fewest windows first, up to so many; but every role has one."""
    queues = sorted(_queues(found, roles, most).items(), key=lambda pair: (len(pair[1]), pair[0]))
    kept: dict[str, Place] = {}
    for role, queue in queues:
        if queue and not any(role in place.queries for place in kept.values()):
            kept[queue[0].name] = queue[0]
    for turn in range(most):
        for _, queue in queues:
            if turn < len(queue) and len(kept) < most:
                kept.setdefault(queue[turn].name, queue[turn])
    return list(kept.values())


def random_head(model: Model, head: Head, seed: int) -> Head | None:
    """Another head of the same layer, drawn; None where there is no other."""
    others = [Head(head.layer, other) for other in range(model.spec.n_head) if other != head.head]
    drawn = np.random.default_rng((seed, head.layer)).permutation(model.spec.n_head)
    rank = {int(number): at for at, number in enumerate(drawn)}
    return min(others, key=lambda other: rank[other.head], default=None)


def random_heads(model: Model, place: Place, heads: Mapping[str, Sequence[Head]], seed: int) -> dict[Head, Head | None]:
    """The heads that are asked about in a window, each with the one drawn beside it."""
    asked = {head for role, named in heads.items() if role in place.queries for head in named}
    return {head: random_head(model, head, seed) for head in asked}


def ablated_heads(others: Mapping[Head, Head | None]) -> list[Head]:
    """Both, each once, the last layers first."""
    return sorted({*others, *(other for other in others.values() if other is not None)}, reverse=True)


def check_place(
    model: Model,
    place: Place,
    heads: Mapping[str, Sequence[Head]],
    mean_z: Float[Array, "layer head d_value"],
    seed: int,
    told: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """All ablations in one window, as plain JSON values: sums over positions, which add up over windows.

    `heads`: role → heads to check, of `checked_heads`; `mean_z`: their means over the selection part; `told` hears of
    each ablation before it is run.
    """
    others = random_heads(model, place, heads, seed)
    base = model.trace(ids=place.ids, positions="all")
    before = _readings(base)
    changes: dict[Head, Array] = {}
    for head in ablated_heads(others):
        told()
        edit = Ablate(where=str(head), to=tuple(float(value) for value in mean_z[head]))
        changes[head] = _change(base, before, _readings(base.with_edits([edit])))
    rows: list[dict[str, Any]] = []
    for role, named in heads.items():
        queries = np.array(place.queries.get(role, ()), int)
        for head in named if len(queries) else ():
            rest = np.delete(np.arange(len(changes[head])), queries)
            other = others[head]
            rows.append({
                "role": role, "head": str(head), "random_head": None if other is None else str(other),
                "n": len(queries), "at": float(changes[head][queries].sum()),
                "random_at": 0.0 if other is None else float(changes[other][queries].sum()),
                "n_elsewhere": len(rest), "elsewhere": float(changes[head][rest].sum()),
            })  # fmt: skip
    unit = "nats" if model.spec.causal and model.spec.has_output else "of the final vector"
    return {"place": place.name, "unit": unit, "rows": rows}


def _readings(trace: Trace) -> Array:
    """The loss at every position but the last, [position]; or the final vectors, [position, d_model]."""
    if not (trace.spec.causal and trace.spec.has_output):
        return trace.final
    ids = np.array(trace.ids)
    losses = np.zeros(len(ids) - 1)

    def some(start: int, logits: Array) -> None:
        top = logits.max(axis=-1)
        own = logits[np.arange(len(logits)), ids[start + 1 : start + 1 + len(logits)]]
        total = np.exp(logits - top[:, None]).sum(axis=-1, dtype=np.float64)
        losses[start : start + len(logits)] = np.log(total) + top - own

    for start in range(0, len(losses), ROWS):
        logits = trace.logits_at(slice(start, min(start + ROWS, len(losses))))
        in_parallel([
            partial(some, start + at, logits[at : at + ROWS_EACH]) for at in range(0, len(logits), ROWS_EACH)
        ])  # fmt: skip
    return losses


def _change(base: Trace, before: Array, after: Array) -> Float[Array, " position"]:
    if before.ndim == 1:
        return after - before
    change: Array = np.linalg.norm(after - before, axis=-1) / np.linalg.norm(before, axis=-1)
    return change


def ablations(checks: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """What `check_place` found in every window → (role, head) → its ablation, as atlas.json has it: means."""
    totals: dict[tuple[str, str], dict[str, Any]] = {}
    for check in checks:
        for row in check["rows"]:
            total = totals.setdefault((row["role"], row["head"]), {
                "n": 0, "at": 0.0, "elsewhere": 0.0, "random_head": row["random_head"], "random_at": 0.0,
                "unit": check["unit"], "windows": 0, "n_elsewhere": 0,
            })  # fmt: skip
            for name in ("n", "at", "elsewhere", "random_at", "n_elsewhere"):
                total[name] += row[name]
            total["windows"] += 1
    return {key: _means(total) for key, total in totals.items()}


def _means(total: dict[str, Any]) -> dict[str, Any]:
    n, n_elsewhere, other = total["n"], total["n_elsewhere"], total["random_head"]
    means = {
        "at": total["at"] / n, "elsewhere": total["elsewhere"] / n_elsewhere if n_elsewhere else None,
        "random_head": other or "", "random_at": None if other is None else total["random_at"] / n,
    }  # fmt: skip
    return total | means
