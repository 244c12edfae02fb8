"""Where the rows of a head lie: closed forms, and the law that the parts of one matrix fill it without overlap."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qkvlab.checkpoint.arrange import ARRANGEMENTS, Place, Sizes, blocks, gated, grouped, latent, split

SMALL = Sizes(n_layer=1, n_head=6, n_kv_head=2, d_head=5, d_value=5, d_model=7)
WHOLE = {
    "blocks": [("q", "k", "v")], "grouped": [("q", "k", "v")], "split": [("q",), ("k",), ("v",)],
    "gated": [("q", "gate"), ("k",), ("v",)],
    "latent": [("q",), ("q_down",), ("q_up",), ("kv_down", "k_rope"), ("k_up", "v_up")],
}  # fmt: skip
"""The parts that share a matrix."""


def test_by_hand() -> None:
    assert [split(SMALL)["k"].start(head) for head in range(2)] == [0, 5]
    assert [blocks(SMALL)[part].start(1) for part in "qkv"] == [5, 35, 45]
    assert [grouped(SMALL)["q"].start(head) for head in range(6)] == [0, 5, 10, 25, 30, 35]
    assert [grouped(SMALL)[part].start(1) for part in "kv"] == [40, 45]
    neox = grouped(replace(SMALL, n_kv_head=6))
    assert [neox[part].start(2) for part in "qkv"] == [30, 35, 40], "q, k, v of head after head"
    falcon_7b = grouped(replace(SMALL, n_kv_head=1))
    assert [falcon_7b["q"].start(5), falcon_7b["k"].start(0), falcon_7b["v"].start(0)] == [25, 30, 35]
    assert [gated(SMALL)[part].start(1) for part in ("q", "gate")] == [10, 15]
    mla = latent(Sizes(1, 3, 3, 5, 4, 7, d_nope=3, d_rope=2, q_rank=11, kv_rank=6))
    assert [mla[part].start(1) for part in ("q_up", "k_up", "v_up")] == [5, 7, 10] and mla["k_rope"].start(0) == 6


def test_rows_are_a_slice_where_heads_follow_each_other() -> None:
    assert split(SMALL)["q"].rows() == slice(0, 30) and blocks(SMALL)["v"].rows() == slice(40, 50)
    np.testing.assert_array_equal(grouped(SMALL)["k"].rows(), [*range(15, 20), *range(40, 45)])


@given(st.sampled_from(list(WHOLE)), st.integers(1, 4), st.integers(1, 5), st.tuples(*[st.integers(1, 7)] * 4))
def test_the_parts_of_a_matrix_fill_it(arrangement: str, n_kv: int, group: int, widths: tuple[int, ...]) -> None:
    nope, rope, value, rank = widths
    sizes = Sizes(1, n_kv * group, n_kv, nope + rope, value, 11, nope, rope, rank + 1, rank)
    if arrangement in ("gated", "latent"):
        sizes = replace(sizes, n_kv_head=sizes.n_head)
    if arrangement == "gated":
        sizes = replace(sizes, d_value=sizes.d_head)
    places = ARRANGEMENTS[arrangement][0](sizes)
    assert {part for parts in WHOLE[arrangement] for part in parts} == set(places)
    for parts in WHOLE[arrangement]:
        rows = [row for part in parts for row in np.arange(places[parts[0]].total)[places[part].rows()]]
        starts = [places[part].start(h) + i for part in parts for h in range(places[part].heads)
                  for i in range(places[part].width)]  # fmt: skip
        assert rows == starts and sorted(rows) == list(range(places[parts[0]].total))


def test_a_place_without_gaps_needs_no_stride() -> None:
    assert Place(3, 2, 6).start(2) == 4
