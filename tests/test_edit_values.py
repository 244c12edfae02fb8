"""Edits as values: what cannot act is refused with one line, and JSON round-trips or is refused."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkvlab import edits as e
from qkvlab.errors import EditError
from qkvlab.spec import ModelSpec, Rotation
from some_edits import any_edit, can_act
from unchecked import unchecked

IDS = (3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7)
N = len(IDS)
SPEC = ModelSpec(
    "tiny", "llama", n_layer=3, n_head=6, n_kv_head=2, d_head=10, d_model=24, d_ff=41, n_vocab=53, n_context=128,
    norm_eps=1e-6, activation="silu", mask="causal", rotation=Rotation(10_000.0, 10), window=5, windowed_layers=(2,),
)  # fmt: skip
SHIFT = (0.5,) * 10
NAN, INF = float("nan"), float("inf")


def test_every_kind_has_a_name_of_its_own() -> None:
    assert set(e.KINDS) == {
        "shift-key", "swap-value", "share-kv", "shift-query", "aim-query", "tie", "stop-rotation", "mute",
        "strengthen", "scale-scores", "ablate",
    }  # fmt: skip
    assert all(e.KINDS[name].kind == name and set(e.KINDS[name].stages) <= set(e.STAGES) for name in e.KINDS)


REFUSED: list[tuple[e.Edit, str]] = [
    # a key the query cannot see
    (e.Mute(key=4, query=3), "#4 comes after #3"),
    (e.Mute(where="1.2", key=10, query=0), "#10 comes after #0"),
    (e.Strengthen(query=3, key=4, amount=1.0), "#4 comes after #3"),
    (e.AimQuery(head="1.2", query=3, key=4), "#4 comes after #3"),
    (e.Mute(where="2", key=3, query=8), "outside the window of 5"),
    (e.Mute(where="all", key=3, query=8), "outside the window of 5"),
    (e.Strengthen(where="2.0", query=9, key=4, amount=1.0), "outside the window of 5"),
    (e.AimQuery(head="2.5", query=9, key=4), "outside the window of 5"),
    # no such head, layer, K/V head
    (e.Tie(where="1.6"), "no head 1.6"),
    (e.Tie(where="3.0"), "no head 3.0"),
    (e.Tie(where="3"), "no layer 3"),
    (e.AimQuery(head="0.6", query=1, key=0), "no head 0.6"),
    (e.ShiftKey(kv_head="1.2", token=0, shift=SHIFT), "no K/V head 1.2"),
    (e.ShiftKey(kv_head="3.0", token=0, shift=SHIFT), "no K/V head 3.0"),
    (e.SwapValue(kv_head="1.5", token=0, source=1), "no K/V head 1.5"),
    (e.ShareKV(first_layer=0, last_layer=3), "layers 0 to 3"),
    (e.ShareKV(first_layer=2, last_layer=1), "layers 2 to 1"),
    (e.ShareKV(first_layer=0, last_layer=1, n_kv_head=3), "cannot be shared as 3"),
    (e.ShareKV(first_layer=0, last_layer=1, n_kv_head=4), "cannot be shared as 4"),
    # no such token
    (e.Mute(key=11), "no token #11"),
    (e.Mute(key=3, query=11), "no token #11"),
    (e.Strengthen(query=11, key=0, amount=1.0), "no token #11"),
    (e.AimQuery(head="1.2", query=11, key=0), "no token #11"),
    (e.ShiftQuery(head="1.2", query=11, shift=SHIFT), "no token #11"),
    (e.SwapValue(kv_head="1.1", token=0, source=11), "no token #11"),
    # a vector of another length than a head's
    (e.ShiftKey(kv_head="1.1", token=0, shift=SHIFT[1:]), "9 numbers; expected 10"),
    (e.ShiftQuery(head="1.2", query=0, shift=(*SHIFT, 1.0)), "11 numbers; expected 10"),
    (e.Ablate(to=SHIFT[1:]), "9 numbers; expected 10"),
]


@pytest.mark.parametrize(("edit", "says"), REFUSED, ids=lambda value: getattr(value, "kind", None))
def test_an_edit_that_cannot_act_is_refused(edit: e.Edit, says: str) -> None:
    with pytest.raises(EditError) as caught:
        edit.check(SPEC, N)
    assert says in str(caught.value) and str(caught.value).startswith(f"{edit.kind}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "roberta"])
def test_there_is_no_rotation_to_stop(kind: str, tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(EditError, match="does not turn"):
        tiny_model(kind).trace(ids=IDS, edits=[e.StopRotation()])


def test_a_trace_refuses_before_it_runs_and_an_encoder_may_look_ahead(tiny_model: Callable[[str], Any]) -> None:
    ahead = e.Mute(key=4, query=3)
    with pytest.raises(EditError, match="comes after"):
        tiny_model("llama").trace(ids=IDS, edits=[e.Tie(), ahead])
    assert tiny_model("bert").trace(ids=IDS, edits=[ahead]).weights("0.0")[3, 4] == 0


# ---- what could never act is refused when it is made, from Python and from JSON alike

JUNK = [None, True, [], {}, "x", b"1.2", 1.5, NAN, -1, 10**400, 10**5000, [[1.0]], (1, 2), np.bool_(True)]
COUNTS = ["3", 3.0, np.float32(3), [3], *JUNK]
NUMBERS = ["1", INF, -INF, [1.0], 1e7, *(value for value in JUNK if value not in (1.5, -1))]
VECTORS = [
    "0000000000", 0.5, (NAN,) * 10, (*SHIFT[1:], INF), (*SHIFT[1:], 1e7), (*SHIFT[1:], True), (*SHIFT[1:], "1"),
    [list(SHIFT)], np.ones((1, 10)), np.array(1.0), np.ones(10, bool), np.ones(10, complex), *JUNK[:5], 10**400,
]  # fmt: skip
HEADS = ["", "1", "all", "1.2.3", "1,2", "-1.0", "1.-2", 1, *JUNK]
SCOPES = ["", "everything", "-1", "1.2.3", "1,2", "²", 13, *JUNK]
GOOD: dict[str, dict[str, Any]] = {
    "shift-key": {"kv_head": "1.1", "token": 3, "shift": SHIFT},
    "swap-value": {"kv_head": "1.1", "token": 3, "source": 2},
    "share-kv": {"first_layer": 0, "last_layer": 1, "n_kv_head": 1},
    "shift-query": {"head": "1.2", "query": 3, "shift": SHIFT},
    "aim-query": {"head": "1.2", "query": 3, "key": 2, "margin": 1.0},
    "tie": {"where": "1.2"},
    "stop-rotation": {"where": "1.2"},
    "mute": {"where": "1.2", "key": 2, "query": 3},
    "strengthen": {"where": "1.2", "query": 3, "key": 2, "amount": 1.0},
    "scale-scores": {"where": "1.2", "factor": 1.0},
    "ablate": {"where": "1.2", "to": SHIFT},
}
WRONG: dict[str, list[Any]] = {
    **dict.fromkeys(("token", "source", "query", "key", "first_layer", "last_layer"), COUNTS),
    "n_kv_head": [0, *COUNTS],
    "strength": [-0.01, 1.01, 2, *NUMBERS],
    "factor": [-0.5, *NUMBERS],
    **dict.fromkeys(("amount", "margin"), NUMBERS),
    "shift": VECTORS,
    "to": ["nothing", "Zero", "", *VECTORS],
    **dict.fromkeys(("head", "kv_head"), HEADS),
    "where": SCOPES,
}


def read_json(**values: Any) -> e.Edit:
    return e.edit_from_dict(values)


@pytest.mark.parametrize(("kind", "field"), [(kind, name) for kind in GOOD for name in (*GOOD[kind], "strength")])
def test_a_wrong_value_is_refused_when_the_edit_is_made(kind: str, field: str) -> None:
    assert can_act(e.KINDS[kind](**GOOD[kind]), SPEC, N)
    for value in WRONG[field]:
        if (kind, field, value) == ("mute", "query", None):
            continue
        for make in (e.KINDS[kind], partial(read_json, kind=kind)):
            with unchecked(), pytest.raises(EditError) as caught:
                make(**{**GOOD[kind], field: value})
            said = str(caught.value)
            assert said.startswith(f"{kind}: {field} is ") and "; expected " in said
            assert "\n" not in said and len(said) < 200


def test_what_it_was_given_is_kept_as_plain_values() -> None:
    """NumPy's numbers and arrays, lists and whole numbers make the same edit, which serialises."""
    with unchecked():
        for shift in (list(SHIFT), np.array(SHIFT), np.array(SHIFT, np.float32), tuple(np.float32(x) for x in SHIFT)):
            edit = e.ShiftQuery(head="1.2", query=np.int64(3), shift=shift, strength=1)
            assert edit == e.ShiftQuery(head="1.2", query=3, shift=SHIFT) and hash(edit)
            assert e.edit_from_dict(json.loads(json.dumps(edit.to_dict()))) == edit
        assert e.Ablate(to=[1, 2]).to == (1.0, 2.0) and type(e.Mute(key=np.uint8(3)).key) is int


