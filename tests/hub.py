"""A small hub on the loopback: files by repository and name, byte ranges, and every way to be unhelpful."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """What it serves, and what it was asked."""

    folders: dict[str, Path]
    port: int = 0
    ranges: bool = True
    """Whether it gives parts of files."""
    status: int = 0
    """Refuse everything with this status."""
    code: str = ""
    short: int = 0
    """Bytes left out at the end of every part."""
    elsewhere: int = 0
    """Send everyone who asks for weights to this port."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(file, range) of each request."""
    authorized: list[bool] = field(default_factory=list)
    """Whether each request came with a token."""
    sent: int = 0
    """Bytes of all bodies."""

    @property
    def weights_sent(self) -> int:
        """Bytes asked for in ranges."""
        return sum(int(b) - int(a) + 1 for _, r in self.asked if r for a, b in [r.removeprefix("bytes=").split("-")])


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub, wanted = self.hub, self.headers.get("Range", "")
        _, org, name, _, revision, file = self.path.split("/", 5)
        hub.asked.append((file, wanted))
        hub.authorized.append("Authorization" in self.headers)
        folder = hub.folders.get(f"{org}/{name}")
        if hub.status or folder is None or revision not in ("main", COMMIT):
            return self._refuse(hub.status or 401, hub.code or "RepoNotFound")
        if not (folder / file).is_file():
            return self._refuse(404, "EntryNotFound")
        if hub.elsewhere and file.endswith(".safetensors"):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{hub.elsewhere}{self.path}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self._send(folder / file, wanted)

    def _send(self, path: Path, wanted: str) -> None:
        size = path.stat().st_size
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) if self.hub.ranges else None
        start, stop = (int(part[1]), min(int(part[2]) + 1, size)) if part else (0, size)
        stop -= self.hub.short if part and stop - start > 9 else 0
        self.send_response(206 if part else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(stop - start))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            try:
                while start < stop:
                    piece = file.read(min(1 << 16, stop - start))
                    self.wfile.write(piece)
                    start += len(piece)
                    self.hub.sent += len(piece)
            except OSError:
                self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def as_the_hub(address: str, cache: Path) -> Iterator[None]:
    """In this process, let the hub be at this address, with an empty cache and no offline mode."""
    from huggingface_hub import close_session, constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("HF_TOKEN", "hf_secret")
        patch.delenv("QKVLAB_OFFLINE", raising=False)
        close_session()
        try:
            yield
        finally:
            close_session()
