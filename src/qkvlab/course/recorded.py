"""Answers of the server as files: what a request is called, how its frames are stored, and the recording itself."""

import json
import math
import time
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from typing import Any

from ..errors import CourseError
from ..server.lanes import answer
from ..server.protocol import Reply, encode, parse_request
from ..server.rooms import Rooms
from ..server.scheduler import Wait

TEXT, BINARY = 0, 1
PATIENCE = 0.01
"""Seconds until a step that has to wait (for a model to open) is tried again."""


class Reader:
    """Who asks, as the server sees it; nothing ever waits to be sent."""

    congested = False


def canonical(request: dict[str, Any]) -> str:
    """A request as one text that Python and JavaScript write alike: keys sorted, no spaces, numbers as JavaScript."""
    return _written({name: value for name, value in request.items() if name != "id"})


def file_name(request: dict[str, Any]) -> str:
    """The name of a request's recording, without folder."""
    return sha256(canonical(request).encode()).hexdigest() + ".bin"


def record(request: dict[str, Any], rooms: Rooms, owner: Reader) -> bytes:
    """Ask the server's own lanes, and keep every frame. Raises CourseError where the answer is an error."""
    asked = parse_request({"id": 0, **request})
    frames = []
    for step in answer(asked, rooms, owner):
        if isinstance(step, Wait):
            time.sleep(PATIENCE)
        elif isinstance(step, Reply):
            if step.part == "error":
                raise CourseError(f"the {asked.lane} request cannot be recorded: {step.fields['message']}")
            frames.append(encode(0, asked.lane, step))
    return pack(frames)


def pack(frames: list[str | bytes]) -> bytes:
    """Frames one behind the other: length (u32, little-endian), kind (u8: 0 text, 1 binary), bytes."""
    packed = bytearray()
    for frame in frames:
        data = frame.encode() if isinstance(frame, str) else frame
        packed += len(data).to_bytes(4, "little") + bytes([TEXT if isinstance(frame, str) else BINARY]) + data
    return bytes(packed)


def unpack(data: bytes) -> Iterator[str | bytes]:
    """The frames of a recording. Raises CourseError where it is cut short."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        frame = data[at + 5 : at + 5 + size]
        if at + 5 + size > len(data) or data[at + 4] not in (TEXT, BINARY):
            raise CourseError(f"this is no recording, or it is cut short (byte {at} of {len(data)})")
        yield frame.decode() if data[at + 4] == TEXT else frame
        at += 5 + size


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(name)}:{_written(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return _number(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """A number as JavaScript writes it (ECMAScript, Number::toString): 1 for 1.0, 1e-7 for 1e-07."""
    if not math.isfinite(value):
        raise CourseError(f"{value} is not a number of JSON")
    sign, numerals, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, minus = "".join(map(str, numerals)), "-" if sign and value else ""
    point = len(digits) + int(exponent)
    if value == 0:
        return "0"
    if 0 < point <= 21:
        whole = digits.ljust(point, "0")
        return minus + whole[:point] + ("." + whole[point:] if whole[point:] else "")
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    rest = "." + digits[1:] if digits[1:] else ""
    return f"{minus}{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"
