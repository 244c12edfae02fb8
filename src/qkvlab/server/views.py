"""The `view` lane: a text run layer by layer, each part sent as soon as its layers have run."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import effects, overview, questions, words
from ..onehead import head_arrays, head_rule, raw_arrays
from ..residual import layer_writes, residual_length, residual_path
from ..spec import Head
from ..trace import Trace
from .protocol import Reply, Request
from .rooms import Rooms
from .scene import Scene, scene_in_turn
from .scheduler import Owner, Rest, Wait
from .traces import trace_bytes

Steps = Generator[Reply | Rest | Wait | None, None, dict[str, Any]]
"""What a lane yields: replies, WAIT, a Rest, or None between two pieces of work; it returns the fields of `done`."""
DRAWING = Rest(0.04)
"""About as long as a page needs to draw the heads it shows. Layers that go on at once, on the same processors, double
that."""
_WHOLE = {"heads", "overview", "prediction", "residual"}
"""The parts that need every layer."""


@dataclass(frozen=True)
class Sight:
    """A view on the way: what was asked, the two traces, and the heads to show."""

    request: Request
    scene: Scene
    before: Trace
    """Without the edits; the same trace where there are none."""
    after: Trace
    heads: tuple[Head, ...]
    tracked: list[int]

    @property
    def query(self) -> int:
        assert self.scene.query is not None
        return self.scene.query


def view(request: Request, rooms: Rooms, owner: Owner) -> Steps:
    """Everything the page shows of a text."""
    model = yield from rooms.models.opened(request.model)
    spec = model.spec
    heads = tuple(spec.head(address) for address in request.heads)
    tracked = effects.tracked_ids(model, request.tracked) if spec.has_output else []
    scene = yield from scene_in_turn(request, model)
    yield Reply("tokens", _tokens(scene))
    if len(scene.tokens) == 0:
        return {}
    parts = [part for part in request.parts if spec.has_output or part not in ("prediction", "words")]
    last_shown = max((head.layer for head in heads), default=None) if request.busy == "drawing" else None
    depth = spec.n_layer if _WHOLE & set(parts) else max((head.layer + 1 for head in heads), default=0)
    cost = trace_bytes(model, len(scene.tokens)) * (2 if scene.edits else 1)
    with rooms.traces.lease(owner, cost, keep=True) as lease:
        yield from lease.granted()
        after = before = lease.trace(model, scene.tokens, ())
        if scene.edits:
            yield from running(before, depth)  # first, so that the edited trace shares its rows
            after = lease.trace(model, scene.tokens, scene.edits)
        sight = Sight(request, scene, before, after, heads, tracked)
        for layer in range(depth):
            after.run(layer + 1)
            yield from _parts_of_layer(sight, layer, parts)
            yield DRAWING if layer == last_shown else None
        yield from _parts_of_all(sight, parts)
        if depth < spec.n_layer:
            return {}
        still = after.unchanged
        return {"unchanged": [place for place, edit in enumerate(scene.places) if edit in still]}


def running(trace: Trace, depth: int) -> Iterator[None]:
    """Run the first layers, one a step."""
    for layer in range(trace.layers_done, depth):
        trace.run(layer + 1)
        yield None


def _tokens(scene: Scene) -> dict[str, Any]:
    return {
        "tokens": scene.tokens.texts,
        "offsets": scene.tokens.offsets,
        "special": scene.tokens.special,
        "n_token": scene.n_token,
        "query": scene.query,
        "key": scene.key,
        "at": scene.at,
        "edits": [edit and edit.to_dict() for edit in scene.places],
        "refused": [{"edit": place, "message": message} for place, message in scene.refused],
    }


def _parts_of_layer(sight: Sight, layer: int, parts: list[str]) -> Iterator[Reply]:
    """What is ready once a layer has run: its heads that were asked for."""
    for place, head in enumerate(sight.heads):
        if head.layer == layer and "head" in parts:
            yield _head(sight, head)
        if head.layer == layer and place == 0:
            if "raw" in parts:
                yield Reply("raw", {"head": str(head)}, raw_arrays(sight.after, head))
            if "found" in parts:
                yield _found(sight, head)
            if "writes" in parts:
                yield _writes(sight, head)


def _parts_of_all(sight: Sight, parts: list[str]) -> Iterator[Reply | None]:
    """What needs every layer, and the words."""
    after, scene = sight.after, sight.scene
    if "prediction" in parts:
        assert scene.at is not None
        yield Reply("prediction", effects.prediction(sight.before, after, scene.at, sight.tracked))
    if "residual" in parts:
        yield Reply("residual", {"query": sight.query}, residual_path(after, sight.query))
    if "heads" in parts:
        yield from _heads(sight)
    if "words" in parts and sight.heads:
        yield _words(sight)
    if "overview" in parts:
        yield from _overview(after)


def _head(sight: Sight, head: Head) -> Reply:
    after, spec = sight.after, sight.after.spec
    kv_head = spec.kv_head(head)
    fields = {
        "head": str(head),
        "kv_head": kv_head,
        "readers": [str(reader) for reader in spec.readers(head.layer, kv_head)],
        "query": sight.query,
        "residual": residual_length(after, head, sight.query),
        "edited": bool(after.edits),
        "rule": head_rule(after, head),
    }
    return Reply("head", fields, head_arrays(after, sight.before, head, sight.query))


def _found(sight: Sight, head: Head) -> Reply:
    scores, weights = questions.found(sight.after, head, sight.query)
    arrays = {"scores": scores, "weights": weights}
    if sight.after is not sight.before:
        arrays["weights_before"] = questions.found(sight.before, head, sight.query)[1]
    return Reply("found", {"head": str(head), "query": sight.query}, arrays)


def _writes(sight: Sight, head: Head) -> Reply:
    arrays, difference = layer_writes(sight.after, head.layer, sight.query)
    return Reply("writes", {"layer": head.layer, "query": sight.query, "difference": difference}, arrays)


def _heads(sight: Sight) -> Iterator[Reply | None]:
    rows: list[dict[str, Any]] = []
    for layer in range(sight.after.spec.n_layer):
        if layer in sight.after.spec.no_attention:
            rows.append({})
            continue
        found = overview.looks(sight.after, layer, sight.query, sight.scene.key)
        if sight.after is not sight.before:
            unedited = overview.looks(sight.before, layer, sight.query, sight.scene.key)
            kept = ("top_key", "top_weight", "pair_weight")
            found |= {f"{name}_before": unedited[name] for name in kept if name in unedited}
        rows.append(found)
        yield None
    some = next(row for row in rows if row)
    arrays = {name: np.stack([row.get(name, np.zeros_like(some[name])) for row in rows]) for name in some}
    yield Reply("heads", {"query": sight.query, "key": sight.scene.key}, arrays)


def _words(sight: Sight) -> Reply:
    head = sight.heads[0]
    key = sight.scene.key
    if key is None:
        key = int(overview.looks(sight.after, head.layer, sight.query)["top_key"][head.head])
    indices = [sight.query, key]
    fields = {"head": str(head), **words.head_words(sight.after, head, indices, sight.query)}
    if sight.after is not sight.before:
        fields["before"] = words.head_words(sight.before, head, indices, sight.query)
    return Reply("words", fields)


def _overview(trace: Trace) -> Iterator[Reply | None]:
    rows, edges = overview.cells(len(trace))
    stamps = []
    for layer in range(trace.spec.n_layer):
        empty = layer in trace.spec.no_attention
        shape = (trace.spec.n_head, len(rows), len(edges) - 1)
        stamps.append(np.zeros(shape, np.uint8) if empty else overview.layer_stamps(trace, layer, rows, edges))
        yield None
    yield Reply("overview", {"rows": list(rows), "columns": list(edges)}, {"stamps": np.stack(stamps)})
