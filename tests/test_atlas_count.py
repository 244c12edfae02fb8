"""What is counted of each head: planted heads score 1 and are the only ones, a uniform head scores chance, and a slow
second implementation, which shares nothing with the counting, agrees to the last hit."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planted import PlantedModel, WordTokenizer, duplicate, following, induction, noise, previous, uniform, wired
from qkvlab.atlas.count import chosen_layers, count_document, count_random
from qkvlab.atlas.counts import Counts, Options
from qkvlab.atlas.treebank import Document, read_treebank
from qkvlab.errors import HeadError, QkvLabError, TextError
from qkvlab.live import open_live
from qkvlab.model import open_model
from zoo import zoo_model

DOCUMENTS = list(read_treebank(Path(__file__).parent / "hand_made.conllu"))
WHOLE = [document for document in DOCUMENTS if document.name != "map"]
"""Those in which every word can be a token of its own."""
TEXT = ("position", "syntax", "coreference")


def partners(document: Document) -> dict[int, int]:
    """For each word that is the later one of exactly one dependency, the earlier one."""
    pairs = [sorted((at, word.head)) for at, word in enumerate(document.words) if word.head is not None]
    later = [pair[1] for pair in pairs]
    return {b: a for a, b in pairs if later.count(b) == 1}


def antecedents(document: Document) -> dict[int, int]:
    """For each pronoun a word of its group before it."""
    first = {mention.group: mention.head for mention in reversed(document.mentions)}
    return {m.head: first[m.group] for m in document.mentions if document.words[m.head].upos == "PRON"}


def scan(document: Document, **how: Any) -> Counts:
    """Layer 0: uniform, previous; layer 1: wired to the partner, wired to the antecedent."""
    heads = [[uniform, previous], [wired(partners(document)), wired(antecedents(document))]]
    model: Any = PlantedModel(heads, **how)
    assert len(model.tokenizer.encode(document.text).ids) == len(document.words) + (0 if model.spec.causal else 2)
    return count_document(model, document)


# ---- planted heads


@pytest.mark.parametrize("document", WHOLE, ids=lambda document: document.name)
def test_the_previous_token_head_is_the_only_one(document: Document) -> None:
    tally = scan(document).tallies["position:previous"]
    assert tally.n == len(document.words) - 1
    shares = tally.hits / tally.n
    assert shares[0, 1] == 1 and shares[0, 0] < 0.5
    assert shares[0, 0] == pytest.approx(tally.baselines["chance"] / tally.n), "evenly spread weights are chance"


@pytest.mark.parametrize("document", WHOLE, ids=lambda document: document.name)
def test_a_head_wired_to_the_partner_hits_where_it_is_wired(document: Document) -> None:
    counts = scan(document)
    wires = partners(document)
    for name, tally in counts.tallies.items():
        if not name.startswith("syntax:"):
            continue
        relation, side = name.split(":", 1)[1].rsplit(":", 1)
        pairs = [
            (max(at, word.head), min(at, word.head), document.sentences)
            for at, word in enumerate(document.words)
            if word.head is not None and word.relation == relation and (word.head > at) == (side == "head")
        ]
        assert tally.n == len(pairs)
        starts = [next(s.start for s in sentences if later in s) for later, _, sentences in pairs]
        assert tally.hits[0, 0] == pytest.approx(
            sum(1 / (later - s) for (later, *_), s in zip(pairs, starts, strict=True))
        )
        if all(later in wires for later, *_ in pairs):
            assert tally.hits[1, 0] == tally.n
        assert tally.hits[0, 1] == tally.baselines.get("offset -1", 0), "the word before is the fixed offset -1"


@pytest.mark.parametrize(("name", "n"), [("boat", 1), ("keeper", 2), ("bell", 2)])
def test_a_head_wired_to_the_antecedent(name: str, n: int) -> None:
    """The window's first word (Maria) is no candidate, so " She" has none; its pronoun is left out."""
    document = next(document for document in DOCUMENTS if document.name == name)
    tally = scan(document).tallies["coreference"]
    assert tally.n == n
    if name == "keeper":  # " them": keeper and lights; " he": keeper, lights, them
        assert tally.baselines == {"nearest": 1, "chance": 0.5 + 1 / 3, "nearest agreeing": 2}
    assert tally.hits[1, 1] == tally.n and tally.hits[0, 0] == pytest.approx(tally.baselines["chance"])
    assert tally.hits.max(where=np.array([[1, 1], [1, 0]], bool), initial=0) < tally.n, "and it is the only one"


