"""Who may speak to the server, and what its answers forbid the browser."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from page import Served, serving
from qkvlab.server.safety import is_loopback


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the page's, with a secret beside it."""
    folder = tmp_path_factory.mktemp("built") / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "assets" / "page-1a2b.js").write_text("1")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def site(served: Served, built: Path) -> Iterator[Served]:
    from qkvlab.server.rooms import furnish

    with serving(rooms=furnish("minilm"), page=built) as running:
        yield running


@pytest.fixture(scope="module")
def shared(built: Path) -> Iterator[Served]:
    """A server as it stands when other machines can reach it: with a token."""
    from qkvlab.server.rooms import furnish

    with serving(rooms=furnish("minilm"), token="the-token", page=built) as running:
        yield running


def get(server: Served, path: str = "/", host: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body; the path goes out exactly as given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest("GET", path, skip_host=True)
        if host != "":
            connection.putheader("Host", host or f"127.0.0.1:{server.port}")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def shakes_hands(server: Served, host: str | None = None, origin: str | None = None, **headers: str) -> int:
    """The status of a WebSocket handshake."""
    here = f"127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        lines = [f"GET /ws HTTP/1.1\r\nHost: {host or here}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"]
        lines += [f"Origin: {origin}\r\n"] if origin is not None else []
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        raw.sendall("".join([*lines, "\r\n"]).encode("latin-1"))
        return int(raw.recv(64).split()[1])


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
def test_loopback_by_any_of_its_names(site: Served, name: str) -> None:
    host = f"{name}:{site.port}"
    assert get(site, host=host)[0] == 200
    assert shakes_hands(site, host, f"http://{host}") == 101


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost", "localhost:1", "localhost.evil.example:{port}",
     "127.0.0.2:{port}", "0.0.0.0:{port}", "", ":{port}", "[::1", "[::1]x:{port}", "user@localhost:{port}", "é:{port}",
     "192.168.1.5:{port}"],
)  # fmt: skip
def test_a_foreign_host_is_refused(site: Served, host: str) -> None:
    """A name that was rebound to this address comes with that name in Host."""
    status, _, body = get(site, host=host.format(port=site.port).encode().decode("latin-1"))
    assert status in (400, 403) and "the page" not in body
    if host:
        assert shakes_hands(site, host.format(port=site.port), f"http://127.0.0.1:{site.port}") in (400, 403)


def test_two_hosts_are_none(site: Served) -> None:
    assert get(site, Host="evil.example")[0] in (400, 403)


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://127.0.0.1", "null", "",
     "http://localhost:{port}", "http://127.0.0.1:{port}.evil.example", "http://127.0.0.1:{port}/", None],
)  # fmt: skip
def test_a_foreign_origin_is_refused(site: Served, origin: str | None) -> None:
    origin = None if origin is None else origin.format(port=site.port)
    assert shakes_hands(site, origin=origin) == 403
    if origin is not None:
        assert get(site, Origin=origin)[0] == 403


def test_the_page_forbids_the_browser_all_but_its_own(site: Served) -> None:
    for path in ("/", "/playground", "/assets/page-1a2b.js", "/nowhere"):
        _, headers, _ = get(site, path)
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["frame-ancestors"] == policy["frame-src"] == "'self'"
        assert not any(word in str(policy) for word in ("unsafe", "http", "*"))
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "content-security-policy" in get(site, host="evil.example")[1]


def test_the_page_and_its_files(site: Served) -> None:
    for path in ("/", "/playground"):
        status, headers, body = get(site, path)
        assert status == 200 and "the page" in body and headers["cache-control"] == "no-cache"
    status, headers, _ = get(site, "/assets/page-1a2b.js")
    assert status == 200 and "immutable" in headers["cache-control"] and "javascript" in headers["content-type"]
    assert get(site, "/icon.svg")[1]["cache-control"] == "no-cache"
    assert get(site, "/lesson/22")[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt",
     "/assets/..%2f..%2fsecret.txt",
     "//secret.txt", "/..\\secret.txt", "/%00", "/link.txt", "/assets/" + "x" * 5000, "/assets/%ff%fe"],
)  # fmt: skip
def test_no_path_leads_out(site: Served, path: str) -> None:
    status, _, body = get(site, path)
    assert status in (400, 404) and "secret" not in body


