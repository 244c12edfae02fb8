"""An atlas as text for a terminal: what was found, one head, one ranking. Numbers come ready."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..text import printable, quoted
from .naming import baseline_title, title
from .reading import (
    ENOUGH,
    AtlasJson,
    ExamplesJson,
    check_atlas,
    head_index,
    measure_named,
    ranking,
    roles_of,
    unnamed,
)

QUERY, KEY = "#2E9BDA", "#E4752B"
NAMED = 8
"""Heads of a role that the overview names."""
OUTSIDE = "a token before or after this text"
EXAMPLES = 6
"""Places in context that a head's card shows."""


def show_run(
    atlas: AtlasJson,
    head: str | None = None,
    role: str | None = None,
    top: int = 10,
    examples: ExamplesJson | None = None,
) -> RenderableType:
    """What a run found: all of it, one head's card, or the ranking of one measure.

    Raises HeadError for a head that the model does not have, AtlasError for a measure that was not scanned.
    """
    atlas = check_atlas(atlas, "the atlas")
    if head is not None:
        return head_card(atlas, head, top, examples)
    return role_ranking(atlas, role, top) if role is not None else overview(atlas)


def overview(atlas: AtlasJson) -> RenderableType:
    """Which heads are named for what, what else was found, and what was not."""
    table = _table("role", "heads", "best", "95 %", "baseline", left=("role", "heads"))
    for held in atlas["roles"]:
        heads = sorted(held["heads"], key=lambda row: -(row["whole"] or 0))
        best = heads[0]
        beside = {name: value for name, value in best["baselines"].items() if value is not None}
        name, most = max(beside.items(), key=lambda pair: pair[1], default=("", None))
        table.add_row(
            _plain(held["role"]),
            named_heads([row["head"] for row in heads]),
            _figure(best["value"]),
            _between(best),
            "" if most is None else f"{_figure(most)} {printable(baseline_title(name))}",
        )
    nobody, few = unnamed(atlas)
    parts: list[RenderableType] = [_about(atlas), Text()]
    parts += [table] if atlas["roles"] else [Text("No head is named: none is surely better than the baselines.")]
    parts += [Text(f"• {printable(said)}", overflow="fold") for said in atlas["findings"]]
    if nobody:
        said = "; ".join(title(measure) for measure in nobody)
        parts += [Text(), Text(f"No head is named for: {printable(said)}", style="dim", overflow="fold")]
    if few:
        parts.append(Text(f"{len(few)} more measures have fewer than {ENOUGH} places: they name nobody.", style="dim"))
    return Group(*parts)


def role_ranking(atlas: AtlasJson, role: str, top: int = 10) -> RenderableType:
    """The heads that do one thing best, beside its baselines, the twin, and what is lost without them."""
    held = atlas["measures"][measure_named(atlas, role)]
    twin = held.get("twin") is not None
    table = _table("head", "value", "95 %", "all", "other half", *(["twin"] if twin else []), "without it", "")
    rows = ranking(atlas, role)
    for row in rows[:top]:
        lost = row["ablation"]["at"] if row["ablation"] else None
        table.add_row(
            Text(row["head"], style="bold" if row["named"] else ""),
            _figure(row["value"]),
            _between(row),
            _figure(row["whole"]),
            _figure(row["selection"]),
            *([_figure(row["twin"])] if twin else []),
            "" if lost is None else f"{lost:+.3f} {printable(row['ablation']['unit'])}",
            "named" if row["named"] else "",
        )
    beside = ["its own score where nothing repeats (--json has it)"] if held.get("control") is not None else []
    beside += [
        f"{baseline_title(name, baseline.get('offset'))} {baseline['value']:.3f} ({_between(baseline)})"
        for name, baseline in held["baselines"].items()
    ]
    asked = f"Which head {title(role)}? {held['n']:,} places in the documents reported on, {held['whole_n']:,} in all."
    parts: list[RenderableType] = [Text(printable(asked)), table]
    if len(rows) > top:
        parts.append(Text(f"  and {len(rows) - top} more", style="dim"))
    if beside:
        parts.append(Text(printable(f"Without a model: {'; '.join(beside)}"), overflow="fold"))
    return Group(*parts, Text(printable(atlas["model"]["badge"]), style="dim"))


