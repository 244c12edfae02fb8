"""Frames ↔ requests and replies: what docs/protocol.md says, checked on the way in, written on the way out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..checkpoint.write import to_bytes
from ..errors import RequestError, one_of
from ..text import Special

VERSION = 1
MAX_FRAME = 1024**2
"""Bytes of a message from the page; a larger one closes the connection."""
MAX_TEXT, MAX_EDITS, MAX_HEADS, MAX_TRACKED, MAX_NAME = 100_000, 64, 4, 2, 300
MAX_ID = 2**53
"""The largest whole number that a page counts exactly."""
BUSY = ("drawing", "dragging")
PARTS = ("head", "raw", "found", "writes", "residual", "heads", "overview", "prediction", "words")


class Span(NamedTuple):
    """The characters a token stands on, in code points."""

    start: int
    end: int
    part: int = 0
    """Of several tokens that cover as much of them: which one, from 0; the last, if there are fewer."""


Place = int | Span
"""A token, by its position or by its characters."""


@dataclass(frozen=True)
class Request:
    """One message of the page; what its lane does not use keeps its default."""

    id: int
    lane: str
    model: str = ""
    text: str = ""
    special: Special = True
    edits: tuple[dict[str, Any], ...] = ()
    head: str = ""
    heads: tuple[str, ...] = ()
    query: Place | None = None
    key: Place | None = None
    at: Place | None = None
    tracked: tuple[int | str, ...] = ()
    parts: tuple[str, ...] = ()
    busy: str | None = None
    places: tuple[int, ...] = ()
    atlas: str = ""


@dataclass(frozen=True)
class Reply:
    """One answer: JSON fields, and arrays where there are any."""

    part: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] | None = None

    @property
    def last(self) -> bool:
        """Whether it ends its request."""
        return self.part in ("done", "error", "dropped")


_STATE = ("model", "text", "special", "edits")
LANES: dict[str, tuple[str, ...]] = {
    "view": (*_STATE, "heads", "query", "key", "at", "tracked", "parts", "busy"),
    "effect": (*_STATE, "at", "tracked"),
    "ablate": (*_STATE, "at", "tracked"),
    "without": (*_STATE, "head", "at", "tracked"),
    "curve": (*_STATE, "at", "tracked", "places"),
    "why": (*_STATE, "head", "query", "key"),
    "sharing": ("model",),
    "weights": ("model", "head"),
    "symmetry": ("model",),
    "models": (),
    "atlas": ("atlas",),
    "atlas_head": ("atlas", "head"),
    "open": ("model",),
}
"""Each lane and its fields."""
_NEEDED = {
    "view": {"model", "text"},
    "effect": {"model", "text", "tracked"},
    "ablate": {"model", "text", "tracked"},
    "without": {"model", "text", "head", "tracked"},
    "curve": {"model", "text", "tracked", "places"},
    "why": {"model", "text", "head", "query", "key"},
    "sharing": {"model"},
    "weights": {"model", "head"},
    "symmetry": {"model"},
    "open": {"model"},
    "atlas_head": {"atlas", "head"},
}


def parse_json(frame: str | None) -> dict[str, Any]:
    """The object in a text frame. Raises RequestError."""
    if frame is None:
        raise RequestError("a message is a text frame of JSON; got a binary frame")
    try:
        message = json.loads(frame, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise RequestError(f"a message is a JSON object; got {_shown(frame)}") from None
    if not isinstance(message, dict):
        raise RequestError(f"a message is a JSON object; got {_shown(message)}")
    return message


def parse_request(message: Mapping[str, Any]) -> Request:
    """The request in a message, every field checked for type and size. Raises RequestError."""
    lane = message.get("lane")
    if not isinstance(lane, str) or lane not in LANES:
        raise RequestError(one_of("the lane", str(lane)[:40], LANES))
    allowed = ("id", "lane", *LANES[lane])
    for name in message:
        if name not in allowed:
            raise RequestError(f"{lane}: {one_of('the field', name[:40], allowed)}")
    if missing := {"id", *_NEEDED.get(lane, ())} - message.keys():
        raise RequestError(f"{lane}: the field {', '.join(sorted(missing))} is missing")
    fields = {name: _READERS[name](message[name]) for name in allowed if name in message and name != "lane"}
    if "tracked" in _NEEDED.get(lane, ()) and not fields["tracked"]:
        raise RequestError(f"{lane}: tracked is empty; expected at least one word")
    return Request(lane=lane, **fields)


def encode(request_id: int | None, lane: str | None, reply: Reply) -> str | bytes:
    """A reply as a frame: text, or a safetensors file where it has arrays."""
    text = json.dumps({"id": request_id, "lane": lane, "part": reply.part, **reply.fields}, allow_nan=False)
    return text if reply.arrays is None else to_bytes(reply.arrays, {"reply": text})


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _shown(value: Any) -> str:
    return ascii(value)[:60]


def _wrong(name: str, expected: str, got: Any) -> RequestError:
    return RequestError(f"{name}: expected {expected}; got {_shown(got)}")


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _read_whole(name: str, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not _whole(value, most):
            raise _wrong(name, f"a whole number from 0 to {most}", value)
        return int(value)

    return read


def _read_text(name: str, most: int) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise _wrong(name, "a text", value)
        if len(value) > most:
            raise RequestError(f"{name} has {len(value):,} characters; at most {most:,} are taken")
        return value

    return read


def _read_place(name: str) -> Callable[[Any], Place | None]:
    def read(value: Any) -> Place | None:
        if value is None or _whole(value, MAX_TEXT):
            return value  # type: ignore[no-any-return]
        if (span := read_span(value)) is None:
            raise _wrong(name, "null, a position, or [start, end] in characters, with a part or without", value)
        return span

    return read


def read_span(value: Any) -> Span | None:
    """A range of characters, [start, end] or [start, end, part]; None for anything else."""
    if not (isinstance(value, list) and len(value) in (2, 3) and all(_whole(number, MAX_TEXT) for number in value)):
        return None
    return Span(*value) if value[0] <= value[1] else None


def _read_list(name: str, most: int, what: str, fits: Callable[[Any], bool]) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > most or not all(map(fits, value)):
            raise _wrong(name, f"a list of at most {most} {what}", value)
        return tuple(value)

    return read


def _read_special(value: Any) -> Special:
    if value is True or value is False or value == "start":
        return value  # type: ignore[no-any-return]
    raise _wrong("special", 'true, false or "start"', value)


def _read_busy(value: Any) -> str | None:
    if value is not None and value not in BUSY:
        raise _wrong("busy", f"null or one of {', '.join(BUSY)}", value)
    return value  # type: ignore[no-any-return]


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME


_READERS: dict[str, Callable[[Any], Any]] = {
    "id": _read_whole("id", MAX_ID),
    "model": _read_text("model", MAX_NAME),
    "text": _read_text("text", MAX_TEXT),
    "special": _read_special,
    "edits": _read_list("edits", MAX_EDITS, "edits", lambda value: isinstance(value, dict)),
    "head": _read_text("head", MAX_NAME),
    "atlas": _read_text("atlas", MAX_NAME),
    "heads": _read_list("heads", MAX_HEADS, "heads", _is_short_text),
    "query": _read_place("query"),
    "key": _read_place("key"),
    "at": _read_place("at"),
    "tracked": _read_list("tracked", MAX_TRACKED, "words", lambda v: _whole(v, MAX_ID) or _is_short_text(v)),
    "parts": _read_list("parts", len(PARTS), f"of {', '.join(PARTS)}", lambda value: value in PARTS),
    "busy": _read_busy,
    "places": _read_list("places", MAX_EDITS, "places of edits", lambda value: _whole(value, MAX_EDITS)),
}
