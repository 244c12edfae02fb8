"""atlas.json → the small answers of `atlas show --json`: every head by one role, or one head by every measure."""

from collections.abc import Mapping
from typing import Any

from ..errors import HeadError, UnsupportedError, one_of
from ..spec import Head

FIGURES = ("value", "low", "high", "selection", "whole")


def by_role(atlas: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Every head of the model by one role, best on the whole corpus first; heads without a number are left out.

    `baselines` and `twin` are shares of hits, as `value` is; `ablation` is null where the head was not checked; `named`
    says whether the head has the role. Raises UnsupportedError for a role that was not measured.
    """
    measure = measure_of(atlas, role)
    found, rows = atlas["measures"][measure], []
    for at, whole in enumerate(found["whole"]):
        if whole is not None:
            rows.append(_row(atlas, measure, at))
    rows.sort(key=lambda row: -row["whole"])
    return {"model": atlas["model"]["badge"], "role": measure, "n": found["n"], "heads": rows}


def measure_of(atlas: Mapping[str, Any], role: str) -> str:
    """The measure of that name; `previous` is enough for `position:previous` where no other ends so."""
    known = list(atlas["measures"])
    if role in known:
        return role
    ends = [name for name in known if name.endswith(f":{role}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UnsupportedError(f"{role!r} could be {', '.join(ends[:6])}; give one of them")
    raise UnsupportedError(one_of("the role", role, known))


def of_head(atlas: Mapping[str, Any], head: str) -> dict[str, Any]:
    """One head by every measure, its roles first. Raises HeadError."""
    at = place(atlas, head)
    roles = roles_of(atlas, head)
    rows = [
        {"role": name, **_row(atlas, name, at)}
        for name, found in atlas["measures"].items()
        if found["whole"][at] is not None
    ]
    sums = {name: {"unit": one["unit"], "mean": one["mean"][at], "sd": one["sd"][at]} for name, one in atlas["sums"].items()}
    return {
        "model": atlas["model"]["badge"], "head": str(Head.parse(head)), "roles": roles,
        "measures": sorted(rows, key=lambda row: (row["role"] not in roles, -row["whole"])), "sums": sums,
    }  # fmt: skip


def roles_of(atlas: Mapping[str, Any], head: str) -> list[str]:
    """The roles that a head has."""
    address = str(Head.parse(head))
    return [one["role"] for one in atlas["roles"] if any(row["head"] == address for row in one["heads"])]


def place(atlas: Mapping[str, Any], head: str) -> int:
    """Where a head stands in the lists of atlas.json. Raises HeadError."""
    at, model = Head.parse(head), atlas["model"]
    if not (0 <= at.layer < model["n_layer"] and 0 <= at.head < model["n_head"]):
        raise HeadError(
            f"there is no head {at}: {model['name']} has layers 0-{model['n_layer'] - 1} and heads 0-{model['n_head'] - 1}"
        )
    return at.layer * int(model["n_head"]) + at.head


def _row(atlas: Mapping[str, Any], measure: str, at: int) -> dict[str, Any]:
    found = atlas["measures"][measure]
    head = str(Head(*divmod(at, int(atlas["model"]["n_head"]))))
    own = {row["head"]: row for one in atlas["roles"] if one["role"] == measure for row in one["heads"]}
    baselines = {name: each["value"] for name, each in found["baselines"].items()}
    if "control" in found:
        baselines["control"] = found["control"][at]
    return {
        "head": head, "n": found["n"], **{name: found[name][at] for name in FIGURES}, "baselines": baselines,
        "twin": None if found["twin"] is None else found["twin"][at],
        "ablation": own[head]["ablation"] if head in own else None, "named": head in own,
    }  # fmt: skip
