"""Examples: the places with most and with least weight on what is right, found again by brute force, for any split."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planted import PlantedModel, noise, previous, uniform
from qkvlab.atlas import examples as module
from qkvlab.atlas.count import count_document
from qkvlab.atlas.counts import BEST, SAMPLES, Example, Examples, Options
from qkvlab.atlas.treebank import read_treebank
from qkvlab.atlas.windows import sampled
from test_atlas_count import slow_items, slow_windows

DOCUMENTS = list(read_treebank(Path(__file__).parent / "hand_made.conllu"))
MODEL: Any = PlantedModel([[noise(1), noise(2)], [uniform, previous]])
SIZE = 13
COUNTED = [count_document(MODEL, document, Options(SIZE)) for document in DOCUMENTS]
EXAMPLES = [counts.examples for counts in COUNTED]


def key(example: Example) -> tuple[str, int, int, str]:
    return example.measure, example.layer, example.head, example.side


def test_the_best_and_the_worst_are_kept() -> None:
    document, found = DOCUMENTS[2], list(EXAMPLES[2])
    assert {example.document for example in found} == {"bell"}
    places: dict[str, list[tuple[int, int, np.ndarray]]] = {}
    for ids, own, uncut in slow_windows(MODEL, document, SIZE):
        scores = np.stack([MODEL.trace(ids=ids).q(layer) for layer in range(2)])
        scores[..., *np.triu_indices(len(ids), 1)] = -np.inf
        weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        for name, query, _, right in slow_items(document, own, uncut, True):
            mass = sum(weights[:, :, own[query][-1], own[word][0]] for word in right)
            places.setdefault(name, []).append((query, max(right), mass))
    shown = [example for example in found if example.side != "sample"]
    assert {example.measure for example in shown} == set(places)
    for name, all_places in places.items():
        for layer, head, side in np.ndindex(2, 2, 2):
            weights_there = sorted((float(mass[layer, head]) for *_, mass in all_places), reverse=not side)[:BEST]
            rows = [each for each in shown if key(each) == (name, layer, head, ("best", "worst")[side])]
            assert [each.weight for each in rows] == pytest.approx(weights_there, rel=1e-5)
            for each in rows:
                words = [(document.words[query].form, document.words[right].form) for query, right, _ in all_places]
                assert each.right is not None
                assert (each.text[slice(*each.query)], each.text[slice(*each.right)]) in words
                assert each.text in document.text and each.text[slice(*each.looked)] in {w.form for w in document.words}


def test_what_a_head_looked_at() -> None:
    """The head that looks at the token before has looked at the word before, if that is a candidate."""
    for each in (each for examples in EXAMPLES[:3] for each in examples):
        if (each.layer, each.head) == (1, 1) and each.side != "sample" and each.measure.startswith("syntax:"):
            assert each.text[slice(*each.looked)] == each.text[: each.query[0]].split()[-1].rstrip(".,") or each.text[
                slice(*each.looked)
            ] in (".", ",", "ca", "n't", "can't")


def test_every_head_is_shown_at_the_same_samples() -> None:
    for document, examples in zip(DOCUMENTS, EXAMPLES, strict=True):
        samples = [each for each in examples if each.side == "sample"]
        n = len(samples) // 4
        assert len(samples) == 4 * n and n == min(SAMPLES, len(MODEL.tokenizer.encode(document.text).ids) - 1)
        orders = {(each.layer, each.head): [] for each in samples}
        for each in samples:
            assert each.measure == "sample" and each.right is None and each.text in document.text
            orders[each.layer, each.head].append((each.order, each.text, each.query))
        assert len({tuple(sorted(rows)) for rows in orders.values()}) == 1
        for each in samples:
            if (each.layer, each.head) == (1, 1) and each.looked != (0, 0):
                assert each.looked[1] <= each.query[0] and each.weight > 0.99


def test_samples_depend_on_name_and_place_alone() -> None:
    at, orders = sampled("a document", 1000, 50, False)
    assert len(at) == SAMPLES and not (at % 50 == 0).any() and (np.diff(at) > 0).all()
    more, kept = sampled("a document", 2000, 50, False)
    assert set(more[more < 1000]) <= set(at) and kept.max() <= orders.max()
    assert (sampled("another", 1000, 50, False)[0] != at).any()
    assert not len(sampled("empty", 0, 50, False)[0]) and sampled("x", 1, 50, True)[0].tolist() == [0]


def rows(examples: Examples) -> list[tuple[Any, ...]]:
    return sorted((*key(each), each.weight, each.document, each.order, each.text, each.query) for each in examples)


WHOLE = rows(Examples.merged(EXAMPLES))


@given(st.permutations(range(4)), st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_no_order_and_no_split_changes_what_is_kept(order: list[int], cuts: list[int]) -> None:
    edges = sorted({0, 4, *cuts})
    parts = [Examples.merged([EXAMPLES[at] for at in order[first:last]]) for first, last in pairwise(edges)]
    assert rows(Examples.merged(parts)) == WHOLE


def test_no_more_is_kept_than_is_shown() -> None:
    for (*_, side), n in Counter(map(key, Examples.merged(EXAMPLES))).items():
        assert n <= (SAMPLES if side == "sample" else BEST)


def test_columns_and_back() -> None:
    columns = EXAMPLES[0].columns()
    assert {len(column) for column in columns.values()} == {len(EXAMPLES[0])}
    assert rows(Examples.of_columns(columns)) == rows(EXAMPLES[0])
    assert rows(Examples.of_columns(Examples().columns())) == [] and rows(Examples.merged([])) == []


def test_a_long_document_is_picked_from_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    for document, examples in zip(DOCUMENTS, EXAMPLES, strict=True):
        assert rows(count_document(MODEL, document, Options(SIZE)).examples) == rows(examples)