@pytest.mark.parametrize("edits", [5, e.Tie(), {"kind": "tie"}, ["tie"], [None], [{"kind": "tie"}], "tie", [e.Tie]])
def test_what_is_no_list_of_edits(edits: Any, tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    with unchecked(), pytest.raises(EditError, match="edit") as caught:
        model.trace(ids=IDS, edits=edits)
    assert "\n" not in str(caught.value)
    with unchecked():
        assert model.trace(ids=IDS, edits=(edit for edit in [e.Tie()])).edits == (e.Tie(),)


# ---- JSON


@given(data=st.data())
@pytest.mark.parametrize("kind", e.KINDS)
def test_json_round_trip(kind: str, data: st.DataObject) -> None:
    edit = e.edit_from_dict(data.draw(any_edit(SPEC, N, [kind])))
    written = json.dumps(edit.to_dict(), allow_nan=False)
    again = e.edit_from_dict(json.loads(written))
    assert again == edit and type(again) is e.KINDS[kind] and hash(again) == hash(edit)
    assert again.to_dict() == edit.to_dict() and json.loads(written)["kind"] == kind


def test_defaults_may_be_left_out() -> None:
    assert e.edit_from_dict({"kind": "tie"}) == e.Tie(where="all", strength=1.0)
    assert e.edit_from_dict({"kind": "mute", "key": 3, "query": None}) == e.Mute(key=3)
    assert e.edit_from_dict({"kind": "ablate", "to": [1, 2.5]}) == e.Ablate(to=(1.0, 2.5))
    assert e.edit_from_dict({"kind": "tie", "strength": 1}).strength == 1.0


BAD_JSON = [
    ("null", "must be an object"),
    ("[]", "must be an object"),
    ('"tie"', "must be an object"),
    ("3", "must be an object"),
    ("{}", "not known"),
    ('{"kind": null}', "not known"),
    ('{"kind": ["tie"]}', "not known"),
    ('{"kind": "ti"}', "did you mean 'tie'"),
    ('{"kind": "Tie"}', "not known"),
    ('{"kind": "tie", "were": "1.2"}', "did you mean 'where'"),
    ('{"kind": "tie", "stages": []}', "not known"),
    ('{"kind": "mute"}', "the field key is missing"),
    ('{"kind": "strengthen", "query": 3}', "key, amount"),
    ('{"kind": "shift-key", "kv_head": "1.1", "token": 0}', "shift"),
    ('{"kind": "share-kv"}', "first_layer, last_layer"),
    ('{"kind": "mute", "key": true}', "; expected "),
    ('{"kind": "mute", "key": 3.0}', "; expected "),
    ('{"kind": "mute", "key": "3"}', "; expected "),
    ('{"kind": "mute", "key": null}', "; expected "),
    ('{"kind": "mute", "key": 3, "query": false}', "; expected "),
    ('{"kind": "strengthen", "query": null, "key": 2, "amount": 1}', "; expected "),
    ('{"kind": "strengthen", "query": 3, "key": 2, "amount": true}', "; expected "),
    ('{"kind": "strengthen", "query": 3, "key": 2, "amount": "1"}', "; expected "),
    ('{"kind": "tie", "where": 1}', "; expected "),
    ('{"kind": "tie", "where": ["1.2"]}', "; expected "),
    ('{"kind": "tie", "strength": false}', "; expected "),
    ('{"kind": "tie", "strength": "1"}', "; expected "),
    ('{"kind": "tie", "strength": null}', "; expected "),
    ('{"kind": "ablate", "to": "nothing"}', "expected 'zero', 'mean', or a vector"),
    ('{"kind": "ablate", "to": 0}', "; expected "),
    ('{"kind": "ablate", "to": [1, null]}', "; expected "),
    ('{"kind": "ablate", "to": {"mean": 1}}', "; expected "),
    ('{"kind": "shift-query", "head": "1.2", "query": 3, "shift": "0000000000"}', "; expected "),
    ('{"kind": "shift-query", "head": "1.2", "query": 3, "shift": [true, 0, 0, 0, 0, 0, 0, 0, 0, 0]}', "; expected "),
    ('{"kind": "shift-query", "head": "1.2", "query": 3, "shift": [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]}', "; expected "),
    ('{"kind": "share-kv", "first_layer": 0, "last_layer": 1.5}', "; expected "),
    ('{"kind": "strengthen", "query": 3, "key": 2, "amount": NaN}', "amount is nan; expected a number"),
    ('{"kind": "scale-scores", "factor": Infinity}', "factor is inf; expected a number"),
    ('{"kind": "tie", "strength": NaN}', "strength is nan; expected a number from 0 to 1"),
    ('{"kind": "ablate", "to": [NaN, 0, 0, 0, 0, 0, 0, 0, 0, 0]}', "to is [nan, 0, "),
]


@pytest.mark.parametrize(("text", "says"), BAD_JSON)
def test_bad_json_is_refused(text: str, says: str) -> None:
    with pytest.raises(EditError) as caught:
        e.edit_from_dict(json.loads(text))
    assert says in str(caught.value) and "\n" not in str(caught.value)


FIELDS = {"query": 3, "key": 2, "head": "1.2", "amount": 1.0, "factor": 1.0, "margin": 1.0, "shift": SHIFT, "to": SHIFT}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("strengthen", "amount"),
        ("scale-scores", "factor"),
        ("aim-query", "margin"),
        ("shift-query", "shift"),
        ("ablate", "to"),
        ("tie", "strength"),
        ("mute", "key"),
    ],
)
def test_a_whole_number_beyond_any_float_is_refused(kind: str, field: str) -> None:
    """JSON has no largest number: 1 followed by 400 zeros is read as a whole number."""
    good = {"kind": kind, **{name: FIELDS[name] for name in e.KINDS[kind].__dataclass_fields__ if name in FIELDS}}
    e.edit_from_dict(good).check(SPEC, N)
    huge = [10**400, *SHIFT[1:]] if field in ("shift", "to") else 10**400
    with pytest.raises(EditError):
        e.edit_from_dict({**good, field: huge}).check(SPEC, N)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1.2", "1", "all", "mean", "x" * 99]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(kind=st.sampled_from(list(e.KINDS)), junk=JSON, data=st.data())