def test_planted_induction_and_duplicate_heads_are_the_only_ones() -> None:
    model: Any = PlantedModel([[uniform, previous, noise(5)], [induction, duplicate, following]])
    counts = count_random(model, 3, 7, Options(window=62))
    assert counts.document == "random:007" and counts.n_token == 124 and not counts.sums and counts.z is None
    for kind, where in (("induction", (1, 0)), ("duplicate", (1, 1)), ("previous", (0, 1))):
        tally, control = counts.tallies[f"repeats:{kind}"], counts.tallies[f"repeats:{kind}:control"]
        assert tally.n == control.n == 31
        others = np.delete(tally.hits.reshape(-1), np.ravel_multi_index(where, (2, 3)))
        assert tally.hits[where] == 31 and others.max() < 8
        chance = sum(1 / (query + 1) for query in range(31, 62))
        assert tally.hits[0, 0] == pytest.approx(chance) and tally.baselines == {"chance": pytest.approx(chance)}
        if kind != "previous":
            assert control.hits[where] < 3, "where nothing repeats there is nothing to look back at"
    again = count_random(model, 3, 7, Options(window=62, layers=(1,)))
    np.testing.assert_array_equal(
        again.tallies["repeats:induction"].hits[1], counts.tallies["repeats:induction"].hits[1]
    )
    assert not again.tallies["repeats:induction"].hits[0].any()
    with pytest.raises(TextError, match="a window of 4 tokens or more; got 3"):
        count_random(model, 3, 7, Options(window=3))


def test_random_texts_are_random_and_without_special_tokens() -> None:
    from qkvlab.atlas.repeats import random_texts

    model: Any = PlantedModel([[uniform]], causal=False)
    (one, control), (two, _) = random_texts(model, 3, 0, 41), random_texts(model, 3, 1, 41)
    assert one.ids != two.ids and len(one.ids) == len(control.ids) == 40 and one.ids[0] == 611 and one.ids[-1] == 612
    assert one.ids[1:20] == one.ids[20:39] == control.ids[1:20] and not {611, 612} & set(one.ids[1:-1])
    assert len(set(control.ids)) == 40, "nothing repeats"
    induction, twice, before = one.targets
    assert one.ids[twice[4]] == one.ids[one.queries[4]] and induction[4] == twice[4] + 1
    assert before[0] == one.queries[0] - 1
    assert random_texts(model, 3, 0, 41)[0].ids == one.ids, "the same seed and number, the same text"


def test_words_that_share_a_token_are_counted_and_left_out() -> None:
    document = next(document for document in DOCUMENTS if document.name == "map")
    model: Any = PlantedModel([[uniform]])
    counts = count_document(model, document)
    # Give and me stand on one token; so every dependency with one of them is left out
    with_them = [at for at, word in enumerate(document.words) if word.head is not None and {at, word.head} & {0, 1}]
    assert counts.skipped == {"words that share a token": len(with_them)}
    assert len(counts.problems) == 2
    asked = sum(tally.n for name, tally in counts.tallies.items() if name.startswith("syntax:"))
    assert asked == sum(word.head is not None for word in document.words) - len(with_them)


def test_a_bidirectional_model_is_asked_both_ways() -> None:
    document = WHOLE[0]
    forwards = {earlier: later for later, earlier in partners(document).items()}
    model: Any = PlantedModel([[wired(forwards), uniform]], causal=False)
    counts = count_document(model, document)
    tally = counts.tallies["syntax:nsubj:head:forward"]
    assert tally.n == 2 and tally.hits[0, 0] == 2
    assert counts.tallies["position:next"].baselines["chance"] == pytest.approx(len(document.words) / 14)
    assert counts.tallies["position:self"].n == len(document.words), "special tokens are no queries"