def head_card(atlas: AtlasJson, head: str, top: int = 10, examples: ExamplesJson | None = None) -> RenderableType:
    """One head: what it is named for, its measures beside the best baseline, and places in context."""
    at = head_index(atlas, head)
    roles = roles_of(atlas, head)
    table = _table("what it does", "value", "95 %", "baseline", "twin", "", left=("what it does",))
    for measure in _telling(atlas, at, roles)[:top]:
        held = atlas["measures"][measure]
        best = max((baseline["value"] for baseline in held["baselines"].values()), default=None)
        table.add_row(
            _plain(measure),
            _figure(held["value"][at]),
            _between({"low": held["low"][at], "high": held["high"][at]}),
            _figure(best),
            _figure(None if held.get("twin") is None else held["twin"][at]),
            "named" if measure in roles else "",
        )
    said = "; ".join(title(role) for role in roles) if roles else "named for nothing that was measured"
    parts: list[RenderableType] = [Text.assemble((f"Head {head}", "bold"), f"  {printable(said)}"), Text(), table]
    means = {name: held["mean"][at] for name, held in atlas["sums"].items() if held["mean"][at] is not None}
    if means:
        said = " · ".join(f"{title(name)} {mean:.3g}" for name, mean in means.items())
        parts.append(Text(f"  {printable(said)}", style="dim", overflow="fold"))
    parts += [Text(printable(line), overflow="fold") for line in _losses(atlas, head)]
    parts += list(_places(examples, head)) if examples else []
    return Group(*parts, Text(printable(atlas["model"]["badge"]), style="dim"))


def named_heads(heads: list[str]) -> str:
    """A list of heads, cut where it grows long."""
    more = f" and {len(heads) - NAMED} more" if len(heads) > NAMED else ""
    return ", ".join(heads[:NAMED]) + more


# ---- within


def _about(atlas: AtlasJson) -> Text:
    run, files = atlas["run"], ", ".join(file["name"] for file in atlas["run"]["files"])
    split = "all documents" if run.get("report_all") else "one half of the documents, heads chosen on the other"
    twin = "" if run.get("twin") else "; no twin was scanned"
    skipped = sum(run["skipped"].values())
    left_out = f"; {skipped:,} places left out" if skipped else ""
    problems = run.get("problems") or 0
    left_out += f"; {problems:,} {'problem' if problems == 1 else 'problems'} in the files" if problems else ""
    line = f"{run['documents']:,} documents, {run['tokens']:,} tokens of {files}; windows of {run['window']}{left_out}"
    model = Text(printable(atlas["model"]["badge"]), style="bold")
    return Text("\n").join([model, Text(printable(line)), Text(f"Values are of {split}{twin}.", style="dim")])


def _telling(atlas: AtlasJson, at: int, roles: list[str]) -> list[str]:
    """The roles, then where the lower bound lies highest above the best baseline."""

    def lead(measure: str) -> float:
        held = atlas["measures"][measure]
        best = max((baseline["value"] for baseline in held["baselines"].values()), default=0.0)
        return float(held["low"][at] if held["low"][at] is not None else -1) - best

    others = [
        name
        for name, held in atlas["measures"].items()
        if name not in roles and held["n"] >= ENOUGH and held["value"][at] is not None
    ]
    return [*roles, *sorted(others, key=lead, reverse=True)]


def _losses(atlas: AtlasJson, head: str) -> Iterable[str]:
    for held in atlas["roles"]:
        for row in held["heads"]:
            found = row.get("ablation")
            if row["head"] == head and found and None not in (found["at"], found["elsewhere"]):
                other = found["random_at"]
                beside = "" if other is None else f"; {found['random_head']} gone: {other:+.3f}"
                yield (
                    f"Replaced by its mean, at the {found['n']} places of “{title(held['role'])}”: {found['at']:+.3f} "
                    f"{found['unit']}, elsewhere {found['elsewhere']:+.3f}{beside}"
                )


def _places(examples: ExamplesJson, head: str) -> Iterable[RenderableType]:
    rows = sorted(examples["heads"].get(head, []), key=lambda row: row["side"] == "sample")
    for row in rows[:EXAMPLES]:
        text = examples["texts"][row["text"]]
        line = Text(text.replace("\n", "↵"))
        line.stylize(f"underline {KEY}", *row["looked"])
        if row["right"] is not None:
            line.stylize(f"bold {KEY}", *row["right"])
        line.stylize(f"bold {QUERY}", *row["query"])
        what = "" if row["measure"] == "sample" else f"{title(row['measure'])}, {row['side']}: "
        looked = quoted(text[slice(*row["looked"])]) if row["looked"][0] < row["looked"][1] else OUTSIDE
        yield Text()
        yield Text(printable(f"{what}{quoted(text[slice(*row['query'])])} looks most at {looked}; {row['weight']:.2f}"))
        yield Text("  ").append_text(line)


def _plain(measure: str) -> Text:
    """A measure in words, its name beside it: that is what --role takes."""
    return Text.assemble(printable(title(measure)), (f"  {printable(measure)}", "dim"), overflow="fold")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _between(row: dict[str, Any]) -> str:
    return "" if row["low"] is None or row["high"] is None else f"{row['low']:.3f}–{row['high']:.3f}"


def _table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1), show_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("", *left) else "right", overflow="fold")
    return table
