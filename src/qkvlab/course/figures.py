"""A lesson's figures: each a small named function run on a real model; kept with the way it is shown in prose."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..edits import Edit
from ..model import Model, open_model
from ..reference import reference_text
from ..sharing import sharing_text
from ..trace import Trace

FILE = Path(__file__).parent / "figures.json"
T = TypeVar("T")
Value = float | int | str | list[Any]


class Lab:
    """The real models and their traces, opened and run once for all figures."""

    def __init__(self, treebank: Path | None = None) -> None:
        self.treebank = treebank
        """A folder with GUM's `gum-dev.conllu`, where there is one."""
        self.model: Callable[[str], Model] = cache(lambda name: open_model(name))
        self._traces: dict[tuple[str, str], Trace] = {}
        self._known: dict[str, Any] = {}

    def once(self, name: str, measure: Callable[[], T]) -> T:
        """What several figures are read from, measured once."""
        if name not in self._known:
            self._known[name] = measure()
        found: T = self._known[name]
        return found

    def trace(self, text: str, *edits: Edit, model: str = "smollm2") -> Trace:
        """A text through a model, with these edits."""
        plain = self._traces.setdefault((model, text), self.model(model).trace(text))
        return plain.with_edits(edits) if edits else plain

    def passage(self, *edits: Edit) -> Trace:
        """The passage of 922 tokens on which sharing is measured."""
        return self.trace(sharing_text(), *edits)

    def short_passage(self, *edits: Edit) -> Trace:
        """The reference text of 255 tokens, for what takes hundreds of passes."""
        return self.trace(reference_text(), *edits)


@dataclass(frozen=True)
class Figure:
    """One figure: how it is computed, and how prose shows it."""

    name: str
    compute: Callable[[Lab], Value]
    show: Callable[[Any], str]
    run: str
    """What a reader would type to get it."""
    slow: bool = False
    """Whether it takes more than about 20 seconds."""
    corpus: bool = False
    """Whether it needs the treebank, which is no part of the project."""

    @property
    def what(self) -> str:
        """One sentence."""
        return " ".join((self.compute.__doc__ or "").split())

    def entry(self, value: Value) -> dict[str, Any]:
        """What stands in figures.json."""
        return {"value": value, "shown": self.show(value), "what": self.what, "run": self.run}


FIGURES: dict[str, Figure] = {}
"""Every figure by its name, filled by the modules of `course.measures`."""


def figure(
    show: Callable[[Any], str], run: str, slow: bool = False, corpus: bool = False
) -> Callable[[Callable[[Lab], Value]], Callable[[Lab], Value]]:
    """Make a function of a Lab a figure, under the function's own name; its docstring says what it is."""

    def register(compute: Callable[[Lab], Value]) -> Callable[[Lab], Value]:
        name = compute.__name__
        if name in FIGURES:
            raise ValueError(f"there are two figures {name!r}")
        FIGURES[name] = Figure(name, compute, show, run, slow, corpus)
        return compute

    return register


def stored(path: Path = FILE) -> dict[str, dict[str, Any]]:
    """The figures as they were last measured; none where there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep(entries: dict[str, dict[str, Any]], path: Path = FILE) -> None:
    """Write the figures."""
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# ---- how prose shows a value


def digits(places: int) -> Callable[[float], str]:
    """Rounded to so many places, with a true minus sign and commas between thousands."""
    return lambda value: _signed(f"{value:,.{places}f}")


def percent(places: int = 0) -> Callable[[float], str]:
    """A share of 1 as a percentage."""
    return lambda share: _signed(f"{100 * share:.{places}f} %")


def whole(value: int) -> str:
    """A count, with commas between thousands."""
    return _signed(f"{value:,}")


def sizes(value: Sequence[int]) -> str:
    """The shape of a matrix."""
    return " × ".join(f"{size:,}" for size in value)


def words(value: Sequence[str]) -> str:
    """Words of a vocabulary, without the spaces they begin with, each once."""
    return ", ".join(dict.fromkeys(word.strip() for word in value))


def plain(value: str) -> str:
    """A name or an address, as it is."""
    return value


def bound(value: float) -> float:
    """A power of ten at least ten times as large: what rounding on another machine will not pass."""
    return 10.0 ** (math.ceil(math.log10(max(value, 1e-9))) + 1)


def below(value: float) -> str:
    """A rounding error, by what it stays below."""
    limit = bound(value)
    return f"below {limit:.{max(0, -round(math.log10(limit)))}f}"


def binary_size(value: int) -> str:
    """A number of bytes in the largest binary unit that it fills."""
    power = min(4, max(0, (value.bit_length() - 1) // 10))
    return f"{value / 1024**power:.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _signed(text: str) -> str:
    return "−" + text[1:] if text.startswith("-") and text.strip("-0., %") else text.lstrip("-")
