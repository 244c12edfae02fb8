"""TEXT as a person gives it: standard input, files, bad texts, and the streams around the program."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal import Ran, launch, readable, remember_models, run, shell

CAT = "The cat drank because it was thirsty"
pytestmark = pytest.mark.usefixtures("smollm2_path")


@pytest.fixture(scope="module", autouse=True)
def _models_stay_open() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        remember_models(patch)
        yield


def asked(text: str, token: str, *more: str | Path, stdin: bytes = b"") -> Ran:
    return run("ask", text, "--token", token, "--head", "13.8", *more, stdin=stdin)


@pytest.fixture(scope="module")
def toy(tiny: Callable[[str], tuple[Any, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama that reads words, at most 128 of them."""
    return readable(tiny("llama")[1], tmp_path_factory.mktemp("toy"))


# ---- where the text comes from


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_standard_input_and_files_lose_one_line_end(tmp_path: Path, ending: bytes, toy: Path) -> None:
    plain = run("ask", "the cat drank", "--token", "drank", "--head", "0.0", "--model", toy, "--json")
    file = tmp_path / "a text.txt"
    file.write_bytes(b"the cat drank" + ending)
    for text, stdin in (("-", file.read_bytes()), (f"@{file}", b"")):
        given = run(
            "ask", text, "--token", "drank", "--head", "0.0", "--model", toy, "--json", stdin=stdin
        )  # fmt: skip
        assert given.document() == plain.document()


def test_only_the_last_line_end_goes() -> None:
    answer = asked("-", "#2", "--json", stdin=b"one\ntwo\n\n").document()
    assert answer["tokens"] == ["one", "\n", "two", "\n"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.txt"
    for path, reason in ((missing, "No such file"), (tmp_path, "directory"), (Path("/proc/self/mem"), "")):
        complaint = asked(f"@{path}", "x").complaint()
        assert str(path) in complaint and reason in complaint


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes("le café".encode("latin-1"))
    assert f"{file} is not UTF-8 (byte 6)" in asked(f"@{file}", "x").complaint()
    assert "standard input is not UTF-8 (byte 6)" in asked("-", "x", stdin=file.read_bytes()).complaint()


def test_a_byte_order_mark_is_no_token(tmp_path: Path) -> None:
    file = tmp_path / "windows.txt"
    file.write_bytes(b"\xef\xbb\xbf" + CAT.encode() + b"\r\n")
    assert asked(f"@{file}", "it", "--json").document()["tokens"][0] == "The"


def test_standard_input_that_is_closed() -> None:
    assert "standard input" in shell("$QKVLAB ask - --token it <&-").complaint()


# ---- texts that cannot be traced


def test_no_text_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"\n")
    for text in ("", f"@{empty}", "-"):
        assert "the text is empty" in asked(text, "x").complaint()


def test_100_000_characters() -> None:
    complaint = asked("-", "#1", stdin=b"word " * 20_000).complaint()
    assert "100,000 characters" in complaint and "8,192 at most" in complaint and len(complaint) < 200


def test_over_each_models_limit(toy: Path, minilm_path: Path) -> None:
    complaint = run("ask", "cat " * 129, "--token", "#1", "--model", toy).complaint()
    assert "129 tokens" in complaint and "128 at most" in complaint
    complaint = run("ask", "cat " * 511, "--token", "#1", "--model", "minilm").complaint()
    assert "513 tokens" in complaint and "512 at most" in complaint
    fits = run("ask", "the " * 127 + "cat", "--token", "cat", "--head", "0.0", "--model", toy, "--json")
    assert fits.document()["token"]["index"] == 127


def test_bytes_that_are_no_text_as_arguments(toy: Path) -> None:
    complaint = launch("ask", b"caf\xe9 au lait", "--token", "lait", "--model", toy).complaint()
    assert "not valid Unicode" in complaint and "character 3" in complaint
    assert "'caf\\udce9'" in launch("ask", "the cat", "--token", b"caf\xe9", "--model", toy).complaint()
    assert "\\udce9" in launch("ask", "the cat", "--token", "cat", "--head", b"\xe9", "--model", toy).complaint()
    launch("ask", CAT, "--token", "it", "--model", b"\xe9").complaint()
    launch("ask", b"@caf\xe9.txt", "--token", "it").complaint()


# ---- texts that can


