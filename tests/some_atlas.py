"""An atlas of made-up numbers, for tests of all that reads one: every kind of field, nulls, and strangers' markup.

As a program it writes the page's fixture: `python tests/some_atlas.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[1] / "web" / "tests" / "atlas.json"
MEASURES = ("position:previous", "coreference", "syntax:nsubj:head", "syntax:nmod:poss:dependent", "repeats:induction")
BASELINES = {
    "position:previous": {"chance": 0.3},
    "coreference": {"chance": 0.2, "nearest": 0.35},
    "syntax:nsubj:head": {"offset": 0.47},
    "syntax:nmod:poss:dependent": {"offset": 0.9},
    "repeats:induction": {"chance": 0.3},
}
TEXTS = ["The cat drank because it was thirsty.", "😀 Anna said <b>she</b> & 'Bob' left, because she was tired."]


def some_atlas(n_layer: int = 5, n_head: int = 6, n_kv_head: int = 3, seed: int = 7, **model: Any) -> dict[str, Any]:
    """Of so many heads; the last layer was not scanned. Head 1.2 finds antecedents, and nobody else."""
    random = np.random.default_rng(seed)
    heads, last = n_layer * n_head, n_head * (n_layer - 1)
    measures: dict[str, Any] = {}
    for place, name in enumerate(MEASURES):
        values = random.uniform(0.02, 0.3, heads)
        if name != "syntax:nmod:poss:dependent":
            values[n_head + 1 + place] = 0.95 - 0.05 * place
        values[n_head + 2] = 0.75 if name == "coreference" else values[n_head + 2]
        if name == "coreference":
            values[n_head + 3] = 0.3
        measures[name] = _measure(name, values, last)
    sums = {
        "entropy": {
            "unit": "nats",
            "mean": _list(random.uniform(0.1, 4, heads), last),
            "sd": _list(np.ones(heads), last),
        },
        "copying": {
            "unit": "share",
            "mean": _list(random.uniform(-1, 1, heads), last),
            "sd": _list(np.zeros(heads), last),
        },
    }
    layers = list(range(n_layer - 1))
    facts = {"badge": "Tiny-5, F32", "name": "Tiny-5, F32", "sha256": None, "family": "llama", "n_layer": n_layer}
    facts |= {"n_head": n_head, "n_kv_head": n_kv_head, "causal": True, "layers": layers, **model}
    run = {
        "window": 128, "documents": 7, "tokens": 1113,
        "files": [{"name": "sample.conllu", "documents": 7, "tokens": 1113}],
        "report_all": False, "seed": 3, "skipped": {"words that share a token": 12}, "problems": 2, "twin": True,
        "causal": {"windows": 5},
    }  # fmt: skip
    atlas = {"format": 1, "model": facts, "run": run, "measures": measures, "sums": sums}
    return atlas | {
        "roles": _roles(measures, n_head),
        "findings": ["Head 1.2 finds it in 75 %.", "No head <knows> more."],
    }


def some_examples(atlas: dict[str, Any]) -> dict[str, Any]:
    """For every scanned head one sample; best and worst for the heads of coreference."""
    n_head = atlas["model"]["n_head"]
    names = [f"{layer}.{head}" for layer in atlas["model"]["layers"] for head in range(n_head)]
    sample = {"measure": "sample", "side": "sample", "weight": 0.5, "text": 0, "query": [8, 13], "right": None}
    sample |= {"looked": [0, 3], "document": "sample"}
    best = {"measure": "coreference", "side": "best", "weight": 0.91, "text": 0, "query": [22, 24], "right": [4, 7]}
    worst = {"measure": "coreference", "side": "worst", "weight": 0.04, "text": 1, "query": [45, 48], "right": [2, 6]}
    both = [{**best, "looked": [4, 7], "document": "cats"}, {**worst, "looked": [31, 35], "document": "<people>"}]
    assert TEXTS[1][45:48] == "she" and TEXTS[1][2:6] == "Anna" and TEXTS[1][31:35] == "left"
    named = {row["head"] for role in atlas["roles"] if role["role"] == "coreference" for row in role["heads"]}
    return {"texts": TEXTS, "heads": {name: [*(both if name in named else []), sample] for name in names}}


def plant(folder: Path, atlas: dict[str, Any], examples: dict[str, Any] | None = None) -> Path:
    """A folder as a finished run leaves it, so far as it is read here."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "atlas.json").write_text(json.dumps(atlas), encoding="utf-8")
    if examples is not None:
        (folder / "examples.json").write_text(json.dumps(examples), encoding="utf-8")
    return folder


def _list(values: Any, last: int) -> list[float | None]:
    return [float(f"{value:.5g}") if at < last else None for at, value in enumerate(values)]


def _measure(name: str, values: np.ndarray, last: int) -> dict[str, Any]:
    low, high = np.maximum(values - 0.08, 0), np.minimum(values + 0.08, 1)
    lists = {
        "value": values,
        "low": low,
        "high": high,
        "selection": values * 0.9,
        "whole": values * 0.95,
        "mass": values / 2,
    }
    found: dict[str, Any] = {field: _list(one, last) for field, one in lists.items()}
    baselines: dict[str, Any] = {
        baseline: {"value": value, "low": value - 0.01, "high": value + 0.02}
        for baseline, value in BASELINES[name].items()
    }
    if "offset" in baselines:
        baselines["offset"]["offset"] = -2
    found |= {"kind": name.split(":")[0], "n": 101, "whole_n": 211, "baselines": baselines}
    found |= {"twin": _list(values / 10, last), "twin_high": _list(values / 9, last)}
    if name.startswith("repeats:"):
        found |= {"control": _list(values / 20, last), "control_high": _list(values / 18, last)}
    return found


def _roles(measures: dict[str, Any], n_head: int) -> list[dict[str, Any]]:
    roles = []
    for name, held in measures.items():
        bar = max(baseline["high"] for baseline in held["baselines"].values())
        named = [at for at, low in enumerate(held["low"]) if low is not None and low > max(bar, held["twin_high"][at])]
        rows = [_row(held, name, at, n_head) for at in sorted(named, key=lambda at: -held["whole"][at])]
        roles += [{"role": name, "heads": rows}] if rows else []
    return roles


def _row(held: dict[str, Any], name: str, at: int, n_head: int) -> dict[str, Any]:
    ablation = {"n": 90, "at": 0.123, "elsewhere": -0.004, "random_head": "1.0", "random_at": 0.011, "unit": "nats"}
    figures = {field: held[field][at] for field in ("value", "low", "high", "selection", "whole", "twin")}
    baselines = {baseline: one["value"] for baseline, one in held["baselines"].items()}
    head = {"head": f"{at // n_head}.{at % n_head}", "n": held["n"], **figures, "baselines": baselines}
    return head | {"ablation": ablation if name == "coreference" else None}


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps(some_atlas()) + "\n", encoding="utf-8")
