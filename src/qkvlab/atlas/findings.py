"""An atlas in plain sentences: what was found, how sure, and what was not."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..spec import Head
from .naming import baseline_title, title
from .statistics import ENOUGH, Interval

if TYPE_CHECKING:
    from .summary import Atlas

LISTED = 3
"""Heads named for a role in one sentence, at most."""
SPELT_OUT = 2
"""Ablations told one by one; of all that were checked there is one sentence more."""
GROUPS = ("position", "repeats", "coreference", "syntax", "clark")
NOTES = {
    "position": "positions",
    "repeats": "repeated random tokens",
    "coreference": "pronouns",
    "syntax": "dependencies",
    "clark": "dependencies by Clark's protocol",
}


def findings(atlas: "Atlas") -> list[str]:
    """The sentences, in this order: how it was measured, every role, measures without a head, what to bear in mind."""
    roles = atlas.roles()
    said = [_measured(atlas)]
    for group in GROUPS:
        own = [measure for measure in atlas.measures if measure.partition(":")[0] == group]
        asked = [measure for measure in own if atlas.measures[measure].n >= ENOUGH]
        said += [_role(atlas, measure, roles[measure]) for measure in asked if measure in roles]
        without = [measure for measure in asked if measure not in roles]
        said += [_nobody(atlas, measure) for measure in without[:LISTED]]
        if len(without) > LISTED:
            said.append(f"Nor is there one for {len(without) - LISTED} more measures of {NOTES[group]}.")
        few = len(own) - len(asked)
        if few:
            said.append(
                f"{few} of {len(own)} measures of {NOTES[group]} had fewer than {ENOUGH} items to report on: nothing "
                "is said of them."
            )
    return [*said, *_doubts(atlas, sum(map(len, roles.values())))]


def _measured(atlas: "Atlas") -> str:
    run = atlas.run
    n_head = len(atlas.model["layers"]) * atlas.model["n_head"]
    parts = "all documents are selected on and reported on alike" if run.get("report_all") else (
        "heads and offsets are chosen on one half of the documents and reported on the other"
    )  # fmt: skip
    return (
        f"{n_head} heads of {atlas.model['name']} over {run.get('documents', 0):,} documents, "
        f"{run.get('tokens', 0):,} tokens: {parts}."
    )


def _role(atlas: "Atlas", measure: str, heads: list[Head]) -> str:
    """Head 13.8 finds a pronoun's antecedent in 60 % (50 to 70) of 201 cases; the best baseline 41 %, the twin 10 %."""
    found, one = atlas.measures[measure], heads[0]
    share = f"{_percent(found.value[one])} ({_percent(found.low[one])} to {_percent(found.high[one])})"
    said = f"Head {one} {_does(measure)} in {share} of {found.n:,} cases; {_beside(atlas, measure, one)}."
    if len(heads) > 1:
        others = ", ".join(f"{head} ({_percent(found.value[head])})" for head in heads[1 : 1 + LISTED])
        more = f" and {len(heads) - 1 - LISTED} more" if len(heads) > 1 + LISTED else ""
        said += f" So do {others}{more}." if len(heads) > 2 else f" So does {others}."
    checks = [_checked(atlas, measure, head) for head in heads[:SPELT_OUT]]
    return said + "".join(f" {check}" for check in [*checks, _all_checked(atlas, measure, heads)] if check)


def _does(measure: str) -> str:
    said = title(measure)
    return f"has the role “{said}”" if measure.startswith("clark:") else said


def _beside(atlas: "Atlas", measure: str, head: Head) -> str:
    found, parts = atlas.measures[measure], []
    if found.baselines:
        best = max(found.baselines, key=lambda name: found.baselines[name].high)
        offset = found.offset if best == "offset" else None
        parts.append(f"{baseline_title(best, offset)}: {_percent(found.baselines[best].value)}")
    if measure in atlas.controls:
        parts.append(f"on random tokens not repeated: {_percent(atlas.controls[measure].value[head])}")
    if atlas.twins is not None and measure in atlas.twins:
        parts.append(f"the same head with its weights shuffled: {_percent(atlas.twins[measure].value[head])}")
    return "; ".join(parts) or "there is nothing to compare it with"


def _checked(atlas: "Atlas", measure: str, head: Head) -> str:
    check = atlas.ablations.get((measure, str(head)))
    if check is None or check.get("at") is None:
        return ""
    beside = [f"{_change(check['elsewhere'], check)} elsewhere"] if check.get("elsewhere") is not None else []
    if check.get("random_at") is not None:
        beside.append(f"{_change(check['random_at'], check)} there for head {check['random_head']}, drawn at random")
    return (
        f"Ablating {head} changes {_what(check)} by {_change(check['at'], check)} {_unit(check)} "
        f"(n = {check['n']}{'; beside it ' if beside else ''}{', '.join(beside)})."
    )


