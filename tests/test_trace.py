"""A trace: its arrays, how they hang together, what runs when, and what it refuses."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qkvlab import edits as e
from qkvlab.errors import EditError, HeadError, TextError, TokenError, UnsupportedError
from qkvlab.mechanism import softmax
from qkvlab.models import FAMILIES
from qkvlab.spec import Head
from qkvlab.trace import Cancelled, Trace
from unchecked import unchecked

IDS = (3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7)
N = len(IDS)
Tiny = Callable[[str], Any]
PRE_NORM = ["llama", "llama-biases", "mistral-window", "qwen3", "gpt2"]


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


# ---- how the arrays hang together


@pytest.mark.parametrize("kind", [*PRE_NORM, "bert"])
def test_shapes_and_relations(kind: str, tiny_model: Tiny) -> None:
    model = tiny_model(kind)
    spec, trace = model.spec, model.trace(ids=IDS)
    for layer in range(spec.n_layer):
        assert trace.x(layer).shape == trace.normed(layer).shape == trace.out(layer).shape == (N, spec.d_model)
        assert trace.q(layer).shape == trace.z(layer).shape == trace.q_raw(layer).shape == (spec.n_head, N, spec.d_head)
        assert trace.k(layer).shape == trace.v(layer).shape == trace.k_raw(layer).shape
        assert trace.k(layer).shape == (spec.n_kv_head, N, spec.d_head)
        b_o = model.weights.layer(layer).b_o
        written = sum(trace.write((layer, head)) for head in range(spec.n_head))
        close(written if b_o is None else written + b_o, trace.out(layer))
        if spec.family != "bert":
            close(trace.x(layer) + trace.out(layer) + trace.mlp(layer), trace.x(layer + 1))
        for head in range(spec.n_head):
            read = head // (spec.n_head // spec.n_kv_head)
            np.testing.assert_array_equal(trace.queries((layer, head)), trace.q(layer)[head])
            np.testing.assert_array_equal(trace.keys((layer, head)), trace.k(layer)[read])
            np.testing.assert_array_equal(trace.values((layer, head)), trace.v(layer)[read])
            close(trace.weights((layer, head)) @ trace.v(layer)[read], trace.z(layer)[head])
            np.testing.assert_allclose(trace.weights((layer, head)).sum(-1), np.ones(N), rtol=1e-6)
    assert trace.final.shape == (N, spec.d_model) and len(trace) == N


@pytest.mark.parametrize("kind", PRE_NORM)
def test_queries_are_projected_from_what_attention_reads(kind: str, tiny_model: Tiny) -> None:
    """q_raw = normed W_q (+ b), normalised for Qwen3; rotation keeps lengths (all of a head turns here)."""
    model = tiny_model(kind)
    trace, w = model.trace(ids=IDS), model.weights.layer(1)
    for raw, turned, W, b, gain in [
        (trace.q_raw(1), trace.q(1), w.w_q, w.b_q, w.q_norm),
        (trace.k_raw(1), trace.k(1), w.w_k, w.b_k, w.k_norm),
    ]:
        expected = np.stack([trace.normed(1) @ head for head in W]) + (0 if b is None else b[:, None])
        if gain is not None:
            rms = np.sqrt((expected**2).mean(-1, keepdims=True) + model.spec.norm_eps)
            expected = expected / rms * gain
        close(raw, expected)
        close(np.linalg.norm(turned, axis=-1), np.linalg.norm(raw, axis=-1))
        close(turned[:, 0], raw[:, 0])  # position 0 does not turn
        assert np.allclose(turned, raw, atol=1e-6) == (model.spec.rotation is None)


def test_bert_reads_the_residual_itself(tiny_model: Tiny) -> None:
    trace = tiny_model("bert").trace(ids=IDS)
    np.testing.assert_array_equal(trace.normed(2), trace.x(2))
    np.testing.assert_array_equal(trace.final, trace.x(3))


def test_raw_queries_and_keys_are_those_before_any_edit(tiny_model: Tiny) -> None:
    model, shift = tiny_model("llama"), (0.7,) * 10
    edits = [e.ShiftQuery(head="1.4", query=6, shift=shift), e.ShiftKey(kv_head="1.1", token=4, shift=shift)]
    plain, edited = model.trace(ids=IDS), model.trace(ids=IDS, edits=edits)
    for name in ("q_raw", "k_raw", "normed"):
        np.testing.assert_array_equal(getattr(plain, name)(1), getattr(edited, name)(1))
    np.testing.assert_allclose((edited.q(1) - plain.q(1))[4, 6], shift, atol=1e-5)
    np.testing.assert_allclose((edited.k(1) - plain.k(1))[1, 4], shift, atol=1e-5)
    close(edited.x(1) + edited.out(1) + edited.mlp(1), edited.x(2))
    close(sum(edited.write((1, head)) for head in range(6)), edited.out(1))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_logits_of_the_last_or_of_all_positions(kind: str, tiny_model: Tiny) -> None:
    model = tiny_model(kind)
    last, every = model.trace(ids=IDS), model.trace(ids=IDS, positions="all")
    assert last.logits.shape == (1, 53) and every.logits.shape == (N, 53)
    close(every.logits[-1:], last.logits)
    close(every.logits_at(slice(2, 5)), every.logits[2:5])
    close(model.trace(ids=IDS[:4]).logits[0], every.logits[3])  # the future does not leak
    close(every.logits, every.final @ model.weights.unembedding.T)


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "bert"])
def test_scores_by_head_by_rows_and_by_layer_agree(kind: str, tiny_model: Tiny) -> None:
    model = tiny_model(kind)
    trace = model.trace(ids=IDS, edits=[e.Strengthen(where="1.2", query=6, key=4, amount=2.0), e.Tie(where="1.1")])
    whole = np.stack([trace.scores((1, head)) for head in range(model.spec.n_head)])
    close_where_seen = np.testing.assert_allclose
    close_where_seen(trace.layer_scores(1, range(3, 8)), whole[:, 3:8], atol=1e-5)
    close_where_seen(trace.score_rows("1.2", range(6, 7)), whole[2, 6:7], atol=1e-5)
    close_where_seen(trace.weights("1.2"), softmax(whole[2]), atol=1e-6)
    unmasked = trace.scores("1.2", masked=False)
    assert np.isfinite(unmasked).all()
    close_where_seen(np.where(np.isfinite(whole[2]), unmasked, -np.inf), whole[2], atol=1e-5)
    for query in range(N):
        first, last = trace.visible(1, query)
        assert np.flatnonzero(np.isfinite(whole[0, query])).tolist() == list(range(first, last))


def test_what_is_kept_is_float32_and_read_only(tiny_model: Tiny) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    kept = [getattr(trace, name)(layer) for name in ("x", "q", "k", "v", "z") for layer in range(3)]
    kept += [trace.x(3), trace.queries("1.2"), trace.keys("1.2"), trace.values("1.2")]
    for array in kept:
        assert array.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("name", ["final", "logits"])
def test_the_remembered_end_is_read_only_too(name: str, tiny_model: Tiny) -> None:
    array = getattr(tiny_model("llama").trace(ids=IDS), name)
    assert array.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


@pytest.mark.parametrize("name", ["normed", "q_raw", "k_raw", "out", "mlp"])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_what_is_computed_when_asked_can_not_change_the_trace(name: str, kind: str, tiny_model: Tiny) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    first = getattr(trace, name)(1)
    before = first.copy()
    if first.flags.writeable:
        first[...] = 7
    assert first.dtype == np.float32
    np.testing.assert_array_equal(getattr(trace, name)(1), before)


# ---- the text


def test_a_trace_by_ids_has_tokens(tiny_model: Tiny, smollm2: Any) -> None:
    trace = tiny_model("llama").trace(ids=IDS)  # no tokenizer beside it
    assert trace.tokens == tuple(f"#{token}" for token in IDS) and trace.offsets == ((0, 0),) * N
    assert trace.special == (False,) * N and trace.ids == IDS
    text = "The cat drank"
    by_text = smollm2.trace(text)
    assert by_text.tokens == ("The", " cat", " drank") == smollm2.trace(ids=by_text.ids).tokens
    assert [text[a:b] for a, b in by_text.offsets] == list(by_text.tokens)


def test_special_tokens_can_be_left_out(minilm: Any) -> None:
    trace, bare = minilm.trace("two cats"), minilm.trace("two cats", special=False)
    assert trace.tokens == ("[CLS]", "two", "cats", "[SEP]") and trace.special == (True, False, False, True)
    assert bare.tokens == ("two", "cats") and bare.ids == trace.ids[1:3]


# ---- what runs when


class Counting(SimpleNamespace):
    """A family whose `attention` and `mlp` write down layer and rows before they do their work."""

    def __init__(self, family: Any) -> None:
        super().__init__(**{name: getattr(family, name) for name in ("embed", "normed", "final")})
        self.inner, self.ran, self.mlps = family, list[tuple[int, range]](), list[tuple[int, range]]()

    def attention(self, spec: Any, w: Any, layer: int, x: Any, rows: range, tap: Any) -> Any:
        self.ran.append((layer, rows))
        return self.inner.attention(spec, w, layer, x, rows, tap)

    def mlp(self, spec: Any, w: Any, layer: int, x: Any, out: Any, rows: range, tap: Any) -> Any:
        self.mlps.append((layer, rows))
        return self.inner.mlp(spec, w, layer, x, out, rows, tap)

    def new(self) -> list[tuple[int, range]]:
        assert self.mlps in (self.ran, self.ran[:-1])  # the last layer asked for may stop after its attention
        ran, self.ran, self.mlps = self.ran, [], []
        return ran


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counter = Counting(FAMILIES["llama"])
    monkeypatch.setitem(FAMILIES, "llama", counter)
    return counter


def all_layers(start: int, stop: int) -> list[tuple[int, range]]:
    return [(layer, range(start, stop)) for layer in range(3)]


def test_an_appended_token_costs_one_row_per_layer(tiny_model: Tiny, counting: Counting) -> None:
    model = tiny_model("llama")
    base = model.trace(ids=IDS).run()
    assert counting.new() == all_layers(0, N)
    more = model.trace(ids=[*IDS, 9]).run()
    assert counting.new() == all_layers(N, N + 1)
    same, shorter = model.trace(ids=IDS).run(), model.trace(ids=IDS[:5]).run()
    assert counting.new() == []
    changed = model.trace(ids=[*IDS[:4], 9, *IDS[5:]]).run()
    assert counting.new() == all_layers(4, N)
    assert all(isinstance(trace, Trace) for trace in (base, more, same, shorter, changed))


def test_an_edit_costs_its_layer_and_the_later_ones_from_its_row_on(tiny_model: Tiny, counting: Counting) -> None:
    model = tiny_model("llama")
    base = model.trace(ids=IDS).run()
    counting.new()
    for edit, expected in [
        (e.Mute(where="1.2", key=3, query=6), [(1, range(6, N)), (2, range(6, N))]),
        (e.Mute(where="1.2", key=3), [(1, range(3, N)), (2, range(3, N))]),
        (e.Tie(where="2.0"), [(2, range(N))]),
        (e.ShiftKey(kv_head="0.1", token=9, shift=(0.5,) * 10), all_layers(9, N)),
        (e.AimQuery(head="2.1", query=10, key=0), [(2, range(10, N))]),
    ]:
        model.trace(ids=base.ids, edits=[edit]).run()
        assert counting.new() == expected, edit.kind


def test_an_encoder_runs_whole_or_not_at_all(tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    counter, model = Counting(FAMILIES["bert"]), tiny_model("bert")
    monkeypatch.setitem(FAMILIES, "bert", counter)
    base = model.trace(ids=IDS).run()
    assert counter.new() == all_layers(0, N)
    assert model.trace(ids=IDS).run() is not base and counter.new() == []
    model.trace(ids=[*IDS, 9]).run()
    assert counter.new() == all_layers(0, N + 1)
    model.trace(ids=IDS, edits=[e.Tie(where="2.0")]).run()
    assert counter.new() == [(2, range(N))]


def test_nothing_runs_deeper_than_it_is_asked(tiny_model: Tiny, counting: Counting) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    assert counting.new() == [] and trace.layers_done == 0
    trace.weights("1.0")
    assert counting.new() == [(0, range(N)), (1, range(N))] and trace.layers_done == 1
    trace.x(1), trace.z(0), trace.scores("1.3")
    assert counting.new() == []
    trace.x(2)  # the second half of layer 1: no new attention
    assert counting.ran == [] and counting.mlps == [(1, range(N))] and trace.layers_done == 2
    counting.mlps = []
    trace.q(2)
    assert counting.new() == [(2, range(N))] and trace.layers_done == 2
    trace.run(1)
    assert counting.new() == []
    assert trace.run() is trace and trace.layers_done == 3


def test_a_cancelled_run_stops_between_layers_and_resumes(tiny_model: Tiny, counting: Counting) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    with pytest.raises(Cancelled):
        trace.run(cancelled=lambda: True)
    assert trace.layers_done == 0 and counting.new() == []
    with pytest.raises(Cancelled):
        trace.run(cancelled=lambda: len(counting.ran) >= 2)
    ran = counting.new()
    assert ran == all_layers(0, N)[:2] and trace.layers_done in (1, 2)
    trace.run(cancelled=lambda: False)
    assert counting.ran == [(2, range(N))] and trace.layers_done == 3
    fresh = tiny_model("llama").trace(ids=IDS)
    np.testing.assert_array_equal(trace.final, fresh.final)


def test_a_cancelled_trace_is_still_a_base(tiny_model: Tiny, counting: Counting) -> None:
    model = tiny_model("llama")
    trace = model.trace(ids=IDS).run(1)
    counting.new()
    longer = model.trace(ids=[*IDS, 9]).run()
    assert counting.new() == [(0, range(N, N + 1)), (1, range(N + 1)), (2, range(N + 1))]
    close(longer.final, tiny_model("llama").trace(ids=[*IDS, 9]).final)
    assert trace.layers_done == 1


def test_threads_that_ask_one_trace_run_it_once(tiny_model: Tiny, counting: Counting) -> None:
    trace, gate = tiny_model("llama").trace(ids=IDS), threading.Barrier(4)
    found: list[np.ndarray] = []

    def ask() -> None:
        gate.wait()
        found.append(trace.z(2))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counting.new() == all_layers(0, N)
    assert len(found) == 4 and all(np.array_equal(found[0], z) for z in found)


# ---- what it refuses


def test_no_such_head_or_layer(tiny_model: Tiny) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    for head in ["1.6", "3.0", "x", "", "1", "1.2.3", "-1.0", (0, 6), (-1, 0), "L1H9"]:
        for ask in (trace.scores, trace.weights, trace.write, trace.keys, trace.queries, trace.values):
            with pytest.raises(HeadError):
                ask(head)
    np.testing.assert_array_equal(trace.scores("L1H4"), trace.scores((1, 4)))


@pytest.mark.parametrize(
    "address",
    [
        (1,), (1, 2, 3), ("a", "b"), ("1", "2"), (1.0, 2), (True, 2), (1, None), (1, 2.5, 3), (), [1, 2], {1: 2}, 1.5,
        13, None, b"1.2", "1.2.3", "", "13", "²·1", np.array([1, 2]), np.float64(1.2), "9" * 5000, 10**5000,
    ],
    ids=lambda address: type(address).__name__,
)  # fmt: skip
def test_what_is_no_address_of_a_head(address: Any) -> None:
    with unchecked(), pytest.raises(HeadError, match="is not a head address; write layer") as caught:
        Head.parse(address)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_every_way_to_write_an_address() -> None:
    with unchecked():
        for address in ("13.8", " l13h8 ", "L13H8", (13, 8), Head(13, 8), (np.int64(13), np.uint8(8))):
            found = Head.parse(address)
            assert found == Head(13, 8) and [type(part) for part in found] == [int, int] and str(found) == "13.8"


@pytest.mark.parametrize("name", ["x", "normed", "q_raw", "k_raw", "q", "k", "v", "z", "out", "mlp"])
def test_no_such_layer(name: str, tiny_model: Tiny) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    for layer in (-1, 4, 99) if name == "x" else (-1, 3, 99):
        with pytest.raises(HeadError):
            getattr(trace, name)(layer)


def test_no_such_number_of_layers(tiny_model: Tiny) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    with unchecked():
        for layers in (-1, 4, 99, 1.0, True, "2"):
            with pytest.raises(HeadError, match="layers cannot be run"):
                trace.run(layers)
        with pytest.raises(HeadError):
            trace.x(3.0)
    assert trace.run(3).layers_done == 3


def test_texts_and_ids_that_cannot_be_traced(tiny_model: Tiny, smollm2: Any) -> None:
    gpt2 = tiny_model("gpt2")
    for wrong in ([], range(53, 54), [0, -1], [3] * 65):
        with pytest.raises(TokenError if len(wrong) in (1, 2) else TextError):
            gpt2.trace(ids=list(wrong))
    assert len(gpt2.trace(ids=[3] * 64)) == 64
    with pytest.raises(TextError, match=r"65 tokens.*64 at most"):
        gpt2.trace(ids=[3] * 65)
    with pytest.raises(TextError, match="either a text or token ids"):
        gpt2.trace()
    with pytest.raises(TextError, match="either a text or token ids"):
        gpt2.trace("a", ids=[1])
    with pytest.raises(TextError, match="empty"):
        smollm2.trace("")
    with pytest.raises(TextError, match="at most"):
        smollm2.trace("one " * 9_000)
    with pytest.raises(UnsupportedError, match="tokenizer"):
        gpt2.trace("a text")


@pytest.mark.parametrize(
    "ids",
    [
        [1.0], [3, 1.5], ["3"], "3", "abc", b"ab", bytearray(b"ab"), [True], [3, False], [[3]], [(3,)], [None], [-1],
        [53], [3, 10**400], [10**5000], 3, 3.0, {3}, {3: 4}, iter([3]), np.array([1.0]), np.array([True]),
        np.array([[3]]), np.array(3), np.array(["3"]), np.array([-1]), np.array([2**63], np.uint64),
        [float("nan")], [np.float32(3)],
    ],
    ids=lambda ids: f"{type(ids).__name__}",
)  # fmt: skip
def test_ids_of_another_kind_are_refused_not_rounded(ids: Any, tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    with (
        unchecked(),
        pytest.raises(TokenError, match=r"vocabulary: a whole number from 0 to 52|list of whole") as caught,
    ):
        model.trace(ids=ids)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_ids_from_numpy(dtype: Any, tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    for ids in (np.array(IDS, dtype), [dtype(id) for id in IDS], list(IDS), range(3, 9)):
        with unchecked():
            trace = model.trace(ids=ids)
        assert trace.ids == tuple(int(id) for id in ids) and {type(id) for id in trace.ids} == {int}


@pytest.mark.parametrize(
    "positions", ["first", "Last", "", None, 0, -1, True, ["all"], ("last", "all"), np.array([1, 2])]
)
def test_other_positions_are_refused_by_name(positions: Any, tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    with unchecked(), pytest.raises(UnsupportedError, match=r"^positions .* is not known.*\(accepted: last, all\)$"):
        model.trace(ids=IDS, positions=positions)


def test_an_encoder_has_no_logits(tiny_model: Tiny) -> None:
    trace = tiny_model("bert").trace(ids=IDS)
    with pytest.raises(UnsupportedError, match="no output head"):
        _ = trace.logits
    with pytest.raises(UnsupportedError, match="no output head"):
        trace.logits_at(slice(None))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_the_same_text_with_other_edits(kind: str, tiny_model: Tiny) -> None:
    model = tiny_model(kind)
    plain, edits = model.trace(ids=IDS, positions="all").run(), [e.Ablate(where="1.1"), e.Mute(where="2", key=3)]
    edited = plain.with_edits(edits)
    assert (edited.ids, edited.tokens, edited.positions) == (plain.ids, plain.tokens, "all")
    assert edited.edits == tuple(edits) and plain.edits == () and edited.layers_done == 0
    fresh = tiny_model(kind).trace(ids=IDS, edits=edits)
    close(edited.final, fresh.final)
    close(edited.with_edits([]).final, plain.final)
    assert np.shares_memory(edited.k(0), plain.k(0))
    with pytest.raises(EditError, match="there is no token #11"):
        plain.with_edits([e.Mute(key=11)])


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "qwen2-window", "bert"])
def test_scores_of_rows_that_are_no_neighbours(kind: str, tiny_model: Tiny) -> None:
    trace, rows = tiny_model(kind).trace(ids=IDS), [0, 1, 4, 10]
    for layer in range(trace.spec.n_layer):
        for masked in (True, False):
            some, whole = (trace.layer_scores(layer, which, masked=masked) for which in (rows, range(N)))
            np.testing.assert_allclose(some, whole[:, rows], atol=1e-5)
    assert trace.layer_scores(0, []).shape == (trace.spec.n_head, 0, N)
