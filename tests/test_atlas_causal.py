"""Causal checks: windows that hold the roles, and the change of loss or of the final vector, done again by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planted import PlantedModel, WordTokenizer, uniform
from qkvlab.atlas import causal
from qkvlab.atlas.counts import Options
from qkvlab.atlas.treebank import read_treebank
from qkvlab.live import open_live
from qkvlab.spec import Head

DOCUMENTS = list(read_treebank(Path(__file__).parent / "hand_made.conllu"))
ROLES = {"coreference": [Head(1, 2), Head(2, 0)], "position:previous": [Head(1, 2)], "syntax:det:head": [Head(0, 1)]}


def opened(model: Any, framed: bool = False) -> Any:
    model.__dict__["tokenizer"] = WordTokenizer(53, framed=framed)
    return model


def losses(hf: Any, ids: list[int]) -> np.ndarray:
    import torch

    with torch.no_grad():
        logs = hf(torch.tensor([ids])).logits[0].log_softmax(-1)
    return -logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()


def ablated(hf: Any, layer: int, head: int, mean: np.ndarray, ids: list[int], d_head: int, read: Any) -> np.ndarray:
    """What `read` says while a hook puts the mean in place of one head's part of what W_o reads."""
    import torch

    def replace_z(module: Any, args: Any) -> Any:
        z = args[0].clone()
        z[..., head * d_head : (head + 1) * d_head] = torch.tensor(mean, dtype=z.dtype)
        return (z,)

    base = hf.base_model
    o = (
        base.layers[layer].self_attn.o_proj
        if hasattr(base, "layers")
        else base.encoder.layer[layer].attention.output.dense
    )
    handle = o.register_forward_pre_hook(replace_z)
    try:
        return read(hf, ids)
    finally:
        handle.remove()


@pytest.mark.parametrize("live", [False, True])
def test_the_change_of_loss_by_hand(live: bool, tiny: Any, tiny_model: Any) -> None:
    hf, _ = tiny("llama")
    model = opened(open_live(hf) if live else tiny_model("llama"))
    means = np.random.default_rng(5).normal(size=(3, 6, 10))
    place = causal.Place("a:0", (5, 3, 17, 2, 29, 11, 7), {"coreference": (2, 4), "position:previous": (1, 2, 3, 4, 5)})
    heard: list[int] = []
    found = causal.ablations([causal.check_place(model, place, ROLES, means, 9, lambda: heard.append(1))])
    assert len(heard) == len(causal.ablated_heads(causal.random_heads(model, place, ROLES, 9)))
    assert set(found) == {("coreference", "1.2"), ("coreference", "2.0"), ("position:previous", "1.2")}
    before = losses(hf, list(place.ids))
    for (role, head), said in found.items():
        at = Head.parse(head)
        change = ablated(hf, *at, means[at], list(place.ids), 10, losses) - before
        queries = list(place.queries[role])
        rest = [position for position in range(6) if position not in queries]
        assert said["at"] == pytest.approx(change[queries].mean(), rel=1e-3, abs=1e-5)
        assert said["elsewhere"] == pytest.approx(change[rest].mean(), rel=1e-3, abs=1e-5)
        assert (said["n"], said["n_elsewhere"], said["unit"], said["windows"]) == (len(queries), len(rest), "nats", 1)
        other = Head.parse(said["random_head"])
        assert other.layer == at.layer and other != at
        change = ablated(hf, *other, means[other], list(place.ids), 10, losses) - before
        assert said["random_at"] == pytest.approx(change[queries].mean(), rel=1e-3, abs=1e-5)


def test_an_encoder_changes_its_final_vector(tiny: Any, tiny_model: Any) -> None:
    hf, _ = tiny("bert")
    model = opened(tiny_model("bert"), framed=True)
    means = np.random.default_rng(5).normal(size=(3, 3, 10))
    place = causal.Place("a:0", (5, 3, 17, 2, 29), {"clark:obj:normal": (2,)})
    found = causal.ablations([causal.check_place(model, place, {"clark:obj:normal": [Head(1, 1)]}, means, 0)])

    def final(hf: Any, ids: list[int]) -> np.ndarray:
        import torch

        with torch.no_grad():
            return hf(torch.tensor([ids])).last_hidden_state[0].numpy()

    before = final(hf, list(place.ids))
    change = np.linalg.norm(ablated(hf, 1, 1, means[1, 1], list(place.ids), 10, final) - before, axis=1)
    change /= np.linalg.norm(before, axis=1)
    said = found["clark:obj:normal", "1.1"]
    assert said["at"] == pytest.approx(change[2], rel=1e-3) and said["unit"] == "of the final vector"
    assert said["elsewhere"] == pytest.approx(np.delete(change, 2).mean(), rel=1e-3) and said["n_elsewhere"] == 4