def _all_checked(atlas: "Atlas", measure: str, heads: list[Head]) -> str:
    """Of 44 heads ablated one at a time, 30 change the loss there by more than elsewhere, ... (median +0.004 nats)."""
    found = [atlas.ablations.get((measure, str(head))) for head in heads]
    checks = [check for check in found if check is not None and check.get("at") is not None]
    if len(checks) <= SPELT_OUT:
        return ""
    more = {"elsewhere": "elsewhere", "random_at": "the head drawn beside each does"}
    counts = [
        f"{sum(check['at'] > check[name] for check in told)} of {len(told)} by more than {said}"
        for name, said in more.items()
        if (told := [check for check in checks if check.get(name) is not None])
    ]
    median = float(np.median([check["at"] for check in checks]))
    return (
        f"{len(checks)} were ablated, one at a time; they change {_what(checks[0])} by "
        f"{_change(median, checks[0])} {_unit(checks[0])} in the median, {', '.join(counts)}."
    )


def _what(check: Mapping[str, Any]) -> str:
    return "the loss there" if check["unit"] == "nats" else "the final vector there"


def _unit(check: Mapping[str, Any]) -> str:
    return "nats" if check["unit"] == "nats" else "of its length"


def _change(value: float, check: Mapping[str, Any]) -> str:
    if abs(value) < 0.0005:
        return "less than 0.001"
    return f"{value:{'+' if check['unit'] == 'nats' else ''}.3f}"


def _nobody(atlas: "Atlas", measure: str) -> str:
    """Not found: the best head, and what it did not get above."""
    found = atlas.measures[measure]
    if not np.isfinite(found.low).any():
        return f"No number for: {title(measure)}."
    best = Head(*(int(at) for at in np.unravel_index(np.nanargmax(found.selection), found.value.shape)))
    return (
        f"No head is named for “{title(measure)}” ({found.n:,} cases): the best on the selection part, {best}, has "
        f"{_percent(found.value[best])} with a lower bound of {_percent(found.low[best])}; "
        f"{_beside(atlas, measure, best)}.{_lead(found.lead)}"
    )


def _lead(lead: Interval | None) -> str:
    """Drawn together with the highest baseline: a head may be ahead of it on nearly every draw of documents, although
    their two intervals overlap."""
    if lead is None:
        return ""
    sure = "ahead" if lead.low > 0 else "behind" if lead.high < 0 else "neither ahead nor behind for sure"
    points = f"{100 * lead.value:+.0f} points ({100 * lead.low:+.0f} to {100 * lead.high:+.0f})"
    return f" Held against the highest baseline on the same documents: {points}, {sure}."


def _doubts(atlas: "Atlas", n_named: int) -> list[str]:
    """What to bear in mind."""
    n_measure = sum(one.n >= ENOUGH for one in atlas.measures.values())
    n_test = n_measure * len(atlas.model["layers"]) * atlas.model["n_head"]
    said = [] if n_test == 0 else [
        f"{n_test:,} pairs of head and measure were tested and {n_named:,} named. Each interval is a 95 % interval by "
        f"itself and not corrected for their number: if nothing were there, about 1 in 40 lower bounds would lie above "
        "the true value, and fewer above the upper bound of a baseline as well. Trust a role less the nearer its lower "
        "bound is to the bar."
    ]  # fmt: skip
    if atlas.twins is None:
        said.append("The model with shuffled weights was not scanned, so no role was held against it.")
    if not atlas.ablations:
        said.append("No head was ablated: where a head looks is shown, not what the model needs it for.")
    documents = int(atlas.run.get("documents", 0))
    if documents < 10:
        said.append(
            f"With {documents} documents the bootstrap draws from few, and its intervals are too narrow rather than "
            "too wide."
        )
    skipped = {why: n for why, n in dict(atlas.run.get("skipped", {})).items() if n}
    if skipped:
        said.append("Left out: " + "; ".join(f"{why} ({n:,})" for why, n in skipped.items()) + ".")
    if problems := int(atlas.run.get("problems") or 0):
        said.append(f"Broken in the files, and left out: {problems:,} (problems.txt of the run has file and line).")
    return said


def _percent(share: float) -> str:
    return f"{100 * float(share):.0f} %" if np.isfinite(share) else "no number"
