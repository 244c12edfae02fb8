"""The interventions, as small typed values that serialise to JSON. Each says exactly what it changes.

Edits act in the order of the forward pass (k, v, q, a head's own keys, scores, z), then as listed. Every edit has a
`strength` from 0 to 1: linear between the unedited and the edited array; a mute multiplies the key's weight by
1 - strength before renormalising. Tokens are named by position, scopes as `13.8` (head), `13` (layer) or `all`,
K/V heads as `layer.kv_head`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from ..errors import EditError, one_of, shown
from ..spec import ModelSpec
from .base import STAGES, Edit, Here, InHead, InKVHead, InScope, Stage, visible
from .scores import Mute, ScaleScores, StopRotation, Strengthen, Tie, edit_scores
from .values import LARGEST, READERS, read_field
from .vectors import Ablate, AimQuery, ShareKV, ShiftKey, ShiftQuery, SwapValue

__all__ = [
    "KINDS",
    "LARGEST",
    "READERS",
    "STAGES",
    "Ablate",
    "AimQuery",
    "Edit",
    "Here",
    "InHead",
    "InKVHead",
    "InScope",
    "Mute",
    "ScaleScores",
    "ShareKV",
    "ShiftKey",
    "ShiftQuery",
    "Stage",
    "StopRotation",
    "Strengthen",
    "SwapValue",
    "Tie",
    "checked",
    "edit_from_dict",
    "edit_scores",
    "visible",
]

KINDS: dict[str, type[Edit]] = {
    edit.kind: edit
    for edit in (
        ShiftKey,
        SwapValue,
        ShareKV,
        ShiftQuery,
        AimQuery,
        Tie,
        StopRotation,
        Mute,
        Strengthen,
        ScaleScores,
        Ablate,
    )
}
"""Every edit by the name it has in JSON."""


def edit_from_dict(values: Any) -> Edit:
    """The edit that `to_dict` wrote. Raises EditError for anything else, naming what was wrong."""
    if not isinstance(values, Mapping):
        raise EditError(f"an edit must be an object with a kind; got {shown(values)}")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise EditError(one_of("the edit", kind, KINDS))
    wanted = {field.name: field for field in fields(KINDS[kind])}
    given = {name: value for name, value in values.items() if name != "kind"}
    for name, value in given.items():
        if name not in wanted:
            raise EditError(f"{kind}: {one_of('the field', name, wanted)}")
        given[name] = read_field(kind, wanted[name], value)
    missing = [n for n, f in wanted.items() if n not in given and f.default is MISSING]
    if missing:
        raise EditError(f"{kind}: the field {', '.join(missing)} is missing")
    return KINDS[kind](**given)


def checked(edits: Any, spec: ModelSpec, n_token: int) -> tuple[Edit, ...]:
    """These edits, each able to act on this model and a text of `n_token` tokens. Raises EditError."""
    if not isinstance(edits, Iterable):
        raise EditError(f"edits is {shown(edits)}; expected a list of them")
    listed = tuple(edits)
    for edit in listed:
        if not isinstance(edit, Edit):
            raise EditError(f"{shown(edit)} is not an edit; make one from qkvlab.edits, or from JSON by edit_from_dict")
        edit.check(spec, n_token)
    return listed
