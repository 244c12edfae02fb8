"""Every edit against a literal re-implementation in plain loops (slow.py), and by numbers one can check by hand."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from qkvlab import edits as e
from qkvlab.errors import UnsupportedError
from qkvlab.mechanism import score, softmax
from qkvlab.model import Model, open_model
from qkvlab.questions import token_index
from qkvlab.trace import Trace
from slow import slow_pass
from some_edits import acting, any_edit, each_kind
from tiny_models import TINY

IDS = (3, 17, 42, 5, 29, 8, 11, 50, 2, 31, 7)
N = len(IDS)
TinyModels = Callable[[str], tuple[Any, Path]]


@cache
def opened(folder: Path) -> Model:
    return open_model(folder)


def fresh(tiny: TinyModels, kind: str) -> Model:
    """A tiny model without any earlier traces, so nothing is shared with them; its mean z made up."""
    known = opened(tiny(kind)[1])
    model = Model(known.spec, known.weights, known.source, known.checkpoint)
    shape = (known.spec.n_layer, known.spec.n_head, known.spec.d_head)
    model.known_mean_z = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return model


def close(ours: np.ndarray, theirs: np.ndarray, name: str, tolerance: float = 1e-4) -> None:
    """Equal to `tolerance` of the largest magnitude, and hidden (-inf) at the same places."""
    seen = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), seen, err_msg=name)
    size = np.abs(theirs[seen]).max(initial=1e-6)
    np.testing.assert_allclose(ours[seen], theirs[seen], rtol=0, atol=tolerance * size, err_msg=name)


def patterns(trace: Trace, what: str, layer: int) -> np.ndarray:
    return np.stack([getattr(trace, what)((layer, head)) for head in range(trace.spec.n_head)])


def compare(model: Model, edits: Sequence[e.Edit], heads: Sequence[int] = ()) -> None:
    """Every tap of every layer, and the end, against the slow pass; weights of these heads, or of all."""
    trace = model.trace(ids=IDS, edits=edits, positions="all")
    for name, theirs in slow_pass(model, IDS, edits, model.known_mean_z).items():
        part, _, what = name.removeprefix("layer.").partition(".")
        if name in ("final", "logits"):
            close(getattr(trace, name), theirs, name)
        elif what == "scores":
            close(trace.layer_scores(int(part), range(N)), theirs, name)
        elif what == "weights":
            for head in heads or range(model.spec.n_head):
                close(trace.weights((int(part), head)), theirs[head], name)
        else:
            close(getattr(trace, what)(int(part)), theirs, name)


@pytest.mark.parametrize("kind", TINY)
def test_the_slow_pass_is_the_model(kind: str, tiny: TinyModels) -> None:
    compare(fresh(tiny, kind), [])


@pytest.mark.parametrize("edit", e.KINDS)
@pytest.mark.parametrize("kind", ["llama-yarn", "mistral-window", "gpt2", "bert"])
def test_one_edit(edit: str, kind: str, tiny: TinyModels) -> None:
    model = fresh(tiny, kind)
    edits = each_kind(model.spec.d_head)[edit]
    if edit == "stop-rotation" and model.spec.rotation is None:
        edits = []  # refused: see test_edit_values.py
    for one in edits:
        compare_where_possible(model, [one])


@pytest.mark.parametrize("kind", ["llama", "llama-mqa", "qwen2-window", "qwen3", "roberta"])
@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_lists_of_edits_act_along_the_forward_pass_then_as_listed(
    kind: str, tiny: TinyModels, data: st.DataObject
) -> None:
    model = fresh(tiny, kind)
    drawn = data.draw(st.lists(any_edit(model.spec, N), min_size=2, max_size=6))
    compare_where_possible(model, acting(drawn, model.spec, N))


def compare_where_possible(model: Model, edits: Sequence[e.Edit]) -> None:
    """An aim may find its key inside the hull of the others; then both must say so."""
    try:
        compare(model, edits, heads=[1])
    except e.EditError as error:
        assert "hull" in str(error)
        with pytest.raises(e.EditError, match="hull"):
            slow_pass(model, IDS, edits, model.known_mean_z)
        with pytest.raises(e.EditError, match="hull"):
            model.trace(ids=IDS, edits=edits).run()


def test_the_order_of_a_list_can_matter(tiny: TinyModels) -> None:
    """Strengthen, then scale: (s + 2)·3. Scale, then strengthen: 3 s + 2. Both muted before or after: hidden."""
    model = fresh(tiny, "llama")
    plain = model.trace(ids=IDS).scores("1.4")
    add, scale = e.Strengthen(where="1.4", query=5, key=3, amount=2.0), e.ScaleScores(where="1.4", factor=3.0)
    for edits, expected in [([add, scale], 3 * (plain[5, 3] + 2)), ([scale, add], 3 * plain[5, 3] + 2)]:
        trace = model.trace(ids=IDS, edits=edits)
        np.testing.assert_allclose(trace.scores("1.4")[5, 3], expected, rtol=1e-5)
        np.testing.assert_allclose(trace.z(1)[4], softmax(trace.scores("1.4")) @ trace.v(1)[1], atol=1e-6)


def test_stages_come_before_the_list(tiny: TinyModels) -> None:
    """A shifted key listed after a tie or an ablation still acts before them: keys, then pairs, then z."""
    model = fresh(tiny, "llama")
    shift = e.ShiftKey(kv_head="1.1", token=4, shift=(5.0,) * 10)
    later = [e.Ablate(where="1.3"), e.Mute(where="1.4", key=2), e.Tie(where="1.5", strength=0.3)]
    one, other = model.trace(ids=IDS, edits=[shift, *later]), fresh(tiny, "llama").trace(ids=IDS, edits=[*later, shift])
    np.testing.assert_array_equal(one.x(3), other.x(3))


# ---- each edit, said once more


@pytest.mark.parametrize("where", ["1.4", "1", "all"])
def test_mute_multiplies_weights_by_what_strength_leaves(where: str, tiny: TinyModels) -> None:
    model = fresh(tiny, "llama")
    for strength in (0.0, 0.3, 1.0):
        edits = [e.Mute(where=where, key=4, strength=strength)]
        trace = model.trace(ids=IDS, edits=edits)
        unmuted = softmax(score(trace.q(1), trace.k(1).repeat(3, 0), 10**-0.5) + np.triu(np.full((N, N), -np.inf), 1))
        expected = unmuted * np.where(np.arange(N) == 4, 1 - strength, 1)
        expected /= expected.sum(-1, keepdims=True)
        np.testing.assert_allclose(trace.weights("1.4"), expected[4], atol=1e-6)
        np.testing.assert_allclose(trace.z(1)[4], expected[4] @ trace.v(1)[1], atol=1e-5)
        changed = where != "1.4" and strength > 0
        assert (np.abs(trace.weights("1.2") - unmuted[2]).max() > 1e-3) == changed


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gpt2"])
def test_a_query_left_without_keys_has_weights_and_z_zero(kind: str, tiny: TinyModels) -> None:
    model = fresh(tiny, kind)
    trace = model.trace(ids=IDS, edits=[e.Mute(where="1.2", key=0, query=0)], positions="all")
    np.testing.assert_array_equal(trace.weights("1.2")[0], np.zeros(N))
    np.testing.assert_array_equal(trace.z(1)[2, 0], np.zeros(model.spec.d_head))
    assert trace.z(1)[1, 0].all() and trace.z(1)[2, 1:].all()
    everything = model.trace(ids=IDS, edits=[e.Mute(key=key) for key in range(N)], positions="all")
    assert not patterns(everything, "weights", 2).any() and not everything.z(2).any()
    assert np.isfinite(everything.logits).all() and np.isfinite(trace.logits).all()


def test_mute_with_a_query_hides_the_key_from_it_alone(tiny: TinyModels) -> None:
    model = fresh(tiny, "bert")
    plain, muted = model.trace(ids=IDS), model.trace(ids=IDS, edits=[e.Mute(where="1", key=7, query=2)])
    before, after = patterns(plain, "weights", 1), patterns(muted, "weights", 1)
    assert (before[:, 2, 7] > 0).all() and not after[:, 2, 7].any()
    np.testing.assert_array_equal(np.delete(before, 2, 1), np.delete(after, 2, 1))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "bert"])
def test_tied_scores_are_symmetric_before_masking(kind: str, tiny: TinyModels) -> None:
    model = fresh(tiny, kind)
    trace = model.trace(ids=IDS, edits=[e.Tie(where="1")])
    for head in range(model.spec.n_head):
        scores = trace.scores((1, head), masked=False)
        close(scores, scores.T, "symmetric", 1e-6)
        close(scores, trace.q(1)[head] @ trace.q(1)[head].T / np.sqrt(model.spec.d_head), "q qᵀ", 1e-6)
        assert not np.allclose(trace.scores((0, head), masked=False), trace.scores((0, head), masked=False).T)


@pytest.mark.parametrize("kind", ["llama", "llama-linear", "llama-llama3", "llama-yarn", "qwen3"])
def test_stopped_rotation_leaves_the_raw_products(kind: str, tiny: TinyModels) -> None:
    """Of q and k before rotation; yarn stretches both by its factor, and that stays."""
    model = fresh(tiny, kind)
    trace, spec = model.trace(ids=IDS, edits=[e.StopRotation()]), model.spec
    factor = dict(spec.rotation.scaling).get("attention_factor", 1.0) if spec.rotation else 0
    assert (factor > 1.1) == (kind == "llama-yarn")
    for layer, head in [(0, 0), (2, 3)]:
        k = trace.k_raw(layer)[head // spec.group]
        raw = trace.q_raw(layer)[head] @ k.T * spec.d_head**-0.5 * factor**2
        close(trace.scores((layer, head), masked=False), raw, "raw", 1e-5)


def test_shared_kv_heads_are_equal_in_their_layers_only(tiny: TinyModels) -> None:
    model = fresh(tiny, "llama-biases")  # 4 K/V heads
    trace = model.trace(ids=IDS, edits=[e.ShareKV(first_layer=1, last_layer=2, n_kv_head=2)])
    for layer in (1, 2):
        for array in (trace.k(layer), trace.v(layer)):
            np.testing.assert_array_equal(array[0], array[1])
            np.testing.assert_array_equal(array[2], array[3])
            assert not np.allclose(array[1], array[2])
    np.testing.assert_array_equal(trace.k(0), model.trace(ids=IDS).k(0))
    plain = model.trace(ids=IDS)
    np.testing.assert_allclose(trace.v(1)[1], (plain.v(1)[0] + plain.v(1)[1]) / 2, atol=1e-6)


def test_ablated_heads_blend_to_what_they_are_told(tiny: TinyModels) -> None:
    model, vector = fresh(tiny, "llama"), tuple(np.arange(10.0))
    assert model.known_mean_z is not None
    targets: list[tuple[Any, Any]] = [("zero", 0), ("mean", model.known_mean_z[1, 4]), (vector, vector)]
    plain = model.trace(ids=IDS).z(1)
    for to, expected in targets:
        z = model.trace(ids=IDS, edits=[e.Ablate(where="1.4", to=to)]).z(1)
        np.testing.assert_allclose(z[4], np.broadcast_to(expected, (N, 10)), rtol=1e-6)
        np.testing.assert_array_equal(np.delete(z, 4, 0), np.delete(plain, 4, 0))
        half = model.trace(ids=IDS, edits=[e.Ablate(where="1.4", to=to, strength=0.3)]).z(1)[4]
        np.testing.assert_allclose(half, 0.7 * plain[4] + 0.3 * np.asarray(expected), atol=1e-5)


def test_the_mean_needs_a_tokenizer(tiny: TinyModels) -> None:
    model = fresh(tiny, "llama")
    model.known_mean_z = None
    with pytest.raises(UnsupportedError, match="needs the model's tokenizer"):
        model.trace(ids=IDS, edits=[e.Ablate(where="1.4", to="mean")]).z(1)


# ---- who feels an edit

KV_EDITS = [e.ShiftKey(kv_head="1.1", token=4, shift=(0.7,) * 10), e.SwapValue(kv_head="1.1", token=4, source=2)]
HEAD_EDITS: list[e.Edit] = [
    e.ShiftQuery(head="1.4", query=6, shift=(0.7,) * 10),
    e.AimQuery(head="1.4", query=6, key=2),
    e.Tie(where="1.4"),
    e.StopRotation(where="1.4"),
    e.Mute(where="1.4", key=2),
    e.Strengthen(where="1.4", query=6, key=3, amount=2.0),
    e.ScaleScores(where="1.4", factor=0.5),
    e.Ablate(where="1.4"),
]


@pytest.mark.parametrize("edit", KV_EDITS, ids=lambda edit: edit.kind)
def test_every_reader_of_a_kv_head_feels_its_edit_and_nobody_else(edit: e.Edit, tiny: TinyModels) -> None:
    model = fresh(tiny, "llama")  # heads 3, 4 and 5 read K/V head 1
    plain, edited = model.trace(ids=IDS), model.trace(ids=IDS, edits=[edit])
    differs = [not np.allclose(plain.z(1)[head], edited.z(1)[head], atol=1e-6) for head in range(6)]
    assert differs == [False, False, False, True, True, True]
    assert list(edit.heads(model.spec, 1)) == [3, 4, 5]
    changed, same = ("k", "v") if isinstance(edit, e.ShiftKey) else ("v", "k")
    np.testing.assert_array_equal(getattr(plain, same)(1), getattr(edited, same)(1))
    before, after = getattr(plain, changed)(1), getattr(edited, changed)(1)
    assert np.argwhere((before != after).any(-1)).tolist() == [[1, 4]]  # K/V head 1, token 4
    np.testing.assert_array_equal(plain.q(1), edited.q(1))


@pytest.mark.parametrize("edit", HEAD_EDITS, ids=lambda edit: edit.kind)
def test_an_edit_within_a_head_leaves_shared_kv_and_the_other_heads(edit: e.Edit, tiny: TinyModels) -> None:
    model = fresh(tiny, "llama")
    plain, edited = model.trace(ids=IDS), model.trace(ids=IDS, edits=[edit])
    assert list(edit.heads(model.spec, 1)) == [4] and list(edit.layers(model.spec)) == [1]
    for name in ("k", "v"):
        np.testing.assert_array_equal(getattr(plain, name)(1), getattr(edited, name)(1))
    np.testing.assert_array_equal(np.delete(plain.q(1), 4, 0), np.delete(edited.q(1), 4, 0))
    close(np.delete(plain.z(1), 4, 0), np.delete(edited.z(1), 4, 0), "z of the other heads", 1e-6)
    np.testing.assert_array_equal(plain.scores("1.3"), edited.scores("1.3"))
    assert not np.allclose(plain.z(1)[4], edited.z(1)[4])
    np.testing.assert_array_equal(plain.x(1), edited.x(1))
    assert not np.allclose(plain.x(2), edited.x(2))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_an_empty_list_of_edits_is_bit_identical_to_none(kind: str, tiny: TinyModels) -> None:
    plain, empty = fresh(tiny, kind).trace(ids=IDS), fresh(tiny, kind).trace(ids=IDS, edits=[])
    np.testing.assert_array_equal(plain.final, empty.final)
    for layer in range(3):
        for name in ("x", "q", "k", "v", "z"):
            np.testing.assert_array_equal(getattr(plain, name)(layer), getattr(empty, name)(layer))
        np.testing.assert_array_equal(patterns(plain, "weights", layer), patterns(empty, "weights", layer))


# ---- on the real model

CAT, FRANCE = "The cat drank because it was thirsty", "In France they speak French. In Italy they speak"


def test_the_measured_facts(smollm2: Model) -> None:
    trace = smollm2.trace(CAT)
    it, cat = token_index(trace.tokens, "it"), token_index(trace.tokens, "cat")
    found = [trace.weights("13.8")[it, cat], trace.scores("13.8")[it, cat]]
    found += [trace.scores("13.8", masked=False)[cat, it]]
    np.testing.assert_allclose(found, [0.9037, 6.613, -0.264], atol=6e-4)
    assert 0.935 < smollm2.trace(CAT, edits=[e.Tie(where="13.8")]).weights("13.8")[it, it] < 0.945


def test_what_comes_after_italy(smollm2: Model) -> None:
    tokens = smollm2.trace(FRANCE).tokens
    france, italy, last = token_index(tokens, "France"), token_index(tokens, "Italy"), len(tokens) - 1
    words = [smollm2.encode(word).ids[0] for word in (" Italian", " French")]

    def chances(*edits: e.Edit) -> np.ndarray:
        trace = smollm2.trace(FRANCE, edits=edits)
        assert int(trace.logits.argmax()) in words
        return softmax(trace.logits)[0, words]

    np.testing.assert_allclose(smollm2.trace(FRANCE).weights("23.4")[last, italy], 0.948, atol=6e-4)
    np.testing.assert_allclose(chances()[0], 0.930, atol=6e-4)
    np.testing.assert_allclose(chances(e.Mute(where="23.4", key=7, query=9)), [0.103, 0.632], atol=6e-4)
    np.testing.assert_allclose(chances(e.Ablate(where="23.4"))[0], 0.548, atol=6e-4)
    for edit in (
        e.SwapValue(kv_head="23.1", token=italy, source=france),
        e.AimQuery(head="23.4", query=last, key=france),
    ):
        italian, french = chances(edit)
        assert french > 0.5 > italian  # France in the place of Italy


# ---- no change


def test_edits_that_change_nothing_are_told(tiny: TinyModels) -> None:
    nothing: list[e.Edit] = [
        e.Strengthen(where="1.4", query=6, key=2, amount=0.0),
        e.ScaleScores(where="0", factor=1.0),
        e.SwapValue(kv_head="1.1", token=4, source=4),
        e.ShareKV(first_layer=0, last_layer=2, n_kv_head=2),
        e.ShiftQuery(head="0.0", query=3, shift=(0.0,) * 10),
        e.AimQuery(head="0.0", query=0, key=0),
        *(type(edit)(**{**vars(edit), "strength": 0.0}) for edit in [*KV_EDITS, *HEAD_EDITS]),
    ]
    model = fresh(tiny, "llama")
    assert model.trace(ids=IDS, edits=nothing).unchanged == tuple(nothing)
    assert model.trace(ids=IDS, edits=[*KV_EDITS, *HEAD_EDITS]).unchanged == ()
    mixed = model.trace(ids=IDS, edits=[HEAD_EDITS[4], nothing[0], KV_EDITS[1]])
    assert mixed.unchanged == (nothing[0],)
    longer = model.trace(ids=[*IDS, 9], edits=mixed.edits)  # reusing the rows where they acted
    assert longer.unchanged == (nothing[0],)
    close(fresh(tiny, "llama").trace(ids=IDS, edits=nothing).final, fresh(tiny, "llama").trace(ids=IDS).final, "final")
