"""`qkvlab play`: the port, the address, the browser, the end; and which models a page may name."""

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from page import serving
from qkvlab.errors import SourceError
from qkvlab.server import run
from qkvlab.server.models import OPEN, Models
from qkvlab.server.scheduler import WAIT
from terminal import PROGRAM, launch
from terminal import run as program

pytestmark = pytest.mark.usefixtures("smollm2_path", "minilm_path")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_next_free_port_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PORT", taken)
    with run.listen("127.0.0.1", None) as listener:
        assert taken < listener.getsockname()[1] < taken + run.TRIED


def test_a_port_that_was_asked_for_is_that_port(taken: int) -> None:
    with pytest.raises(SourceError, match=rf"cannot listen on port {taken} of 127.0.0.1: .*--port"):
        run.listen("127.0.0.1", taken)
    with pytest.raises(SourceError, match=r"there is no host 'no.such.host.invalid'"):
        run.listen("no.such.host.invalid", None)


def test_addresses() -> None:
    assert run.page_address("127.0.0.1", 7341, None) == "http://127.0.0.1:7341/"
    assert run.page_address("::1", 7341, None) == "http://[::1]:7341/"
    assert run.page_address("0.0.0.0", 80, "abc") == f"http://{socket.gethostname()}:80/?token=abc"


def test_a_browser_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sys, "platform", "linux")  # type: ignore[attr-defined]
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not run.has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert run.has_display()


@pytest.mark.parametrize("words", [["play", "--no-browser", "--port", "0"], ["play", "minilm", "--port", "0"]])
def test_it_says_where_it_is_and_ends_on_ctrl_c(words: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        said = server.stdout.readline()
        address = said.split()[4]
        assert said.startswith("QKV Lab is at http://127.0.0.1:"), said
        with socket.create_connection(("127.0.0.1", int(address.strip("/").rpartition(":")[2])), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: " + address[7:-1].encode() + b"\r\nConnection: close\r\n\r\n")
            assert client.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 503")
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert server.stdout.read() == "stopped\n" and server.stderr.read() == ""


def test_it_serves_with_its_output_closed() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*PROGRAM, "play", "--no-browser", "--port", str(port)]
    with subprocess.Popen(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert _answer(port, server).startswith(b"HTTP/1.1 ")
        finally:
            server.terminate()
        assert server.stderr is not None and server.stderr.read() == ""


def _answer(port: int, server: subprocess.Popen[str]) -> bytes:
    """The first words of the server's answer, once it listens; b"" if it ends first."""
    while server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                return client.recv(12)
        except ConnectionRefusedError:
            time.sleep(0.05)
    return b""


def test_plain_qkvlab_is_play(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(run, "serve", lambda model, **options: asked.append((model, options.pop("say") and options)))
    usual = {"port": None, "host": "127.0.0.1", "browser": True, "atlases": ()}
    for words in ((), ("play",), ("play", "minilm", "--port", "8000", "--host", "::1", "--no-browser")):
        assert program(*words).status == 0
    assert asked == [("smollm2", usual)] * 2 + [("minilm", {**usual, "port": 8000, "host": "::1", "browser": False})]


def test_mistakes_are_one_line(taken: int) -> None:
    assert "no such thing" not in launch("play", "no-such-model", "--no-browser").complaint()
    assert f"port {taken}" in launch("play", "--no-browser", "--port", str(taken)).complaint()
    assert "there is no file or folder" in launch("play", "./nowhere.gguf").complaint()


def wait_open(models: Models, name: str) -> Any:
    steps = models.opened(name)
    while True:
        try:
            assert next(steps) is WAIT
            time.sleep(0.01)
        except StopIteration as end:
            return end.value


def test_a_path_is_named_by_its_label_and_no_other_path_is(minilm_path: Path) -> None:
    models = Models(str(minilm_path))
    assert models.own == minilm_path.name
    row = models.rows()[0]
    assert (row["name"], row["cached"], row["opened"], row["download_bytes"]) == (minilm_path.name, True, False, 0)
    assert wait_open(models, minilm_path.name).spec.n_layer == 6
    assert models.rows()[0]["opened"] and models.ready(minilm_path.name) is not None
    for name in (str(minilm_path), ".", "..", "/", "~", minilm_path.name + "/"):
        with pytest.raises(SourceError, match="is not known"):
            models.open(name)


def test_an_alias_stays_an_alias_beside_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").mkdir()
    models = Models("smollm2")
    monkeypatch.chdir(tmp_path)
    assert wait_open(models, "minilm").spec.family == "bert"


def test_what_is_not_here_is_opened_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path))
    monkeypatch.setenv("QKVLAB_OFFLINE", "1")
    models = Models("smollm2")
    with pytest.raises(SourceError, match="not on this machine yet; open it first"):
        next(models.opened("minilm"))
    opening = models.open("minilm")
    while opening.error is None:
        time.sleep(0.01)
    assert "QKVLAB_OFFLINE forbids downloads" in str(opening.error)
    assert models.open("minilm") is not opening, "a failed opening begins anew"


def test_a_damaged_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(50))
    assert "broken.gguf" in launch("play", str(tmp_path / "broken.gguf"), "--no-browser").complaint()


def test_few_models_stay_open(monkeypatch: pytest.MonkeyPatch, minilm_path: Path) -> None:
    closed: list[Any] = []
    models = Models("minilm", on_close=closed.append)
    names = [f"copy/number-{n}" for n in range(OPEN + 1)]
    monkeypatch.setattr(models, "_source", lambda name, download: lambda progress: Models(str(minilm_path))._own)
    opened = [wait_open(models, name) for name in names]
    assert closed == [opened[0]] and models.ready(names[0]) is None and models.ready(names[1]) is not None


def test_a_page_of_a_server_that_is_still_opening_waits(smollm2_path: Path) -> None:
    with serving("minilm") as served, served.page() as page:
        assert page.frames[0].reply["opened"] is None
        served.rooms.models.open("minilm")
        assert page.view("a cat", model="minilm", heads=["0.0"])["head"].arrays["q"].shape[0] == 4
        with served.page() as second:
            assert second.frames[0].reply["opened"]["name"] == "minilm"


def test_a_frame_that_is_no_text_is_one_line_in_the_log() -> None:
    log = logging.getLogger("uvicorn.error")
    run.make_server(lambda *given: None)  # type: ignore[arg-type]
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        for wrong in (b"\xff", b"12"):
            try:
                int(wrong.decode()) // 0
            except (UnicodeDecodeError, ZeroDivisionError):
                log.exception("received")
    finally:
        log.removeHandler(handler)
    assert lines[0] == "a message was not valid UTF-8; its connection is closed"
    assert "ZeroDivisionError" in lines[1], "what is wrong with us is told in full"
