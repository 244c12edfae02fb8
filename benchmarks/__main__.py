"""Run benchmarks by name, or all of them, and put the last figures of each into docs/speed-table.md."""

import json
import os
import sys
from pathlib import Path

from . import checkpoints, circuits, cold, lesson, live, long, page, warm
from .common import RESULTS

os.environ.setdefault("HF_HUB_OFFLINE", "1")
BENCHMARKS = {
    "cold": cold.main, "warm": warm.main, "long": long.main, "live": live.main, "checkpoints": checkpoints.main,
    "circuits": circuits.main, "page": page.main, "lesson": lesson.main,
}  # fmt: skip
TABLED = ("cold", "warm", "long", "live", "checkpoints", "circuits")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_table() -> None:
    """One Markdown table of all results there are."""
    lines = ["| work | ours | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for name in TABLED:
        path = RESULTS / f"{name}.json"
        for row in json.loads(path.read_text())["rows"] if path.is_file() else []:
            unit = "s" if "ours (s)" in row else "ms"
            ours, peer = row[f"ours ({unit})"], row[f"peer ({unit})"]
            memory = f", {row['ours (GiB)']:.2f} GiB" if "ours (GiB)" in row else ""
            reach = f"{row['reach (GiB)']:.0f} GiB" if memory else f"{row['reach']:g}" if "reach" in row else ""
            reach = f"{row['reach (s)']:.0f} s" if row.get("reach (s)") else reach
            lines.append(
                f"| {row['work']} | {_figure(ours)} {unit}{memory} | {row['peer']}: {_figure(peer)} {unit} "
                f"| {row['ratio']:.2f} | {reach} |"
            )
    (Path(__file__).parent.parent / "docs" / "speed-table.md").write_text("\n".join(lines) + "\n")


for chosen in sys.argv[1:] or BENCHMARKS:
    BENCHMARKS[chosen]()
if all((RESULTS / f"{name}.json").is_file() for name in TABLED):
    write_table()
