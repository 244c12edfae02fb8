"""Tables → the atlas of a model: every head by every measure, which heads have a role, and how sure that is.

A role is a measure's name for a head with 30 items or more whose lower 95 % bound lies above the best baseline's upper
bound and above that of the same head of the twin. A head may have several roles, or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._shapes import Array
from ..model import Model
from ..spec import Head
from .repeats import CONTROL
from .statistics import ENOUGH, Measured, Split, controlled, measured
from .tables import Counted

FORMAT = 1
DIGITS = 5
"""Significant digits of atlas.json; the run's tables have all."""
ROUNDING = 1e-9
"""Equal shares, added up in another order, differ by less: equal is not above."""
UNITS = {"distance": "tokens", "entropy": "nats", "write": "residual units", "share": "of the residual"}
UNBARRED = ("repeats:previous",)
"""Measures whose control is no bar: the text before is random in both."""


@dataclass(frozen=True)
class Atlas:
    """What every head of a model does, as a finished scan found it."""

    model: Mapping[str, Any]
    """What the model is: `model_facts`."""
    run: Mapping[str, Any]
    """What was scanned, and how."""
    measures: Mapping[str, Measured]
    twins: Mapping[str, Measured] | None
    """The same of the twin; None where it was not scanned."""
    controls: Mapping[str, Measured]
    """For `repeats:` measures, the same keys on random tokens that do not repeat."""
    sums: Mapping[str, tuple[Array, Array]]
    """Mean and standard deviation over all queries, [layer, head]; NaN where there is none."""
    ablations: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """(role, head) → what its ablation changed."""

    def with_ablations(self, ablations: Mapping[tuple[str, str], Mapping[str, Any]]) -> "Atlas":
        """The same with causal checks."""
        return replace(self, ablations=dict(ablations))

    def bar(self, measure: str) -> Array:
        """What the lower bound of each head must exceed, [layer, head]."""
        found = self.measures[measure]
        bar = np.full(found.value.shape, found.bar)
        if measure in self.controls and measure not in UNBARRED:
            bar = np.fmax(bar, self.controls[measure].high)
        if self.twins is not None and measure in self.twins:
            bar = np.fmax(bar, self.twins[measure].high)
        return bar

    def named(self, measure: str) -> list[Head]:
        """The heads that have this role, best on the whole corpus first."""
        found = self.measures[measure]
        if found.n < ENOUGH:
            return []
        above = np.nan_to_num(found.low, nan=-1.0) > self.bar(measure) + ROUNDING
        heads = [Head(*(int(at) for at in place)) for place in np.argwhere(above & np.isfinite(found.value))]
        return sorted(heads, key=lambda head: (-float(found.whole[head]), head))

    def roles(self) -> dict[str, list[Head]]:
        """Every role that a head has."""
        return {measure: heads for measure in self.measures if (heads := self.named(measure))}

    def row(self, measure: str, head: Head) -> dict[str, Any]:
        """One head at one measure, as `roles` of atlas.json has it."""
        found = self.measures[measure]
        names = {"value": found.value, "low": found.low, "high": found.high}
        figures = {name: _plain(values[head]) for name, values in names.items()}
        baselines = {name: _plain(each.value) for name, each in found.baselines.items()}
        if measure in self.controls:
            baselines[CONTROL] = _plain(self.controls[measure].value[head])
        twin = self.twins.get(measure) if self.twins is not None else None
        return {
            "head": str(head), "n": found.n, **figures, "selection": _plain(found.selection[head]),
            "whole": _plain(found.whole[head]), "baselines": baselines,
            "twin": None if twin is None else _plain(twin.value[head]),
            "ablation": _rounded(self.ablations.get((measure, str(head)))),
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The whole as atlas.json has it: numbers to 5 significant digits, null where a head has none."""
        from .findings import findings

        return {
            "format": FORMAT,
            "model": dict(self.model),
            "run": dict(self.run),
            "measures": {name: self._measure(name) for name in self.measures},
            "sums": {
                name: {"unit": UNITS.get(name, "share"), "mean": _list(mean), "sd": _list(sd)}
                for name, (mean, sd) in self.sums.items()
            },
            "roles": [
                {"role": measure, "heads": [self.row(measure, head) for head in heads]}
                for measure, heads in self.roles().items()
            ],
            "findings": findings(self),
        }

    def _measure(self, name: str) -> dict[str, Any]:
        found = self.measures[name]
        twin = None if self.twins is None else self.twins.get(name)
        baselines: dict[str, Any] = {}
        for baseline, each in found.baselines.items():
            baselines[baseline] = {part: _plain(getattr(each, part)) for part in ("value", "low", "high")}
        if found.offset is not None and "offset" in baselines:
            baselines["offset"]["offset"] = found.offset
        lists = {part: _list(getattr(found, part)) for part in ("value", "low", "high", "selection", "whole", "mass")}
        made = {"kind": name.partition(":")[0], "n": found.n, "whole_n": found.whole_n, "baselines": baselines, **lists}
        made |= {"twin": None if twin is None else _list(twin.value)}
        made |= {"twin_high": None if twin is None else _list(twin.high)}
        if name in self.controls:
            control = self.controls[name]
            made |= {CONTROL: _list(control.value), f"{CONTROL}_high": _list(control.high)}
        return made

    def columns(self) -> dict[str, list[Any]]:
        """One row per head and measure with everything unrounded, as equally long columns: for a table on disk.

        Baselines are rows of their own, with an empty `head` and the baseline's name.
        """
        rows: list[dict[str, Any]] = []
        for name, found in self.measures.items():
            about = {"measure": name, "n": found.n, "whole_n": found.whole_n}
            twin = None if self.twins is None else self.twins.get(name)
            control, bar, named = self.controls.get(name), self.bar(name), set(self.named(name))
            for at in self._heads():
                figures = {part: _none(getattr(found, part)[at]) for part in ("value", "low", "high", *PARTS)}
                others = {"twin": twin, CONTROL: control}
                for other, beside in others.items():
                    figures |= {other: None if beside is None else _none(beside.value[at])}
                    figures |= {f"{other}_high": None if beside is None else _none(beside.high[at])}
                more = {"layer": at.layer, "head": at.head, "baseline": "", "bar": _none(bar[at]), "named": at in named}
                rows.append(EMPTY | about | figures | more)
            for baseline, each in found.baselines.items():
                figures = {"value": each.value, "low": each.low, "high": each.high}
                offset = found.offset if baseline == "offset" else None
                rows.append(EMPTY | about | figures | {"baseline": baseline, "offset": offset})
        for name, (mean, sd) in self.sums.items():
            for at in self._heads():
                more = {"layer": at.layer, "head": at.head, "value": _none(mean[at]), "sd": _none(sd[at])}
                rows.append(EMPTY | {"measure": name, "baseline": ""} | more)
        return {column: [row[column] for row in rows] for column in EMPTY}

    def _heads(self) -> list[Head]:
        return [Head(layer, head) for layer in self.model["layers"] for head in range(self.model["n_head"])]


PARTS = ("selection", "whole", "mass")
EMPTY: dict[str, Any] = dict.fromkeys(
    ("measure", "layer", "head", "baseline", "offset", "n", "whole_n", "value", "low", "high", *PARTS, "sd",
     "twin", "twin_high", CONTROL, f"{CONTROL}_high", "bar", "named")
)  # fmt: skip
"""The columns of `Atlas.columns`."""


def summarise(
    counted: Counted,
    twin: Counted | None,
    model: Mapping[str, Any],
    run: Mapping[str, Any],
    ablations: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    copying: Array = None,
) -> Atlas:
    """All of a finished scan.

    `model` as `model_facts` makes it, `run` as atlas.json has it (`report_all` in it says that selection and report
    are the same documents), `copying` as `writes.copying` gives it.
    """
    report_all, layers = bool(run.get("report_all")), list(model["layers"])
    measures = _measured(counted, report_all, layers)
    controls = {name: measures.pop(controlled(name)) for name in list(measures) if controlled(name) in measures}
    twins = None
    if twin is not None:
        twins = {name: one for name, one in _measured(twin, report_all, layers).items() if name in measures}
    sums = {name: _masked(_moments(*moments), layers) for name, moments in counted.sums().items()}
    if copying is not None:
        sums["copying"] = _masked((np.asarray(copying), np.zeros_like(copying)), layers)
    return Atlas(model, run, measures, twins, controls, sums, dict(ablations or {}))


def model_facts(model: Model, layers: Sequence[int]) -> dict[str, Any]:
    """What atlas.json says of a model; `layers` are those scanned."""
    spec, source = model.spec, model.source
    return {
        "badge": model.badge, "name": spec.name, "sha256": source.sha256, "family": spec.family,
        "n_layer": spec.n_layer, "n_head": spec.n_head, "n_kv_head": spec.n_kv_head, "causal": spec.causal,
        "layers": [int(layer) for layer in layers],
    }  # fmt: skip


def _measured(counted: Counted, report_all: bool, layers: list[int]) -> dict[str, Measured]:
    found = {}
    for name in counted.measures():
        one = measured(counted.table(name), Split.of(counted.documents(), name, report_all))
        parts = ("value", "low", "high", "selection", "whole", "mass")
        found[name] = replace(one, **{part: _only(getattr(one, part), layers) for part in parts})
    return found


def _only(values: Array, layers: list[int]) -> Array:
    """NaN in layers that were not scanned."""
    kept = np.full(values.shape, np.nan)
    kept[layers] = values[layers]
    return kept


def _masked(both: tuple[Array, Array], layers: list[int]) -> tuple[Array, Array]:
    return _only(both[0], layers), _only(both[1], layers)


def _moments(n: Array, total: Array, squares: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over all queries."""
    items = max(float(n.sum()), 1.0)
    mean = total.sum(axis=0) / items
    return mean, np.sqrt(np.maximum(squares.sum(axis=0) / items - mean * mean, 0))


# ---- plain numbers


def _plain(value: Any) -> float | None:
    """To 5 significant digits; None for no number."""
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if np.isfinite(number) else None


def _none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _list(values: Array) -> list[float | None]:
    return [_plain(value) for value in np.asarray(values).reshape(-1)]


def _rounded(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: _plain(value) if isinstance(value, float) else value for name, value in values.items()}
