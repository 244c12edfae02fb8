"""Lane → the steps that answer it; what goes wrong on the way becomes an `error`."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from .. import circuits, effects, overview, sharing, why_score
from .._shapes import Array
from ..errors import QkvLabError
from ..spec import Head
from ..trace import Trace
from .describe import describe
from .protocol import Reply, Request
from .rooms import Rooms
from .scene import Scene, scene_in_turn
from .scheduler import WAIT, Owner, Rest, Wait
from .traces import trace_bytes
from .views import Steps, running, view

log = logging.getLogger("qkvlab.server")

WHY_PAIRS = 12
"""How many pairs of writers a page is told of."""
STRENGTHS = tuple(step / 10 for step in range(11))


def answer(request: Request, rooms: Rooms, owner: Owner) -> Generator[Reply | Rest | Wait | None, None, None]:
    """All that a request is answered with, its end included, in steps."""
    start = time.perf_counter()
    try:
        fields = yield from _LANES[request.lane](request, rooms, owner)
    except QkvLabError as error:
        yield error_reply(error)
    except Exception as error:
        log.exception("request %d of lane %s failed", request.id, request.lane)
        yield Reply("error", {"kind": "InternalError", "message": f"the server failed here ({type(error).__name__})"})
    else:
        yield Reply("done", {"ms": round(1000 * (time.perf_counter() - start), 3), **fields})


def error_reply(error: QkvLabError) -> Reply:
    """A person's mistake as an answer."""
    return Reply("error", {"kind": type(error).__name__, "message": " ".join(str(error).split())})