def test_a_lesson_s_address_is_the_page_led_up(site: Served, built: Path) -> None:
    (built / "course").mkdir(exist_ok=True)
    (built / "course" / "22.json").write_text("{}")
    (built / "index.html").write_text(
        '<!doctype html><title>the page</title><script src="./assets/page-1a2b.js"></script>'
    )
    for path, leads in (
        ("/", "./"), ("/course", "./"), ("/playground", "./"), ("/course/", "../"), ("/lesson/22", "../"),
        ("/lesson/22/", "../../"),
    ):  # fmt: skip
        status, headers, body = get(site, path)
        assert status == 200 and f'src="{leads}assets/' in body and headers["cache-control"] == "no-cache"
        assert "content-security-policy" in headers
    assert get(site, "/lesson/23")[0] == get(site, "/lesson/..%2f22")[0] == get(site, "/lesson")[0] == 404
    assert get(site, f"/lesson/{'x' * 300}")[0] == 404
    status, headers, body = get(site, "/course/22.json")
    assert (status, body, headers["cache-control"]) == (200, "{}", "no-cache")


def test_sound_comes_in_ranges(site: Served, built: Path) -> None:
    (built / "course").mkdir(exist_ok=True)
    (built / "course" / "22.mp3").write_bytes(b"0123456789")
    status, headers, body = get(site, "/course/22.mp3", Range="bytes=3-5")
    assert (status, body, headers["content-range"]) == (206, "345", "bytes 3-5/10")
    assert headers["content-type"] == "audio/mpeg" and "media-src 'self'" in headers["content-security-policy"]
    assert get(site, "/course/22.mp3", Range="bytes=-2")[2] == "89"
    assert get(site, "/course/22.mp3", Range="bytes=20-")[0] == 416
    assert get(site, "/course/22.mp3")[1]["accept-ranges"] == "bytes"


def test_a_page_that_is_not_built_says_how(served: Served, tmp_path: Path) -> None:
    from qkvlab.server.rooms import furnish

    with serving(rooms=furnish("minilm"), page=tmp_path) as running:
        status, headers, body = get(running)
    assert status == 503 and "make web" in body and "content-security-policy" in headers


def test_other_machines_need_the_token(shared: Served) -> None:
    here = f"127.0.0.1:{shared.port}"
    status, _, body = get(shared)
    assert status == 403 and "token" in body
    for wrong in ("", "the-toke", "the-tokenx", "%C3%A9"):
        assert get(shared, f"/?token={wrong}")[0] == 403
        assert get(shared, Cookie=f"qkvlab-{shared.port}={wrong or ';'}")[0] == 403
    assert get(shared, Cookie=f"qkvlab-{shared.port}=\xe9; \xff")[0] == 403
    assert shakes_hands(shared, origin=f"http://{here}") == 403
    status, headers, body = get(shared, "/?token=the-token")
    assert status == 200 and "the page" in body
    cookie, *how = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(how)
    assert get(shared, Cookie=cookie)[0] == 200
    assert shakes_hands(shared, origin=f"http://{here}", Cookie=cookie) == 101
    assert shakes_hands(shared, origin="http://evil.example", Cookie=cookie) == 403
    assert get(shared, "/?token=the-token", host=f"evil.example:{shared.port}")[0] == 403
    assert get(shared, "/?token=the-token", host=f"192.168.1.5:{shared.port}")[0] == 200


def test_a_client_that_is_refused_learns_nothing(site: Served) -> None:
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{site.port}/ws", origin="http://evil.example"):  # type: ignore[arg-type]
        pass
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{site.port}/elsewhere"):
        pass


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True),
                        ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, local: Any) -> None:
    assert is_loopback(host) is local
