"""The course's folder → the JSON, sound and pictures that stand beside the page. Needs no model and no NumPy."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..checkpoint.source import ALIASES
from ..errors import LessonError, one_of
from .drift import check
from .instruments import INSTRUMENTS
from .lesson import PICTURES, Lesson, read_lesson
from .places import Spot, read_entries
from .spoken import UnspeakableError

ART = ("-light.svg", "-dark.svg", ".txt")
"""What a picture of `course/art` consists of: both themes, and the words for who cannot see it."""
HERE = Path(__file__).parent
SHIPPED = "spec_"
"""Figures of this beginning are shipped as values too, for the instrument `specialists`."""


def compile_course(folder: Path = HERE) -> dict[str, bytes]:
    """Every file of the compiled course by its name. Raises LessonError for the first thing that is wrong."""
    lessons = read_lessons(folder)
    files = {"map.json": _json(course_map(folder, lessons)), "figures.json": _json(_figures(folder))}
    for module, lesson in lessons.items():
        narration, sound = _narration(folder, lesson)
        files[f"{module}.json"] = _json({**_compiled(folder, lesson), "narration": narration})
        files |= sound
    for picture in sorted((folder / "art").glob("*.svg")):
        files[f"art/{picture.name}"] = picture.read_bytes()
    return files


def write_course(files: Mapping[str, bytes], target: Path) -> None:
    """Put a compiled course in place of the one that was there."""
    shutil.rmtree(target, ignore_errors=True)
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read_lessons(folder: Path = HERE) -> dict[str, Lesson]:
    """The lessons by module, in order, each checked by itself and against the others. Raises LessonError."""
    figures = read_figures(folder / "figures.json")
    lessons: dict[str, Lesson] = {}
    for path in sorted((folder / "lessons").glob("*.md"), key=lambda path: order(path.stem)):
        lesson = read_lesson(_text(path), _shown(path), figures)
        if lesson.module != path.stem:
            raise lesson.spots["module"].error(f"module {lesson.module!r} stands in a file of another name")
        for key in PICTURES:
            name = lesson.front[key]
            if name and not all((folder / "art" / f"{name}{end}").is_file() for end in ART):
                raise lesson.spots[key].error(f"course/art has no picture {name!r}, or not all of its files: {ART}")
        lessons[lesson.module] = lesson
    for lesson in lessons.values():
        for module, spot in lesson.links.lessons:
            if module not in lessons:
                raise spot.error(one_of("the lesson", module, lessons))
    return lessons


def read_figures(path: Path) -> dict[str, str]:
    """What is shown for each figure. Raises LessonError."""
    spot = Spot(_shown(path), 1)
    try:
        entries = json.loads(_text(path))
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise LessonError(f"this is not JSON: {error}", spot.file, line) from None
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not {"value", "shown", "what", "run"} <= entry.keys():
            raise spot.error(f"the figure {name!r} needs value, shown, what and run")
    return {name: str(entry["shown"]) for name, entry in entries.items()}


def course_map(folder: Path, lessons: Mapping[str, Lesson]) -> dict[str, Any]:
    """map.json: this edition's modules and the others of the full course. Raises LessonError."""
    rows: dict[str, dict[str, Any]] = {}
    spots: dict[str, Spot] = {}
    for module, spot, title, needs in _elsewhere(folder / "map.yaml"):
        if module in lessons or module in rows:
            raise spot.error(f"module {module!r} stands here and in another place")
        rows[module] = {"module": module, "title": title, "needs": needs, "here": False}
        spots[module] = spot
    for module, lesson in lessons.items():
        chosen = {key: lesson.front[key] for key in ("module", "title", "promise", "minutes", "narrated", "needs")}
        rows[module] = {**chosen, "card": _art(folder, lesson.front["card"]), "here": True}
        spots[module] = lesson.spots["needs"]
    for module, row in rows.items():
        for need in row["needs"]:
            if need not in rows:
                raise spots[module].error(f"module {module!r} needs module {need!r}, which the course does not have")
    _no_circle(rows, spots)
    return {"modules": [rows[module] for module in sorted(rows, key=order)]}


def order(module: str) -> tuple[int, str]:
    """Modules in their order: 2, 12, 12a, 22."""
    match = re.match(r"(\d*)(.*)", module)
    assert match is not None
    return int(match[1] or 0), match[2]


