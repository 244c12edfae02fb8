"""`make claims`: every figure of the lessons computed again on the real models, and written to figures.json.

`python -m qkvlab.course.claims [--treebank DIR] [NAME ...]` computes those alone whose names begin so. The specialists'
figures need GUM's dev part in DIR (by default ../shared/data/gum, beside the project); without it they are kept.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import measures
from .figures import FIGURES, Figure, Lab, keep, stored

TREEBANK = Path(__file__).resolve().parents[4] / "shared" / "data" / "gum"

assert measures, "importing the measures is what fills FIGURES"


def chosen(names: Sequence[str], lab: Lab, say: Callable[[str], None]) -> list[Figure]:
    """The figures to compute now: those named, or all; without the treebank, those that do not need it."""
    found = [figure for figure in FIGURES.values() if not names or figure.name.startswith(tuple(names))]
    kept = [figure.name for figure in found if figure.corpus and lab.treebank is None]
    if kept:
        say(f"there is no treebank here, so {len(kept)} figures are kept as they were measured: {kept[0]} ...")
    return [figure for figure in found if figure.name not in kept]


def measured(figures: Sequence[Figure], lab: Lab, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Their entries, by name."""
    entries = {}
    for figure in figures:
        start = time.perf_counter()
        entries[figure.name] = figure.entry(figure.compute(lab))
        say(f"{figure.name:28}{entries[figure.name]['shown']:>28}  {time.perf_counter() - start:7.1f} s")
    return entries


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, say what moved, and write."""
    parser = argparse.ArgumentParser(description="Measure the figures of the lessons again.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names; without any, all figures")
    parser.add_argument("--treebank", type=Path, default=TREEBANK, help="the folder with gum-dev.conllu")
    asked = parser.parse_args(arguments)
    lab = Lab(asked.treebank if (asked.treebank / "gum-dev.conllu").is_file() else None)
    before = stored()
    after = {**before, **measured(chosen(asked.names, lab, print), lab, print)}
    for name in sorted(after):
        was, now = (known.get(name, {}).get("shown", "nothing") for known in (before, after))
        if was != now:
            print(f"changed: {name} from {was} to {now}")
    keep({name: after[name] for name in FIGURES if name in after})


if __name__ == "__main__":
    main()
