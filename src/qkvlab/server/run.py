"""From the command line to a listening server: port, address, browser, and a clean end."""

import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

import uvicorn
from starlette.types import ASGIApp

from ..errors import SourceError
from .app import make_app
from .protocol import MAX_FRAME
from .rooms import furnish
from .safety import EVERYWHERE, is_loopback, new_token

PORT = 7341
TRIED = 50
"""Ports tried from the first on, where none was asked for."""
PATIENCE = 2
"""Seconds that open connections get to end."""


class _OneLine(logging.Filter):
    """A frame that is no text is a stranger's mistake: said in a line, where uvicorn prints a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
            record.msg, record.args = "a message was not valid UTF-8; its connection is closed", ()
            record.exc_info = None
        return True


_ONE_LINE = _OneLine()


def serve(
    model: str,
    *,
    port: int | None,
    host: str,
    browser: bool,
    atlases: Sequence[Path] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Serve the page until Ctrl-C. `say` is told the address as soon as it can be opened.

    Raises SourceError where the model is none, or the address cannot be had; AtlasError where one of `atlases` is none.
    """
    rooms = furnish(model, atlases, say)
    listener = listen(host, port)
    bound = listener.getsockname()[1]
    token = None if is_loopback(host) else new_token()
    address = page_address(host, bound, token)
    rooms.models.open(rooms.models.own)
    Thread(target=rooms.atlases.entries, name="qkvlab-atlases", daemon=True).start()  # a broken one is told now
    server = make_server(make_app(rooms, host, bound, token))
    say(f"QKV Lab is at {address}  (Ctrl-C ends it)")
    if browser and has_display():
        Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        say("stopped")
    finally:
        listener.close()


def make_server(app: ASGIApp) -> uvicorn.Server:
    """The HTTP server around the application. `websockets-sansio` reads no further while a message waits its turn.

    Its warnings go where the program's own go: uvicorn's logging does not start where standard output is closed.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=PATIENCE,
        server_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(_ONE_LINE)
    return uvicorn.Server(config)


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket: on the port asked for, else on the first free one from 7341 on. Raises SourceError."""
    try:
        family, _, _, _, found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise SourceError(f"there is no host {host!r} to listen on ({error})") from None
    tried = range(PORT, PORT + TRIED) if port is None else range(port, port + 1)
    for candidate in tried:
        # Named as TCP: asyncio leaves Nagle's algorithm on otherwise, which holds small answers back for 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((found[0], candidate))
            listener.listen()
        except OSError as error:
            listener.close()
            reason = error.strerror
        else:
            return listener
    ports = f"port {tried[0]}" if len(tried) == 1 else f"any port from {tried[0]} to {tried[-1]}"
    raise SourceError(f"cannot listen on {ports} of {host}: {reason}; choose another with --port")


def page_address(host: str, port: int, token: str | None) -> str:
    """The address to open, with the token where one is needed."""
    name = socket.gethostname() if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def has_display() -> bool:
    """Whether a browser could show itself here."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
