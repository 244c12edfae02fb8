"""atlas.json and examples.json, read and checked: a file of a stranger ends in one clear line, never further in.

Both are small, of plain numbers, and need no table library; docs/atlas.md says what is in them.
"""

import json
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import AtlasError, HeadError, shown

FORMAT = 1
LARGEST = 64 * 1024**2
"""Bytes of either file."""
MOST_HEADS, MOST_MEASURES, LONGEST, LONGEST_TEXT = 20_000, 2_000, 2_000, 20_000
"""Heads, measures, characters of a name or sentence, and characters of an example's text."""
LISTS = ("value", "low", "high", "selection", "whole", "mass")
OPTIONAL = ("twin", "twin_high", "control", "control_high")
"""Lists that may be missing: of the shuffled model, and of the same keys on random tokens that do not repeat."""

ENOUGH = 30
"""Places without which a measure names nobody."""

AtlasJson = dict[str, Any]
"""What atlas.json holds, checked."""
ExamplesJson = dict[str, Any]


def read_atlas(path: Path) -> AtlasJson:
    """What a finished run found: the file, or the folder of the run. Raises AtlasError."""
    file = path / "atlas.json" if path.is_dir() else path
    if path.is_dir() and not file.exists() and (path / "run.json").exists():
        raise AtlasError(f"{path}: the scan is not finished; go on with: qkvlab atlas scan … -o {path} --resume")
    return check_atlas(_read(file), str(file))


def read_examples(path: Path) -> ExamplesJson:
    """The places in context that belong to an atlas. Raises AtlasError."""
    return check_examples(_read(path), str(path))


def check_atlas(value: Any, name: str) -> AtlasJson:
    """The same object, if it is what docs/atlas.md says, without baselines that have no number.

    Raises AtlasError, which begins with `name`.
    """
    try:
        _format(value)
        model = _object(value, "model")
        for size in ("n_layer", "n_head", "n_kv_head"):
            _whole(model, size, 1, MOST_HEADS)
        heads = model["n_layer"] * model["n_head"]
        if heads > MOST_HEADS:
            raise _Wrong(f"{heads:,} heads; at most {MOST_HEADS:,} are read")
        for field in ("badge", "name"):
            _text(model, field)
        _run(_object(value, "run"))
        _measures(_object(value, "measures"), heads)
        for measure, held in _object(value, "sums").items():
            _text(_as_object(held, measure), "unit")
            for field in ("mean", "sd"):
                _numbers(held, field, heads)
        _roles(_list(value, "roles"), value)
        if not all(isinstance(said, str) and len(said) <= LONGEST for said in _list(value, "findings")):
            raise _Wrong("findings: expected sentences")
    except _Wrong as wrong:
        raise AtlasError(f"{name}: not an atlas of format {FORMAT}: {wrong}") from None
    return value  # type: ignore[no-any-return]


def check_examples(value: Any, name: str) -> ExamplesJson:
    """The same object, if it is what docs/atlas.md says. Raises AtlasError, which begins with `name`."""
    try:
        texts = _list(_as_object(value, "the file"), "texts")
        if not all(isinstance(text, str) and len(text) <= LONGEST_TEXT for text in texts):
            raise _Wrong(f"texts: expected texts of at most {LONGEST_TEXT:,} characters")
        for head in _object(value, "heads"):
            if not re.fullmatch(r"\d{1,5}\.\d{1,5}", head, re.ASCII):
                raise _Wrong(f"heads: {shown(head)} is no head")
            for row in _list(value["heads"], head):
                _example(_as_object(row, head), texts)
    except _Wrong as wrong:
        raise AtlasError(f"{name}: not the examples of an atlas: {wrong}") from None
    return value  # type: ignore[no-any-return]


# ---- what is asked of an atlas


def head_names(atlas: AtlasJson) -> list[str]:
    """Every head's address, in the order of all lists."""
    model = atlas["model"]
    return [f"{layer}.{head}" for layer in range(model["n_layer"]) for head in range(model["n_head"])]


def head_index(atlas: AtlasJson, head: str) -> int:
    """Where a head stands in all lists. Raises HeadError."""
    names = head_names(atlas)
    if head not in names:
        sizes = f"{atlas['model']['n_layer']} layers of {atlas['model']['n_head']} heads"
        model = f"{atlas['model']['badge']}, which has {sizes}"
        raise HeadError(f"head {shown(head)} is none of {model}: expected 0.0 to {names[-1]}")
    return names.index(head)