def test_sums_over_queries_by_hand() -> None:
    document = WHOLE[0]
    counts = scan(document)
    n = len(document.words)
    entropies = np.array([np.log(query + 1) for query in range(1, n)])
    total = {name: one.total for name, one in counts.sums.items()}
    assert {one.n for one in counts.sums.values()} == {n - 1}
    assert total["entropy"][0, 0] == pytest.approx(entropies.sum())
    assert counts.sums["entropy"].squares[0, 0] == pytest.approx((entropies**2).sum())
    assert total["distance"][0, 0] == pytest.approx(sum(query / 2 for query in range(1, n)))
    assert total["mass:first"][0, 0] == pytest.approx(sum(1 / (query + 1) for query in range(1, n)))
    assert total["mass:self"][0, 0] == pytest.approx(total["mass:previous"][0, 0])
    assert total["mass:next"][0, 0] == 0 and total["mass:previous"][0, 1] > 0.99 * (n - 1)
    # head h writes 7 (h + 1) into a residual of length 10
    np.testing.assert_allclose(total["write"], np.tile([7 * (n - 1), 14 * (n - 1)], (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(counts.sums["share"].squares[1], [0.49 * (n - 1), 1.96 * (n - 1)], rtol=1e-6)
    np.testing.assert_allclose(counts.z[0, :, 0], [n - 1, 2 * (n - 1)])
    assert counts.z_n == n - 1 and counts.n_token == n and counts.n_window == 1


def test_only_what_is_asked_for() -> None:
    document, asked = WHOLE[1], []

    def seen(ids: np.ndarray) -> np.ndarray:
        asked.append(len(ids))
        return uniform(ids)

    model: Any = PlantedModel([[uniform], [seen], [previous]])
    counts = count_document(model, document, Options(measures=("position",), layers=(2, 0), examples=False))
    assert not asked and counts.z is None and not len(counts.examples)
    assert {name.partition(":")[0] for name in counts.tallies} == {"position"} and "write" not in counts.sums
    assert counts.tallies["position:previous"].hits[:, 0].tolist()[1:] == [0, counts.tallies["position:previous"].n]
    model.spec = replace(model.spec, no_attention=(1,))
    with pytest.raises(HeadError, match="layer 1 has no heads to scan; planted has attention in 0, 2"):
        chosen_layers(model.spec, (1,))
    with pytest.raises(QkvLabError, match="measure 'tone'"):
        count_document(model, document, Options(measures=("tone",)))


def test_an_empty_document_has_nothing() -> None:
    model: Any = PlantedModel([[uniform]])
    counts = count_document(model, Document("empty"))
    assert counts == replace(Counts("empty"), examples=counts.examples) and not len(counts.examples)


# ---- a second, slow way: pure loops, from the definitions


def slow_words(document: Document, offsets: list[tuple[int, int]]) -> dict[int, list[int]]:
    """For each word the tokens with its characters, where none of them has another word's."""
    tokens = {
        number: [at for at, (a, b) in enumerate(offsets) if a < word.end and b > word.start and a < b]
        for number, word in enumerate(document.words)
    }
    return {
        number: own
        for number, own in tokens.items()
        if own and not any(set(own) & set(others) for other, others in tokens.items() if other != number)
    }


def slow_windows(
    model: Any, document: Document, size: int
) -> Iterator[tuple[list[int], dict[int, list[int]], list[range]]]:
    """(ids, word → tokens of the window, uncut sentences)."""
    encoded = model.tokenizer.encode(document.text)
    body = [at for at, special in enumerate(encoded.special) if not special]
    before, after = encoded.ids[: body[0]], encoded.ids[body[-1] + 1 :]
    words = slow_words(document, [encoded.offsets[at] for at in body])
    room = size - len(before) - len(after)
    for start in range(0, len(body), room):
        there = range(start, min(start + room, len(body)))
        own = {
            word: [at - start + len(before) for at in held] for word, held in words.items() if set(held) <= set(there)
        }
        uncut = []
        for sentence in document.sentences:
            known = [word for word in sentence if word in words]
            if known and all(set(words[word]) <= set(there) for word in (known[0], known[-1])):
                uncut.append(sentence)
        ids = [*before, *(encoded.ids[body[at]] for at in there), *after]
        yield ids, own, uncut


Item = tuple[str, int, list[int], set[int]]
"""(measure, query word, candidate words, right words)"""


def slow_items(document: Document, own: dict[int, list[int]], uncut: list[range], causal: bool) -> Iterator[Item]:
    for sentence in uncut:
        for at in sentence:
            head = document.words[at].head
            if head is None or at not in own or head not in own:
                continue
            side, first, last = "head" if head > at else "dependent", min(at, head), max(at, head)
            name = f"syntax:{document.words[at].relation}:{side}"
            yield name, last, [word for word in sentence if word < last and word in own], {first}
            if not causal:
                yield f"{name}:forward", first, [word for word in sentence if word > first and word in own], {last}
    asked = set()
    for mention in document.mentions:
        word = document.words[mention.head]
        if mention.first != mention.last or mention.head not in own or mention.head in asked:
            continue
        if word.upos != "PRON" or word.features.get("PronType") != "Prs" or word.features.get("Person") != "3":
            continue
        groups = {m.group for m in document.mentions if (m.first, m.last) == (mention.first, mention.last)}
        heads = [m for m in document.mentions if m.head < mention.head and m.head in own and m.head != min(own)]
        right = {m.head for m in heads if m.group in groups}
        if right and len({m.head for m in heads}) > 1:
            asked.add(mention.head)
            yield "coreference", mention.head, sorted({m.head for m in heads}), right


def slow_look(row: list[float], query: int, special: list[bool]) -> dict[str, float]:
    top = max(row)
    best = [key for key, weight in enumerate(row) if weight >= top]
    targets = {"self": query, "previous": query - 1, "next": query + 1, "first": 0}
    return {f"position:{look}": best.count(target) / len(best) for look, target in targets.items()}


def slow_counts(model: Any, weights: Any, document: Document, size: int) -> dict[str, dict[str, Any]]:
    """Name → n, hits and sums as lists [layer][head], by loops. `weights(ids)` gives [layer, head, query, key]."""
    found: dict[str, dict[str, Any]] = {}
    special_ids = {*model.tokenizer.before, *model.tokenizer.after}

    def add(kind: str, name: str, layer: int, head: int, value: float) -> None:
        table = found.setdefault(name, {"n": 0, "hits": {}, "mass": {}, "sum": {}, "squares": {}})
        table[kind][layer, head] = table[kind].get((layer, head), 0.0) + value

    for ids, own, uncut in slow_windows(model, document, size):
        every = weights(ids)
        framed = [token in special_ids and bool(model.tokenizer.before) for token in ids]
        items = list(slow_items(document, own, uncut, model.spec.causal))
        queries = [at for at in range(1, len(ids)) if not framed[at]]
        for name, *_ in items:
            found.setdefault(name, {"n": 0, "hits": {}, "mass": {}, "sum": {}, "squares": {}})["n"] += 1
        for layer, heads in enumerate(every):
            for head, square in enumerate(heads):
                for name, query, candidates, right in items:
                    row = square[own[query][-1]]
                    heavy = {word: sum(row[token] for token in own[word]) for word in candidates}
                    top = [word for word, weight in heavy.items() if weight >= max(heavy.values())]
                    add("hits", name, layer, head, len(right & set(top)) / len(top))
                    add("mass", name, layer, head, sum(heavy[word] for word in right))
                for query in queries:
                    row = [float(weight) for weight in square[query]]
                    for name, share in slow_look(row, query, framed).items():
                        add("hits", name, layer, head, share)
                    seen = {
                        "entropy": -sum(w * math.log(w) for w in row if w > 0),
                        "distance": sum(w * abs(key - query) for key, w in enumerate(row)),
                        "mass:first": row[0], "mass:self": row[query], "mass:previous": row[query - 1],
                        "mass:next": row[query + 1] if query + 1 < len(row) else 0.0,
                    }  # fmt: skip
                    for name, value in seen.items():
                        add("sum", name, layer, head, value)
                        add("squares", name, layer, head, value * value)
    return found


def table(cells: dict[tuple[int, int], float], shape: tuple[int, ...]) -> np.ndarray:
    made = np.zeros(shape)
    for place, value in cells.items():
        made[place] = value
    return made


def agree(counts: Counts, slow: dict[str, dict[str, Any]]) -> None:
    """Hits and n equal; masses and sums to float32's rounding."""
    asked = {name for name in counts.tallies if name.startswith(("syntax:", "coreference", "position:"))}
    assert asked == {name for name, one in slow.items() if one["hits"]}
    for name in asked:
        tally = counts.tallies[name]
        if not name.startswith("position:"):
            assert tally.n == slow[name]["n"], name
            np.testing.assert_allclose(tally.mass, table(slow[name]["mass"], tally.mass.shape), rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(tally.hits, table(slow[name]["hits"], tally.hits.shape), err_msg=name, atol=1e-9)
    for name, one in slow.items():
        if one["sum"]:
            shape = counts.sums[name].total.shape
            np.testing.assert_allclose(counts.sums[name].total, table(one["sum"], shape), rtol=2e-5, atol=1e-5)
            np.testing.assert_allclose(counts.sums[name].squares, table(one["squares"], shape), rtol=5e-5, atol=1e-5)


@pytest.mark.parametrize("size", [7, 13, 99])
@pytest.mark.parametrize("pieces", [2, 3, 99])
def test_a_slow_second_implementation_agrees(size: int, pieces: int) -> None:
    model: Any = PlantedModel([[noise(1), noise(2)], [uniform, previous]], pieces=pieces)

    def weights(ids: list[int]) -> np.ndarray:
        scores = np.stack([model.trace(ids=ids).q(layer) for layer in range(2)])
        scores[..., *np.triu_indices(len(ids), 1)] = -np.inf
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True, dtype=np.float32)

    for document in DOCUMENTS:
        counts = count_document(model, document, Options(size, TEXT))
        agree(counts, slow_counts(model, weights, document, size))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "gemma2", "gpt_oss", "bloom"])
def test_transformers_own_weights_counted_slowly_agree(kind: str) -> None:
    """The attentions of the model itself, by its own eager code, against the scan of the captured model."""
    import torch

    hf = deepcopy(zoo_model(kind))  # other tests share it
    hf.set_attn_implementation("eager")
    model = open_live(hf)
    model.given_tokenizer = tokenizer = WordTokenizer(model.spec.n_vocab, framed=not model.spec.causal, pieces=3)
    model.__dict__["tokenizer"] = tokenizer

    def weights(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            held = hf.base_model(torch.tensor([ids]), output_attentions=True).attentions
        return torch.stack(held)[:, 0].numpy()

    document = DOCUMENTS[0]
    counts = count_document(model, document, Options(17, TEXT))
    agree(counts, slow_counts(model, weights, document, 17))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "mistral-window", "qwen3"])
