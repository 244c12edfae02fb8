"""A paragraph's Markdown → sentences, each as HTML and as plain text, with the cues that stand in front of them."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from .maths import MathsError, typeset
from .places import Spot
from .sentences import STAND_IN, ends, starts

LESSON_LINK = re.compile(r"lesson:(\w+)")
WEB_LINK = re.compile(r"https?://\S+")
_REFUSED = {"code_inline": "code in backticks", "image": "a picture", "hardbreak": "a forced line break"}


@dataclass(frozen=True)
class Cue:
    """`[[name key=value ...]]`: what is written, value by value, as (value, characters that stand there)."""

    instrument: str
    settings: Mapping[str, tuple[Any, str]]
    spot: Spot


@dataclass(frozen=True)
class Sentence:
    """One sentence."""

    html: str
    text: str
    spot: Spot
    cues: tuple[Cue, ...] = ()


@dataclass(frozen=True)
class Atom:
    """A piece of a paragraph: words, a tag that opens or closes, something whole (formula, figure), or a cue."""

    kind: str
    html: str
    text: str
    spot: Spot
    cue: Cue | None = None

    @property
    def seen(self) -> str:
        """What it is for whoever looks for the ends of sentences."""
        return {"words": self.text, "whole": STAND_IN}.get(self.kind, "")


@dataclass
class Links:
    """Links to other lessons, and where they stand."""

    lessons: list[tuple[str, Spot]] = field(default_factory=list)


class Inline:
    """Reads the text of one course, whose figures it knows."""

    def __init__(self, figures: Mapping[str, str], links: Links) -> None:
        self._figures = figures
        self._links = links
        self._markdown = MarkdownIt("commonmark", {"html": False})
        self._markdown.validateLink = lambda url: True  # type: ignore[method-assign]  # `_link` says what is wrong
        for name, rule in (("maths", _maths), ("figure", _figure), ("cue", _cue)):
            self._markdown.inline.ruler.before("escape", name, rule)

    def sentences(self, source: str, spot: Spot) -> list[Sentence]:
        """A paragraph, sentence by sentence. Raises LessonError."""
        return _cut(self._atoms(source, spot))

    def whole(self, source: str, spot: Spot) -> tuple[str, str]:
        """A text that is not spoken, as HTML and as plain text. Raises LessonError."""
        atoms = self._atoms(source, spot)
        for atom in atoms:
            if atom.kind == "cue":
                raise atom.spot.error("a cue stands in prose only: nothing is spoken here")
        return _joined(atoms)

    def _atoms(self, source: str, spot: Spot) -> list[Atom]:
        state = {"spot": spot}
        children = self._markdown.parseInline(source, state)[0].children or []
        atoms: list[Atom] = []
        for token in children:
            if token.type == "softbreak":
                spot = spot.down(1)
            atoms.append(self._atom(token, token.meta.get("spot", spot)))
        return atoms

    def _atom(self, token: Token, spot: Spot) -> Atom:
        if token.type in _REFUSED:
            raise spot.error(f"{_REFUSED[token.type]} is not part of a lesson's text")
        if token.type in ("text", "text_special"):
            words = re.sub(r"[ \t\n]+", " ", token.content)
            return Atom("words", html.escape(words, quote=False), words, spot)
        if token.type == "softbreak":
            return Atom("words", " ", " ", spot)
        if token.type == "maths":
            shown, text = token.meta["typeset"]
            return Atom("whole", shown, text, spot)
        if token.type == "cue":
            return Atom("cue", "", "", spot, token.meta["cue"])
        if token.type == "figure":
            return self._shown(token.content, spot)
        tag = self._link(token, spot) if token.type == "link_open" else token.tag
        return Atom("open", f"<{tag}>", "", spot) if token.nesting > 0 else Atom("close", f"</{tag}>", "", spot)

    def _shown(self, name: str, spot: Spot) -> Atom:
        if name not in self._figures:
            raise spot.error(f"the figure {name!r} is not in figures.json")
        shown = self._figures[name]
        escaped = html.escape(shown, quote=False)
        return Atom("whole", f'<span class="figure" data-figure="{name}">{escaped}</span>', shown, spot)

    def _link(self, token: Token, spot: Spot) -> str:
        target = str(token.attrs["href"])
        if found := LESSON_LINK.fullmatch(target):
            self._links.lessons.append((found[1], spot))
            return f'a href="/lesson/{found[1]}" data-lesson="{found[1]}"'
        if WEB_LINK.fullmatch(target):
            return f'a href="{html.escape(target)}"'
        raise spot.error(f"a link leads to https://... or to lesson:MODULE; got {target!r}")


# ---- what Markdown does not have


def _here(state: StateInline, at: int) -> Spot:
    spot: Spot = state.env["spot"]
    return spot.down(state.src.count("\n", 0, at))


def _push(state: StateInline, kind: str, content: str, end: int, **meta: Any) -> bool:
    token = state.push(kind, "", 0)
    token.content, token.meta = content, {"spot": _here(state, state.pos), **meta}
    state.pos = end
    return True


def _maths(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "$":
        return False
    spot = _here(state, state.pos)
    match = re.compile(r"\$((?:\\.|[^$\\])+)\$", re.DOTALL).match(state.src, state.pos)
    if match is None:
        raise spot.error(r"a $ begins a formula and none ends it; write \$ for the sign itself")
    try:
        shown = typeset(match[1])
    except MathsError as error:
        raise spot.error(f"{' '.join(match[0].split())}: {error}") from None
    if silent:
        state.pos = match.end()
        return True
    return _push(state, "maths", match[1], match.end(), typeset=shown)


def _figure(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("{{", state.pos):
        return False
    match = re.compile(r"\{\{\s*([\w-]+)\s*\}\}", re.ASCII).match(state.src, state.pos)
    if match is None:
        raise _here(state, state.pos).error("a figure is written {{name}}")
    if silent:
        state.pos = match.end()
        return True
    return _push(state, "figure", match[1], match.end())


def _cue(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("[[", state.pos):
        return False
    cue, end = read_cue(state.src, state.pos, _here(state, state.pos))
    if silent:
        state.pos = end
        return True
    return _push(state, "cue", cue.instrument, end, cue=cue)


def read_cue(source: str, start: int, spot: Spot) -> tuple[Cue, int]:
    """The cue that begins at `[[`, and where it ends. Raises LessonError."""
    match = re.compile(r"\[\[\s*([\w-]+)").match(source, start)
    if match is None:
        raise spot.error("a cue is written [[instrument key=value ...]]")
    settings: dict[str, tuple[Any, str]] = {}
    at = match.end()
    while not (closed := re.compile(r"\s*\]\]").match(source, at)):
        key = re.compile(r"\s+(\w+)=").match(source, at)
        if key is None:
            raise spot.error(f"the cue of {match[1]} is not closed, or has something else than key=value in it")
        if key[1] in settings:
            raise spot.error(f"the cue of {match[1]} sets {key[1]} twice")
        value, end = _value(source, key.end(), spot)
        settings[key[1]] = (value, source[key.end() : end])
        at = end
    return Cue(match[1], settings, spot), closed.end()


def _value(source: str, start: int, spot: Spot) -> tuple[Any, int]:
    """JSON, or a bare word up to the next space or bracket."""
    if source[start : start + 1] in ('"', "[", "{"):
        try:
            return json.JSONDecoder().raw_decode(source, start)
        except ValueError as error:
            raise spot.error(f"a cue's value is not JSON: {error}") from None
    word = re.compile(r"[^\s\]]+").match(source, start)
    if word is None:
        raise spot.error("a cue's setting has no value")
    try:
        return json.loads(word[0]), word.end()
    except ValueError:
        return word[0], word.end()


# ---- cutting


def _joined(atoms: list[Atom]) -> tuple[str, str]:
    shown = "".join(atom.html for atom in atoms).strip()
    return re.sub(r" {2,}", " ", shown), re.sub(r" {2,}", " ", "".join(atom.text for atom in atoms)).strip(" ")


def _cut(atoms: list[Atom]) -> list[Sentence]:
    seen = "".join(atom.seen for atom in atoms)
    edges: list[int] = []
    for edge in sorted({*starts(seen), *_cued(atoms, seen)}):
        if not edges or seen[edges[-1] : edge].strip():
            edges.append(edge)
    pieces: list[list[Atom]] = [[]]
    opened: list[Atom] = []
    at = 0
    for atom in atoms:
        rest, begins = atom, atom.kind in ("open", "cue")
        while edges and (edges[0] < at + len(rest.seen) or (edges[0] == at and begins)):
            cut = edges.pop(0) - at
            pieces[-1] += [_part(rest, 0, cut)] if cut else []
            pieces[-1] += [replace(tag, kind="close", html=_closing(tag.html)) for tag in reversed(opened)]
            pieces.append(list(opened))
            rest, at = _part(rest, cut, None) if cut else rest, at + cut
        at += len(rest.seen)
        pieces[-1].append(rest)
        if atom.kind == "open":
            opened.append(atom)
        elif atom.kind == "close":
            opened.pop()
    return [_sentence(piece) for piece in pieces]


def _cued(atoms: list[Atom], seen: str) -> list[int]:
    """Where cues say that a sentence begins."""
    at, found = 0, []
    for atom in atoms:
        if atom.kind == "cue":
            before, after = seen[:at], seen[at:]
            if not after.strip():
                raise atom.spot.error("no sentence follows this cue in its paragraph")
            if before.strip() and not ends(before):
                raise atom.spot.error("a cue stands in front of a sentence; here one is under way")
            found += [at] if before.strip() else []
        at += len(atom.seen)
    return found


def _part(atom: Atom, start: int, end: int | None) -> Atom:
    """Some characters of an atom of words; a whole one stays whole."""
    if atom.kind != "words":
        return atom
    words = atom.text[start:end]
    return replace(atom, text=words, html=html.escape(words, quote=False))


def _closing(tag: str) -> str:
    return f"</{tag[1:-1].split(' ')[0]}>"


def _sentence(atoms: list[Atom]) -> Sentence:
    shown, text = _joined(atoms)
    shown = re.sub(r" +((?:</\w+>)+)$", r"\1", shown)
    first = next((atom for atom in atoms if atom.seen.strip()), atoms[0])
    return Sentence(shown, text, first.spot, tuple(atom.cue for atom in atoms if atom.cue is not None))
