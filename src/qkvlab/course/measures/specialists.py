"""Heads that specialise, measured over GUM's dev part: position, syntax, pronouns, with intervals and baselines.

A head is chosen on one half of the twelve documents and measured on the other. Figures and citation only: no sentence
of the treebank is kept. Source: Zeldes 2017, the GUM corpus; its own dev split, six genres.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ...atlas.run import Run
from ...atlas.scan import scan
from ...atlas.statistics import Best, Interval, Split, best_head
from ...errors import TextError
from ..figures import FIGURES, Figure, Lab, Value, digits, figure, percent, plain, whole
from .lookup import HEAD

ENOUGH = 30
"""Items a relation must have in the half reported on, to be ranked."""
RANKED = 4
"""Relations whose figures are kept."""
SCAN = "atlas.statistics.best_head of an atlas run over GUM dev, windows of 256 tokens"
SIDES = {"head": "head looks back", "dependent": "dependent looks back"}


def scanned(lab: Lab) -> Run:
    """An atlas run over GUM's dev part, in a folder that goes when the figures are made."""
    folder = lab.once("folder of the scan", TemporaryDirectory)

    def begin() -> Run:
        assert lab.treebank is not None
        return scan(
            lab.model("smollm2"), Path(folder.name) / "run", treebank=[lab.treebank / "gum-dev.conllu"],
            measures=("position", "syntax", "coreference"), twin=False, causal=False, for_the_page=False,
        )  # fmt: skip

    return lab.once("scanned", begin)


def best(measure: str, lab: Lab) -> Best:
    """The best head at a measure."""

    def find() -> Best:
        counted = scanned(lab)
        return best_head(counted.table(measure), Split.of(counted.documents(), measure))

    return lab.once(f"best {measure}", find)


def relations(lab: Lab) -> list[Best]:
    """Every relation with enough items: the largest lead over the best fixed offset first, where both were chosen."""

    def rank() -> list[Best]:
        found = []
        for measure in scanned(lab).measures():
            try:
                found += [best(measure, lab)] if measure.startswith("syntax:") else []
            except TextError:  # there is none of it in one half
                continue
        return sorted((one for one in found if one.all.n >= ENOUGH), key=lambda one: -one.lead)

    return lab.once("relations", rank)


def ranked(place: int, lab: Lab) -> Best:
    """The relation at this place of the ranking, from 0."""
    return relations(lab)[place]


def relation_name(one: Best) -> str:
    """nsubj, head looks back."""
    name, side = one.all.measure.removeprefix("syntax:").rsplit(":", 1)
    return f"{name}, {SIDES[side]}"


def _add(
    name: str, what: str, show: Callable[..., str], of: Callable[[Lab], Best], read: Callable[[Best], Value]
) -> None:
    def compute(lab: Lab) -> Value:
        return read(of(lab))

    compute.__doc__ = what
    FIGURES[name] = Figure(name, compute, show, SCAN, slow=True, corpus=True)


def _interval(name: str, what: str, of: Callable[[Lab], Best], read: Callable[[Best], Interval]) -> None:
    _add(f"{name}_value", f"{what}.", digits(2), of, lambda one: read(one).value)
    _add(f"{name}_low", f"{what}: lower end of the 95 % interval.", digits(2), of, lambda one: read(one).low)
    _add(f"{name}_high", f"{what}: upper end of the 95 % interval.", digits(2), of, lambda one: read(one).high)


def _specialist(name: str, what: str, of: Callable[[Lab], Best], baselines: dict[str, str]) -> None:
    """The figures of one specialist; its value and the baselines' on the half it was not chosen on."""
    _add(f"spec_{name}_head", f"The head that {what}.", plain, of, lambda one: str(one.head))
    _add(f"spec_{name}_n", f"Items measured, for the head that {what}.", whole, of, lambda one: one.all.n)
    _add(f"spec_{name}_whole", f"Share of hits on all documents, of the head that {what}.", digits(2), of,
         lambda one: float(one.all.whole[one.head]))  # fmt: skip
    _interval(f"spec_{name}", f"Share of hits of the head that {what}", of, lambda one: one.found)
    for short, baseline in baselines.items():
        what_else = f"What the baseline {baseline!r} scores there"
        _interval(f"spec_{name}_{short}", what_else, of, lambda one, key=baseline: one.all.baselines[key])  # type: ignore[misc]


for _look, _what in (
    ("previous", "looks most often at the token before"),
    ("self", "looks most often at the token itself"),
    ("first", "looks most often at the first token"),
):
    _specialist(_look, _what, partial(best, f"position:{_look}"), {"chance": "chance"})
_specialist(
    "pronoun",
    "finds the antecedents of pronouns best",
    partial(best, "coreference"),
    {"chance": "chance", "nearest": "nearest", "agreeing": "nearest agreeing"},
)
_interval(
    "spec_pronoun_gain",
    "What it has over the nearest candidate that agrees, on the same documents",
    partial(best, "coreference"),
    lambda one: one.gains["nearest agreeing"],
)
_subject = partial(best, "syntax:nsubj:head")
_specialist("subject", "looks most often from a predicate back to its subject", _subject, {"offset": "offset"})
_add(
    "spec_subject_distance",
    "The best fixed offset there, in words.",
    whole,
    _subject,
    lambda one: abs(one.all.offset or 0),
)
for _place in range(RANKED):
    _of, _name = partial(ranked, _place), f"syntax_{_place + 1}"
    _add(f"spec_{_name}_relation", "The relation, and which side of it comes later.", plain, _of, relation_name)
    _specialist(_name, f"beats a fixed word offset by most but {_place}, at a relation", _of, {"offset": "offset"})
    _add(
        f"spec_{_name}_distance",
        "The best fixed offset there, in words.",
        whole,
        _of,
        lambda one: abs(one.all.offset or 0),
    )


@figure(digits(2), SCAN, slow=True, corpus=True)
def spec_pronoun_example(lab: Lab) -> float:
    """Share of pronouns whose antecedent head 13.8 finds, on all documents."""
    table = scanned(lab).table("coreference")
    return float(table.hits[:, HEAD.layer, HEAD.head].sum() / table.n.sum())


@figure(whole, SCAN, slow=True, corpus=True)
def spec_syntax_ranked(lab: Lab) -> int:
    """Relations, each side apart, with 30 items or more to report on."""
    return len(relations(lab))


@figure(whole, SCAN, slow=True, corpus=True)
def spec_syntax_above(lab: Lab) -> int:
    """Of these, how many have a head whose interval lies above that of the best fixed offset."""
    return sum(one.stands_out for one in relations(lab))


@figure(whole, SCAN, slow=True, corpus=True)
def spec_documents(lab: Lab) -> int:
    """Documents of GUM's dev part that were scanned."""
    return len(scanned(lab).documents())


@figure(percent(), SCAN, slow=True, corpus=True)
def spec_skipped(lab: Lab) -> float:
    """Share of dependencies left out because a word shares a token with another."""
    run = scanned(lab)
    out = run.parts.skipped()["words that share a token"]
    asked = sum(run.table(name).n.sum() for name in run.measures() if name.startswith("syntax:"))
    return float(out / (out + asked))
