"""The page's side of the wire, for tests: a real server on a loopback port, and a client that reads its frames."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from safetensors.numpy import load
from websockets.sync.client import ClientConnection, connect

from qkvlab.server.app import PAGE, make_app
from qkvlab.server.rooms import Rooms, furnish
from qkvlab.server.run import listen, make_server

PARTS = ["head", "raw", "found", "writes", "residual", "heads", "overview", "prediction", "words"]
ENDS = ("done", "error", "dropped")


@dataclass(frozen=True)
class Frame:
    """One answer: its JSON, its arrays, its size in bytes."""

    reply: dict[str, Any]
    arrays: dict[str, np.ndarray]
    size: int

    @property
    def part(self) -> str:
        return str(self.reply["part"])


def read_frame(data: str | bytes) -> Frame:
    """A frame as the protocol says, arrays by the reference implementation of safetensors."""
    if isinstance(data, str):
        return Frame(json.loads(data, parse_constant=_not_json), {}, len(data))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert set(header["__metadata__"]) == {"reply"}
    return Frame(json.loads(header["__metadata__"]["reply"], parse_constant=_not_json), load(data), len(data))


def _not_json(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@dataclass
class Page:
    """A connection that asks and reads."""

    socket: ClientConnection
    last_id: int = 0
    frames: list[Frame] = field(default_factory=list)

    def send(self, **fields: Any) -> int:
        """Send a request and do not wait."""
        self.last_id += 1
        self.socket.send(json.dumps({"id": self.last_id, **fields}))
        return self.last_id

    def receive(self) -> Frame:
        return read_frame(self.socket.recv(timeout=60))

    def ask(self, **fields: Any) -> list[Frame]:
        """All answers to a request, the last included."""
        asked, frames = self.send(**fields), list[Frame]()
        while not frames or frames[-1].part not in ENDS:
            frame = self.receive()
            if frame.reply["id"] == asked:
                frames.append(frame)
        return frames

    def parts(self, **fields: Any) -> dict[str, Frame]:
        """The answers to a request by their part; it must end well."""
        frames = {frame.part: frame for frame in self.ask(**fields)}
        assert "done" in frames, frames["error"].reply
        return frames

    def view(self, text: str, **fields: Any) -> dict[str, Frame]:
        return self.parts(**{"lane": "view", "model": "smollm2", "text": text, "parts": PARTS, **fields})

    def error(self, **fields: Any) -> tuple[str, str]:
        """The kind and message of the error a request ends with."""
        reply = self.ask(**fields)[-1].reply
        assert reply["part"] == "error", reply
        assert "\n" not in reply["message"]
        return reply["kind"], reply["message"]


@dataclass(frozen=True)
class Served:
    """A running server."""

    rooms: Rooms
    port: int

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A page that has been welcomed."""
        with connect(f"ws://127.0.0.1:{self.port}/ws", origin=f"http://127.0.0.1:{self.port}", max_size=None) as socket:  # type: ignore[arg-type]
            page = Page(socket)
            page.frames.append(page.receive())
            yield page


@contextmanager
def serving(
    own: str = "smollm2", rooms: Rooms | None = None, token: str | None = None, page: Path = PAGE
) -> Iterator[Served]:
    """A server of this model on a free port, its worker included, until the block ends."""
    rooms = rooms or furnish(own)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = make_server(make_app(rooms, "127.0.0.1" if token is None else "0.0.0.0", port, token, page))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Served(rooms, port)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
        assert not thread.is_alive()


TYPED = (
    "The cat drank because it was thirsty, and then it slept on the old red chair near the window. ",
    "In France they speak French. In Italy they speak Italian, and in the Alps they speak both. ",
    "Anna opened the door, saw that nobody was there, and closed it again without a word. ",
)


@dataclass
class Typist:
    """Someone who types a sentence again and again. Like the page: one request under way, then the newest text."""

    text: str
    asked: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    waited: list[float] = field(default_factory=list)
    """Seconds from a request to its end."""
    bytes: int = 0
    errors: list[str] = field(default_factory=list)

    def type_for(self, page: Page, seconds: float, pace: float) -> None:
        """A character every `pace` seconds."""
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            typed = int((now - start) / pace)
            text = self.text[: 1 + typed % len(self.text)]
            self._answers(page, page.send(lane="view", model="smollm2", text=text, heads=["13.8"], parts=PARTS))
            self.waited.append(time.monotonic() - now)
            time.sleep(max(0.0, start + (typed + 1) * pace - time.monotonic()))

    def _answers(self, page: Page, asked: int) -> None:
        self.asked += 1
        part = ""
        while part not in ENDS:
            frame = page.receive()
            assert frame.reply["id"] == asked
            part, self.bytes = frame.part, self.bytes + frame.size
        self.ends[part] += 1
        if part == "error":
            self.errors.append(frame.reply["message"])
