"""The atlas: roles by the rule, plain JSON, rows for a table, sentences, and which examples a head is shown with."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planted import PlantedModel, duplicate, first, induction, previous, uniform, wired
from qkvlab.atlas.cards import examples_json, strongest
from qkvlab.atlas.count import count_document, count_random
from qkvlab.atlas.counts import Counts, Examples, Options, Tally
from qkvlab.atlas.findings import _all_checked, _checked
from qkvlab.atlas.summary import EMPTY, Atlas, model_facts, summarise
from qkvlab.atlas.tables import InMemory
from qkvlab.atlas.treebank import Document, read_treebank
from qkvlab.atlas.writes import copying
from qkvlab.spec import Head

HAND_MADE = list(read_treebank(Path(__file__).parent / "hand_made.conllu"))[:3]
MODEL = {
    "name": "planted",
    "badge": "planted",
    "n_layer": 2,
    "n_head": 3,
    "n_kv_head": 1,
    "layers": [0, 1],
    "causal": True,
}
RUN = {"window": 99, "documents": 48, "tokens": 500, "files": [], "report_all": False, "skipped": {}, "problems": 0}


def plain(document: Document) -> Document:
    """Without number and gender: what agrees is then no better than what is near."""
    words = [replace(word, features={"PronType": "Prs", "Person": "3"}) for word in document.words]
    return replace(document, words=words)


def antecedents(document: Document) -> dict[int, int]:
    first = {mention.group: mention.head for mention in reversed(document.mentions)}
    return {m.head: first[m.group] for m in document.mentions if document.words[m.head].upos == "PRON"}


@pytest.fixture(scope="module")
def counted() -> tuple[InMemory, InMemory]:
    """A planted model and a twin that does nothing: 0.1 looks back, 1.0 finds antecedents, 1.1 and 1.2 repeat."""
    own, twin, none = [], [], PlantedModel([[uniform] * 3] * 2)
    for document in map(plain, HAND_MADE):
        heads = [[uniform, previous, first], [wired(antecedents(document)), induction, duplicate]]
        pair = [
            count_document(PlantedModel(heads), document, Options(99)),
            count_document(none, document, Options(99, examples=False)),
        ]
        for copy in range(16):  # the same texts often enough to have 30 items of something
            for counts, held in zip(pair, (own, twin), strict=True):
                held.append(replace(counts, document=f"{document.name} {copy}"))
    for number in range(6):
        own.append(count_random(PlantedModel(heads), 0, number, Options(99)))
        twin.append(count_random(none, 0, number, Options(99)))
    return InMemory(own), InMemory(twin)


@pytest.fixture(scope="module")
def atlas(counted: tuple[InMemory, InMemory]) -> Atlas:
    return summarise(*counted, MODEL, RUN, copying=np.arange(6.0).reshape(2, 3) / 10)


def test_the_planted_heads_have_their_roles_and_no_other_head_has(atlas: Atlas) -> None:
    roles = atlas.roles()
    assert roles["position:previous"] == roles["repeats:previous"] == [Head(0, 1)]
    assert roles["position:first"] == [Head(0, 2)]
    assert roles["coreference"] == [Head(1, 0)]
    assert roles["repeats:induction"] == [Head(1, 1)] and roles["repeats:duplicate"] == [Head(1, 2)]
    row = atlas.row("coreference", Head(1, 0))
    assert row["value"] == row["low"] == row["selection"] == row["whole"] == 1 and row["n"] >= 30
    assert set(row["baselines"]) == {"nearest", "chance", "nearest agreeing"} and row["ablation"] is None
    assert row["twin"] == pytest.approx(row["baselines"]["chance"], rel=1e-4), "evenly spread weights are chance"
    assert "control" in atlas.row("repeats:induction", Head(1, 1))["baselines"]
    uniform_head = {name: one.value[0, 0] - one.baselines["chance"].value for name, one in atlas.measures.items()
                    if "chance" in one.baselines}  # fmt: skip
    assert max(map(abs, uniform_head.values())) < 1e-9, "a uniform head is exactly chance"


def one(value: list[float], n: int = 40, baseline: float = 0.2, twin: list[float] | None = None) -> Atlas:
    """An atlas of one measure over four documents that are alike, so that every interval is a point."""

    def counts(hits: list[float]) -> InMemory:
        names = ["a", "b", "c", "d"]
        tally = Tally(n, n * np.array([hits, hits]), np.zeros((2, 3)), {"nearest": baseline * n})
        return InMemory([Counts(name, tallies={"coreference": tally}) for name in names])

    return summarise(counts(value), None if twin is None else counts(twin), MODEL, RUN)


def test_the_rule_of_roles() -> None:
    assert one([0.3, 0.2, 0.1]).named("coreference") == [Head(0, 0), Head(1, 0)]
    assert one([0.3, 0.2, 0.1], n=14).named("coreference") == [], "28 items are too few"
    assert one([0.3, 0.2, 0.1], n=15).named("coreference") != []
    assert one([0.3, 0.2, 0.1], baseline=0.3).named("coreference") == [], "equal is not above"
    twin = one([0.5, 0.4, 0.3], twin=[0.5, 0.1, 0.1])
    assert twin.named("coreference") == [Head(0, 1), Head(1, 1), Head(0, 2), Head(1, 2)], "the same head of the twin"
    assert twin.row("coreference", Head(0, 0))["twin"] == 0.5


def test_json_is_plain_and_rounded(atlas: Atlas) -> None:
    said = json.loads(json.dumps(atlas.to_json(), allow_nan=False))
    assert said["format"] == 1 and said["model"] == MODEL and said["run"] == RUN
    held = said["measures"]["repeats:induction"]
    assert held["kind"] == "repeats" and held["value"][4] == 1 and len(held["low"]) == 6 and held["control"][4] < 0.1
    assert not any(name.endswith(":control") for name in said["measures"])
    offset = next(m["baselines"]["offset"] for m in said["measures"].values() if "offset" in m["baselines"])
    assert set(offset) == {"value", "low", "high", "offset"} and offset["offset"] < 0
    assert said["sums"]["entropy"]["unit"] == "nats" and said["sums"]["copying"]["mean"] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    value = atlas.measures["position:first"].value[0, 2]
    assert held["n"] == 147 and said["measures"]["position:first"]["value"][2] == float(f"{value:.5g}")
    assert {role["role"] for role in said["roles"]} == set(atlas.roles())
    assert all(set(row) >= {"head", "n", "value", "low", "high", "selection", "whole", "baselines", "twin", "ablation"}
               for role in said["roles"] for row in role["heads"])  # fmt: skip


def test_layers_that_were_not_scanned_have_no_numbers(counted: tuple[InMemory, InMemory]) -> None:
    part = summarise(counted[0], None, MODEL | {"layers": [1]}, RUN)
    held = part.to_json()["measures"]["position:previous"]
    assert held["value"][:3] == [None] * 3 and None not in held["value"][3:] and held["twin"] is None
    assert all(head.layer == 1 for heads in part.roles().values() for head in heads)
    assert {layer for layer in part.columns()["layer"] if layer is not None} == {1}


def test_rows_for_a_table(atlas: Atlas) -> None:
    columns = atlas.columns()
    assert list(columns) == list(EMPTY) and len({len(column) for column in columns.values()}) == 1
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    row = next(r for r in rows if (r["measure"], r["layer"], r["head"]) == ("coreference", 1, 0))
    assert row["named"] is True and row["value"] == 1 and row["bar"] == pytest.approx(atlas.measures["coreference"].bar)
    assert [r["baseline"] for r in rows if r["measure"] == "coreference" and r["head"] is None] == sorted(
        atlas.measures["coreference"].baselines
    )
    assert sum(r["measure"] == "entropy" for r in rows) == 6


def test_findings_say_what_was_found_and_what_was_not(atlas: Atlas) -> None:
    said = "\n".join(atlas.to_json()["findings"])
    assert "6 heads of planted over 48 documents" in said and "reported on the other" in said
    assert "Head 1.0 finds a pronoun's antecedent in 100 % (100 % to 100 %)" in said
    assert "No head is named for" in said and "not corrected for their number" in said
    assert "fewer than 30 items" in said and "No head was ablated" in said
    check = {"n": 12, "at": 0.25, "elsewhere": 0.01, "random_head": "1.2", "random_at": -0.02, "unit": "nats"}
    checked = atlas.with_ablations({("coreference", "1.0"): check})
    said = "\n".join(checked.to_json()["findings"])
    assert "Ablating 1.0 changes the loss there by +0.250 nats (n = 12" in said and "No head was ablated" not in said
    assert checked.row("coreference", Head(1, 0))["ablation"] == check
    alone = "\n".join(one([0.3, 0.2, 0.1]).to_json()["findings"])
    assert "shuffled weights was not scanned" in alone and "2" in alone


def test_of_many_ablations_two_are_told_and_all_are_counted() -> None:
    heads = [Head(0, head) for head in range(4)]
    base = {"n": 9, "elsewhere": 0.01, "random_at": 0.03, "random_head": "0.9", "unit": "nats"}
    checks = {("r", str(head)): base | {"at": at} for head, at in zip(heads, (0.5, 0.02, -0.1, 0.0001), strict=True)}
    several: Any = SimpleNamespace(ablations=checks)
    said = _all_checked(several, "r", heads)
    assert said == (
        "4 were ablated, one at a time; they change the loss there by +0.010 nats in the median, 2 of 4 by more than "
        "elsewhere, 1 of 4 by more than the head drawn beside each does."
    )
    assert _all_checked(several, "r", heads[:2]) == _all_checked(several, "other", heads) == ""
    assert "by less than 0.001 nats (n = 9; beside it +0.010 elsewhere" in _checked(several, "r", heads[3])


def test_a_head_is_shown_at_its_roles_and_strongest_measures(atlas: Atlas, counted: tuple[InMemory, InMemory]) -> None:
    shown = examples_json(Examples.merged([counts.examples for counts in counted[0].counts]), atlas)
    json.dumps(shown, allow_nan=False)
    assert list(shown["heads"]) == [f"{layer}.{head}" for layer in range(2) for head in range(3)]
    for address, rows in shown["heads"].items():
        head = Head.parse(address)
        own = {measure for measure, heads in atlas.roles().items() if head in heads}
        assert {row["measure"] for row in rows} <= {"sample", *own, *strongest(atlas, head)}
        assert sum(row["side"] == "sample" for row in rows) == 6
        for row in rows:
            text = shown["texts"][row["text"]]
            spans = [row["query"], row["looked"], *([] if row["right"] is None else [row["right"]])]
            assert all(0 <= start <= end <= len(text) for start, end in spans)
    best = [row for row in shown["heads"]["1.0"] if (row["measure"], row["side"]) == ("coreference", "best")]
    assert len(best) == 2 and all(row["looked"] == row["right"] for row in best)
    assert len(set(shown["texts"])) == len(shown["texts"])


def test_the_facts_of_a_model(tiny_model: Any) -> None:
    model = tiny_model("llama")
    facts = model_facts(model, [0, 2])
    assert facts["n_head"] == 6 and facts["n_kv_head"] == 2 and facts["layers"] == [0, 2] and facts["causal"] is True
    json.dumps(facts)


def test_copying_is_the_circuits_own(tiny_model: Any) -> None:
    from qkvlab.circuit_report import circuits
    from qkvlab.circuit_source import NativeSource

    for kind in ("llama", "gpt2"):
        model = tiny_model(kind)
        known = [[head.copying for head in layer.heads] for layer in circuits(NativeSource(model)).layers]
        np.testing.assert_allclose(copying(model), np.array(known), rtol=1e-6)
    assert copying(tiny_model("bert")) is None
