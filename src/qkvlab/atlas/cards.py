"""Which examples a head is shown with: its samples, and best and worst of its roles and its strongest measures."""

from typing import Any

import numpy as np

from ..spec import Head
from .counts import Examples
from .statistics import ENOUGH
from .summary import Atlas

STRONGEST = 3
"""Measures besides its roles that a head is shown at."""


def strongest(atlas: Atlas, head: Head, n: int = STRONGEST) -> list[str]:
    """The measures at which a head is furthest above the best baseline, with 30 items or more; the furthest first."""
    leads = {
        name: float(found.value[head]) - found.best_baseline
        for name, found in atlas.measures.items()
        if found.n >= ENOUGH and np.isfinite(found.value[head])
    }
    return sorted(leads, key=lambda name: (-leads[name], name))[:n]


def examples_json(examples: Examples, atlas: Atlas) -> dict[str, Any]:
    """examples.json: the texts once, and for every head its rows."""
    roles = atlas.roles()
    wanted: dict[Head, set[str]] = {}
    texts: dict[str, int] = {}
    heads: dict[str, list[dict[str, Any]]] = {}
    names, codes = examples.names["measure"], examples.codes["measure"]
    layers, numbers = examples.numbers["layer"], examples.numbers["head"]
    for row in range(len(examples)):
        at = Head(int(layers[row]), int(numbers[row]))
        if at not in wanted:
            own = {measure for measure, named in roles.items() if at in named}
            wanted[at] = {"sample", *own, *strongest(atlas, at)}
        if names[codes[row]] in wanted[at]:
            heads.setdefault(str(at), []).append(_row(examples, row, texts))
    ordered = sorted(heads, key=Head.parse)
    return {"texts": list(texts), "heads": {head: heads[head] for head in ordered}}


def _row(examples: Examples, row: int, texts: dict[str, int]) -> dict[str, Any]:
    number = {name: column[row].item() for name, column in examples.numbers.items()}
    said = {name: examples.names[name][examples.codes[name][row]] for name in examples.names}
    right = [number["right_start"], number["right_end"]]
    return {
        "measure": said["measure"], "side": said["side"], "weight": float(f"{number['weight']:.5g}"),
        "text": texts.setdefault(said["text"], len(texts)), "query": [number["query_start"], number["query_end"]],
        "right": None if right[0] < 0 else right, "looked": [number["looked_start"], number["looked_end"]],
        "document": said["document"],
    }  # fmt: skip
