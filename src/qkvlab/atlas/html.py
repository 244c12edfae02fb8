"""A run as one HTML file: head maps, tables, findings, examples, how it was measured. It asks nobody for anything.

No script, no outside file; every word of a stranger (names, texts, documents) is escaped. Light and dark follow the
reader's system. A head map is an inline SVG: layers down, heads across, the darker the better, named heads framed.
"""

import os
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import AtlasError
from .naming import baseline_title, title
from .reading import ENOUGH, AtlasJson, ExamplesJson, check_atlas, head_names, ranking, unnamed

ROWS = 10
"""Heads of a role's table."""
EXAMPLES = 3
"""Places in context of a role."""
PROMISE = "What every head does, measured over a corpus, beside what does as well without a model."
CELL = 11
"""Units of a head's cell in a map."""
STYLE = """
:root { color-scheme: light dark; --paper: #fcfaf6; --ink: #1b1d22; --soft: #5d5a54; --line: #e4e0d7; --well: #f2efe8;
  --q: #005a8c; --q-wash: #dfecf3; --k: #a64800; --k-wash: #f8e8dc; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171b; --ink: #eceae4; --soft: #a3a29d; --line: #2b2f36;
  --well: #20242a; --q: #7cc6f0; --q-wash: #1c2d39; --k: #f5a06c; --k-wash: #382720; } }
body { margin: 0 auto; padding: 32px 24px 64px; max-width: 1080px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 "DejaVu Sans", "Noto Sans", system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 28px; margin: 0; } h2 { font-size: 19px; margin: 32px 0 6px; }
p { max-width: 72ch; margin: 6px 0; } .soft { color: var(--soft); font-size: 13px; }
h2 small { font-weight: 400; overflow-wrap: anywhere; }
.role { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: flex-start; }
.role > div { flex: 1; min-width: min(100%, 420px); overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; } th, td { padding: 3px 12px 3px 0;
  text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 400; }
tbody tr { border-top: 1px solid var(--line); } tr.named th { font-weight: 700; } tbody th { font-weight: 400; }
dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 2px 16px; } dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; } ul { padding-left: 20px; } li { margin: 6px 0; max-width: 88ch; }
blockquote { margin: 8px 0; padding: 6px 12px; border-left: 3px solid var(--line); overflow-wrap: anywhere; }
mark { color: inherit; background: none; } mark.query { color: var(--q); background: var(--q-wash); font-weight: 700; }
mark.right { color: var(--k); background: var(--k-wash); } mark.looked { border-bottom: 2px dotted var(--k); }
svg text { font-size: 8px; fill: var(--soft); } svg .head { fill: var(--ink); }
svg .named { fill: none; stroke: var(--ink); stroke-width: 1.4; } svg .within { fill: none; stroke: var(--paper); }
svg .ground { fill: var(--well); }
"""


