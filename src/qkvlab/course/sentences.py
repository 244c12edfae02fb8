"""Where a sentence ends. The rules are few, so that a writer knows them; docs/course.md lists them."""

import re

STAND_IN = "\ufffc"
"""One character for a formula or a figure: it may begin a sentence, whatever it shows."""
ABBREVIATIONS = frozenset(
    "e.g i.e cf al vs approx resp ca Fig Figs Eq Eqs Dr Mr Mrs Prof pp".split()
)  # fmt: skip
"""A full stop behind one of these ends no sentence."""
END = re.compile(r"""[.!?…]+["”’')\]»]*""")
"""What a sentence ends with: its sign, and the quotes and brackets that close behind it."""
_GOES_ON = set("–—-,;:)]»”’")


def starts(text: str) -> list[int]:
    """Where the second and each further sentence of a paragraph begins."""
    found = []
    for match in re.finditer(END.pattern + r"[ \n\t]+", text):
        rest = text[match.end() : match.end() + 1]
        if rest and not rest.islower() and rest not in _GOES_ON and not _abbreviated(text, match):
            found.append(match.end())
    return found


def ends(text: str) -> bool:
    """Whether a text ends as a sentence does, so that a cue behind it begins another."""
    match = re.search(END.pattern + r"\s*$", text)
    return match is not None


def _abbreviated(text: str, match: re.Match[str]) -> bool:
    if not match[0].startswith(".") or match[0].startswith(".."):
        return False
    before = re.search(r"[\w.]*$", text[: match.start()])
    return before is not None and before[0] in ABBREVIATIONS
