"""The atlas at scale: resident memory over the size of the corpus, and one, two processes or Ray workers beside serial.

Each figure is of a process of its own: its largest resident memory, and the time of its scan without the imports.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from qkvlab.model import open_model
from qkvlab.reference import reference_text

from .common import held, report

SIZES = (32, 128, 512)
"""Documents of a scan, each the reference text from another place on."""
READ = (2_000, 8_000)
"""Documents of a run that is made up, and read back for its summary. From 2,000 on the bootstrap draws groups of them;
up to there the tables that are held at once grow, to 128 MB."""
SPREAD = 32
"""Documents that are counted by several hands."""
LAYERS, MEASURES = tuple(range(4)), ("position", "values")
MORE = 1.15
"""How much more memory 16 times the corpus may take."""
MEMORY = """
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024**2
"""
SCAN = (
    """
import json, sys, time
from qkvlab.atlas import scan as scanning
from qkvlab.atlas import tasks
scanning.keep_for_the_page = lambda folder, made: None
"""
    + MEMORY
    + """
if __name__ == "__main__":
    text, out, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    tasks.PART_CHARACTERS = options.pop("part", tasks.PART_CHARACTERS)
    start = time.perf_counter()
    run = scanning.scan("smollm2", out, [text], causal=False, twin=False, **options)
    print(json.dumps([time.perf_counter() - start, peak(), run.tokens()]))
"""
)
SUMMARY = (
    """
import json, sys, time
from pathlib import Path
import numpy as np
from qkvlab.atlas.counts import Counts, Sum, Tally
from qkvlab.atlas.run import Run
from qkvlab.atlas.store import FORMAT, tables, to_bytes, write_part
from qkvlab.atlas.summary import summarise
"""
    + MEMORY
    + """
n, out, shape, random = int(sys.argv[1]), Path(sys.argv[2]), (30, 9), np.random.default_rng(0)
measures = [f"position:{at}" for at in range(4)] + [f"syntax:relation{at}:head" for at in range(12)]

def document(at):
    made = Counts(f"text:{at}", n_token=700, n_window=3)
    for name in measures:
        hits = random.integers(0, 9, shape).astype(float)
        made.tallies[name] = Tally(9, hits, hits / 2, {"chance": 2.0, "offset -1": 3.0})
    for name in ("entropy", "distance", "write", "share"):
        made.sums[name] = Sum(700, np.ones(shape), np.ones(shape))
    return made

for part, first in enumerate(range(0, n, 100)):
    some = [document(at) for at in range(first, min(n, first + 100))]
    write_part(out / "parts" / f"{part:06d}", to_bytes(tables(some, range(shape[0]), first)))
(out / "run.json").write_text(json.dumps({"format": FORMAT, "model": {"n_layer": 30, "n_head": 9}}))
model = {"name": "made up", "layers": list(range(30)), "n_layer": 30, "n_head": 9}
start = time.perf_counter()
summarise(Run(out), None, model, {"report_all": False})
print(json.dumps([time.perf_counter() - start, peak(), n]))
"""
)


def _measure(script: str, *arguments: object) -> tuple[float, float, int]:
    """Seconds, GiB at most, and tokens (or documents) of a script."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "measured.py"  # a spawned process imports its parent's file
        place.write_text(script)
        words = [sys.executable, str(place), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    took, gib, n = json.loads(done.stdout.splitlines()[-1])
    return took, gib, n


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _write_text(path: Path, n: int) -> None:
    words = reference_text().split()
    with path.open("w", encoding="utf-8") as file:
        for at in range(n):
            first = 37 * at % len(words)
            file.write(json.dumps({"text": " ".join([*words[first:], *words[:first]])}) + "\n")


def _memory(folder: Path) -> list[dict[str, Any]]:
    rows, options = [], json.dumps({"layers": LAYERS, "measures": MEASURES})
    for work, sizes in (("scan", SIZES), ("summary", READ)):
        first = None
        for n in sizes:
            if work == "scan":
                _write_text(folder / f"{n}.jsonl", n)
                took, gib, count = _measure(SCAN, folder / f"{n}.jsonl", folder / f"scan{n}", options)
                said = f"{work} of {n:,} documents, {count:,} tokens, {len(LAYERS)} layers"
            else:
                took, gib, count = _measure(SUMMARY, n, folder / f"read{n}")
                said = f"{work} of {n:,} documents made up, 270 heads, 16 measures"
            first = first or gib
            rows.append({
                "work": said, "seconds": took, "GiB at most": gib, "beside the smallest": gib / first, "reach": MORE,
                "held": held(gib / first, MORE),
            })  # fmt: skip
    return rows


def _spread(folder: Path) -> list[dict[str, Any]]:
    _write_text(folder / "spread.jsonl", SPREAD)
    rows, serial = [], 0.0
    ways: dict[str, dict[str, Any]] = {
        "serial": {}, "2 processes": {"workers": 2}, "Ray, 1 worker": {"ray": "local", "workers": 1},
        "Ray, 2 workers": {"ray": "local", "workers": 2},
    }  # fmt: skip
    for name, way in ways.items():
        out, options = folder / name, json.dumps({"part": 5_000, "measures": MEASURES, **way})
        took, _, n_token = _measure(SCAN, folder / "spread.jsonl", out, options)
        serial = serial or took
        rows.append({
            "work": f"{name}, {SPREAD} documents, {n_token:,} tokens", "seconds": took, "tokens/s": n_token / took,
            "beside serial": serial / took, "same files": _same(folder / "serial", out),
        })  # fmt: skip
    return rows


def _same(one: Path, other: Path) -> str:
    """Whether two runs hold the same bytes."""
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    return "yes" if files[0] == files[1] else "NO"


def main() -> None:
    open_model("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        report("atlas-memory", "Resident memory of an atlas over the size of its corpus", _memory(Path(folder)))
        report(
            "atlas-spread", "One scan by several hands (model opened by each, cluster started)", _spread(Path(folder))
        )
