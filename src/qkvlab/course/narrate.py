"""Speaks the lessons: `python -m qkvlab.course.narrate` (`make narration`) writes narration/NN.mp3 and NN.json.

A sentence is spoken by itself and kept in the cache; only what changed is spoken again. A recording that still says its
lesson, by this voice and with these pauses, is left as it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..errors import QkvLabError
from .drift import check, sha256
from .spoken import UnspeakableError, spoken
from .voice import Hibari, Remembered, Voice

FOLDER = Path(__file__).parent / "narration"
LIMIT = 6_000_000
"""Bytes: what all recordings together may weigh in the package."""
PAUSES = {"start": 0.3, "sentence": 0.45, "block": 0.9, "step": 1.5}
"""Seconds of silence in front of a sentence, by what begins with it."""
END = 0.8
"""Seconds of silence after the last."""


@dataclass(frozen=True)
class Line:
    """A sentence to be spoken, and what begins with it: see PAUSES."""

    text: str
    begins: str


def lines_of(sections: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The sentences of a compiled lesson (its "sections", docs/course.md), in order."""
    return list(_lines(sections))


def _lines(sections: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    first = True
    for section in sections:
        for step in section["steps"]:
            begins = "step"
            for block in step["blocks"]:
                for sentence in block["sentences"] if block["kind"] == "prose" else ():
                    yield Line(sentence["text"], "start" if first else begins)
                    first, begins = False, "sentence"
                begins = "block" if begins == "sentence" else begins


def read_lines(path: Path) -> list[Line]:
    """Lines from a file: a compiled lesson, or a list of {"n", "text"} with "begins" where a paragraph or step does."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NarrationError(f"{path} cannot be read as JSON: {error}") from None
    if isinstance(content, dict) and "sections" in content:
        return lines_of(content["sections"])
    if not isinstance(content, list) or not all(isinstance(row, dict) and "text" in row for row in content):
        raise NarrationError(f"{path} is neither a compiled lesson nor a list of sentences with their text")
    lines = [Line(str(row["text"]), str(row.get("begins", "sentence"))) for row in content]
    for line in lines:
        if line.begins not in PAUSES:
            raise NarrationError(f"begins is one of {', '.join(PAUSES)}; {path} has {line.begins!r}")
    return [Line(line.text, "start") if number == 0 else line for number, line in enumerate(lines)]


def narrated_lessons() -> dict[str, list[Line]]:
    """The lines of every lesson whose front matter says `narrated: true`, by module."""
    from .compile import read_lessons

    found = {module: lesson for module, lesson in read_lessons().items() if lesson.front["narrated"]}
    return {module: lines_of(lesson.sections) for module, lesson in found.items()}


class NarrationError(QkvLabError):
    """A lesson that cannot be spoken, or would weigh too much."""


def narrate(module: str, lines: Sequence[Line], voice: Voice, folder: Path) -> dict[str, Any]:
    """Speak a lesson and write its two files. Returns what NN.json says. Raises NarrationError."""
    from .sound import joined, levelled, trimmed, write_mp3

    if not lines:
        raise NarrationError(f"lesson {module} has no sentence to speak")
    try:
        said = [spoken(line.text) for line in lines]
        waves = [trimmed(voice.speak(words), voice.rate) for words in said]
        wave, places = joined(waves, [PAUSES[line.begins] for line in lines], END, voice.rate)
        folder.mkdir(parents=True, exist_ok=True)
        write_mp3(folder / f"{module}.mp3", levelled(wave, voice.rate), voice.rate)
    except (UnspeakableError, ValueError) as error:
        raise NarrationError(f"lesson {module}: {error}") from None
    rows = [
        {"start": _seconds(start, voice), "end": _seconds(end, voice), "spoken": words, "sha256": sha256(words)}
        for (start, end), words in zip(places, said, strict=True)
    ]
    told = {"audio": f"{module}.mp3", "seconds": _seconds(len(wave), voice), "voice": voice.name, "sentences": rows}
    text = json.dumps(told, ensure_ascii=False, indent=1)
    (folder / f"{module}.json").write_text(text + "\n", encoding="utf-8")
    return told


def _seconds(samples: int, voice: Voice) -> float:
    return round(samples / voice.rate, 3)


def is_current(lines: Sequence[Line], voice: Voice, module: str, folder: Path) -> bool:
    """Whether a recording is there, by this voice, of these sentences, with these pauses."""
    sheet = folder / f"{module}.json"
    if not sheet.is_file() or not (folder / f"{module}.mp3").is_file():
        return False
    told = json.loads(sheet.read_text(encoding="utf-8"))
    if told["voice"] != voice.name or check([line.text for line in lines], told):
        return False
    ends = [0.0, *(row["end"] for row in told["sentences"])]
    pauses = [row["start"] - end for row, end in zip(told["sentences"], ends, strict=False)]
    return all(abs(pause - PAUSES[line.begins]) < 0.01 for pause, line in zip(pauses, lines, strict=True))


def weigh(folder: Path) -> int:
    """Bytes of all recordings. Raises NarrationError above LIMIT."""
    total = sum(path.stat().st_size for path in folder.glob("*.mp3"))
    if total > LIMIT:
        raise NarrationError(f"the recordings in {folder} weigh {total:,} bytes; {LIMIT:,} is the most")
    return total


@click.command()
@click.argument("modules", nargs=-1)
@click.option("--sentences", type=click.Path(path_type=Path), help="Speak this JSON file instead of the lessons.")
@click.option("--to", "folder", type=click.Path(path_type=Path), default=FOLDER, help="Write here.")
def main(modules: tuple[str, ...], sentences: Path | None, folder: Path) -> None:
    """Speak the narrated lessons, or only these MODULES."""
    try:
        if sentences is not None:
            lessons = {sentences.stem: read_lines(sentences)}
        else:
            lessons = narrated_lessons()
        if strange := [module for module in modules if module not in lessons]:
            raise NarrationError(f"no narrated lesson {', '.join(strange)} (there are: {', '.join(lessons) or 'none'})")
        voice = Remembered(Hibari())
        for module in modules or lessons:
            click.echo(_told(module, lessons[module], voice, folder))
        click.echo(f"all recordings: {weigh(folder) / 1e6:.2f} MB of {LIMIT / 1e6:.0f}")
    except QkvLabError as error:
        raise click.ClickException(str(error)) from None


def _told(module: str, lines: Sequence[Line], voice: Remembered, folder: Path) -> str:
    if is_current(lines, voice, module, folder):
        return f"{module}: says its lesson already"
    before = voice.fresh
    told = narrate(module, lines, voice, folder)
    size = (folder / told["audio"]).stat().st_size
    return (
        f"{module}: {len(lines)} sentences ({voice.fresh - before} spoken anew), {told['seconds']:.1f} s, "
        f"{size / 1e6:.2f} MB, {size * 8 / told['seconds'] / 1000:.1f} kbit/s"
    )


if __name__ == "__main__":
    main()