def write_report(atlas: AtlasJson, examples: ExamplesJson | None, path: Path) -> None:
    """Write the report, whole or not at all. Raises AtlasError where it cannot be written."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        part.write_text(report(atlas, examples), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise AtlasError(f"cannot write {path}: {error.strerror}") from None


def report(atlas: AtlasJson, examples: ExamplesJson | None = None) -> str:
    """The file's text."""
    atlas = check_atlas(atlas, "the atlas")
    badge = escape(atlas["model"]["badge"])
    body = "\n".join(
        [
            f"<h1>Atlas of {badge}</h1>",
            f'<p class="soft">{PROMISE}</p>',
            *_findings(atlas),
            *(part for role in atlas["roles"] for part in _role(atlas, role["role"], examples)),
            *_not_found(atlas),
            *_method(atlas),
        ]
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="content-security-policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Atlas of {badge}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def head_map(atlas: AtlasJson, measure: str) -> str:
    """All heads at one measure as an inline SVG, with its text for who does not see it.

    The opacity of a cell is the value over the largest one; a head without a number is left as ground.
    """
    model, held = atlas["model"], atlas["measures"][measure]
    named = {row["head"] for role in atlas["roles"] if role["role"] == measure for row in role["heads"]}
    values = [value for value in held["value"] if value is not None]
    most = max([*values, 1e-12])
    best = ranking(atlas, measure)[:3]
    said = (
        f"{title(measure)}: best {', '.join(row['head'] for row in best)}; framed: {', '.join(sorted(named)) or 'none'}"
    )
    cells = []
    for at, head in enumerate(head_names(atlas)):
        x, y = 24 + at % model["n_head"] * CELL, at // model["n_head"] * CELL
        place = f'x="{x + 0.5}" y="{y + 0.5}" width="{CELL - 1}" height="{CELL - 1}"'
        value = held["value"][at]
        cells.append(f'<rect class="ground" {place}/>')
        if value is not None:
            tip = f"<title>{head}: {value:.3f}</title>"
            cells.append(f'<rect class="head" fill-opacity="{max(0.0, value / most):.3f}" {place}>{tip}</rect>')
        if head in named:
            inner = f'x="{x + 1.7}" y="{y + 1.7}" width="{CELL - 3.4}" height="{CELL - 3.4}"'
            cells.append(f'<rect class="named" {place}/><rect class="within" {inner}/>')
    for layer in range(0, model["n_layer"], 5):
        cells.append(f'<text x="20" y="{layer * CELL + 9}" text-anchor="end">{layer}</text>')
    width, height = 26 + model["n_head"] * CELL, model["n_layer"] * CELL + 2
    box = f'viewBox="0 0 {width} {height}" width="{width * 1.3:.0f}"'
    return f'<svg role="img" aria-label="{escape(said, quote=True)}" {box}>{"".join(cells)}</svg>'


# ---- within


def _findings(atlas: AtlasJson) -> Iterator[str]:
    yield "<h2>What was found</h2>"
    yield f"<ul>{''.join(f'<li>{escape(said)}</li>' for said in atlas['findings'])}</ul>"
    if not atlas["roles"]:
        yield "<p>No head is named: none is surely better than the baselines.</p>"


def _role(atlas: AtlasJson, role: str, examples: ExamplesJson | None) -> Iterator[str]:
    held, rows = atlas["measures"][role], ranking(atlas, role)
    beside = [
        f"{baseline_title(name, baseline.get('offset'))} {baseline['value']:.3f} ({_between(baseline)})"
        for name, baseline in held["baselines"].items()
    ]
    yield f"<section><h2>{escape(title(role))} <small class='soft'>{escape(role)}</small></h2>"
    count = f"{held['n']:,} places in the documents reported on, {held['whole_n']:,} in all."
    yield f'<p class="soft">{count} Without a model: {escape("; ".join(beside)) or "nothing to compare"}.</p>'
    yield f'<div class="role">{head_map(atlas, role)}<div>{_table(rows, held.get("twin") is not None)}'
    best = next((row["head"] for row in rows if row["named"]), None)
    yield from _places(examples, best, role) if examples and best else ()
    yield "</div></div></section>"


def _table(rows: list[dict[str, Any]], twin: bool) -> str:
    columns = ["head", "value", "95 %", "all documents", "other half", *(["twin"] if twin else []), "without it"]
    body = []
    for row in rows[:ROWS]:
        lost = row["ablation"]["at"] if row["ablation"] else None
        cells = [
            _figure(row["value"]), _between(row), _figure(row["whole"]), _figure(row["selection"]),
            *([_figure(row["twin"])] if twin else []),
            "" if lost is None else escape(f"{lost:+.3f} {row['ablation']['unit']}"),
        ]  # fmt: skip
        named = ' class="named"' if row["named"] else ""
        body.append(
            f'<tr{named}><th scope="row">{row["head"]}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        )
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    more = f'<p class="soft">Bold: named. {len(rows) - ROWS} more heads in the run.</p>' if len(rows) > ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"


def _places(examples: ExamplesJson, head: str, role: str) -> Iterator[str]:
    rows = [row for row in examples["heads"].get(head, []) if row["measure"] == role][:EXAMPLES]
    for row in rows:
        text = marked(examples["texts"][row["text"]], row)
        said = f"{head}, {row['side']}, {row['weight']:.2f} on the right word; {row['document']}"
        yield f'<blockquote>{text}<br><span class="soft">{escape(said)}</span></blockquote>'


def marked(text: str, row: dict[str, Any]) -> str:
    """A text with its query, right key and looked-at key marked, all else escaped."""
    spans = {name: row[name] for name in ("query", "right", "looked") if row[name] is not None}
    cuts = sorted({0, len(text), *(cut for span in spans.values() for cut in span)})
    parts = []
    for start, end in pairwise(cuts):
        kinds = " ".join(name for name, span in spans.items() if span[0] <= start and end <= span[1])
        piece = escape(text[start:end])
        parts.append(f'<mark class="{kinds}">{piece}</mark>' if kinds else piece)
    return "".join(parts)


def _not_found(atlas: AtlasJson) -> Iterator[str]:
    nobody, few = unnamed(atlas)
    if not nobody and not few:
        return
    yield "<h2>What was not found</h2><p>Measured, and no head is surely better than its baselines:</p><ul>"
    for measure in nobody:
        held, rows = atlas["measures"][measure], ranking(atlas, measure)
        best = (
            f"best: {rows[0]['head']} with {_figure(rows[0]['value'])} ({_between(rows[0])})" if rows else "no numbers"
        )
        most = max(held["baselines"].items(), key=lambda pair: float(pair[1]["value"]), default=None)
        beside = f"; {baseline_title(most[0], most[1].get('offset'))} {most[1]['value']:.3f}" if most else ""
        yield f"<li>{escape(title(measure))} ({escape(best + beside)})</li>"
    yield "</ul>"
    if few:
        said = "; ".join(title(measure) for measure in few)
        yield f'<p class="soft">Fewer than {ENOUGH} places, so that they name nobody: {escape(said)}.</p>'


def _method(atlas: AtlasJson) -> Iterator[str]:
    run = atlas["run"]
    split = "all documents, for choosing and for reporting" if run.get("report_all") else (
        "heads and distances chosen on one half of the documents, all values of the other"
    )  # fmt: skip
    rows = [
        ("Model", atlas["model"]["badge"]),
        ("Checksum", atlas["model"].get("sha256") or "none"),
        ("Texts", ", ".join(file["name"] for file in run["files"])),
        ("Size", f"{run['documents']:,} documents, {run['tokens']:,} tokens, windows of {run['window']}"),
        ("Halves", split),
        ("Intervals", "95 %, bootstrap over documents" + (f", seed {run['seed']}" if "seed" in run else "")),
        ("Twin", "the model with its weights shuffled, same scan" if run.get("twin") else "not scanned"),
        ("Without a head", "the head's mean in its place" if run.get("causal") else "not measured"),
        ("Left out", "; ".join(f"{count:,} × {why}" for why, count in run["skipped"].items()) or "nothing"),
        ("Problems of the treebank", f"{run.get('problems') or 0:,}"),
    ]
    yield "<h2>How it was measured</h2><dl>"
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows)
    yield "</dl>"
    yield (
        "<p>A value is the share of places where the head looks most at the right word. A head is named for what it "
        "does on 30 places or more, if its interval lies above every baseline's and above its twin's. A head that "
        "scores high finds the word; whether the model needs it for that, only “without it” tells.</p>"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _between(row: dict[str, Any]) -> str:
    return "" if row["low"] is None or row["high"] is None else f"{row['low']:.3f}–{row['high']:.3f}"