def measure_named(atlas: AtlasJson, measure: str) -> str:
    """The measure of this name; its last part is enough (`previous`, `obj:dependent`) where one ends so.

    Raises AtlasError with the nearest ones.
    """
    if measure in atlas["measures"]:
        return measure
    ends = [name for name in sorted(atlas["measures"]) if name.endswith(f":{measure}")]
    if len(ends) == 1:
        return str(ends[0])
    if ends:
        raise AtlasError(f"{shown(measure)} may be {', '.join(ends[:6])}; give one of them")
    known = {name.partition(":")[2]: name for name in atlas["measures"]} | {name: name for name in atlas["measures"]}
    near = list(dict.fromkeys(known[found] for found in get_close_matches(measure, known, n=6)))[:3]
    nearest = f"; the nearest are {', '.join(near)}" if near else ""
    raise AtlasError(
        f"the measure {shown(measure)} is none of this run's {len(atlas['measures'])}{nearest} (qkvlab atlas show RUN "
        "lists what it found)"
    )


def roles_of(atlas: AtlasJson, head: str) -> list[str]:
    """The roles a head is named for, the rarest first: they say most."""
    own = [role for role in atlas["roles"] if any(row["head"] == head for row in role["heads"])]
    return [role["role"] for role in sorted(own, key=lambda role: len(role["heads"]))]


def unnamed(atlas: AtlasJson) -> tuple[list[str], list[str]]:
    """Measures that no head is named for: those with places enough, and those with too few."""
    named = {role["role"] for role in atlas["roles"]}
    free = [measure for measure in atlas["measures"] if measure not in named]
    enough = [measure for measure in free if atlas["measures"][measure]["n"] >= ENOUGH]
    return enough, [measure for measure in free if measure not in enough]


def ranking(atlas: AtlasJson, measure: str) -> list[dict[str, Any]]:
    """How well does every head do this? Best on the whole corpus first; heads that were not scanned are left out.

    Each row: head, n, value, low, high, selection, whole, baselines {name: value}, twin, ablation (null where it was
    not run), named. Raises AtlasError where there is no such measure.
    """
    measure = measure_named(atlas, measure)
    held = atlas["measures"][measure]
    named = {row["head"]: row for role in atlas["roles"] if role["role"] == measure for row in role["heads"]}
    baselines = {name: baseline["value"] for name, baseline in held["baselines"].items()}
    rows = []
    for at, head in enumerate(head_names(atlas)):
        if held["whole"][at] is None and held["value"][at] is None:
            continue
        figures = {field: held[field][at] for field in ("value", "low", "high", "selection", "whole")}
        twin = None if held.get("twin") is None else held["twin"][at]
        beside = baselines if held.get("control") is None else {**baselines, "control": held["control"][at]}
        ablation = named[head].get("ablation") if head in named else None
        found = {"head": head, "n": held["n"], **figures, "baselines": beside, "twin": twin, "ablation": ablation}
        rows.append(found | {"named": head in named})
    return sorted(rows, key=lambda row: -math.inf if row["whole"] is None else -row["whole"])


def card(atlas: AtlasJson, head: str) -> dict[str, Any]:
    """One head by all that was measured: head, roles, measures (rows as of `ranking`, each with its `measure`; those of
    its roles first), sums {name: {unit, mean, sd}}. Raises HeadError."""
    at, roles = head_index(atlas, head), roles_of(atlas, head)
    rows = [
        {"measure": name} | row for name in atlas["measures"] for row in ranking(atlas, name) if row["head"] == head
    ]
    rows.sort(key=lambda row: (not row["named"], -math.inf if row["whole"] is None else -row["whole"]))
    sums = {
        name: {"unit": held["unit"], "mean": held["mean"][at], "sd": held["sd"][at]}
        for name, held in atlas["sums"].items()
    }
    return {"head": head, "roles": roles, "measures": rows, "sums": sums}


# ---- within


class _Wrong(Exception):
    """What does not fit, without the file's name."""


