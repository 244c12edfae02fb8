"""Timing side by side, one table and one JSON file per benchmark."""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
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
