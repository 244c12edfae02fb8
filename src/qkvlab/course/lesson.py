"""One lesson file → its sections, steps and blocks, with every cue and setting checked."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import one_of
from .blocks import Block, read_blocks
from .inline import Cue, Inline, Links, Sentence
from .instruments import FORMULAS, INSTRUMENTS, Setting
from .places import Entry, Spot, read_entries

FRONT: dict[str, tuple[type[Any], bool]] = {
    "module": (str, True), "title": (str, True), "promise": (str, True), "minutes": (int, True),
    "needs": (list, True), "narrated": (bool, True), "hero": (str, False), "spotlight": (str, False),
    "card": (str, False),
}  # fmt: skip
"""Front matter: each key, its type, and whether it must be there."""
PICTURES = ("hero", "spotlight", "card")
"""Keys that name a picture of course/art: at a lesson's start, at what it promises, and on the course map."""
_WORDS = {str: "a text (in quotes)", int: "a whole number", list: 'a list of modules, as ["12"]', bool: "true or false"}


@dataclass
class Lesson:
    """A lesson as it is read; `sections` and `cues` are as docs/course.md writes them."""

    front: dict[str, Any]
    spots: dict[str, Spot]
    """Where the front matter's keys stand."""
    sections: list[dict[str, Any]] = field(default_factory=list)
    cues: list[dict[str, Any]] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    instruments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id: their blocks."""
    links: Links = field(default_factory=Links)

    @property
    def module(self) -> str:
        return str(self.front["module"])


def read_lesson(source: str, file: str, figures: Mapping[str, str]) -> Lesson:
    """Read a lesson. `figures` are the texts that stand for their names. Raises LessonError."""
    entries, blocks = read_blocks(source, file)
    front = read_front(entries, Spot(file, 1))
    lesson = Lesson(front, {key: entry.spot for key, entry in entries.items()})
    _Reader(lesson, Inline(figures, lesson.links)).read(blocks)
    return lesson


def read_front(entries: Mapping[str, Entry], start: Spot) -> dict[str, Any]:
    """The front matter, every key checked. Raises LessonError."""
    for key, entry in entries.items():
        if key not in FRONT:
            raise entry.spot.error(one_of("the key", key, FRONT))
        kind = FRONT[key][0]
        value: Any = entry.value
        sound = type(value) is kind and (kind is not list or all(isinstance(need, str) for need in value))
        if not sound or (kind is str and not value.strip()):
            raise entry.spot.error(f"{key}: expected {_WORDS[kind]}; got {entry.value!r}")
    if missing := [key for key, (_, needed) in FRONT.items() if needed and key not in entries]:
        raise start.error(f"the front matter has no {', '.join(missing)}")
    return {key: entries[key].value if key in entries else None for key in FRONT}


class _Reader:
    """Puts the blocks of one lesson in their places."""

    def __init__(self, lesson: Lesson, inline: Inline) -> None:
        self._lesson = lesson
        self._inline = inline
        self._titles: dict[str, Spot] = {}
        self._ids: dict[str, Spot] = {}
        self._written: list[tuple[int, Cue]] = []
        self._promised: list[tuple[str, Spot]] = []
        """Instruments that questions name."""

    def read(self, blocks: list[Block]) -> None:
        for block in blocks:
            if block.kind == "section":
                self._lesson.sections.append({**self._title(block), "steps": []})
            elif not self._lesson.sections:
                raise block.spot.error("a lesson's text begins with a section: # TITLE")
            elif block.kind == "step":
                self._lesson.sections[-1]["steps"].append({**self._title(block), "blocks": []})
            else:
                self._step()["blocks"].append(getattr(self, f"_{block.kind}")(block))
        for number, cue in self._written:
            self._lesson.cues.append(self._checked(number, cue))
        for name, spot in self._promised:
            self._known(name, spot)

    def _step(self) -> dict[str, Any]:
        section = self._lesson.sections[-1]
        if not section["steps"]:
            section["steps"].append({"id": f"{section['id']}-opening", "title": "", "blocks": []})
        step: dict[str, Any] = section["steps"][-1]
        return step

    def _title(self, block: Block) -> dict[str, Any]:
        text = self._inline.whole(block.text, block.spot)[1]
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
        if not name:
            raise block.spot.error("a title has letters or digits, from which its id comes")
        return {"id": _once(name, block.spot, self._titles), "title": text}

    def _prose(self, block: Block) -> dict[str, Any]:
        rows = []
        for sentence in self._inline.sentences(block.text, block.spot):
            number = len(self._lesson.sentences)
            self._written += [(number, cue) for cue in sentence.cues]
            self._lesson.sentences.append(sentence)
            rows.append({"n": number, "html": sentence.html, "text": sentence.text})
        return {"kind": "prose", "sentences": rows}

    def _instrument(self, block: Block) -> dict[str, Any]:
        name = str(block.argument)
        if name not in INSTRUMENTS:
            raise block.spot.error(one_of("the instrument", name, INSTRUMENTS))
        entries = read_entries(block.text, block.spot.down(1))
        own = self._id(entries.pop("id", None), name, block.spot)
        table = INSTRUMENTS[name].settings
        settings = {key: setting.default for key, setting in table.items()}
        for key, entry in entries.items():
            settings[key] = _setting(name, table, key, entry.value, entry.written, entry.spot)
        made = {"kind": "instrument", "name": name, "id": own, "settings": settings}
        self._lesson.instruments[own] = made
        return made

    def _id(self, entry: Entry | None, otherwise: str, spot: Spot) -> str:
        if entry is not None and (not isinstance(entry.value, str) or not re.fullmatch(r"[a-z][\w-]*", entry.value)):
            raise entry.spot.error(f"an id is a word of small letters, digits and hyphens; got {entry.value!r}")
        return _once(otherwise, spot, self._ids) if entry is None else _once(entry.value, entry.spot, self._ids)

    def _aside(self, block: Block) -> dict[str, Any]:
        text = block.text.strip("\n")
        first = block.spot.down(1 + len(block.text) - len(block.text.lstrip("\n")))
        if not text.strip():
            raise block.spot.error(f":::{block.kind} is empty")
        if re.search(r"\n[ \t]*\n", text):
            raise block.spot.error(f":::{block.kind} holds one paragraph; open another for the second")
        return {"kind": block.kind, "html": self._inline.whole(text, first)[0]}

    def _challenge(self, block: Block) -> dict[str, Any]:
        if not self._lesson.instruments:
            raise block.spot.error("a challenge is a task for the instrument above it, and there is none")
        return {**self._aside(block), "instrument": list(self._lesson.instruments)[-1]}

    def _question(self, block: Block) -> dict[str, Any]:
        entries = read_entries(block.text, block.spot.down(1))
        by_doing = "instrument" in entries
        needed = ("ask", "instrument", "because") if by_doing else ("ask", "answers", "right", "because")
        known = ("id", *needed) if by_doing else ("id", *needed, "wrong")
        for key, entry in entries.items():
            if key not in known:
                raise entry.spot.error(one_of("the key", key, known))
        if missing := [key for key in needed if key not in entries]:
            raise block.spot.error(f"the question has no {', '.join(missing)}")
        asked = sum(name.startswith("question-") for name in self._ids) + 1
        made: dict[str, Any] = {"kind": "question"}
        made["id"] = self._id(entries.get("id"), f"question-{asked}", block.spot)
        made |= {"ask": self._line(entries["ask"]), "because": self._line(entries["because"])}
        if by_doing:
            self._promised.append((str(entries["instrument"].value), entries["instrument"].spot))
            return {
                **made, "answers": [], "right": None, "wrong": [], "instrument": str(entries["instrument"].value),
            }  # fmt: skip
        answers = self._answers(entries["answers"], entries["right"])
        return {**made, **answers, "wrong": self._wrong(entries.get("wrong"), answers), "instrument": None}

    def _answers(self, answers: Entry, right: Entry) -> dict[str, Any]:
        given = answers.value if isinstance(answers.value, list) else []
        if len(given) < 2 or not all(isinstance(answer, str) for answer in given):
            raise answers.spot.error("answers: expected a list of two texts or more")
        if type(right.value) is not int or not 0 <= right.value < len(given):
            raise right.spot.error(
                f"right: expected the place of an answer, 0 to {len(given) - 1}; got {right.value!r}"
            )
        return {"answers": [self._inline.whole(answer, answers.spot)[0] for answer in given], "right": right.value}

    def _wrong(self, reasons: Entry | None, made: dict[str, Any]) -> list[str]:
        """What is said to each answer that is not right; empty at the place of the right one."""
        if reasons is None:
            return [""] * len(made["answers"])
        given = reasons.value if isinstance(reasons.value, list) else []
        kinds = [isinstance(reason, str) and reason != "" for reason in given]
        if kinds != [at != made["right"] for at in range(len(made["answers"]))]:
            raise reasons.spot.error("wrong: expected a text for each answer, and null at the place of the right one")
        return [self._inline.whole(reason, reasons.spot)[0] if reason else "" for reason in given]

    def _line(self, entry: Entry) -> str:
        if not isinstance(entry.value, str):
            raise entry.spot.error(f"expected a text; got {entry.value!r}")
        return self._inline.whole(entry.value.strip(), entry.spot)[0]

    def _formula(self, block: Block) -> dict[str, Any]:
        if block.argument not in FORMULAS:
            raise block.spot.error(one_of("the formula", block.argument, FORMULAS))
        if block.text.strip():
            raise block.spot.error(":::formula has a name and nothing else")
        return {"kind": "formula", "name": block.argument}

    def _reading(self, block: Block) -> dict[str, Any]:
        items: list[tuple[list[str], Spot]] = []
        for number, line in enumerate(block.text.splitlines(), 1):
            if line.startswith("- "):
                items.append(([line[2:]], block.spot.down(number)))
            elif line.strip() and not items:
                raise block.spot.down(number).error("the items of :::reading begin with a hyphen and a space")
            elif line.strip():
                items[-1][0].append(line.strip())
        if not items:
            raise block.spot.error(":::reading is empty")
        return {
            "kind": "reading",
            "items": [{"html": self._inline.whole("\n".join(lines), spot)[0]} for lines, spot in items],
        }

    def _known(self, name: str, spot: Spot) -> dict[str, Any]:
        if name not in self._lesson.instruments:
            raise spot.error(one_of("the instrument with the id", name, self._lesson.instruments))
        return self._lesson.instruments[name]

    def _checked(self, number: int, cue: Cue) -> dict[str, Any]:
        name = self._known(cue.instrument, cue.spot)["name"]
        table = INSTRUMENTS[name].settings
        changes = {
            key: _setting(name, table, key, value, written, cue.spot) for key, (value, written) in cue.settings.items()
        }
        return {"sentence": number, "instrument": cue.instrument, "set": changes}


def _setting(
    instrument: str, table: Mapping[str, Setting], key: str, value: Any, written: str | None, spot: Spot
) -> Any:
    """A setting's value, of its kind. Raises LessonError."""
    if key not in table:
        raise spot.error(f"{instrument}: {one_of('the setting', key, table)}")
    setting = table[key]
    if setting.as_written and value is not None and not isinstance(value, str) and written is not None:
        value = written
    if expected := setting.complaint(value):
        raise spot.error(f"{instrument}: {key}: expected {expected}; got {value!r}")
    return value


def _once(name: str, spot: Spot, names: dict[str, Spot]) -> str:
    if name in names:
        raise spot.error(f"the id {name!r} stands twice in this lesson; first in line {names[name].line}")
    names[name] = spot
    return name
