"""The questions against plain NumPy from a trace's own arrays, and the measured facts of the real model."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qkvlab.edits import Ablate, Edit, Mute
from qkvlab.errors import HeadError, TokenError, UnsupportedError
from qkvlab.model import Model, open_model
from qkvlab.questions import Answer, ask, find, found, landings, predict, token_index
from qkvlab.spec import Head
from qkvlab.trace import Trace
from qkvlab.words import STANDS_OUT, head_words, words
from unchecked import unchecked

IDS = [3, 17, 42, 5, 29, 8, 11, 50, 2, 31]
KINDS = ["llama", "llama-mqa", "mistral-window", "qwen2-window", "qwen3", "gpt2", "bert", "roberta"]
Open = Callable[[str], Model]


# ---- naming a token


@pytest.mark.parametrize(
    ("name", "index"),
    [
        (" cat", 1),
        ("cat", 1),
        ("cat ", 1),
        (" the", 2),
        ("The", 0),
        ("#4", 4),
        (4, 4),
        (0, 0),
        ("#00", 0),
        ("4", 3),
        ("#", 5),
    ],
)
def test_a_name_that_means_one_token(name: str | int, index: int) -> None:
    assert token_index(["The", " cat", " the", "4", " dog", "#"], name) == index


def test_the_exact_print_comes_before_the_print_without_spaces() -> None:
    assert token_index(["it", " it"], "it") == 0
    assert token_index(["it", " it"], " it") == 1
    with pytest.raises(TokenError, match="#0 or #1"):
        token_index([" it", " it"], "it")
    with pytest.raises(TokenError, match="#0 or #1"):
        token_index([" it", "it "], "it")


@pytest.mark.parametrize("name", ["dog", "", "  ", "#6", 6, -1, "#-1", "#1.0", "#²", "CAT", "# 1"])
def test_a_name_that_means_none(name: str | int) -> None:
    with pytest.raises(TokenError, match=r"#0 'The', #1 ' cat', #2 '\\n', #3 ' ', #4 ' cat', #5 '\('") as caught:
        token_index(["The", " cat", "\n", " ", " cat", "("], name)
    assert "\n" not in str(caught.value)


def test_a_name_of_spaces_is_exact() -> None:
    assert token_index(["a", " ", "\n", "  "], "\n") == 2
    assert token_index(["a", " ", "\n", "  "], "  ") == 3


def test_a_long_text_lists_two_hundred_tokens() -> None:
    with pytest.raises(TokenError, match=r"\(10000 in all\)") as caught:
        token_index(["word"] * 10_000, "x" * 10_000)
    assert str(caught.value).count("#") == 200 and len(str(caught.value)) < 4000


# ---- against plain NumPy


def plain_scores(trace: Trace, layer: int, head: int) -> np.ndarray:
    """Scores of one head, masked, in float64."""
    spec = trace.spec
    q = trace.q(layer)[head].astype(np.float64)
    k = trace.k(layer)[head // (spec.n_head // spec.n_kv_head)].astype(np.float64)
    scores = q @ k.T / np.sqrt(spec.d_head)
    n = len(scores)
    for query in range(n):
        for key in range(n):
            later = spec.causal and key > query
            if later or (layer in spec.windowed_layers and query - key >= spec.window):
                scores[query, key] = -np.inf
    return scores


def plain_weights(trace: Trace, layer: int, head: int) -> np.ndarray:
    e = np.exp(plain_scores(trace, layer, head))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", [None, 1.0, b"cat", ["cat"], np.float32(1), True, np.array([1, 2])])
def test_what_is_no_name_of_a_token(name: Any) -> None:
    with unchecked(), pytest.raises(TokenError, match="named by its text or its number; got"):
        token_index(("the", "cat"), name)
    with unchecked():
        assert token_index(("the", "cat"), np.int64(1)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_find_ranks_every_head(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    rows = find(trace, "#7", 5)
    assert len(rows) == trace.spec.n_layer * trace.spec.n_head
    assert [row.weight for row in rows] == sorted((row.weight for row in rows), reverse=True)
    for row in rows:
        at = Head.parse(row.head)
        np.testing.assert_allclose(row.weight, plain_weights(trace, *at)[7, 5], atol=1e-5)
        np.testing.assert_allclose(row.score, plain_scores(trace, *at)[7, 5], atol=1e-3)
        assert (row.layer, row.kv_head) == (at.layer, at.head // (trace.spec.n_head // trace.spec.n_kv_head))


def test_find_where_no_query_can_look(tiny_model: Open) -> None:
    with pytest.raises(TokenError, match=r"#7 .* comes after #2 .*causal"):
        find(tiny_model("gpt2").trace(ids=IDS), 2, 7)
    assert find(tiny_model("bert").trace(ids=IDS), 2, 7), "an encoder looks both ways"
    with pytest.raises(TokenError):
        find(tiny_model("mistral-window").trace(ids=IDS), 9, 1)  # outside the window in every layer


def test_find_where_some_layers_can_look(tiny_model: Open) -> None:
    """Layer 0 sees everything, layers 1 and 2 four keys: beyond them the weight is 0, and JSON stays JSON."""
    rows = find(tiny_model("qwen2-window").trace(ids=IDS), 9, 1)
    assert {row.layer for row in rows if row.weight > 0} == {0}
    json.dumps([[getattr(row, f.name) for f in fields(row)] for row in rows], allow_nan=False)


@pytest.mark.parametrize("kind", KINDS)
def test_landings(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    rows = landings(trace, 6)
    seen = {}
    for layer, head in trace.spec.heads():
        weights = plain_weights(trace, layer, head)[6]
        weights[[0, 6]] = -1
        seen[f"{layer}.{head}"] = (int(weights.argmax()), weights.max())
    assert {row.head: row.key.index for row in rows} == {head: key for head, (key, _) in seen.items()}
    for row in rows:
        np.testing.assert_allclose(row.weight, seen[row.head][1], atol=1e-5)
        np.testing.assert_allclose(row.score, plain_scores(trace, *Head.parse(row.head))[6, row.key.index], atol=1e-3)
        assert row.key.text == trace.tokens[row.key.index]
    assert [row.weight for row in rows] == sorted((row.weight for row in rows), reverse=True)
    assert landings(trace, 0) == [] or not trace.spec.causal
    assert landings(trace, 1) == [] or not trace.spec.causal


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [0, 5, 9])
def test_ask(kind: str, index: int, tiny_model: Open) -> None:
    model = tiny_model(kind)
    trace, spec = model.trace(ids=IDS), model.spec
    for head in (Head(0, 1), Head(2, spec.n_head - 1)):
        answer = ask(trace, index, head)
        scores, weights = plain_scores(trace, *head), plain_weights(trace, *head)
        visible = np.flatnonzero(np.isfinite(scores[index]))
        assert sorted(link.index for link in answer.looking_for) == visible.tolist()
        finders = [q for q in np.flatnonzero(np.isfinite(scores[:, index])) if q != index]
        assert sorted(link.index for link in answer.found_by) == finders
        for links, pair in ((answer.looking_for, lambda i: (index, i)), (answer.found_by, lambda i: (i, index))):
            assert [link.weight for link in links] == sorted((link.weight for link in links), reverse=True)
            for link in links:
                np.testing.assert_allclose(link.weight, weights[pair(link.index)], atol=1e-5)
                np.testing.assert_allclose(link.score, scores[pair(link.index)], atol=1e-3)
                assert link.text == trace.tokens[link.index]
        check_write(answer, trace, head, index, weights)
        readers = [f"{head.layer}.{h}" for h in range(spec.n_head) if h // spec.group == head.head // spec.group]
        assert set(answer.shares_kv_with) == set(readers) - {str(head)} and answer.head == str(head)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", [0, 5, 9])
def test_found(kind: str, key: int, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    for head in (Head(0, 1), Head(2, trace.spec.n_head - 1)):
        scores, weights = found(trace, head, key)
        assert scores.shape == weights.shape == (len(IDS),) and scores.dtype == weights.dtype == np.float32
        expected = plain_scores(trace, *head)[:, key]
        assert np.isfinite(scores).tolist() == np.isfinite(expected).tolist()
        np.testing.assert_allclose(scores[np.isfinite(scores)], expected[np.isfinite(expected)], atol=1e-3)
        np.testing.assert_allclose(weights, plain_weights(trace, *head)[:, key], atol=1e-5)
        assert not weights[~np.isfinite(scores)].any()


def check_write(answer: Answer, trace: Trace, head: Head, index: int, weights: np.ndarray) -> None:
    values = trace.v(head.layer)[trace.spec.kv_head(head)].astype(np.float64)
    w_o = trace.model.w_o(head).astype(np.float64)
    assert w_o.shape == (trace.spec.d_head, trace.spec.d_model)
    written = np.linalg.norm(weights[index] @ values @ w_o)
    residual = np.linalg.norm(trace.x(head.layer)[index].astype(np.float64))
    np.testing.assert_allclose(answer.value_length, np.linalg.norm(values[index] @ w_o), rtol=1e-4)
    np.testing.assert_allclose(answer.write.length, written, rtol=1e-3)
    np.testing.assert_allclose(answer.write.residual, residual, rtol=1e-5)
    np.testing.assert_allclose(answer.write.share, written / residual, rtol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_predict(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS, positions="all")
    for position in (-1, 0, 4):
        logits = trace.logits[position].astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        found = predict(trace, position, top=7)
        best = np.argsort(-logits)[:7]
        assert [word for word, _, _ in found] == [f"#{i}" for i in best]
        np.testing.assert_allclose([share for _, share, _ in found], shares[best], rtol=1e-5)
        np.testing.assert_allclose([logit for _, _, logit in found], logits[best], rtol=1e-5)
    assert len(predict(trace, top=1000)) == 53
    with pytest.raises(UnsupportedError, match="no output head"):
        predict(tiny_model("bert").trace(ids=IDS))
    for position in (10, -11, 1.0, "1", None, True):
        with unchecked(), pytest.raises(TokenError, match=r"there is no position .*; the text has #0 to #9"):
            predict(trace, position)


# ---- words


def direct_logits(model: Any, vectors: np.ndarray, x: np.ndarray) -> np.ndarray:
    """By transformers' own modules: what adding the vectors to the residual x does to the logits, with the
    final norm's scale (and LayerNorm's own division) held at what it is for x alone. Times that scale."""
    import torch

    transformer = getattr(model, "transformer", None)
    norm = transformer.ln_f if transformer is not None else model.model.norm
    centre = (lambda a: a - a.mean(-1, keepdims=True)) if transformer is not None else (lambda a: a)
    if transformer is not None:
        scale = np.sqrt(centre(x).var() + norm.eps)
    else:
        scale = np.sqrt((x**2).mean() + norm.variance_epsilon)
    gain = norm.weight.detach().numpy().astype(np.float64)
    with torch.no_grad():
        before, after = (
            model.lm_head(torch.tensor(centre(a) / scale * gain, dtype=torch.float32)).double().numpy()
            for a in (x[None], x + vectors)
        )
    return (after - before) * scale


@pytest.mark.parametrize("kind", ["llama", "llama-biases", "qwen3", "gpt2"])
def test_words_are_the_direct_logits(kind: str, tiny: Callable[[str], tuple[Any, Path]], tiny_model: Open) -> None:
    model, rng = tiny_model(kind), np.random.default_rng(7)
    vectors = rng.normal(size=(5, model.spec.d_model)).astype(np.float32)
    expected = direct_logits(tiny(kind)[0], vectors.astype(np.float64), rng.normal(size=model.spec.d_model))
    logits = model.words(vectors)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    trace = model.trace(ids=IDS)
    for row, said in enumerate(words(trace, vectors, top=4)):
        sigma = (expected[row] - expected[row].mean()) / expected[row].std()
        order = np.argsort(-sigma)
        assert [word.id for word in said.promotes] == order[:4].tolist()
        assert [word.id for word in said.suppresses] == order[::-1][:4].tolist()
        np.testing.assert_allclose([word.sigma for word in said.promotes], sigma[order[:4]], atol=1e-3)
        assert not said.stands_out and said.threshold == 5.0 > np.abs(sigma).max()
        assert [word.text for word in said.promotes] == [f"#{i}" for i in order[:4]]


def test_a_constant_shift_says_nothing_in_gpt2(tiny_model: Open) -> None:
    """LayerNorm takes the mean away: what is added to every component alike reaches no word."""
    model = tiny_model("gpt2")
    vector = np.random.default_rng(1).normal(size=(1, 30)).astype(np.float32)
    np.testing.assert_allclose(model.words(vector + 5), model.words(vector), atol=1e-4)


def test_an_answers_words_are_those_of_the_value(tiny_model: Open) -> None:
    for kind in ("llama", "gpt2", "mistral-window"):
        model = tiny_model(kind)
        trace, head = model.trace(ids=IDS), Head(1, 2)
        answer, value = ask(trace, 4, head), trace.values(head)[4:5] @ model.w_o(head)
        assert answer.hands_over is not None
        expected = words(trace, value, top=len(answer.hands_over.promotes))[0]
        assert [w.id for w in answer.hands_over.promotes] == [w.id for w in expected.promotes]
        ours, theirs = ([w.sigma for w in said.suppresses] for said in (answer.hands_over, expected))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert ask(tiny_model("bert").trace(ids=IDS), 4, "1.2").hands_over is None


@pytest.fixture
def one_word(tiny: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> Model:
    """A llama whose output head is silent but for word 7, which most values push far to one side."""
    from safetensors.numpy import load_file, save_file

    folder = tiny("llama")[1]
    tensors = load_file(folder / "model.safetensors")
    head = np.random.default_rng(3).normal(size=(53, 24)).astype(np.float32) * 1e-6
    head[7] = 1.0
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file({**tensors, "lm_head.weight": head}, tmp_path / "model.safetensors")
    return open_model(tmp_path)


def test_a_word_that_is_always_extreme_is_no_news(one_word: Model) -> None:
    answer = ask(one_word.trace(ids=IDS), 4, "1.2")
    said = answer.hands_over
    assert said is not None and not said.stands_out
    extreme = [word for word in (*said.promotes, *said.suppresses) if abs(word.sigma) >= STANDS_OUT]
    assert [word.id for word in extreme] == [7] and all(word.always for word in extreme)
    assert "nothing stands out" in answer.sentence and '"#7"' not in answer.sentence
    few = ask(one_word.trace(ids=IDS[:2]), 1, "1.2").hands_over
    assert few is not None and few.stands_out, "of two values nobody can say what is always so"


@pytest.mark.parametrize("kind", ["llama", "mistral-window", "gpt2"])
def test_the_words_of_a_head(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS, edits=[Mute(key=0)])
    head, w_o = Head(1, 2), trace.model.w_o(Head(1, 2))
    said = head_words(trace, "1.2", [4, 0, 4], 6, top=3)
    assert [value["index"] for value in said["values"]] == [4, 0, 4]
    parts = {"promotes", "suppresses", "stands_out", "threshold"}
    assert set(said["values"][0]) == parts | {"index"} and set(said["blend"]) == parts
    vectors = [trace.values(head)[4], trace.values(head)[0], trace.z(1)[2, 6]]
    for vector, ours in zip(vectors, (*said["values"][:2], said["blend"]), strict=True):
        theirs = words(trace, (vector @ w_o)[None], top=3)[0]
        for side in ("promotes", "suppresses"):
            assert [word["id"] for word in ours[side]] == [word.id for word in getattr(theirs, side)]
            np.testing.assert_allclose(
                [w["sigma"] for w in ours[side]], [w.sigma for w in getattr(theirs, side)], atol=1e-4
            )
    json.dumps(said, allow_nan=False)
    assert head_words(trace, "1.2", [], 6)["values"] == []


def test_the_words_of_a_head_are_those_of_an_answer(smollm2: Model) -> None:
    trace = smollm2.trace("In France they speak French. In Italy they speak")
    italy = trace.tokens.index(" Italy")
    said, answer = head_words(trace, "23.4", [italy], len(trace) - 1), ask(trace, italy, "23.4").to_dict()["hands_over"]
    for side in ("promotes", "suppresses"):
        assert [word["text"] for word in said["values"][0][side]] == [word["text"] for word in answer[side]]
    assert said["values"][0]["promotes"][0]["text"] == said["blend"]["promotes"][0]["text"] == " Italians"
    assert said["blend"]["stands_out"]


def test_always_holds_for_the_blend_too(one_word: Model) -> None:
    said = head_words(one_word.trace(ids=IDS), "1.2", [4], 6)
    assert any(
        word["always"] and word["id"] == 7 for side in ("promotes", "suppresses") for word in said["blend"][side]
    )
    assert not said["blend"]["stands_out"]


def test_an_encoders_head_has_no_words(tiny_model: Open) -> None:
    with pytest.raises(UnsupportedError, match="no output head"):
        head_words(tiny_model("bert").trace(ids=IDS), "1.2", [4], 6)


# ---- the whole answer


def sentence_of(answer: Answer) -> str:
    """The sentence, from the answer's fields."""
    first, token = answer.looking_for[0], answer.token.text
    parts = [f'At head {answer.head}, "{token}" looks at "{first.text}" with weight {first.weight:.2f}']
    if answer.found_by:
        parts.append(f'it is found most by "{answer.found_by[0].text}", with {answer.found_by[0].weight:.2f}')
    if answer.hands_over is not None:
        news = [f'"{w.text}"' for w in answer.hands_over.promotes if not w.always and w.sigma >= STANDS_OUT][:3]
        parts.append(
            f"its value promotes {', '.join(news)}" if news else "nothing stands out in what its value promotes"
        )
    return "; ".join(parts) + (" (edited)." if answer.edited else ".")


