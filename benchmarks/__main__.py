"""Run benchmarks by name, or all of them, and put the last figures of each into the tables of docs/."""

import json
import os
import sys
from pathlib import Path

from . import atlas, atlas_scale, checkpoints, circuits, cold, lesson, live, long, page, warm
from .common import RESULTS

os.environ.setdefault("HF_HUB_OFFLINE", "1")
BENCHMARKS = {
    "cold": cold.main, "warm": warm.main, "long": long.main, "live": live.main, "checkpoints": checkpoints.main,
    "circuits": circuits.main, "atlas": atlas.main, "atlas-scale": atlas_scale.main,
    "page": page.main, "lesson": lesson.main,
}  # fmt: skip
TABLES = {
    "speed-table": ("cold", "warm", "long"),
    "weights-table": ("live", "live-memory", "checkpoints", "circuits"),
}
"""Each table of docs/ and the results it is made of; it is written when all of them are there."""


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_table(table: str) -> None:
    """One Markdown table of several results."""
    lines = ["| work | ours | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for name in TABLES[table]:
        path = RESULTS / f"{name}.json"
        for row in json.loads(path.read_text())["rows"] if path.is_file() else []:
            unit = next(unit for unit in ("ms", "s", "GiB") if f"ours ({unit})" in row)
            ours, peer = row[f"ours ({unit})"], row[f"peer ({unit})"]
            memory = f", {row['ours (GiB)']:.2f} GiB" if "ours (GiB)" in row and unit != "GiB" else ""
            reach = f"{row['reach (GiB)']:.0f} GiB" if memory else f"{row['reach']:g}" if row.get("reach") else ""
            reach = f"{row['reach (s)']:.0f} s" if row.get("reach (s)") else reach
            lines.append(
                f"| {row['work']} | {_figure(ours)} {unit}{memory} | {row['peer']}: {_figure(peer)} {unit} "
                f"| {row['ratio']:.2f} | {reach} |"
            )
    (Path(__file__).parent.parent / "docs" / f"{table}.md").write_text("\n".join(lines) + "\n")


for chosen in sys.argv[1:] or BENCHMARKS:
    BENCHMARKS[chosen]()
for table, names in TABLES.items():
    if all((RESULTS / f"{name}.json").is_file() for name in names):
        write_table(table)