def _read(file: Path) -> Any:
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise AtlasError(f"{file}: {size:,} bytes; at most {LARGEST:,} are read")
        return json.loads(file.read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise AtlasError(f"{file}: cannot be read ({error.strerror}); expected a finished run of the atlas") from None
    except (ValueError, RecursionError):
        raise AtlasError(f"{file}: not JSON, or cut off; scan again, or go on with --resume") from None


def _no_number(name: str) -> None:
    raise ValueError(name)


def _format(value: Any) -> None:
    if _as_object(value, "the file").get("format") != FORMAT:
        raise _Wrong(f"format: expected {FORMAT}; got {shown(value.get('format'))}")


def _as_object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{name[:60]}: expected an object; got {shown(value)}")
    return value


def _object(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    return _as_object(value.get(field), field)


def _list(value: Mapping[str, Any], field: str) -> list[Any]:
    found = value.get(field)
    if not isinstance(found, list):
        raise _Wrong(f"{field[:60]}: expected a list; got {shown(found)}")
    return found


def _text(value: Mapping[str, Any], field: str) -> str:
    found = value.get(field)
    if not isinstance(found, str) or len(found) > LONGEST:
        raise _Wrong(f"{field}: expected a text of at most {LONGEST:,} characters; got {shown(found)}")
    return found


def _whole(value: Mapping[str, Any], field: str, least: int, most: int) -> int:
    found = value.get(field)
    if type(found) is not int or not least <= found <= most:
        raise _Wrong(f"{field}: expected a whole number from {least} to {most:,}; got {shown(found)}")
    return found


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _number(value: Mapping[str, Any], field: str) -> None:
    if not _is_number(value.get(field)):
        raise _Wrong(f"{field}: expected a number; got {shown(value.get(field))}")


def _numbers(value: Mapping[str, Any], field: str, heads: int) -> None:
    """One for every head; null where a head has none."""
    found = _list(value, field)
    if len(found) != heads:
        raise _Wrong(f"{field}: expected {heads:,} numbers, one for every head; got {len(found):,}")
    for number in found:
        if number is not None and not _is_number(number):
            raise _Wrong(f"{field}: expected numbers or null; got {shown(number)}")


def _run(run: dict[str, Any]) -> None:
    for field in ("window", "documents", "tokens"):
        _whole(run, field, 0, 10**15)
    for file in _list(run, "files"):
        _text(_as_object(file, "files"), "name")
    for reason, count in _object(run, "skipped").items():
        if len(reason) > LONGEST or type(count) is not int:
            raise _Wrong(f"skipped: expected how often; got {shown(count)}")


def _measures(measures: dict[str, Any], heads: int) -> None:
    if len(measures) > MOST_MEASURES or any(len(name) > LONGEST for name in measures):
        raise _Wrong(f"measures: {len(measures):,}; at most {MOST_MEASURES:,} are read")
    for name, held in measures.items():
        try:
            _measure(_as_object(held, name), heads)
        except _Wrong as wrong:
            raise _Wrong(f"measure {shown(name)}: {wrong}") from None


def _measure(held: dict[str, Any], heads: int) -> None:
    for field in ("n", "whole_n"):
        _whole(held, field, 0, 10**15)
    for field in LISTS:
        _numbers(held, field, heads)
    for field in OPTIONAL:
        if held.get(field) is not None:
            _numbers(held, field, heads)
    for name, baseline in list(_object(held, "baselines").items()):
        figures = [_as_object(baseline, "baselines").get(field) for field in ("value", "low", "high")]
        if None in figures:  # nothing was counted in the documents reported on
            del held["baselines"][name]
        elif not all(map(_is_number, figures)):
            raise _Wrong(f"baseline {shown(name)}: expected numbers; got {shown(figures)}")


def _roles(roles: list[Any], atlas: AtlasJson) -> None:
    heads = set(head_names(atlas))
    for role in roles:
        name = _text(_as_object(role, "roles"), "role")
        if name not in atlas["measures"]:
            raise _Wrong(f"role {shown(name)} is none of the measures")
        for row in _list(role, "heads"):
            if _as_object(row, name).get("head") not in heads:
                raise _Wrong(f"role {shown(name)}: {shown(row.get('head'))} is no head of the model")
            _ablation(row.get("ablation"))


def _ablation(ablation: Any) -> None:
    if ablation is None:
        return
    _whole(_as_object(ablation, "ablation"), "n", 0, 10**15)
    for field in ("at", "elsewhere", "random_at"):
        if ablation.get(field) is not None:
            _number(ablation, field)
    for field in ("random_head", "unit"):
        _text(ablation, field)


def _example(row: dict[str, Any], texts: list[str]) -> None:
    at = _whole(row, "text", 0, len(texts) - 1)
    for field in ("measure", "side", "document"):
        _text(row, field)
    _number(row, "weight")
    for field in ("query", "right", "looked"):
        if row.get(field) is not None or field != "right":
            _span(row.get(field), field, len(texts[at]))


def _span(span: Any, field: str, length: int) -> None:
    whole = isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)
    if not whole or not 0 <= span[0] <= span[1] <= length:
        raise _Wrong(f"{field}: expected [start, end] within its text; got {shown(span)}")
