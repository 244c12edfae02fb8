"""What a reader of an export may ask beyond what was heard: heads switched off together, and one head to drag."""

import json
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

from ..model import open_model
from ..spec import ModelSpec

Request = dict[str, Any]
SETTLED: Request = {"lane": "view", "edits": [], "query": None, "key": None, "at": None, "tracked": []}
"""The fields of a view that the page fills in where an instrument does not (`complete` in web/src/lesson/probe)."""
OPENED = ("head", "prediction", "words")
"""What the page asks of a head that is to be dragged (web/src/lesson/instruments/onehead.ts)."""


def reachable(heard: list[Request], blocks: list[dict[str, Any]]) -> list[Request]:
    """The requests of a lesson that follow from those heard, and from its compiled instruments."""
    return [*_switched(heard), *(_opened(block["settings"]) for block in blocks if block.get("name") == "playground")]


def _switched(heard: list[Request]) -> Iterator[Request]:
    """Where heads were switched off: in their layer every set of them, behind every token that was heard; in every
    other layer one and all but one."""
    predictions = [request for request in heard if request.get("parts") == ["prediction"]]
    switched = [request for request in predictions if request["edits"]]
    if not switched:
        return
    first = switched[0]
    spec = open_model(first["model"]).spec
    layer = int(first["edits"][0]["where"].split(".")[0])
    behind = {json.dumps(request["at"]): request for request in predictions if request["text"] == first["text"]}
    for heads in _sets(spec, layer, range(spec.n_head + 1)):  # all tokens of one set: the model runs once for them
        yield from (_without(request, heads) for request in behind.values())
    for at in range(spec.n_layer):
        if at != layer:
            yield from (_without(first, heads) for heads in _sets(spec, at, (1, spec.n_head - 1)))


def _without(request: Request, heads: list[str]) -> Request:
    return {**request, "edits": [{"kind": "ablate", "where": head, "to": "zero", "strength": 1} for head in heads]}


def _sets(spec: ModelSpec, layer: int, sizes: Iterable[int]) -> Iterator[list[str]]:
    names = [f"{layer}.{head}" for head in range(spec.n_head)]
    return (list(chosen) for size in sizes for chosen in combinations(names, size))


def _opened(settings: dict[str, Any]) -> Request:
    """The head that the playground opens on, with everything that dragging it needs."""
    text = settings["text"]
    query, key = (_token(text, settings[name]) for name in ("query", "key"))
    asked = {"model": settings["model"], "text": text, "heads": [settings["head"]], "parts": list(OPENED)}
    return {**SETTLED, **asked, "query": query, "key": key, "edits": settings["edits"]}


def _token(text: str, name: str | None) -> int | list[int] | None:
    """A token as the page names it on the wire: by the last place of its text that no letter follows, or its number."""
    if name is None:
        return None
    if name.startswith("#") and name[1:].isdecimal():
        return int(name[1:])
    at = text.rfind(name)
    while at >= 0 and text[at + len(name) : at + len(name) + 1].isalpha():
        at = text.rfind(name, 0, at + len(name) - 1)
    return [at, at + len(name)] if at >= 0 else None