def _elsewhere(path: Path) -> Iterator[tuple[str, Spot, str, list[str]]]:
    """The modules that are not in this edition: `"1": {title: ..., needs: [...]}`."""
    for module, entry in read_entries(_text(path), Spot(_shown(path), 1)).items():
        row: dict[str, Any] = entry.value if isinstance(entry.value, dict) else {}
        needs = row.get("needs")
        sound = isinstance(needs, list) and all(isinstance(need, str) for need in needs)
        if not sound or set(row) != {"title", "needs"} or not isinstance(row["title"], str):
            raise entry.spot.error(f"module {module!r} needs a title and a list of needs, and nothing else")
        yield module, entry.spot, row["title"], row["needs"]


def _no_circle(rows: Mapping[str, dict[str, Any]], spots: Mapping[str, Spot]) -> None:
    done: set[str] = set()
    while fresh := {module for module in rows if module not in done and set(rows[module]["needs"]) <= done}:
        done |= fresh
    if left := sorted(set(rows) - done, key=order):
        raise spots[left[0]].error(f"these modules need one another in a circle: {', '.join(left)}")


def _figures(folder: Path) -> dict[str, Any]:
    """figures.json: what instruments show of the measured figures that no request gives (`spec_...`), by name."""
    entries: dict[str, Any] = json.loads(_text(folder / "figures.json"))
    shipped = {name: entry for name, entry in entries.items() if name.startswith(SHIPPED)}
    return {name: {"value": entry["value"], "shown": entry["shown"]} for name, entry in shipped.items()}


def _compiled(folder: Path, lesson: Lesson) -> dict[str, Any]:
    front = {key: value for key, value in lesson.front.items() if key not in ("narrated", "card")}
    front |= {key: _art(folder, front[key]) for key in ("hero", "spotlight")}
    return {**front, "sections": lesson.sections, "cues": lesson.cues, "badges": _badges(lesson)}


def _art(folder: Path, name: str | None) -> dict[str, Any] | None:
    """An illustration in both themes, what it shows in words, and its form for a narrow screen where there is one."""
    if not name:
        return None
    alt = _text(folder / "art" / f"{name}.txt").strip()
    narrow = f"{name}-narrow" if (folder / "art" / f"{name}-narrow.txt").is_file() else None
    return {
        "light": f"art/{name}-light.svg", "dark": f"art/{name}-dark.svg", "alt": alt, "narrow": _art(folder, narrow),
    }  # fmt: skip


def _badges(lesson: Lesson) -> list[str]:
    """What the instruments run on, in order, and then what cues bring."""
    blocks = lesson.instruments.values()
    models = [block["settings"].get("model") or INSTRUMENTS[block["name"]].toy for block in blocks]
    models += [cue["set"]["model"] for cue in lesson.cues if "model" in cue["set"]]
    return list(dict.fromkeys(ALIASES[model].title if model in ALIASES else str(model) for model in models))


def _narration(folder: Path, lesson: Lesson) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """A lesson's voice and its sound file; the voice must say what the lesson says. Raises LessonError."""
    if not lesson.front["narrated"]:
        return None, {}
    here, path = lesson.spots["narrated"], folder / "narration" / f"{lesson.module}.json"
    if not path.is_file():
        raise here.error("narrated, but never spoken: run `make narration`, or set narrated: false")
    spoken = json.loads(_text(path))
    rows = spoken["sentences"]
    try:
        differences = check([sentence.text for sentence in lesson.sentences], spoken)
    except UnspeakableError as error:
        raise here.error(str(error)) from None
    for found in differences:
        spot = lesson.sentences[found.sentence].spot if found.sentence < len(lesson.sentences) else here
        raise spot.error(f"{found}: run `make narration`")
    sound = folder / "narration" / spoken["audio"]
    if not sound.is_file():
        raise here.error(f"the sound {spoken['audio']} is missing: run `make narration`")
    times = [[row["start"], row["end"]] for row in rows]
    narration = {"audio": spoken["audio"], "seconds": spoken["seconds"], "sentences": times}
    return narration, {spoken["audio"]: sound.read_bytes()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LessonError(f"cannot be read: {error.strerror}", _shown(path), 1) from None
    except UnicodeDecodeError as error:
        raise LessonError(f"is not UTF-8 (byte {error.start})", _shown(path), 1) from None


def _shown(path: Path) -> str:
    """A path as short as it can be clicked on."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
