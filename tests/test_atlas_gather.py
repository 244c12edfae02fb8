"""Tables of a run read back: every measure as it was counted, many documents in groups, damaged parts named."""

import json
from pathlib import Path

import numpy as np
import pytest

from qkvlab.atlas import gather, statistics, store
from qkvlab.atlas.counts import Counts, Sum, Tally
from qkvlab.atlas.gather import Gathered, grouped
from qkvlab.atlas.run import Run
from qkvlab.atlas.statistics import Split, measured
from qkvlab.atlas.store import FORMAT, Parts, to_bytes, write_part
from qkvlab.atlas.tables import InMemory
from qkvlab.errors import SourceError

N_LAYER, N_HEAD, D_VALUE, LAYERS = 3, 5, 2, [0, 2]
MEASURES = ("position:self", "syntax:nsubj:head", "coreference")


def counted(n: int, n_random: int = 0) -> list[Counts]:
    """Documents with numbers of their own; every third has no coreference."""
    random, made = np.random.default_rng(n), []
    for at in range(n + n_random):
        one = Counts(f"text:{at}" if at < n else f"random:{at - n:03d}", n_token=7 + at, n_window=1)
        for name in MEASURES if at < n else ("repeats:induction",):
            if name != "coreference" or at % 3:
                hits, items = np.zeros((N_LAYER, N_HEAD)), 3 + at % 4
                hits[LAYERS] = random.random((len(LAYERS), N_HEAD)) * items
                one.tallies[name] = Tally(items, hits, hits / 2, {"chance": items / 5, f"offset -{1 + at % 2}": 1.0})
        total = np.zeros((N_LAYER, N_HEAD))
        total[LAYERS] = random.random((len(LAYERS), N_HEAD))
        one.sums["entropy"], one.z_n = Sum(11 + at, total, total * total), 6 + at
        one.z = np.zeros((N_LAYER, N_HEAD, D_VALUE))
        one.z[LAYERS] = random.random((len(LAYERS), N_HEAD, D_VALUE))
        made.append(one)
    return made


def written(folder: Path, many: list[Counts], size: int) -> Parts:
    for first in range(0, len(many), size):
        rows = store.tables(many[first : first + size], LAYERS, first)
        write_part(folder / f"{first:06d}", to_bytes(rows))
    return Parts(folder, (N_LAYER, N_HEAD))


@pytest.mark.parametrize("most", [1, gather.MOST_BYTES])
def test_tables_are_those_of_counts_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(gather, "MOST_BYTES", most)
    many = counted(11, 3)
    found, expected = Gathered(written(tmp_path, many, 4), False), InMemory(many)
    for measure in (*expected.measures(), "position:self"):
        ours, theirs = found.table(measure), expected.table(measure)
        assert ours.documents == theirs.documents
        for name in ("n", "hits", "mass"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert list(ours.baselines) == list(theirs.baselines)
        for name, values in ours.baselines.items():
            np.testing.assert_array_equal(values, theirs.baselines[name])
        assert len(found._held) == (1 if most == 1 else 4)
    (n, total, squares), expected_sums = found.sums()["entropy"], expected.sums()["entropy"]
    for ours, theirs in zip((n, total, squares), expected_sums, strict=True):
        np.testing.assert_array_equal(ours, theirs.sum(axis=0)[None])
    some = expected.documents()[2:9]
    np.testing.assert_allclose(found.parts.mean_z(some), expected.mean_z(some), rtol=1e-12)


@pytest.mark.parametrize("report_all", [False, True])
def test_very_many_documents_are_drawn_in_the_groups_of_the_bootstrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_all: bool
) -> None:
    monkeypatch.setattr(statistics, "MOST_GROUPS", 7)
    many = counted(61, 2)
    found, expected = Gathered(written(tmp_path, many, 13), report_all), InMemory(many)
    assert len(found.table("coreference").n) == (7 if report_all else 14) + 2
    for measure in expected.measures():
        split = Split.of(expected.documents(), measure, report_all)
        ours, theirs = (measured(each.table(measure), split) for each in (found, expected))
        assert (ours.n, ours.whole_n, ours.offset) == (theirs.n, theirs.whole_n, theirs.offset)
        for name in ("value", "low", "high", "selection", "whole", "mass"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12)
        for name, interval in ours.baselines.items():
            np.testing.assert_allclose(interval.low, theirs.baselines[name].low, rtol=1e-12)


def test_groups_do_not_mix_selection_and_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MOST_GROUPS", 3)
    names = [f"text:{at}" for at in range(29)]
    rows, place = grouped(names, False)
    split = Split.of(names)
    assert len(rows) == 6
    assert place.keys() == set(names)
    of_selection = {place[name] for name in split.selection}
    assert of_selection.isdisjoint(place[name] for name in split.report)
    assert {rows[at] for at in of_selection} <= set(split.selection)
    sizes = np.bincount(list(place.values()))
    assert sizes.min() >= 4 and sizes.max() <= 5


def test_no_cut_changes_a_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MOST_GROUPS", 5)
    many = counted(37)
    one, other = (Gathered(written(tmp_path / str(size), many, size), False) for size in (1, 19))
    for measure in MEASURES:
        np.testing.assert_array_equal(one.table(measure).hits, other.table(measure).hits)
    np.testing.assert_array_equal(one.sums()["entropy"][1], other.sums()["entropy"][1])


def test_a_damaged_part_is_one_line(tmp_path: Path) -> None:
    settings = {"format": FORMAT, "model": {"n_layer": N_LAYER, "n_head": N_HEAD}}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    written(tmp_path / "parts", counted(5), 2)
    for table in ("documents", "counts", "sums", "baselines", "z"):
        path = tmp_path / "parts" / "000002" / f"{table}.parquet"
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"PAR1" + bytes(40) + b"PAR1", b""):
            path.write_bytes(damaged)
            with pytest.raises(
                SourceError, match=rf"{table}\.parquet is damaged .*remove its folder 000002 and go on with --resume"
            ) as caught:
                run = Run(tmp_path)
                run.table("position:self")
                run.sums()
                run.mean_z(["text:2"])
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
