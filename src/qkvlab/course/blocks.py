"""A lesson's text → its front matter, headings, paragraphs and `:::` blocks, each with its line."""

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

from ..errors import one_of
from .places import Entry, Spot, read_entries

FENCES = ("instrument", "aside", "challenge", "question", "formula", "reading")
_OPENS = re.compile(r":::\s*([\w-]+)(?:\s+(\S+))?\s*")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).disable(["lheading", "reference"])


@dataclass(frozen=True)
class Block:
    """`section` and `step` (headings), `prose`, or the name of a `:::` block."""

    kind: str
    text: str
    spot: Spot
    """Of a `:::` block: the line that opens it; its text begins in the next."""
    argument: str | None = None


def read_blocks(source: str, file: str) -> tuple[dict[str, Entry], list[Block]]:
    """Front matter and blocks, in order. Raises LessonError."""
    lines = source.splitlines()
    start = Spot(file, 1)
    if not lines or lines[0].rstrip() != "---":
        raise start.error("a lesson begins with front matter between two lines of ---")
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        raise start.error("the front matter is not closed: a second line of --- is missing")
    front = read_entries("\n".join(lines[1:end]), start.down(1))
    rest = [""] * (end + 1) + lines[end + 1 :]
    blocks = _take_fences(rest, start)
    blocks += _prose("\n".join(rest), start)
    return front, sorted(blocks, key=lambda block: block.spot.line)


def _take_fences(lines: list[str], start: Spot) -> list[Block]:
    """The `:::` blocks; their lines are empty afterwards, so that all others keep their numbers."""
    found: list[Block] = []
    opened: Block | None = None
    body: list[str] = []
    for number, line in enumerate(lines):
        here = start.down(number)
        if not line.startswith(":::"):
            if opened is not None:
                body.append(line)
                lines[number] = ""
            continue
        lines[number] = ""
        if line.strip() == ":::":
            if opened is None:
                raise here.error("::: closes a block, and none is open")
            found.append(Block(opened.kind, "\n".join(body), opened.spot, opened.argument))
            opened, body = None, []
            continue
        if opened is not None:
            raise opened.spot.error(f"the block :::{opened.kind} is not closed before line {here.line}")
        opened = _opening(line, here)
    if opened is not None:
        raise opened.spot.error(f"the block :::{opened.kind} is not closed")
    return found


def _opening(line: str, here: Spot) -> Block:
    match = _OPENS.fullmatch(line)
    if match is None or match[1] not in FENCES:
        raise here.error(one_of("the block", line[3:].strip(), FENCES))
    if (match[2] is not None) != (match[1] in ("instrument", "formula")):
        raise here.error(f":::{match[1]} has {'no name' if match[2] is None else 'a name that means nothing'}")
    return Block(match[1], "", here, match[2])


def _prose(text: str, start: Spot) -> list[Block]:
    found = []
    tokens = _MARKDOWN.parse(text)
    for place, token in enumerate(tokens):
        if token.level or token.nesting < 0:
            continue
        here = start.down(token.map[0] if token.map else 0)
        kind = {"h1": "section", "h2": "step", "p": "prose"}.get(token.tag)
        if kind is None or token.type not in ("heading_open", "paragraph_open"):
            what = token.type.removesuffix("_open").replace("_", " ")
            raise here.error(f"a lesson has sections (#), steps (##), paragraphs and ::: blocks; this is a {what}")
        found.append(Block(kind, tokens[place + 1].content, here))
    return found
