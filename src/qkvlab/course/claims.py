"""`make claims`: every figure of the lessons computed again on the real models, and written to figures.json."""

import time
from collections.abc import Callable
from typing import Any

from . import measures
from .figures import FIGURES, Lab, keep, stored

assert measures, "importing the measures is what fills FIGURES"


def measure_all(say: Callable[[str], None] = print) -> dict[str, dict[str, Any]]:
    """Every figure, by name."""
    lab, entries = Lab(), {}
    for name, figure in FIGURES.items():
        start = time.perf_counter()
        entries[name] = figure.entry(figure.compute(lab))
        say(f"{name:28}{entries[name]['shown']:>28}  {time.perf_counter() - start:7.1f} s")
    return entries


def main() -> None:
    """Measure, say what moved, and write."""
    before, entries = stored(), measure_all()
    for name in sorted(before.keys() | entries.keys()):
        was, now = (known.get(name, {}).get("shown", "nothing") for known in (before, entries))
        if was != now:
            print(f"changed: {name} from {was} to {now}")
    keep(entries)


if __name__ == "__main__":
    main()
