"""Who may speak to this server: its own page, and nobody else's; what its answers forbid the browser to do."""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "font-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; "
        # A lesson holds the playground in a frame.
        "frame-src 'self'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a server bound to this host can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def new_token() -> str:
    """A word that nobody guesses."""
    return secrets.token_urlsafe(24)


class Guard:
    """Refuses what does not come from the server's own page: a foreign Host (a name that was rebound to this address),
    a foreign Origin (a page elsewhere), and, where other machines can connect, whoever lacks the token."""

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None = None) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._token = token
        self._cookie = f"qkvlab-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = list(scope["headers"])
        asked = self._asked(scope)
        reason = self._refusal(scope["type"], headers, asked)
        if reason is None:
            await self._app(scope, receive, self._sending(send, asked if scope["type"] == "http" else None))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse(reason + "\n", status_code=403)(scope, receive, self._sending(send, None))

    def _refusal(self, kind: str, headers: list[tuple[bytes, bytes]], asked: str | None) -> str | None:
        """Why a request is refused; None where it is not."""
        hosts, origins = _values(headers, b"host"), _values(headers, b"origin")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return f"This server answers to its own address only: http://{self._address()}"
        needed = kind == "websocket"
        if origins != [f"http://{hosts[0]}"] and (origins or needed):
            return "This server speaks with its own page only."
        if self._token is not None and not self._knows(headers, asked):
            return "Open the address that `qkvlab play` printed: it carries a token."
        return None

    def _is_own(self, host: str) -> bool:
        name, _, port = host.lower().rpartition(":")
        if not name:
            name, port = port, "80"
        elif name.startswith("[") != name.endswith("]"):
            name, port = host.lower(), "80"
        return port == str(self._port) and (name in self._names() or (self._host in EVERYWHERE and _is_number(name)))

    def _names(self) -> Iterable[str]:
        if is_loopback(self._host):
            return LOOPBACK
        own = self._host.lower()
        named = f"[{own}]" if ":" in own else own
        return (*LOOPBACK, named, socket.gethostname().lower()) if self._host in EVERYWHERE else (named,)

    def _address(self) -> str:
        return f"{next(iter(self._names()))}:{self._port}"

    def _asked(self, scope: Scope) -> str | None:
        """The token in the address, where it is the right one."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return given[0] if self._token is not None and given and _same(given[0], self._token) else None

    def _knows(self, headers: list[tuple[bytes, bytes]], asked: str | None) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        for value in _values(headers, b"cookie"):
            try:
                cookies.load(value)
            except CookieError:
                continue
        kept = cookies[self._cookie].value if self._cookie in cookies else ""
        return asked is not None or _same(kept, self._token or "")

    def _sending(self, send: Send, token: str | None) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if token is not None:
                    headers.append("set-cookie", f"{self._cookie}={token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        return with_headers


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _is_number(host: str) -> bool:
    """Whether a host is an IP address: no name can be rebound to lead to it."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _same(one: str, other: str) -> bool:
    return bool(other) and hmac.compare_digest(one.encode(), other.encode())
