"""One connection among others: the newest request of a lane wins, nobody's mistake is another's, memory is bounded."""

import asyncio
import json
from collections.abc import Generator, Iterator
from itertools import pairwise
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.websockets import WebSocket, WebSocketState
from websockets.exceptions import ConnectionClosed

from page import ENDS, PARTS, TYPED, Page, Served, Typist, read_frame, serving
from qkvlab import overview
from qkvlab.server import lanes, session
from qkvlab.server.protocol import LANES, Reply
from qkvlab.server.rooms import Rooms
from qkvlab.server.scheduler import Scheduler
from qkvlab.server.traces import Traces
from qkvlab.trace import Trace

CAT = "The cat drank because it was thirsty"
LONG = TYPED[0] * 50


@pytest.fixture(scope="module")
def stepwise(served: Served) -> Iterator[Served]:
    """The same models behind a scheduler whose slices have no length: every step is a turn."""
    with serving(rooms=Rooms(served.rooms.models, Traces(), Scheduler(slice_seconds=0.0))) as running:
        yield running


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every layer that runs from now on: (tokens of its text, layer)."""
    ran: list[tuple[int, int]] = []
    real = Trace._attention

    def counted(self: Trace, layer: int) -> None:
        ran.append((len(self), layer))
        real(self, layer)

    monkeypatch.setattr(Trace, "_attention", counted)
    return ran


def test_an_older_request_is_stopped_between_layers(stepwise: Served, layers: list[tuple[int, int]]) -> None:
    with stepwise.page() as page:
        old = page.send(lane="view", model="smollm2", text=LONG, heads=["0.0"], parts=["head", "prediction"])
        while page.receive().part != "head":
            pass
        new = page.send(lane="view", model="smollm2", text=CAT, heads=["0.0"], parts=["prediction"])
        frames = [page.receive()]
        while frames[-1].reply["id"] != new or frames[-1].part != "done":
            frames.append(page.receive())
    assert [frame.part for frame in frames if frame.reply["id"] == old] == ["dropped"]
    n_old = max(n for n, _ in layers)
    assert n_old > 1000 and 1 <= sum(n == n_old for n, _ in layers) < 30
    assert sum(n == 7 for n, _ in layers) == 30


def test_requests_that_never_ran_are_dropped(stepwise: Served, layers: list[tuple[int, int]]) -> None:
    with stepwise.page() as page, stepwise.page() as busy:
        busy.send(lane="view", model="smollm2", text=LONG[:-1], heads=[], parts=["prediction"])
        asked = [
            page.send(lane="view", model="smollm2", text=CAT + "!" * n, heads=[], parts=["prediction"])
            for n in range(1, 9)
        ]
        ends: dict[int, str] = {}
        while len(ends) < len(asked):
            frame = page.receive()
            if frame.part in ENDS:
                assert frame.reply["id"] not in ends, "one end each"
                ends[frame.reply["id"]] = frame.part
    assert ends[asked[-1]] == "done" and list(ends.values()).count("dropped") >= 5


def test_lanes_do_not_disturb_one_another(page: Page) -> None:
    state = {"model": "smollm2", "text": CAT, "tracked": [" and"]}
    ablate = page.send(lane="ablate", **state)
    while page.receive().part != "ablate":
        pass
    view = page.send(lane="view", model="smollm2", text=CAT, heads=["13.8"], parts=PARTS)
    frames = [page.receive()]
    while frames[-1].reply["id"] != view or frames[-1].part != "done":
        frames.append(page.receive())
    own = [frame.reply["part"] for frame in frames if frame.reply["id"] == ablate]
    assert set(own) <= {"ablate"} and len(own) < 30, "the view goes first"
    assert page.receive().reply["id"] == ablate
    page.send(lane="ablate", **{**state, "text": ""})
    while (frame := page.receive()).part != "dropped":
        assert frame.reply["id"] == ablate


def test_a_text_that_is_slow_to_cut_into_tokens_does_not_hold_up_others(served: Served) -> None:
    """100,000 emoji: a second or more of work, which nobody else waits for."""
    slow_text = "\N{GRINNING FACE}" * 60_000  # nearly as much as a frame may hold, written \\uXXXX\\uXXXX
    with served.page() as slow, served.page() as page:
        page.view(CAT)
        asked = slow.send(lane="view", model="smollm2", text=slow_text, parts=[])
        answers = 0
        while True:
            try:
                frame = read_frame(slow.socket.recv(timeout=0))
            except TimeoutError:
                page.parts(lane="view", model="smollm2", text=CAT[: 3 + answers % 9], parts=[])
                answers += 1
                continue
            if frame.part in ENDS:
                break
        assert (frame.part, frame.reply["id"]) == ("done", asked)
        assert answers > 5


def test_a_long_text_delays_another_persons_by_a_slice_a_step(stepwise: Served, layers: list[tuple[int, int]]) -> None:
    with stepwise.page() as busy, stepwise.page() as page:
        long = busy.send(lane="view", model="smollm2", text=LONG[5:], heads=["0.0"], parts=["head", "prediction"])
        while busy.receive().part != "head":
            pass
        n_short = len(page.view(CAT + " and hungry", parts=["prediction"])["tokens"].reply["tokens"])
        ran = list(layers)
        while (frame := busy.receive()).part != "done":
            assert frame.reply["id"] == long
    short = [at for at, (n, _) in enumerate(ran) if n == n_short]
    assert len(short) == 30, "all layers of the short one, before the long one was through"
    assert max(b - a for a, b in pairwise(short)) == 2, "between two layers of the short one, one of the long one"


def test_a_failure_ends_one_request(
    page: Page, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(overview, "cells", lambda n: 1 / 0)
        kind, message = page.error(lane="view", model="smollm2", text=CAT, heads=[], parts=["overview"])
    assert kind == "InternalError" and "ZeroDivisionError" in message and "ZeroDivisionError" in caplog.text
    assert "overview" in page.view(CAT)


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"lane": "vew"}, "RequestError", "did you mean 'view'"),
        ({"lane": "view"}, "RequestError", "the field model, text is missing"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "colour": 1}, "RequestError", "field 'colour' is not known"),
        ({"lane": "view", "model": "smollm2", "text": "x" * 100_001}, "RequestError", "at most 100,000"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "heads": ["1.1"] * 5}, "RequestError", "at most 4 heads"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "heads": ["99.0"]}, "HeadError", "there is no head 99.0"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "query": 70}, "TokenError", "there is no token #70"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "query": [5, 2]}, "RequestError", "[start, end]"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "tracked": [" a cat"]}, "TokenError", "is 2 tokens here"),
        ({"lane": "view", "model": "smollm2", "text": "a\ud800"}, "TextError", "half of a surrogate pair"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "edits": [{}] * 65}, "RequestError", "at most 64 edits"),
        ({"lane": "view", "model": "smollm2", "text": CAT, "busy": "no"}, "RequestError", "one of drawing, dragging"),
        ({"lane": "effect", "model": "smollm2", "text": CAT, "tracked": []}, "RequestError", "at least one word"),
        ({"lane": "view", "model": "/etc/passwd", "text": CAT}, "SourceError", "is not known"),
        ({"lane": "open", "model": "../../secret"}, "SourceError", "is not known"),
        ({"lane": "open", "model": "."}, "SourceError", "is not known"),
        ({"lane": "open", "model": "someone/something"}, "SourceError", "is not known"),
    ],
)  # fmt: skip
def test_mistakes_have_one_clear_line(page: Page, fields: dict[str, Any], kind: str, words: str) -> None:
    got = page.error(**fields)
    assert got[0] == kind and words in got[1]
    assert page.parts(lane="models")


def test_an_id_must_grow(page: Page) -> None:
    page.last_id = 10
    page.parts(lane="models")
    page.last_id = 4
    assert "expected more than 11" in page.error(lane="models")[1]
    page.last_id = 11
    assert page.parts(lane="models")


def test_a_frame_over_one_mebibyte_closes_the_connection_alone(served: Served, page: Page) -> None:
    with served.page() as rude:
        rude.socket.send("x" * (1024**2 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            rude.socket.recv(timeout=10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    assert page.view(CAT)


JUNK = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.sampled_from(
        ["", "null", "[]", "{", "[" * 100_000, '{"id": NaN}', '{"id": 1e999}', "1" * 5000, "{}", '"\\ud800"']
    ),
)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10),
    st.sampled_from([2**60, 1.5, "", "x", "\ud800", [], {}, [[]], [0, 1], [5, 2], [0, 10**9], ["13.8"], ["a"] * 9]),
    st.sampled_from([{"kind": "mute"}, [{"kind": "mute", "where": "1.1", "key": [0, 3]}], [{"kind": []}], [{}, 1]]),
)  # fmt: skip
NAMES = sorted({name for fields in LANES.values() for name in fields} | {"colour", "__proto__"})
REQUEST = st.builds(
    lambda base, odd: {**base, **odd},
    st.sampled_from([
        {"lane": "view", "model": "smollm2", "text": "é 🙂", "heads": ["1.1"], "parts": PARTS},
        {"lane": "effect", "model": "minilm", "text": "a b", "tracked": [5]},
        {"lane": "curve", "model": "smollm2", "text": "a b", "tracked": [5], "places": [0], "edits": [{"kind": "tie"}]},
        {"lane": "models"}, {"lane": "open", "model": "minilm"}, {"lane": []}, {},
    ]),
    st.dictionaries(st.sampled_from(["id", "lane", *NAMES]), ODD, max_size=2),
)  # fmt: skip


@settings(max_examples=60)
@given(messages=st.lists(st.one_of(JUNK, REQUEST), max_size=6))
def test_every_message_is_answered_once_and_none_ends_the_server(served: Served, messages: list[Any]) -> None:
    """Whatever comes, in whatever order: the connection lives on."""
    with served.page() as page:
        for n, message in enumerate(messages):
            page.socket.send(json.dumps({"id": n, **message}) if isinstance(message, dict) else message)
        page.last_id = 999
        last = page.send(lane="models")
        ends = []
        while len(ends) < len(messages) + 1:
            frame = page.receive()
            if frame.part in ENDS:
                ends.append(frame)
        assert [frame.part for frame in ends if frame.reply["id"] == last] == ["done"]
        assert not any(frame.reply.get("kind") == "InternalError" for frame in ends), ends


class Slow:
    """The other side of a WebSocket that sends requests and reads nothing until it is told to."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages
        self.taken = 0
        self.reading = asyncio.Event()
        self.sent: list[str] = []
        self.gone = asyncio.Event()
        self.socket = WebSocket({"type": "websocket", "headers": []}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self.socket.client_state is WebSocketState.CONNECTING:
            return {"type": "websocket.connect"}
        if self.taken < len(self.messages):
            self.taken += 1
            return {"type": "websocket.receive", "text": json.dumps(self.messages[self.taken - 1])}
        await self.gone.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            await self.reading.wait()
            self.sent.append(message["text"])


def test_a_slow_reader_does_not_fill_the_memory(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def endless(request: Any, rooms: Any, owner: Any) -> Generator[Any, None, dict[str, Any]]:
        for n in range(1000):
            made.append(n)
            yield Reply("ablate", {"filling": "x" * 1000})
        return {}

    monkeypatch.setitem(lanes._LANES, "ablate", endless)
    monkeypatch.setattr(session, "UNSENT", 50_000)
    request = {"id": 1, "lane": "ablate", "model": "smollm2", "text": CAT, "tracked": [5]}

    async def scene() -> Slow:
        slow = Slow([request])
        running = asyncio.create_task(session.Session(slow.socket, served.rooms).run())
        await asyncio.sleep(0.3)
        assert 40 < len(made) < 60, "it rests once 50,000 bytes wait"
        slow.reading.set()
        while not (slow.sent and '"done"' in slow.sent[-1]):
            await asyncio.sleep(0.01)
        slow.gone.set()
        await running
        return slow

    assert len(asyncio.run(scene()).sent) == 1002
    assert len(made) == 1000


def test_requests_are_not_read_while_their_answers_are_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "UNSENT", 50_000)
    flood = [{"id": n, "lane": "nonsense" * 1000} for n in range(5000)]

    async def scene() -> int:
        slow = Slow(flood)
        running = asyncio.create_task(session.Session(slow.socket, served.rooms).run())
        await asyncio.sleep(0.3)
        taken = slow.taken
        slow.reading.set()
        while slow.taken < len(flood):
            await asyncio.sleep(0.01)
        slow.gone.set()
        await running
        return taken

    assert 10 < asyncio.run(scene()) < 1000


def test_twenty_people_type_at_once(served: Served) -> None:
    """The short version of benchmarks/clients.py."""
    typists = [Typist(TYPED[n % len(TYPED)][n:]) for n in range(20)]

    def work(typist: Typist) -> None:
        with served.page() as page:
            typist.type_for(page, seconds=5, pace=0.3)

    threads = [Thread(target=work, args=(typist,)) for typist in typists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [typist.errors for typist in typists] == [[]] * 20
    assert all(typist.ends == {"done": typist.asked} for typist in typists), "every request is answered"
    assert min(typist.asked for typist in typists) >= 1, "nobody starves"
    assert served.rooms.traces.bytes <= served.rooms.traces.budget