def _effect(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """What each head's write adds to the tracked words, and how much of `at` it looks at; with edits, also before."""

    def of(trace: Trace, at: int, ids: list[int]) -> Generator[None, None, dict[str, Array]]:
        direct = effects.direct_effects(trace, at, ids)
        yield None
        weights = []
        for layer in range(trace.spec.n_layer):
            empty = layer in trace.spec.no_attention
            weights.append(np.zeros_like(direct[layer]) if empty else overview.looks(trace, layer, at)["land_weight"])
            yield None
        return {"direct": direct, "weight": np.stack(weights)}

    def steps(trace: Trace, scene: Scene, at: int, ids: list[int]) -> Iterator[Reply | None]:
        arrays = yield from of(trace, at, ids)
        if trace.edits:
            plain = trace.with_edits([])
            yield from running(plain, trace.spec.n_layer)
            unedited = yield from of(plain, at, ids)
            arrays |= {f"{name}_before": array for name, array in unedited.items()}
        yield Reply("effect", {"at": at}, arrays)

    return (yield from _on_trace(request, rooms, owner, steps))


def _ablate(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """Every head ablated in turn, the strongest direct effect first; with edits, then once more without them."""
    order: list[Head] = []

    def steps(name: str, trace: Trace, scene: Scene, at: int, ids: list[int]) -> Iterator[Reply | None]:
        if not order:
            direct = effects.direct_effects(trace, at, ids)
            order.extend(sorted(trace.spec.heads(), key=lambda head: -abs(float(direct[head]))))
        later = len(order) if trace.edits else 0
        for n, head in enumerate(order):
            yield None
            effect, p = effects.ablated(trace, head, at, ids)
            row = {"head": str(head), "effect": effect, "p": p}
            yield Reply("ablate", {"at": at, name: [row], "left": later + len(order) - 1 - n})

    model = yield from rooms.models.opened(request.model)
    yield from _on_trace(request, rooms, owner, partial(steps, "effects"))
    if (yield from scene_in_turn(request, model)).edits:
        yield from _on_trace(replace(request, edits=()), rooms, owner, partial(steps, "before"))
    return {}


def _without(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """The answer without one head."""

    def steps(trace: Trace, scene: Scene, at: int, ids: list[int]) -> Iterator[Reply | None]:
        head = trace.spec.head(request.head)
        without = effects.without_head(trace, head)
        yield from running(without, trace.spec.n_layer)
        effect, p = effects.ablation_effect(trace, without, at, ids)
        yield Reply("without", {"head": str(head), "at": at, "effect": effect, "p": p})

    return (yield from _on_trace(request, rooms, owner, steps))


def _curve(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """The tracked words with one edit at every strength."""

    def steps(trace: Trace, scene: Scene, at: int, ids: list[int]) -> Iterator[Reply | None]:
        acting = [scene.acting(place) for place in request.places]
        rows = []
        for strength in STRENGTHS:
            rows.append(effects.strength_curve(trace, acting, strength, at, ids))
            yield None
        shares, logits = zip(*rows, strict=True)
        fields = {"at": at, "places": list(request.places), "strengths": STRENGTHS, "p": shares, "logits": logits}
        yield Reply("curve", fields)

    return (yield from _on_trace(request, rooms, owner, steps))


def _on_trace(
    request: Request,
    rooms: Rooms,
    owner: Owner,
    steps: Callable[[Trace, Scene, int, list[int]], Iterator[Reply | None]],
) -> Steps:
    """Steps on the whole trace of a request's state, with its edits, and room for one more such trace."""
    model = yield from rooms.models.opened(request.model)
    ids = effects.tracked_ids(model, request.tracked)
    scene = yield from scene_in_turn(request, model)
    if scene.at is None:
        return {}
    with rooms.traces.lease(owner, 2 * trace_bytes(model, len(scene.tokens))) as lease:
        yield from lease.granted()
        trace = lease.trace(model, scene.tokens, scene.edits)
        yield from running(trace, model.spec.n_layer)
        yield from steps(trace, scene, scene.at, ids)
    return {}


def _why(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """What wrote the score of one query with one key at one head; with edits, also before."""
    model = yield from rooms.models.opened(request.model)
    head = model.spec.head(request.head)
    scene = yield from scene_in_turn(request, model)
    if scene.query is None or scene.key is None:
        return {}
    with rooms.traces.lease(owner, (2 if scene.edits else 1) * trace_bytes(model, len(scene.tokens))) as lease:
        yield from lease.granted()
        trace = lease.trace(model, scene.tokens, scene.edits)
        yield from running(trace, head.layer + 1)
        found = why_score.why(trace, scene.query, scene.key, head).to_dict(WHY_PAIRS)
        told = {name: found[name] for name in ("head", "score", "sum", "apart", "remainder", "components", "pairs")}
        if scene.edits:
            plain = lease.trace(model, scene.tokens, ())
            yield from running(plain, head.layer + 1)
            was = why_score.why(plain, scene.query, scene.key, head).to_dict(WHY_PAIRS)
            told["before"] = {name: was[name] for name in ("score", "components")}
    yield Reply("why", {**told, "query": scene.query, "key": scene.key})
    return {}


def _sharing(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """What sharing the K/V heads of more and more layers costs."""
    model = yield from rooms.models.opened(request.model)
    for fields in sharing.sharing_steps(model):
        yield Reply("sharing", fields)
    return {}


def _weights(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """One head's own projections."""
    model = yield from rooms.models.opened(request.model)
    head = model.spec.head(request.head)
    fields = {"head": str(head), "kv_head": model.spec.kv_head(head), "qk_norm": model.spec.qk_norm}
    yield Reply("weights", fields, circuits.head_weights(model, head))
    return {}


def _symmetry(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """How symmetric looking and being found are in every head, beside random matrices."""
    model = yield from rooms.models.opened(request.model)
    rows: dict[str, list[np.ndarray]] = {"heads": [], "random": []}
    steps = zip(circuits.symmetry_rows(model), circuits.random_rows(model.spec), strict=True)
    for own, random in steps:
        rows["heads"].append(own)
        rows["random"].append(random)
        yield None
    yield Reply("symmetry", {"seed": circuits.SEED}, {name: np.stack(row) for name, row in rows.items()})
    return {}


def _models(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """The models that can be named."""
    yield Reply("models", {"models": rooms.models.rows()})
    return {}


def _atlas(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """Which atlases there are, or one of them whole."""
    if request.atlas:
        yield Reply("atlas", {"atlas": request.atlas, "summary": rooms.atlases.entry(request.atlas).atlas})
    else:
        yield Reply("atlases", {"atlases": rooms.atlases.rows(rooms.models.rows())})
    return {}


def _atlas_head(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """What one head did at some places of the corpus."""
    yield Reply("atlas_head", rooms.atlases.head(request.atlas, request.head))
    return {}


def _open(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """Open a model, with the progress of its download."""
    opening = rooms.models.open(request.model)
    told = 0
    while opening.model is None and opening.error is None:
        if opening.done != told:
            told = opening.done
            yield Reply("progress", {"done": told, "total": opening.total})
        yield WAIT
    if opening.error is not None:
        raise opening.error
    model = yield from rooms.models.opened(request.model)
    yield Reply("opened", {"model": describe(request.model, model)})
    return {}


_LANES: dict[str, Callable[[Request, Rooms, Owner], Steps]] = {
    "view": view,
    "effect": _effect,
    "ablate": _ablate,
    "without": _without,
    "curve": _curve,
    "why": _why,
    "sharing": _sharing,
    "weights": _weights,
    "symmetry": _symmetry,
    "models": _models,
    "atlas": _atlas,
    "atlas_head": _atlas_head,
    "open": _open,
}