def test_one_wrong_value_is_refused_or_right(kind: str, junk: Any, data: st.DataObject) -> None:
    """Whatever stands in a field: an EditError, or an edit that can act. Nothing else."""
    values = data.draw(any_edit(SPEC, N, [kind]))
    values[data.draw(st.sampled_from([*values, "other"]))] = junk
    for candidate in (values, junk):
        try:
            edit = e.edit_from_dict(candidate)
        except EditError:
            continue
        assert can_act(edit, SPEC, N) in (True, False)


ANYTHING = JSON | st.fixed_dictionaries(
    {"kind": JSON | st.sampled_from(list(e.KINDS))}, optional={name: JSON for name in (*WRONG, "other")}
)


@given(junk=ANYTHING)
def test_no_junk_does_more_than_be_refused(junk: Any) -> None:
    for candidate in (junk, [junk], {"kind": junk}, {"kind": "tie", "where": junk}, {"kind": "ablate", "to": junk}):
        try:
            edit = e.edit_from_dict(candidate)
        except EditError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
        else:
            assert can_act(edit, SPEC, N) in (True, False)
            assert e.edit_from_dict(json.loads(json.dumps(edit.to_dict(), allow_nan=False))) == edit


HUGE: list[dict[str, Any]] = [
    *({**GOOD["strengthen"], "kind": "strengthen", "amount": size} for size in (1e6, 1e30, 1e39, -1e39, 1e300)),
    *({**GOOD["shift-key"], "kind": "shift-key", "shift": [size] * 10} for size in (1e6, 1e30, 1e38, 1e300)),
    *({**GOOD["shift-query"], "kind": "shift-query", "shift": [size] * 10} for size in (1e6, 1e30, 1e38, 1e300)),
    *({**GOOD["aim-query"], "kind": "aim-query", "margin": size} for size in (1e6, 1e15, 1e39, 1e300)),
    *({**GOOD["ablate"], "kind": "ablate", "to": [size] * 10} for size in (1e6, 1e15, 1e38, 1e300)),
    {"kind": "scale-scores", "factor": 1e6},
]


@pytest.mark.parametrize("values", HUGE, ids=lambda values: values["kind"])
def test_huge_numbers_are_refused_or_leave_finite_ones(
    values: dict[str, Any], tiny_model: Callable[[str], Any]
) -> None:
    """Beyond float32 they would become inf, then NaN in every row of the block, before the query too: 0 · NaN is NaN.
    From there they would reach any trace, edited or not, that shares those rows."""
    model = tiny_model("llama")
    try:
        with np.errstate(all="ignore"):
            trace = model.trace(ids=IDS, edits=[e.edit_from_dict(values)]).run()
    except EditError:
        return
    assert np.isfinite(model.trace(ids=IDS[:3]).logits).all(), "the unedited text is harmed"
    assert np.isfinite(trace.x(3)).all() and np.isfinite(trace.logits).all()
    np.testing.assert_allclose(trace.weights("1.2").sum(-1), np.ones(N), rtol=1e-5)
