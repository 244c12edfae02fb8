"""Two runs side by side: who holds each role in both, which heads moved beyond their intervals, how alike the rankings.

The same model on two corpora is compared head by head; two models only role by role.
"""

from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .._shapes import Array, Float
from ..text import printable
from .naming import title
from .reading import AtlasJson, check_atlas, head_names
from .show import named_heads

SIZES = ("n_layer", "n_head")
TOP = 12
"""Heads that moved, or measures, that the table shows."""


def compare_runs(first: AtlasJson, second: AtlasJson) -> dict[str, Any]:
    """What is the same in two runs, and what is not? As plain JSON values.

    `same_model`: whether heads can be compared one by one (by checksum where both have one, else by name and sizes).
    `roles`: for each role, who is named in both, in the first alone, in the second alone.
    `moved`: heads of the same model whose intervals do not meet, by the distance between the values.
    `correlation`: Spearman's ρ of all heads at each measure that both have (null between two models).
    """
    first, second = check_atlas(first, "the first run"), check_atlas(second, "the second run")
    same = _same_model(first, second)
    shared = [measure for measure in first["measures"] if measure in second["measures"]]
    roles = dict.fromkeys(role["role"] for atlas in (first, second) for role in atlas["roles"])
    return {
        "models": [first["model"]["badge"], second["model"]["badge"]],
        "same_model": same,
        "runs": [_about(atlas) for atlas in (first, second)],
        "roles": [_role(first, second, role, same) for role in roles],
        "moved": [row for measure in shared for row in _moved(first, second, measure)] if same else [],
        "correlation": {measure: _alike(first, second, measure) for measure in shared} if same else None,
        "only": [
            [measure for measure in one["measures"] if measure not in other["measures"]]
            for one, other in ((first, second), (second, first))
        ],
    }


def comparison(found: dict[str, Any]) -> RenderableType:
    """The same as tables."""
    table = _table("role", "both" if found["same_model"] else "", "first", "second")
    for row in found["roles"]:
        both, one, other = (named_heads(row[side]) or "–" for side in ("both", "first", "second"))
        table.add_row(printable(title(row["role"])), both if found["same_model"] else "", one, other)
    parts: list[RenderableType] = [
        Text(printable(f"{name}: {model}, {run['documents']:,} documents, {run['tokens']:,} tokens"))
        for name, model, run in zip(("first", "second"), found["models"], found["runs"], strict=True)
    ]
    parts.append(table if found["roles"] else Text("No head is named in either run."))
    if not found["same_model"]:
        return Group(*parts, Text("Two models: their heads are not compared one by one.", style="dim"))
    moved = sorted(found["moved"], key=lambda row: -abs(row["second"]["value"] - row["first"]["value"]))
    table = _table("head", "measure", "first", "second")
    for row in moved[:TOP]:
        shown = (f"{row[s]['value']:.3f} ({row[s]['low']:.3f}–{row[s]['high']:.3f})" for s in ("first", "second"))
        table.add_row(row["head"], printable(title(row["measure"])), *shown)
    said = f"{len(moved)} values moved beyond both intervals" if moved else "No value moved beyond both intervals."
    parts += [Text(said), *([table] if moved else [])]
    alike = [(measure, rho) for measure, rho in found["correlation"].items() if rho is not None]
    table = _table("measure", "rank correlation")
    for measure, rho in sorted(alike, key=lambda pair: pair[1])[:TOP]:
        table.add_row(printable(title(measure)), f"{rho:.3f}")
    if alike:
        parts += [Text("Least alike first:"), table]
    return Group(*parts)


def rank_correlation(first: Float[Array, " head"], second: Float[Array, " head"]) -> float | None:
    """Spearman's ρ: the correlation of the ranks, ties sharing their mean rank. None where one side is all alike."""
    ranks = [_ranks(values) for values in (first, second)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


# ---- within


def _ranks(values: Float[Array, " head"]) -> Float[Array, " head"]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], np.float64)


def _same_model(first: AtlasJson, second: AtlasJson) -> bool:
    one, other = first["model"], second["model"]
    if any(one[size] != other[size] for size in SIZES):
        return False
    if one.get("sha256") and other.get("sha256"):
        return bool(one["sha256"] == other["sha256"])
    return bool(one["name"] == other["name"])


def _about(atlas: AtlasJson) -> dict[str, Any]:
    files = [file["name"] for file in atlas["run"]["files"]]
    return {"documents": atlas["run"]["documents"], "tokens": atlas["run"]["tokens"], "files": files}


def _role(first: AtlasJson, second: AtlasJson, role: str, same: bool) -> dict[str, Any]:
    one, other = (
        [row["head"] for held in atlas["roles"] if held["role"] == role for row in held["heads"]]
        for atlas in (first, second)
    )
    both = [head for head in one if head in other] if same else []
    return {
        "role": role,
        "both": both,
        "first": [head for head in one if head not in both],
        "second": [head for head in other if head not in both],
        "scanned": [role in first["measures"], role in second["measures"]],
    }


def _moved(first: AtlasJson, second: AtlasJson, measure: str) -> list[dict[str, Any]]:
    """Heads whose intervals in the two runs do not meet."""
    found = []
    for at, head in enumerate(head_names(first)):
        sides = [
            {field: atlas["measures"][measure][field][at] for field in ("value", "low", "high")}
            for atlas in (first, second)
        ]
        if any(None in side.values() for side in sides):
            continue
        if sides[0]["high"] < sides[1]["low"] or sides[1]["high"] < sides[0]["low"]:
            found.append({"measure": measure, "head": head, "first": sides[0], "second": sides[1]})
    return found


def _alike(first: AtlasJson, second: AtlasJson, measure: str) -> float | None:
    pairs = zip(first["measures"][measure]["whole"], second["measures"][measure]["whole"], strict=True)
    both = np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)
    return rank_correlation(both[:, 0], both[:, 1]) if len(both) > 2 else None


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1), show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
