"""Edits to try: drawn by hypothesis as JSON (`acting` makes the edits: no checked code runs in a draw), and listed."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qkvlab import edits as e
from qkvlab.errors import EditError
from qkvlab.spec import ModelSpec

FIELDS = {name: [field.name for field in fields(kind)] for name, kind in e.KINDS.items()}


def acting(drawn: Iterable[dict[str, Any]], spec: ModelSpec, n_token: int) -> list[e.Edit]:
    """Those of the drawn edits that can act on this model and a text of so many tokens."""
    return [edit for edit in map(e.edit_from_dict, drawn) if can_act(edit, spec, n_token)]


def can_act(edit: e.Edit, spec: ModelSpec, n_token: int) -> bool:
    try:
        edit.check(spec, n_token)
    except EditError:
        return False
    return True


def any_edit(spec: ModelSpec, n_token: int, kinds: Sequence[str] = tuple(e.KINDS)) -> st.SearchStrategy[dict[str, Any]]:
    """An edit of one of these kinds (default: all) as JSON; most can act on this model and so many tokens."""
    layers, tokens = st.integers(0, spec.n_layer - 1), st.integers(0, n_token - 1)
    vectors = [np.random.default_rng(seed).normal(size=spec.d_head).round(3).tolist() for seed in range(5)]
    head = st.builds("{}.{}".format, layers, st.integers(0, spec.n_head - 1))
    values: dict[str, st.SearchStrategy[Any]] = {
        "kv_head": st.builds("{}.{}".format, layers, st.integers(0, spec.n_kv_head - 1)),
        "head": head,
        "where": st.one_of(head, head, layers.map(str), st.just("all")),
        "shift": st.sampled_from(vectors),
        "n_kv_head": st.sampled_from([n for n in range(1, spec.n_kv_head + 1) if spec.n_kv_head % n == 0]),
        "amount": st.sampled_from([-4.0, 0.0, 2.5]),
        "factor": st.sampled_from([0.0, 0.5, 1.0, 3.0]),
        "margin": st.sampled_from([3.0, 0.5]),
        "strength": st.sampled_from([1.0, 1.0, 0.3, 0.0]),
        "to": st.sampled_from(["zero", *vectors]),
        "first_layer": layers,
        "last_layer": layers,
        **{name: tokens for name in ("token", "source", "key")},
    }

    def ordered(edit: dict[str, Any]) -> dict[str, Any]:
        """Keys at or before queries, first layers before last ones."""
        for low, high in (("key", "query"), ("first_layer", "last_layer")):
            wrong = low in edit and edit.get(high) is not None and edit[low] > edit[high]
            if wrong and (spec.causal or high != "query"):
                edit = {**edit, low: edit[high], high: edit[low]}
        return edit

    def one(kind: str) -> st.SearchStrategy[dict[str, Any]]:
        query = st.none() | tokens if kind == "mute" else tokens
        chosen = {name: query if name == "query" else values[name] for name in FIELDS[kind]}
        return st.fixed_dictionaries({"kind": st.just(kind), **chosen}).map(ordered)

    return st.one_of([one(kind) for kind in kinds if spec.rotation is not None or kind != "stop-rotation"])


def each_kind(d_head: int) -> dict[str, list[e.Edit]]:
    """Every kind in every scope (head, layer, all), at full strength, 0.3 and 0, with and without a query."""
    vector = tuple(np.linspace(-1, 2, d_head).tolist())
    scopes = [("1.2", 1.0), ("1", 0.3), ("all", 1.0)]
    edits: list[e.Edit] = [
        *(e.ShiftKey(kv_head="1.1", token=4, shift=vector, strength=strength) for strength in (1.0, 0.3, 0.0)),
        *(e.SwapValue(kv_head="1.1", token=4, source=9, strength=strength) for strength in (1.0, 0.3, 0.0)),
        e.ShareKV(first_layer=0, last_layer=2),
        e.ShareKV(first_layer=1, last_layer=1, strength=0.3),
        *(e.ShiftQuery(head="1.2", query=7, shift=vector, strength=strength) for strength in (1.0, 0.3)),
        *(e.AimQuery(head="1.2", query=8, key=key, strength=strength) for key, strength in ((5, 1.0), (8, 0.3))),
        *(e.Tie(where=where, strength=strength) for where, strength in scopes),
        *(e.StopRotation(where=where, strength=strength) for where, strength in scopes),
        *(e.Mute(where=where, key=6, strength=strength) for where, strength in scopes),
        *(e.Mute(where=where, key=6, query=8, strength=strength) for where, strength in scopes),
        *(e.Strengthen(where=where, query=8, key=6, amount=2.5, strength=strength) for where, strength in scopes),
        *(e.ScaleScores(where=where, factor=3.0, strength=strength) for where, strength in scopes),
        *(e.ScaleScores(where="1", factor=0.0, strength=strength) for strength in (1.0, 0.3)),
        e.Ablate(where="1.2", to="mean"),
        e.Ablate(where="1", to=vector, strength=0.3),
        e.Ablate(),
    ]
    return {kind: [edit for edit in edits if edit.kind == kind] for kind in e.KINDS}
