"""Lessons spoken and kept: files, times, cache, drift. The voice is a tone; the shipped recordings are read too."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from qkvlab._shapes import Array, Float
from qkvlab.course import narrate as told
from qkvlab.course.drift import check
from qkvlab.course.narrate import FOLDER, LIMIT, Line, NarrationError, is_current, lines_of, narrate, read_lines, weigh
from qkvlab.course.sound import LOUDNESS, loudness, speech
from qkvlab.course.spoken import spoken
from qkvlab.course.voice import Remembered, readable
from qkvlab.errors import MissingExtraError

RATE = 24_000
LINES = [
    Line("The query is W_q x.", "start"),
    Line("Its weight is 0.90.", "sentence"),
    Line("At head 13.8 it is −0.26.", "block"),
    Line('From " it" to " cat".', "step"),
]


class Tone:
    """Speaks a sentence as a tone whose length and pitch are its number of letters, with silence around it."""

    name, rate = "a tone", RATE

    def __init__(self) -> None:
        self.said: list[str] = []

    def speak(self, said: str) -> Float[Array, " n"]:
        self.said.append(said)
        time = np.arange(len(said) * RATE // 50) / RATE
        tone = 0.2 * np.sin(2 * np.pi * (200 + 5 * len(said)) * time)
        return np.concatenate([np.zeros(7000), tone, np.zeros(9000)]).astype(np.float32)


def heard_at(folder: Path, sheet: dict[str, Any]) -> list[tuple[float, float]]:
    """By how many seconds speech begins after each `start`, and ends before each `end`, in the decoded file."""
    import soundfile

    wave, rate = soundfile.read(folder / sheet["audio"])
    assert len(wave) / rate == pytest.approx(sheet["seconds"], abs=0.001)
    found = []
    for row in sheet["sentences"]:
        start, end, around = round(row["start"] * rate), round(row["end"] * rate), round(0.2 * rate)
        first, last = speech(wave[start - around : end + around], rate)
        found.append(((first - around) / rate, (end - start + around - last) / rate))
    return found


def hold_to_contract(folder: Path, sheet: dict[str, Any]) -> None:
    """What docs/course.md says of NN.json, and that the times are those of the sound."""
    assert set(sheet) == {"audio", "seconds", "voice", "sentences"}
    at = 0.0
    for row in sheet["sentences"]:
        assert set(row) == {"start", "end", "spoken", "sha256"}
        assert at + 0.25 < row["start"] < row["end"] < sheet["seconds"]
        assert row["sha256"] == hashlib.sha256(row["spoken"].encode()).hexdigest()
        at = row["end"]
    for begins, ends in heard_at(folder, sheet):
        assert abs(begins) <= 0.060
        assert -0.060 <= ends <= 0.150


def test_a_lesson_is_spoken(tmp_path: Path) -> None:
    sheet = narrate("7", LINES, Tone(), tmp_path)
    assert json.loads((tmp_path / "7.json").read_text(encoding="utf-8")) == sheet
    assert [row["spoken"] for row in sheet["sentences"]] == [spoken(line.text) for line in LINES]
    assert (sheet["audio"], sheet["voice"]) == ("7.mp3", "a tone")
    hold_to_contract(tmp_path, sheet)


def test_pauses_are_longer_between_paragraphs_and_steps(tmp_path: Path) -> None:
    rows = narrate("7", LINES, Tone(), tmp_path)["sentences"]
    ends = [0.0, *(row["end"] for row in rows)]
    pauses = [row["start"] - end for row, end in zip(rows, ends, strict=False)]
    assert pauses == pytest.approx([told.PAUSES[line.begins] for line in LINES], abs=0.002)
    assert told.PAUSES["sentence"] < told.PAUSES["block"] < told.PAUSES["step"]


def test_wrong_times_are_noticed(tmp_path: Path) -> None:
    sheet = narrate("7", LINES, Tone(), tmp_path)
    for row in sheet["sentences"]:
        row["start"] -= 0.07
    with pytest.raises(AssertionError):
        hold_to_contract(tmp_path, sheet)


def test_the_same_lesson_gives_the_same_bytes(tmp_path: Path) -> None:
    narrate("7", LINES, Tone(), tmp_path / "a")
    narrate("7", LINES, Tone(), tmp_path / "b")
    for name in ("7.mp3", "7.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_only_what_changed_is_spoken_again(tmp_path: Path) -> None:
    narrate("7", LINES, Remembered(Tone(), tmp_path / "cache"), tmp_path)
    tone = Tone()
    voice = Remembered(tone, tmp_path / "cache")
    changed = [*LINES[:2], Line("At head 13.7 it is −0.26.", "block"), LINES[3]]
    narrate("7", changed, voice, tmp_path)
    assert tone.said == ["At head thirteen point seven it is minus zero point two six."]
    assert voice.fresh == 1


def test_a_recording_is_kept_until_text_pauses_or_voice_change(tmp_path: Path) -> None:
    voice = Tone()
    assert not is_current(LINES, voice, "7", tmp_path)
    narrate("7", LINES, voice, tmp_path)
    assert is_current(LINES, voice, "7", tmp_path)
    assert not is_current(LINES[:3], voice, "7", tmp_path)
    assert not is_current([LINES[0], Line(LINES[1].text, "step"), *LINES[2:]], voice, "7", tmp_path)
    voice.name = "another tone"
    assert not is_current(LINES, voice, "7", tmp_path)


# ---- drift


def test_no_drift(tmp_path: Path) -> None:
    sheet = narrate("7", LINES, Tone(), tmp_path)
    assert check([line.text for line in LINES], sheet) == []
    assert check(["The query is  W_q x", *(line.text for line in LINES[1:])], sheet) == [], "it sounds the same"


def test_drift_names_the_sentence(tmp_path: Path) -> None:
    sheet = narrate("7", LINES, Tone(), tmp_path)
    texts = [line.text for line in LINES]
    (changed,) = check([texts[0], "Its weight is 0.91.", *texts[2:]], sheet)
    assert changed.sentence == 1
    assert str(changed) == (
        "sentence 1 is to be said as 'Its weight is zero point nine one.'; the voice says "
        "'Its weight is zero point nine.'"
    )
    assert [str(each) for each in check([*texts, "One more."], sheet)] == [
        "the voice never says sentence 4: 'One more.'"
    ]
    (extra,) = check(texts[:3], sheet)
    assert str(extra).startswith("the voice says a sentence 3 that the lesson does not have")


# ---- where the lines come from


def test_lines_of_a_compiled_lesson() -> None:
    def prose(*texts: str) -> dict[str, Any]:
        return {"kind": "prose", "sentences": [{"n": 0, "html": "<em>x</em>", "text": text} for text in texts]}

    drawn = {"kind": "instrument", "name": "residual"}
    first = {"title": "One", "blocks": [drawn, prose("a", "b"), drawn, prose("c")]}
    second = {"title": "Two", "blocks": [prose("d"), prose("e")]}
    sections = [
        {"title": "S", "steps": [first, second]},
        {"title": "T", "steps": [{"title": "Three", "blocks": [drawn]}]},
    ]
    assert [(line.text, line.begins) for line in lines_of(sections)] == [
        ("a", "start"), ("b", "sentence"), ("c", "block"), ("d", "step"), ("e", "block"),
    ]  # fmt: skip


def test_lines_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"n": 0, "text": "a"}, {"n": 1, "text": "b", "begins": "step"}, {"n": 2, "text": "c"}]))
    assert read_lines(path) == [Line("a", "start"), Line("b", "step"), Line("c", "sentence")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "cannot be read"),
        ("[1]", "neither"),
        ('{"a": 1}', "neither"),
        ('[{"text": "a", "begins": "x"}]', "one of"),
    ],
)
def test_a_broken_list(content: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(NarrationError, match=what):
        read_lines(path)


def test_what_cannot_be_narrated(tmp_path: Path) -> None:
    with pytest.raises(NarrationError, match="lesson 7 has no sentence"):
        narrate("7", [], Tone(), tmp_path)
    with pytest.raises(NarrationError, match="lesson 7: no rule says how '∮'"):
        narrate("7", [Line("∮", "start")], Tone(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_too_heavy(tmp_path: Path) -> None:
    (tmp_path / "1.mp3").write_bytes(bytes(LIMIT))
    assert weigh(tmp_path) == LIMIT
    (tmp_path / "2.mp3").write_bytes(b"1")
    with pytest.raises(NarrationError, match="6,000,001 bytes"):
        weigh(tmp_path)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "Hibari", Tone)
    monkeypatch.setenv("QKVLAB_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "7.json"
    source.write_text(json.dumps([{"n": 0, "text": "One."}, {"n": 1, "text": "Two."}]))
    arguments = ["--sentences", str(source), "--to", str(tmp_path / "out")]
    first, second = (CliRunner().invoke(told.main, arguments) for _ in range(2))
    assert first.output.startswith("7: 2 sentences (2 spoken anew)"), first.output
    assert second.output.startswith("7: says its lesson already")
    strange = CliRunner().invoke(told.main, ["8", *arguments])
    assert (strange.exit_code, strange.output) == (1, "Error: no narrated lesson 8 (there are: 7)\n")


def test_without_the_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qkvlab\[narration\]'"):
        told.Hibari()


# ---- the voice's own notation


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("from “it” to “cat”.", "from [it](/ˈɪt/) to [cat](/kˈæt/)."),
        ("Now read “The cat drank”.", "Now read, The cat drank."),
        ("“The cat drank”, it says.", "The cat drank, it says."),
        ("times W sub q.", "times W sub [q](/kjˈu/)."),
        ("G Q A, and a head.", "G Q [A](/ˈA/), and a head."),
        ("A sub i j is one.", "[A](/ˈA/) sub i j is one."),
        ("Its logits are logits.", "Its [logits](/lˈOʤɪts/) are [logits](/lˈOʤɪts/)."),
    ],
)
def test_readable(said: str, read: str) -> None:
    known = {"it": "ɪt", "cat": "kˈæt", "q": "kjˈu"}
    assert readable(said, known.__getitem__) == read


# ---- what ships


@pytest.mark.parametrize("sheet", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_recording(sheet: Path) -> None:
    import soundfile

    content = json.loads(sheet.read_text(encoding="utf-8"))
    assert content["audio"] == f"{sheet.stem}.mp3"
    hold_to_contract(FOLDER, content)
    wave, rate = soundfile.read(FOLDER / content["audio"])
    assert wave.ndim == 1, "mono"
    assert np.abs(wave).max() < 1.0
    assert loudness(wave, rate) == pytest.approx(LOUDNESS, abs=1.0)


def test_shipped_recordings_are_light() -> None:
    weigh(FOLDER)
    assert {path.stem for path in FOLDER.glob("*.mp3")} == {path.stem for path in FOLDER.glob("*.json")}