@pytest.mark.parametrize("kind", KINDS)
def test_the_sentence_says_the_fields(kind: str, tiny_model: Open) -> None:
    trace = tiny_model(kind).trace(ids=IDS)
    for index in range(len(IDS)):
        answer = ask(trace, index, "2.1")
        assert answer.sentence == sentence_of(answer)
        assert bool(answer.found_by) == (index < len(IDS) - 1 or not trace.spec.causal)
        assert answer.edited is False and answer.model == trace.model.badge
        assert json.loads(json.dumps(answer.to_dict(), allow_nan=False))["sentence"] == answer.sentence


@pytest.mark.parametrize("edit", [Mute(where="1.2", key=2), Ablate(where="0.0"), Mute(where="1.2", key=0, query=0)])
def test_an_edited_answer_says_so(edit: Edit, tiny_model: Open) -> None:
    trace = tiny_model("llama").trace(ids=IDS, edits=[edit])
    for index in (4, 0):
        answer = ask(trace, index, "1.2")
        assert answer.edited and answer.sentence.endswith("(edited).")
        json.dumps(answer.to_dict(), allow_nan=False)
    if edit == Mute(where="1.2", key=2):
        answer = ask(trace, 4, "1.2")
        assert {link.index: link.weight for link in answer.looking_for}[2] == 0
        np.testing.assert_allclose(sum(link.weight for link in answer.looking_for), 1, atol=1e-6)
        assert 2 in {link.index for link in answer.looking_for}, "a muted key is still shown"
    if isinstance(edit, Mute) and edit.query == 0:
        answer = ask(trace, 0, "1.2")
        assert "no key left to look at" in answer.sentence and answer.write.length == 0


def test_heads_and_tokens_that_are_not_there(tiny_model: Open) -> None:
    trace = tiny_model("llama").trace(ids=IDS)
    for head in ("3.0", "0.6", "x", "1", (1, 6)):
        with pytest.raises(HeadError):
            ask(trace, 1, head)
    for token in (10, "#10", "nothing"):
        with pytest.raises(TokenError):
            ask(trace, token, "0.0")
        with pytest.raises(TokenError):
            landings(trace, token)
    assert trace.layers_done == 0, "a mistake costs no run"