def test_windows_hold_the_roles(tiny_model: Any) -> None:
    model = opened(tiny_model("llama"))
    found = causal.places(model, DOCUMENTS, ROLES, 0, Options(window=99))
    assert {place.name.split(":")[0] for place in found} <= {"boat", "keeper", "bell", "map"}
    keeper = next(place for place in found if place.name == "keeper:0")
    words = DOCUMENTS[1].words
    pronouns = [at for at, word in enumerate(words) if word.form in ("them", "he")]
    assert keeper.queries["coreference"] == tuple(pronouns)
    assert keeper.queries["position:previous"] == tuple(range(1, len(words) - 1)), "the last has no next token"
    later = [word.head for word in words if word.relation == "det"]
    assert keeper.queries["syntax:det:head"] == tuple(sorted(later))
    order = causal.places(model, DOCUMENTS[::-1], ROLES, 0, Options(window=99))
    assert order == found, "the order of reading changes nothing"


def test_at_most_so_many_windows_and_each_role_in_turn(tiny_model: Any) -> None:
    model = opened(tiny_model("llama"))
    copies = [replace(DOCUMENTS[1], name=f"copy {copy}") for copy in range(9)]
    few = causal.places(
        model, [*copies, DOCUMENTS[2]], ["syntax:nummod:head", "syntax:det:head"], 0, Options(99), most=3
    )
    assert len(few) == 3 and "bell:0" in {place.name for place in few}, "the rare relation has its window"
    roles = ["coreference", "syntax:nummod:head"]  # of the keeper, and of the bell
    each = causal.places(model, [*copies, DOCUMENTS[2]], roles, 0, Options(99), most=1)
    assert {role for place in each for role in place.queries} == {*roles}, "every role has a window"
    both = causal.places(model, copies, ["repeats:induction"], 5, Options(window=24), most=2, random=range(7))
    assert len(both) == causal.N_RANDOM and all(place.name.startswith("random:") for place in both)
    assert all(place.queries["repeats:induction"] == tuple(range(12, 23)) for place in both)
    assert causal.places(model, copies, [], 0, random=range(3)) == []


def test_clarks_roles_ask_at_the_dependent_or_at_the_head(tiny_model: Any) -> None:
    model = opened(tiny_model("bert"), framed=True)
    roles = ["clark:nsubj:normal", "clark:nsubj:transposed"]
    (place,) = causal.places(model, DOCUMENTS[1:2], roles, 0, Options(window=60))
    pairs = [(at, word.head) for at, word in enumerate(DOCUMENTS[1].words) if word.relation == "nsubj"]
    assert place.queries[roles[0]] == tuple(sorted(at + 1 for at, _ in pairs))
    assert place.queries[roles[1]] == tuple(sorted(head + 1 for _, head in pairs))


def test_another_head_of_the_layer() -> None:
    model: Any = PlantedModel([[uniform] * 7] * 2)
    drawn = {causal.random_head(model, Head(1, head), 3) for head in range(7)}
    assert all(head is not None and head.layer == 1 for head in drawn) and len(drawn) == 2
    assert all(causal.random_head(model, Head(1, head), 3) != Head(1, head) for head in range(7))
    assert causal.random_head(PlantedModel([[uniform]]), Head(0, 0), 3) is None


def test_sums_add_up_over_windows() -> None:
    row = {"role": "r", "head": "0.1", "random_head": "0.2"}
    checks = [
        {"unit": "nats", "rows": [row | {"n": 2, "at": 1.0, "random_at": 0.5, "n_elsewhere": 0, "elsewhere": 0.0}]},
        {"unit": "nats", "rows": [row | {"n": 3, "at": 2.0, "random_at": 0.0, "n_elsewhere": 5, "elsewhere": 1.0}]},
    ]
    said = causal.ablations(checks)["r", "0.1"]
    assert said["n"] == 5 and said["at"] == 0.6 and said["random_at"] == 0.1 and said["elsewhere"] == 0.2
    assert causal.ablations(checks[:1])["r", "0.1"]["elsewhere"] is None


def test_all_heads_of_a_role_are_checked_or_so_many() -> None:
    five = [Head(0, n) for n in range(5)]
    assert causal.checked_heads({"r": five, "s": []}) == {"r": five}
    assert causal.checked_heads({"r": five, "s": []}, 2) == {"r": five[:2]}