def test_native_and_live_count_alike(kind: str, tiny: Any) -> None:
    hf, folder = tiny(kind)
    made = []
    for model in (open_model(folder), open_live(hf)):
        model.__dict__["tokenizer"] = WordTokenizer(53, framed=not model.spec.causal, pieces=3)
        made.append(count_document(model, DOCUMENTS[1], Options(31)))
    ours, live = made
    assert list(ours.tallies) == list(live.tallies) and list(ours.sums) == list(live.sums)
    for name, tally in ours.tallies.items():
        assert tally.n == live.tallies[name].n and tally.baselines == live.tallies[name].baselines
        np.testing.assert_allclose(tally.hits, live.tallies[name].hits, err_msg=name)
        np.testing.assert_allclose(tally.mass, live.tallies[name].mass, rtol=2e-4, atol=1e-5)
    for name, one in ours.sums.items():
        np.testing.assert_allclose(one.total, live.sums[name].total, rtol=2e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(ours.z, live.z, rtol=2e-4, atol=1e-4)


def test_the_write_of_a_real_model_is_its_own(tiny_model: Any) -> None:
    model = tiny_model("llama")
    model.__dict__["tokenizer"] = WordTokenizer(53)
    counts = count_document(model, DOCUMENTS[1], Options(31, ("values",)))
    trace = model.trace(ids=model.tokenizer.encode(DOCUMENTS[1].text).ids[:31])
    sizes = [[np.linalg.norm(trace.write((layer, head))[1:], axis=-1) for head in range(6)] for layer in range(3)]
    np.testing.assert_allclose(counts.sums["write"].total, np.sum(sizes, axis=-1), rtol=1e-5)
    x = np.stack([np.linalg.norm(trace.x(layer)[1:], axis=-1) for layer in range(3)])
    np.testing.assert_allclose(counts.sums["share"].total, (np.array(sizes) / x[:, None]).sum(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(
        counts.z, [trace.z(layer)[:, 1:].sum(axis=1) for layer in range(3)], rtol=1e-4, atol=1e-5
    )
