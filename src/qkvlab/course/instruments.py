"""What a lesson may show: every instrument with its settings, their kinds and defaults, as a table."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CAT = "The cat drank because it was thirsty"
ITALY = "In France they speak French. In Italy they speak"
HEAD = re.compile(r"\d+\.\d+", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """One setting. One whose default is None may also be null."""

    kind: str
    default: Any
    choices: tuple[str, ...] = ()
    """Of the kind `choice`: the words it may be."""

    @property
    def as_written(self) -> bool:
        """Whether a bare word is this setting's text as it stands: `13.10` is a head and no number."""
        return self.kind in ("text", "token", "head", "choice")

    def complaint(self, value: Any) -> str | None:
        """What was expected, where a value is not of this setting's kind."""
        if value is None and self.default is None:
            return None
        if self.kind == "choice":
            return None if value in self.choices else f"one of {', '.join(self.choices)}"
        expected, fits = KINDS[self.kind]
        return None if fits(value) else expected


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _is_head(value: Any) -> bool:
    return isinstance(value, str) and HEAD.fullmatch(value) is not None


def _is_matrix(value: Any) -> bool:
    rows = value if isinstance(value, list) and value else [None]
    sizes = {len(row) if isinstance(row, list) and all(map(_is_number, row)) else 0 for row in rows}
    return len(sizes) == 1 and 0 not in sizes


def _is_sentence(value: Any) -> bool:
    return (
        isinstance(value, dict) and set(value) == {"text", "query"} and all(isinstance(x, str) for x in value.values())
    )


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "token": (
        'a token as it is printed, as " it", or its number, as "#4"',
        lambda value: isinstance(value, str) and value != "",
    ),
    "head": ('a head as "13.8"', _is_head),
    "whole": ("a whole number from 0", lambda value: isinstance(value, int) and value is not True and value >= 0),
    "number": ("a number", _is_number),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "texts": ("a list of texts", _list_of(lambda value: isinstance(value, str))),
    "sentences": ('a list of sentences, as {text: "...", query: " it"}', _list_of(_is_sentence)),
    "heads": ('a list of heads, as ["13.8"]', _list_of(_is_head)),
    "matrix": ("a list of rows of numbers, all of one length", _is_matrix),
    "edits": ("a list of edits, as docs/edits.md writes them", _list_of(lambda value: isinstance(value, dict))),
}
"""Each kind: what is expected, and whether a value is it. (`choice` has its own words in every setting.)"""

_smollm2 = Setting("text", "smollm2")
_cat, _italy = Setting("text", CAT), Setting("text", ITALY)
_it, _cat_head = Setting("token", " it"), Setting("head", "13.8")
_off, _none = Setting("flag", False), Setting("token", None)


SPECIALISTS = ("previous", "self", "first", "subject", "syntax_1", "syntax_2", "syntax_3", "syntax_4", "pronoun")
"""The measured heads, as the figures `spec_*` name them."""


@dataclass(frozen=True)
class Instrument:
    """An instrument: its settings by name, and its badge where it runs on no model."""

    settings: Mapping[str, Setting]
    toy: str | None = None


INSTRUMENTS: dict[str, Instrument] = {
    # what x is: the residual of one token, layer by layer
    "residual": Instrument(
        {"model": _smollm2, "text": _cat, "head": _cat_head, "query": _it, "layer": Setting("whole", 0)}
    ),
    # x · W = q, k, v: any token, one hat at a time
    "hats": Instrument(
        {
            "model": _smollm2, "text": _cat, "head": _cat_head, "query": _it,
            "hat": Setting("choice", "query", ("query", "key", "value")), "rotated": _off,
        }
    ),
    # the library lookup: predict, then reveal; `controls` are sentences where the head does otherwise
    "catalogue": Instrument(
        {
            "model": _smollm2, "text": _cat, "head": _cat_head, "query": _it,
            "reveal": _off, "controls": Setting("sentences", []),
        }
    ),
    # the value that flows: one key's value muted, swapped for another's, or aimed away from
    "flow": Instrument(
        {
            "model": _smollm2, "text": _italy, "head": Setting("head", "23.4"), "query": Setting("token", " speak"),
            "key": Setting("token", " Italy"), "source": Setting("token", " France"),
            "change": Setting("choice", "none", ("none", "mute", "swap", "aim", "ablate")),
        }
    ),
    # the challenge nobody can win: only the words after the query may change
    "later": Instrument(
        {
            "model": _smollm2, "text": _cat, "head": _cat_head, "query": _it,
            "after": Setting("text", " was thirsty"), "tried": Setting("texts", []),
        }
    ),
    # two dimensions, two bases to drag
    "toy": Instrument(
        {
            "words": Setting("texts", ["cat", "drank", "it"]),
            "points": Setting("matrix", [[1.5, 0.5], [0.5, 1.5], [-0.8, 1.0]]),
            "w_q": Setting("matrix", [[1, 0], [0, 1]]), "w_k": Setting("matrix", [[1, 0], [0, 1]]), "tied": _off,
        },
        toy="toy, 2-D",
    ),
    # the real head with its queries as its keys
    "tie": Instrument({"model": _smollm2, "text": _cat, "head": _cat_head, "query": _it, "tied": _off}),
    # how symmetric is W_q W_kᵀ, head by head, beside a random matrix of the same size
    "symmetry": Instrument({"model": _smollm2, "head": Setting("head", None)}),
    # heads that were measured to do one thing; `which` is one of them, null the first of its kind. A text of the
    # lesson's takes the place of the instrument's own sentence
    "specialists": Instrument(
        {
            "model": _smollm2, "kind": Setting("choice", "position", ("position", "syntax", "pronouns")),
            "which": Setting("choice", None, SPECIALISTS), "text": Setting("text", None), "query": _none,
        }
    ),
    # switch heads off; `query` is the token behind which the next word is read
    "heads": Instrument(
        {
            "model": _smollm2, "text": _italy, "query": Setting("token", " speak"), "layer": Setting("whole", 23),
            "off": Setting("heads", []), "tracked": Setting("texts", [" Italian", " French"]),
        }
    ),
    # Σ over heads of z · W_o, beside the attention output
    "sum": Instrument(
        {"model": _smollm2, "text": _cat, "layer": Setting("whole", 13), "query": _it, "shown": Setting("whole", None)}
    ),
    # how many layers share one K/V head, and what it costs
    "sharing": Instrument({"model": _smollm2, "shared": Setting("whole", 0), "context": Setting("whole", 8192)}),
    # the whole playground, set to an example
    "playground": Instrument(
        {
            "model": _smollm2, "text": _cat, "head": _cat_head, "query": _it, "key": _none,
            "edits": Setting("edits", []),
        }
    ),
    # one mechanism, two masks
    "masks": Instrument(
        {
            "model": Setting("choice", "minilm", ("minilm", "smollm2")), "text": _cat,
            "head": Setting("head", "2.8"), "query": Setting("token", "it"),
        }
    ),
    # the K/V cache: what grows with the text, and what fewer K/V heads save; `goal`: bytes to bring the context into
    "cache": Instrument(
        {
            "layers": Setting("whole", 32), "heads": Setting("whole", 32), "kv_heads": Setting("whole", 8),
            "d_head": Setting("whole", 128), "context": Setting("whole", 8192), "bytes": Setting("number", 2),
            "goal": Setting("whole", None),
        },
        toy="arithmetic",
    ),
}  # fmt: skip
"""Name → settings. A new instrument is a row here and a file of this name in web/src/lesson/instruments/."""

FORMULAS = ("projection", "scores", "blend")
"""What `:::formula` may name."""
