"""What a reader of an export may ask beyond what was heard: heads switched off together, and one head to drag."""

import json
from collections.abc import Iterator
from typing import Any

from ..model import open_model

Request = dict[str, Any]
SETTLED: Request = {"lane": "view", "edits": [], "query": None, "key": None, "at": None, "tracked": []}
"""The fields of a view that the page fills in where an instrument does not (`complete` in web/src/lesson/probe)."""
OPENED = ("head", "prediction", "words")
"""What the page asks of a head that is to be dragged (web/src/lesson/instruments/onehead.ts)."""


def reachable(heard: list[Request], blocks: list[dict[str, Any]]) -> list[Request]:
    """The requests of a lesson that follow from those heard, and from its compiled instruments."""
    return [*_switched(heard), *(_opened(block["settings"]) for block in blocks if block.get("name") == "playground")]


def _switched(heard: list[Request]) -> Iterator[Request]:
    """Where heads were switched off: every set of heads of every layer, behind every token that was heard, as tables
    (tables.py)."""
    predictions = [request for request in heard if request.get("parts") == ["prediction"]]
    switched = next((request for request in predictions if request["edits"]), None)
    if switched is None:
        return
    spec = open_model(switched["model"]).spec
    behind = {json.dumps(request["at"]): request for request in predictions if request["text"] == switched["text"]}
    for layer in range(spec.n_layer):
        yield from ({**request, "edits": [], "switched": layer} for request in behind.values())


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