GOOD = {
    "NUL": "a\0b c",
    "right to left": "החתול שתה כי הוא צמא",
    "both ways": "the word שלום means \u202bpeace\u202c",
    "joined emoji": "👩‍👧 👍🏽",
    "marks": "e\u0301tude n\u0303 ก็",
    "kanji": "東京へ行く",
    "code": "def f(x):\n\treturn x[0]  # [bold]\n",
    "controls": "red \x1b[31mtext\x1b[0m \a\r and more",
    "markup": "[red]a[/red] :smile: [/]",
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("model", ["smollm2", "minilm"])
def test_any_text_is_answered_and_printed_safely(name: str, model: str, minilm_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(GOOD[name].encode())
    head = "13.8" if model == "smollm2" else "2.5"
    command = ("ask", f"@{file}", "--token", "#2", "--head", head, "--model", model)
    answer = run(*command, "--json").document()
    assert answer["token"]["index"] == 2
    if model == "smollm2" and "(1/" not in "".join(answer["tokens"]):
        assert "".join(answer["tokens"]) == GOOD[name].removesuffix("\n")
    shown = run(*command)
    assert (shown.status, shown.err) == (0, "")
    controls = {c for c in shown.out if c != "\n" and (c < " " or "\x7f" <= c < "\xa0")}
    assert not controls, "a text must not steer the terminal"
    assert not {"\u202b", "\u202c"} & set(shown.out)


def test_the_sentence_is_one_line(tmp_path: Path) -> None:
    answer = asked("one\ntwo\nthree\nfour", "#1", "--json").document()
    assert answer["token"]["text"] == "\n" and "\n" not in answer["sentence"]
    named = asked("one\ntwo", "\n", "--json").document()
    assert named["token"]["index"] == 1


def test_a_complaint_about_a_text_with_controls_is_safe() -> None:
    for name in ("\x1b[31mred", "two\nlines", "\u202bright"):
        complaint = asked("a \x1b[31mred\n text", name).complaint()
        assert not {"\x1b", "\u202b"} & set(complaint)


def test_a_start_token_in_front() -> None:
    answer = asked("The cat", "cat", "--start", "--json").document()
    assert answer["tokens"] == ["<|im_start|>", "The", " cat"]
    assert "give one of them" in asked("The cat", "cat", "--start", "--no-special").complaint()


# ---- streams


@pytest.mark.parametrize(
    "command", ["ask 'the cat' --token cat --head 0.0", "find 'a cat' --query cat --key a", "inspect"]
)
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_reader_that_leaves_is_no_mishap(command: str, form: str, toy: Path) -> None:
    model = f"'{toy}'" if command == "inspect" else f"--model '{toy}'"
    for reader, read in (("true", 0), ("head -1", 1)):
        ran = shell(f"set -o pipefail; $QKVLAB {command} {model} {form} | {reader}")
        assert (ran.err, ran.status, ran.out.count("\n")) == ("", 0, read)


@pytest.mark.parametrize("command", ["models", "models --json", "--help", "ask --help", "--version"])
def test_a_reader_that_never_was_is_no_mishap(command: str) -> None:
    for silence in ("| true", ">&-"):
        assert shell(f"set -o pipefail; $QKVLAB {command} {silence}") == Ran("", "", 0)


@pytest.mark.parametrize("silence", ["2>&1 | true", "2>/dev/full", "2>&-"])
def test_complaints_that_nobody_reads_change_nothing(silence: str, toy: Path, tmp_path: Path) -> None:
    assert shell(f"set -o pipefail; $QKVLAB frobnicate {silence}") == Ran("", "", 2)
    target = tmp_path / "trace.safetensors"
    ran = shell(f"set -o pipefail; $QKVLAB trace 'the cat' -o '{target}' --model '{toy}' {silence}")
    assert ran == Ran("", "", 0) and target.stat().st_size > 0


def test_a_full_disk_is_one_line(toy: Path) -> None:
    for more in ("", "--json"):
        ran = shell(f"$QKVLAB find 'the cat drank' --query drank --key cat --model '{toy}' {more} >/dev/full")
        assert ran.complaint()


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_without_unicode(env: dict[str, str], toy: Path) -> None:
    for words in (("find", "the cat", "--query", "cat", "--key", "the"), ("ask", "the cat 東", "--token", "#2")):
        ran = launch(*words, "--model", toy, **env)
        assert "Traceback" not in ran.err
        if words[0] == "find" or env.get("PYTHONUTF8") != "0":
            assert (ran.status, ran.err) == (0, "") and "toy" in ran.out
            assert "\\u2588" not in ran.out, "a bar of escapes is no bar"


def test_no_colour_where_it_is_piped(toy: Path) -> None:
    ran = launch("ask", "the cat drank", "--token", "drank", "--model", toy, TERM="xterm-256color")
    assert ran.status == 0 and "\x1b" not in ran.out


def test_an_interrupt_is_quiet(tmp_path: Path) -> None:
    """Ctrl-C while the program waits for its text."""
    from terminal import PROGRAM

    program = subprocess.Popen(
        [*PROGRAM, "ask", "-", "--token", "it"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    assert program.stdin and program.stderr and program.stdout
    try:
        wait_until_reading(program.pid)
        program.send_signal(2)
        out, err = program.communicate(timeout=30)
    finally:
        program.kill()
    assert (program.returncode, out, err.strip()) == (130, b"", b"qkvlab: stopped")


def wait_until_reading(pid: int) -> None:
    """Until the process sleeps in a read of its standard input (Linux: /proc/PID/syscall says `0 0x0 ...`)."""
    import time

    for _ in range(400):
        try:
            call = Path(f"/proc/{pid}/syscall").read_text().split()
        except OSError:
            call = []
        if call[:2] == ["0", "0x0"] or (not call and os.path.exists(f"/proc/{pid}")):  # noqa: PTH110
            return
        time.sleep(0.05)
