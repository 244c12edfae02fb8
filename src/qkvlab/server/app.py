"""The web application: the WebSocket, and the page's files as they were built."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope
from starlette.websockets import WebSocket

from .rooms import Rooms
from .safety import Guard
from .session import Session

PAGE = Path(__file__).parent / "page"
"""Where `make web` puts the built page."""
LESSON = re.compile(r"lesson/(\w{1,60})", re.ASCII)
CONNECTIONS = 64
"""So many at once; the next is told to come later (code 1013)."""
NOT_BUILT = """<!doctype html><html lang="en"><title>QKV Lab</title>
<h1>The page is not built</h1>
<p>This copy of QKV Lab comes from its source, and the page's files are made from it: run <code>make web</code> in the
project's folder, then reload. The server itself is running.</p></html>
"""


def make_app(rooms: Rooms, host: str, port: int, token: str | None = None, page: Path = PAGE) -> ASGIApp:
    """The application for this address, guarded."""
    connected: set[Session] = set()

    async def connect(websocket: WebSocket) -> None:
        if len(connected) >= CONNECTIONS:
            await websocket.accept()
            await websocket.close(1013, "too many connections; try again later")
            return
        session = Session(websocket, rooms)
        connected.add(session)
        try:
            await session.run()
        finally:
            connected.discard(session)

    @asynccontextmanager
    async def working(app: Starlette) -> AsyncIterator[None]:
        rooms.scheduler.start()
        yield
        rooms.scheduler.stop()

    async def atlases(request: Request) -> Response:
        rows = await run_in_threadpool(lambda: rooms.atlases.rows(rooms.models.rows()))
        return JSONResponse(rows, headers={"cache-control": "no-store"})

    routes = [WebSocketRoute("/ws", connect), Route("/atlases.json", atlases)]
    app = Starlette(routes=[*routes, *_page_routes(page)], lifespan=working)
    return Guard(app, host, port, token)


def _page_routes(page: Path) -> list[Route | Mount]:
    if not (page / "index.html").is_file():
        return [Route(path, _not_built) for path in ("/", "/course", "/playground", "/atlas", "/lesson/{module}")]
    files = PageFiles(directory=page)
    return [Mount("/", files)]


async def _not_built(request: Request) -> Response:
    return HTMLResponse(NOT_BUILT, status_code=503, headers={"cache-control": "no-store"})


def page_from(index: str, depth: int) -> str:
    """The page's first file for an address so many folders down: its own addresses lead up as many."""
    return index.replace('"./', '"' + "../" * depth) if depth else index


class PageFiles(StaticFiles):
    """The page's files. Those in `assets` have a hash in their names and never change; others are asked for anew.

    `/`, `/course`, `/playground`, `/atlas` and `/lesson/NN` are the page itself, which reads from the address what to
    show; it also says of a lesson that there is none (404).
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        page = Path(str(self.directory))
        lesson = LESSON.fullmatch(path)
        if path in (".", "course", "playground", "atlas") or lesson:
            depth = scope["path"].count("/") - 1
            if depth > 0 and scope["method"] in ("GET", "HEAD"):
                index = (page / "index.html").read_text(encoding="utf-8")
                there = lesson is None or (page / "course" / f"{lesson[1]}.json").is_file()
                return HTMLResponse(page_from(index, depth), 200 if there else 404, {"cache-control": "no-cache"})
            path = "index.html"
        response = await super().get_response(path, scope)
        lasting = path.startswith("assets/")
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return response
