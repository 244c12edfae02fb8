"""Reuse: a trace that shares rows with earlier ones is the trace a model without history would have made."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from qkvlab import edits as e
from qkvlab.model import Model, open_model
from qkvlab.recording import MOST_PIECES, ROOM, WORTH_ROOM, Pieces, Rows, first_rows
from qkvlab.spec import ModelSpec
from qkvlab.trace import Trace
from some_edits import can_act

TinyModels = Callable[[str], tuple[Any, Path]]
IDS = (3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7)
N = len(IDS)
NAMES = ("q", "k", "v", "z")


@cache
def opened(folder: Path) -> Model:
    return open_model(folder)


def without_history(model: Model) -> Model:
    return Model(model.spec, model.weights, model.source, model.checkpoint)


def arrays(trace: Trace) -> Iterator[tuple[str, np.ndarray]]:
    """Everything a trace keeps, and its end."""
    for layer in range(trace.spec.n_layer):
        yield f"x({layer})", trace.x(layer)
        for name in NAMES:
            yield f"{name}({layer})", getattr(trace, name)(layer)
    yield "final", trace.final


def check_against_fresh(trace: Trace) -> None:
    fresh = without_history(trace.model).trace(ids=trace.ids, edits=trace.edits)
    for (name, ours), (_, theirs) in zip(arrays(trace), arrays(fresh), strict=True):
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(initial=1e-6), err_msg=name)
    assert trace.unchanged == fresh.unchanged


# ---- random histories


def pool(spec: ModelSpec) -> list[e.Edit]:
    """Edits that meet: few layers, heads and positions, so that lists of them seldom commute."""
    half, vector = 0.3, (0.7,) * spec.d_head
    edits: list[e.Edit] = [
        e.SwapValue(kv_head="1.0", token=8, source=2),
        e.SwapValue(kv_head="1.0", token=2, source=8, strength=half),
        e.SwapValue(kv_head="0.1", token=3, source=2),
        e.ShiftKey(kv_head="0.0", token=4, shift=vector),
        e.ShiftKey(kv_head="1.0", token=7, shift=vector),
        e.ShareKV(first_layer=1, last_layer=2, strength=half),
        e.ShiftQuery(head="1.1", query=6, shift=vector),
        e.Tie(where="2"),
        e.Tie(where="1.1", strength=half),
        e.Mute(where="0", key=5),
        e.Mute(where="all", key=1, strength=half),
        e.Mute(where="1.1", key=3, query=4),
        e.Strengthen(where="1", query=3, key=1, amount=2.0),
        e.Strengthen(where="all", query=9, key=6, amount=-1.0),
        e.ScaleScores(where="1.1", factor=3.0),
        e.ScaleScores(where="0.0", factor=0.5, strength=half),
        e.Ablate(where="0.1"),
        e.Ablate(where="1.0", to=vector, strength=half),
    ]
    return edits + [e.StopRotation(where="1", strength=half)] * (spec.rotation is not None)


TEXTS = st.sampled_from(["same", "same", "grow", "cut", "change", "other"])
LISTS = st.sampled_from(["same", "first", "first", "last", "last", "remove", "reverse", "twice", "none"])
DEPTHS = st.sampled_from([0, 1, 2, 3, 3, 3, 3])
STEPS = st.lists(st.tuples(TEXTS, LISTS, st.integers(0, 99), DEPTHS), min_size=4, max_size=9)


def next_text(ids: list[int], what: str, n: int) -> list[int]:
    """How a text follows from the one before: grown, cut, changed in the middle, kept, or another one."""
    at = n % len(ids)
    return {
        "same": ids,
        "grow": [*ids, n % 53, (n * 7 + 3) % 53][: min(len(ids) + 1 + n % 2, 16)],
        "cut": ids[: max(1, len(ids) - 1 - n % 4)],
        "change": [*ids[:at], n % 53, *ids[at + 1 :]],
        "other": [(n + 5 * i) % 53 for i in range(3 + n % 11)],
    }[what]


def next_list(edits: list[e.Edit], known: list[e.Edit], what: str, n: int) -> list[e.Edit]:
    at, new = n % max(1, len(edits)), known[n % len(known)]
    return {
        "same": edits,
        "first": [new, *edits],
        "last": [*edits, new],
        "remove": edits[:at] + edits[at + 1 :],
        "reverse": edits[::-1],
        "twice": edits + edits[at : at + 1],
        "none": [],
    }[what]


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gpt2", "bert"])
@settings(max_examples=8, phases=[Phase.explicit, Phase.generate])  # a failure need not be the smallest
@given(steps=STEPS)
def test_any_history_gives_the_numbers_of_none(kind: str, tiny: TinyModels, steps: list[Any]) -> None:
    model = without_history(opened(tiny(kind)[1]))
    ids, edits, known = list(IDS), list[e.Edit](), pool(model.spec)
    made: list[tuple[Trace, dict[str, np.ndarray]]] = []
    for text, change, n, depth in steps:
        ids, edits = next_text(ids, text, n), next_list(edits, known, change, n)
        trace = model.trace(ids=ids, edits=[edit for edit in edits if can_act(edit, model.spec, len(ids))]).run(depth)
        if depth == model.spec.n_layer:
            check_against_fresh(trace)
        made.append((trace, {name: array.copy() for name, array in arrays(trace)} if depth == 3 else {}))
    for trace, kept in made:
        for name, array in arrays(trace) if kept else []:
            np.testing.assert_array_equal(array, kept[name], err_msg=f"{name} was overwritten")
        if not kept:
            check_against_fresh(trace)


# ---- histories one can name


def follow(model: Model, *steps: tuple[Sequence[int], Sequence[e.Edit]]) -> list[Trace]:
    """Traces one after the other, all alive, each compared with one that has no history."""
    made = []
    for ids, edits in steps:
        made.append(model.trace(ids=ids, edits=edits).run())
    for trace in made:
        check_against_fresh(trace)
    return made


SWAP = e.SwapValue(kv_head="1.1", token=8, source=2)
BACK = e.SwapValue(kv_head="1.1", token=2, source=8)
EARLY = e.Mute(where="0.0", key=5)
"""In layer 0, rows 5 and later: between the two tokens of the swaps in layer 1."""


@pytest.fixture
def model(tiny_model: Callable[[str], Any]) -> Any:
    return tiny_model("llama")


@pytest.mark.parametrize("swap", [SWAP, BACK], ids=["forwards", "backwards"])
def test_a_swap_follows_its_source_when_the_text_changes(swap: e.Edit, model: Model) -> None:
    changed = [*IDS[:2], 9, *IDS[3:]], [*IDS[:5], 9, *IDS[6:]], [*IDS[:8], 9, *IDS[9:]]
    for ids in changed:
        follow(model, (IDS, [swap]), (ids, [swap]))


@pytest.mark.parametrize("swap", [SWAP, BACK], ids=["forwards", "backwards"])
def test_a_swap_follows_its_source_when_an_earlier_layer_is_edited(swap: e.Edit, model: Model) -> None:
    """The edit in layer 0 moves rows from 5 on; the swap in layer 1 ties rows 2 and 8 together."""
    follow(model, (IDS, [swap]), (IDS, [EARLY, swap]))
    follow(model, (IDS, [EARLY, swap]), (IDS, [swap]))


def test_swaps_can_form_a_chain(model: Model) -> None:
    """Row 3 takes what row 8 has, so it moves with it; then a swap of row 3 or a row behind it is due again."""
    first = e.SwapValue(kv_head="1.1", token=3, source=8)
    for second in (e.SwapValue(kv_head="1.1", token=1, source=3), e.SwapValue(kv_head="1.1", token=4, source=1)):
        for swaps in ([first, second], [second, first]):
            follow(model, (IDS, swaps), (IDS, [*swaps, EARLY]))


ROW_3 = [e.Strengthen(where="1.4", query=3, key=1, amount=2.0), e.ScaleScores(where="1.4", factor=3.0)]
ROW_9 = e.Strengthen(where="1.4", query=9, key=1, amount=1.0)
AT_3 = e.Strengthen(where="1.4", query=3, key=1, amount=1.5)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ROW_3, ROW_3[::-1]),
        (ROW_3, [*ROW_3[::-1], ROW_9]),
        ([*ROW_3, ROW_9], ROW_3[::-1]),
        ([AT_3, AT_3], [AT_3]),
        ([AT_3, AT_3], [AT_3, ROW_9]),
        ([AT_3, ROW_9], [AT_3, AT_3]),
        ([AT_3, AT_3, ROW_9], [AT_3]),
        ([AT_3], [e.Strengthen(where="1.4", query=3, key=1, amount=1.5, strength=0.3)]),
    ],
)
def test_order_and_repetition_of_edits_count(before: list[e.Edit], after: list[e.Edit], model: Model) -> None:
    follow(model, (IDS, before), (IDS, after), (IDS, before))


def test_an_aim_follows_the_keys_it_looks_at(model: Model) -> None:
    aim = e.AimQuery(head="1.4", query=6, key=2)
    shift = e.ShiftKey(kv_head="1.1", token=4, shift=(0.7,) * 10)
    early = e.Mute(where="0.2", key=1, query=4)
    for edits in ([shift, aim], [aim, shift], [early, aim], []):
        follow(model, (IDS, [aim]), (IDS, edits), ([*IDS, 9], edits), ([*IDS[:4], 9, *IDS[5:]], edits))


def test_edits_of_every_layer_come_and_go(model: Model) -> None:
    for layer in range(3):
        tie, share = e.Tie(where=f"{layer}"), e.ShareKV(first_layer=layer, last_layer=2)
        still = e.StopRotation(where=f"{layer}.1", strength=0.3)
        follow(model, (IDS, []), (IDS, [tie]), (IDS, [tie, share]), (IDS, [share]), ([*IDS, 9], [still, share]))
        follow(model, (IDS[:7], [tie]), (IDS, [tie]), (IDS[:3], [tie]), (IDS, []), (IDS[:1], []))


def test_unchanged_does_not_depend_on_history(model: Model) -> None:
    """Position 0 does not turn, so a text of one token has nothing to stop, whatever longer text came before."""
    still = e.StopRotation(where="1.4")
    longer = model.trace(ids=IDS, edits=[still])
    assert longer.unchanged == ()
    assert without_history(model).trace(ids=IDS[:1], edits=[still]).unchanged == (still,)
    assert model.trace(ids=IDS[:1], edits=[still]).unchanged == (still,)


def test_two_texts_that_grow_from_one_do_not_overwrite_each_other(model: Model) -> None:
    base_ids = [(7 * i + 3) % 53 for i in range(WORTH_ROOM.start + 3)]  # long enough to have room behind it
    base = model.trace(ids=base_ids).run()
    one, other = (model.trace(ids=[*base_ids, token, 5]).run() for token in (9, 11))
    cut = model.trace(ids=[*base_ids[:-2], 30]).run()
    again = model.trace(ids=[*one.ids, 8, 8, 8]).run()
    far = model.trace(ids=[*base_ids, *range(ROOM + 5)][:64]).run()
    for trace in (base, one, other, cut, again, far):
        check_against_fresh(trace)


def test_many_threads_may_trace_one_model(tiny: TinyModels) -> None:
    model = without_history(opened(tiny("llama")[1]))
    swap, tie = e.SwapValue(kv_head="1.1", token=1, source=0), e.Tie(where="2.3")
    jobs = [(IDS[:n], edits) for n in (3, 7, 11) for edits in ([], [swap], [tie], [swap, tie])] * 3
    shared = model.trace(ids=IDS)

    def work(job: tuple[Sequence[int], Sequence[e.Edit]]) -> Trace:
        shared.z(len(job[0]) % 3)
        return model.trace(ids=[*job[0], 5], edits=job[1]).run()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(work, jobs))
    for trace in [*made[::5], shared]:
        check_against_fresh(trace)


# ---- the parts


def test_rows_grow_without_copying_and_without_overwriting() -> None:
    length = WORTH_ROOM.start
    first = Rows(np.arange(length * 3, dtype=np.float32).reshape(length, 3), axis=0)
    longer = first.extended(length, np.full((2, 3), 7, np.float32))
    assert longer is first  # there was room, and nobody had written there
    other = first.extended(length, np.full((1, 3), 9, np.float32))
    assert other is not first
    middle = first.extended(4, np.full((1, 3), 5, np.float32))
    np.testing.assert_array_equal(first.first(length + 2)[length:], np.full((2, 3), 7))
    np.testing.assert_array_equal(other.first(length + 1)[length:], np.full((1, 3), 9))
    np.testing.assert_array_equal(middle.first(5)[3:], [[9, 10, 11], [5, 5, 5]])
    assert not first.first(3).flags.writeable and len(first.first(3)) == 3


def test_rows_along_the_second_axis_and_past_their_room() -> None:
    start = WORTH_ROOM.start
    rows = Rows(np.ones((2, start, 5), np.float32), axis=1)
    much = rows.extended(start, np.full((2, ROOM + 1, 5), 3, np.float32))
    assert much is not rows
    exactly = rows.extended(start, np.full((2, ROOM, 5), 7, np.float32))
    assert exactly is rows
    expected = np.repeat([1, 3], [start, ROOM + 1])
    np.testing.assert_array_equal(much.first(start + ROOM + 1)[1, :, 4], expected)
    np.testing.assert_array_equal(exactly.first(start + ROOM)[1, :, 4], np.repeat([1, 7], [start, ROOM]))


@pytest.mark.parametrize("axis", [0, 1])
def test_pieces_are_what_was_written_however_they_came_about(axis: int) -> None:
    """The last word typed again and again, then many words, then a cut: the rows by hand."""

    def some(n: int, value: float) -> np.ndarray:
        return np.full((n, 2) if axis == 0 else (2, n), value, np.float32)

    expected, made = [0.0] * 5, Pieces(some(5, 0), axis)
    for step, start in enumerate([5, 5, 5, 6, 3, *range(4, 4 + 2 * MOST_PIECES), 2], 1):
        before, made = made, made.extended(start, some(2, step))
        earlier, expected = expected, [*expected[:start], step, step]
        rows = np.arange(step % 2, len(expected), 2)
        picked, whole, old = made.pick(rows), made.first(len(expected)), before.first(len(earlier))
        for array, values in ((picked, np.array(expected)[rows]), (whole, expected), (old, earlier)):
            np.testing.assert_array_equal(array if axis == 0 else array.T, np.stack([values, values], 1))
        assert not whole.flags.writeable


def test_a_short_cut_of_a_long_text_lets_go_of_the_rest() -> None:
    long = np.ones((1000, 3), np.float32)
    cut = Pieces(long, 0).extended(10, np.zeros((1, 3), np.float32))
    assert not any(np.shares_memory(piece, long) for piece in cut._pieces)
    assert any(np.shares_memory(piece, long) for piece in Pieces(long, 0).extended(990, long[:1])._pieces)


SPEC = ModelSpec(
    "spec", "llama", n_layer=3, n_head=6, n_kv_head=2, d_head=10, d_model=24, d_ff=41, n_vocab=53, n_context=64,
    norm_eps=1e-6, activation="silu", mask="causal",
)  # fmt: skip


def test_first_rows_by_hand() -> None:
    def rows(ids: Sequence[int], edits: list[e.Edit], n_done: int = 3, old: list[e.Edit] | None = None) -> list[int]:
        return first_rows(SPEC, (1, 2, 3, 4, 5), old or [], n_done, ids, edits)

    assert rows((1, 2, 3, 4, 5), []) == [5, 5, 5]  # nothing is new
    assert rows((1, 2, 3, 4, 5, 6), []) == [5, 5, 5]
    assert rows((1, 2, 9, 4, 5), []) == [2, 2, 2]
    assert rows((1, 2), []) == [2, 2, 2]
    assert rows((9, 2), []) == [0, 0, 0]
    assert rows((1, 2, 3, 4, 5), [], n_done=1) == [5, 0, 0]  # the old trace has not been there
    late = e.Mute(where="1.2", key=1, query=4)
    assert rows((1, 2, 3, 4, 5), [late]) == [5, 4, 4]
    assert rows((1, 2, 3, 4, 5), [], old=[late]) == [5, 4, 4]
    assert rows((1, 2, 3, 4, 5), [late], old=[late]) == [5, 5, 5]
    assert rows((1, 2, 3, 4, 5), [e.Tie(where="2")]) == [5, 5, 0]
