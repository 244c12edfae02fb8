"""One connection: its requests, the newest of each lane, and what waits to be sent to it."""

import asyncio
from collections.abc import Generator
from functools import partial
from threading import Lock

from starlette.websockets import WebSocket, WebSocketDisconnect

from .. import __version__
from ..errors import RequestError
from .describe import describe
from .lanes import answer, error_reply
from .protocol import LANES, MAX_ID, VERSION, Reply, encode, parse_json, parse_request
from .rooms import Rooms
from .scheduler import Job

UNSENT = 4 * 1024**2
"""Bytes that may wait to be sent; with more, the connection's jobs rest and its messages are not read."""
_RANKS = {"models": 0, "open": 1, "view": 2, "without": 4, "ablate": 4, "sharing": 4}
"""Which of a connection's requests go first; what takes many passes goes after all others."""
_OTHERS, _LAST = 3, 5


class Session:
    """A person's connection. All methods run in the event loop's thread, but `deliver`, which the worker calls."""

    def __init__(self, websocket: WebSocket, rooms: Rooms) -> None:
        self._websocket = websocket
        self._rooms = rooms
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[str, tuple[int, Job]] = {}
        """By lane, the request that runs or waits, and its id."""
        self._last_id = -1
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._unsent = 0
        self._counting = Lock()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    @property
    def congested(self) -> bool:
        """Whether so much waits to be sent that nothing more should be computed."""
        return self._unsent > UNSENT and not self._closed

    async def run(self) -> None:
        """Serve the connection until it ends."""
        await self._websocket.accept()
        self._put(encode(None, None, self._welcome()))
        both = [asyncio.create_task(self._receive()), asyncio.create_task(self._send())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            self._close()

    def _welcome(self) -> Reply:
        models = self._rooms.models
        model = models.ready(models.own)
        opened = None if model is None else describe(models.own, model)
        fields = {"protocol": VERSION, "version": __version__, "models": models.rows(), "opened": opened}
        return Reply("welcome", fields)

    async def _receive(self) -> None:
        while True:
            await self._room.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._take(message.get("text"))

    def _take(self, frame: str | None) -> None:
        """Begin a request; the one that its lane was busy with is dropped."""
        request_id = lane = None
        try:
            message = parse_json(frame)
            said_id, said_lane = message.get("id"), message.get("lane")
            request_id = said_id if type(said_id) is int and 0 <= said_id <= MAX_ID else None
            lane = said_lane if isinstance(said_lane, str) and said_lane in LANES else None
            request = parse_request(message)
            if request.id <= self._last_id:
                raise RequestError(f"id: expected more than {self._last_id}, the last one; got {request.id}")
        except RequestError as error:
            self._put(encode(request_id, lane, error_reply(error)))
            return
        self._last_id = request.id
        self._drop(request.lane)
        steps, deliver = answer(request, self._rooms, self), partial(self._deliver, request.lane, request.id)
        rank = _RANKS.get(request.lane, _OTHERS)
        job = Job(self, steps, deliver, rank, alone=request.busy == "dragging")
        self._jobs[request.lane] = request.id, job
        self._rooms.scheduler.submit(job)

    def _drop(self, lane: str) -> None:
        if lane in self._jobs:
            request_id, job = self._jobs.pop(lane)
            self._rooms.scheduler.cancel(job)
            self._put(encode(request_id, lane, Reply("dropped", {})))

    def _deliver(self, lane: str, request_id: int, job: Job, reply: Reply) -> None:
        """From the worker's thread: a reply, on its way to the loop's."""
        frame = encode(request_id, lane, reply)
        self._count(len(frame))
        try:
            self._loop.call_soon_threadsafe(self._post, job, lane, frame, reply.last)
        except RuntimeError:  # the loop has ended, and with it the connection
            self._count(-len(frame))

    def _post(self, job: Job, lane: str, frame: str | bytes, last: bool) -> None:
        """A reply goes out, unless its request was dropped in the meantime."""
        if job.cancelled:
            self._count(-len(frame))
            return
        if last:
            del self._jobs[lane]
        self._outbox.put_nowait(frame)

    def _put(self, frame: str | bytes) -> None:
        self._count(len(frame))
        if self._unsent > UNSENT:
            self._room.clear()
        self._outbox.put_nowait(frame)

    async def _send(self) -> None:
        try:
            while True:
                frame = await self._outbox.get()
                await (
                    self._websocket.send_text(frame) if isinstance(frame, str) else self._websocket.send_bytes(frame)
                )
                was_congested = self.congested
                self._count(-len(frame))
                if self._unsent <= UNSENT:
                    self._room.set()
                    if was_congested:
                        self._rooms.scheduler.wake()
        except (WebSocketDisconnect, RuntimeError):
            return  # the other side has gone

    def _count(self, size: int) -> None:
        with self._counting:
            self._unsent += size

    def _close(self) -> None:
        """Stop what runs, and let go of the traces once nothing can keep more."""
        self._closed = True
        for _, job in self._jobs.values():
            self._rooms.scheduler.cancel(job)
        self._rooms.scheduler.submit(Job(self, self._forget(), rank=_LAST))

    def _forget(self) -> Generator[None, None, None]:
        self._rooms.traces.forget(owner=self)
        yield None
