"""Timing side by side, one table and one JSON file per benchmark."""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Work = Callable[[], Any]


def side_by_side(works: dict[str, Work], rounds: int, warm: int = 1) -> dict[str, dict[str, float]]:
    """Run all works in turn, round after round, so that noise falls on all alike. Median and best, in ms."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm + rounds):
        for name, work in works.items():
            start = time.perf_counter()
            result = work()
            took = time.perf_counter() - start
            del result
            if turn >= warm:
                times[name].append(took * 1e3)
    return {name: {"median": sorted(took)[len(took) // 2], "best": min(took)} for name, took in times.items()}


def report(name: str, title: str, rows: list[dict[str, Any]]) -> None:
    """Print one table and write it as JSON. A row: what, ours, peer, its name, ratio, reach, and whether it holds."""
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("work", "peer") else "right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=140).print(table)
    RESULTS.mkdir(exist_ok=True)
    values = {"title": title, "machine": platform.processor() or platform.machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(values, indent=2, ensure_ascii=False))


def held(ratio: float, reach: float) -> str:
    """Whether a ratio (ours / peer) is within what was to be reached."""
    return "yes" if ratio <= reach else "NO"


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(work: str, values: list[float], unit: str, reach: float | None, share: float = 0.95) -> dict[str, Any]:
    figure = percentile(values, share)
    held = "" if reach is None else "yes" if figure <= reach else "NO"
    return {
        "work": work,
        "median": percentile(values, 0.5),
        "figure": figure,
        "unit": unit,
        "reach": reach,
        "holds": held,
    }


def _short(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}".rstrip()


def keep(name: str, title: str, rows: list[dict[str, Any]]) -> None:
    """Print what was measured in a browser, write it as JSON, and as the table that docs/speed.md shows."""
    table = Table(title=title, title_justify="left")
    lines = ["| what | median | p95 | to reach | |", "|---|---|---|---|---|"]
    for column in ("what", "median", "p95", "to reach", "holds"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for each in rows:
        figures = (_short(each[column], each["unit"]) for column in ("median", "figure", "reach"))
        cells = [each["work"], *figures, each["holds"]]
        table.add_row(*cells)
        lines.append(f"| {' | '.join(cells)} |")
    Console(width=140).print(table)
    RESULTS.mkdir(exist_ok=True)
    values = {"machine": platform.processor() or platform.machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(values, indent=2, ensure_ascii=False))
    (ROOT / "docs" / f"{name}-table.md").write_text("\n".join(lines) + "\n")
