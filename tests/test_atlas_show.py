"""An atlas in the terminal: the numbers that stand in it, and nobody's control characters."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from qkvlab.atlas.show import show_run
from qkvlab.errors import AtlasError, HeadError
from some_atlas import some_atlas, some_examples


def said(renderable: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO(), highlight=False, markup=False, emoji=False)
    console.print(renderable)
    return console.export_text()


def test_the_overview_names_heads_and_what_nobody_does() -> None:
    text = said(show_run(some_atlas()))
    assert (
        "Tiny-5, F32" in text and "7 documents, 1,113 tokens of sample.conllu" in text and "12 places left out" in text
    )
    line = next(line for line in text.splitlines() if line.lstrip().startswith("finds a pronoun's antecedent"))
    assert line.split()[-7:] == ["coreference", "1.2", "0.750", "0.670–0.830", "0.350", "nearest", "candidate"]
    assert "• Head 1.2 finds it in 75 %." in text
    assert "No head is named for: finds what the possessor belongs to" in text


def test_a_run_without_roles_says_so() -> None:
    assert "No head is named: none is surely better" in said(show_run({**some_atlas(), "roles": []}))


def test_a_measure_with_few_places_tells_nothing() -> None:
    atlas = some_atlas()
    atlas["measures"]["syntax:nmod:poss:dependent"]["n"] = 29
    assert "1 more measures have fewer than 30 places" in said(show_run(atlas))
    assert "possessor" not in said(show_run(atlas, head="1.2"))


def test_a_ranking_has_all_that_stands_beside_a_value() -> None:
    text = said(show_run(some_atlas(), role="coreference", top=3))
    rows = [line.split() for line in text.splitlines() if re.match(r"\s+\d\.\d\s", line)]
    assert len(rows) == 3 and "and 21 more" in text
    assert rows[0] == ["1.2", "0.750", "0.670–0.830", "0.713", "0.675", "0.075", "+0.123", "nats", "named"]
    assert "chance 0.200 (0.190–0.220); nearest candidate 0.350 (0.340–0.370)" in text
    assert "101 places in the documents reported on, 211 in all" in text
    assert "best fixed distance (-2) 0.470" in said(show_run(some_atlas(), role="syntax:nsubj:head"))


def test_a_heads_card_has_measures_losses_and_places() -> None:
    atlas = some_atlas()
    text = said(show_run(atlas, head="1.2", examples=some_examples(atlas)))
    assert text.startswith("Head 1.2  finds a pronoun's antecedent")
    first = next(line for line in text.splitlines() if "coreference" in line)
    assert first.split()[-5:] == ["0.750", "0.670–0.830", "0.350", "0.075", "named"]
    assert "+0.123 nats, elsewhere -0.004; 1.0 gone: +0.011" in text
    assert '"it" looks most at "cat"; 0.91' in text and '"she" looks most at "left"; 0.04' in text
    assert "entropy of the weights" in text
    examples = some_examples(atlas)
    examples["heads"]["1.2"] = [row | {"looked": [0, 0]} for row in examples["heads"]["1.2"]]
    assert '"it" looks most at a token before or after this text; 0.91' in said(
        show_run(atlas, "1.2", None, 10, examples)
    )


def test_a_layer_that_was_not_scanned_has_no_numbers() -> None:
    text = said(show_run(some_atlas(), head="4.0"))
    assert "named for nothing that was measured" in text and "0." not in text.split("\n", 2)[2]


def test_what_is_not_there() -> None:
    with pytest.raises(HeadError):
        show_run(some_atlas(), head="9.9")
    with pytest.raises(AtlasError):
        show_run(some_atlas(), role="flying")


def test_names_of_strangers_are_printed_plainly() -> None:
    atlas = some_atlas(badge="\x1b[31mred\x07")
    atlas["findings"] = ["a\x1b[2J finding"]
    text = said(show_run(atlas)) + said(show_run(atlas, role="coreference")) + said(show_run(atlas, head="1.2"))
    assert "\x1b" not in text and "\x07" not in text and "\\x1b[31mred" in text
