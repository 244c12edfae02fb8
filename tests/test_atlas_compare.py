"""Two runs side by side: who moved, who stayed, how alike the rankings are."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr

from qkvlab.atlas.compare import compare_runs, comparison, rank_correlation
from some_atlas import some_atlas


def test_a_run_and_itself() -> None:
    found = compare_runs(some_atlas(), some_atlas())
    assert found["same_model"] and found["moved"] == [] and found["only"] == [[], []]
    assert all(rho == pytest.approx(1.0) for rho in found["correlation"].values())
    assert all(row["first"] == row["second"] == [] for row in found["roles"])
    assert next(row["both"] for row in found["roles"] if row["role"] == "coreference") == ["1.2"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_two_corpora_of_one_model() -> None:
    first, second = some_atlas(), some_atlas()
    held = second["measures"]["coreference"]
    for field, value in (("value", 0.1), ("low", 0.05), ("high", 0.15), ("whole", 0.1)):
        held[field][8] = value
    second["roles"] = [role for role in second["roles"] if role["role"] != "coreference"]
    del second["measures"]["repeats:induction"]
    second["roles"] = [role for role in second["roles"] if role["role"] != "repeats:induction"]
    found = compare_runs(first, second)
    assert [(row["measure"], row["head"]) for row in found["moved"]] == [("coreference", "1.2")]
    assert found["moved"][0]["first"] == {"value": 0.75, "low": 0.67, "high": 0.83}
    role = next(row for row in found["roles"] if row["role"] == "coreference")
    assert (role["both"], role["first"], role["second"]) == ([], ["1.2"], [])
    assert found["only"] == [["repeats:induction"], []]
    assert found["correlation"]["coreference"] < 1 and "repeats:induction" not in found["correlation"]


def test_two_models_are_compared_by_role_alone() -> None:
    found = compare_runs(some_atlas(), some_atlas(4, 4, 2, name="Other", badge="Other, F16"))
    assert not found["same_model"] and found["moved"] == [] and found["correlation"] is None
    assert found["models"] == ["Tiny-5, F32", "Other, F16"]
    role = next(row for row in found["roles"] if row["role"] == "coreference")
    assert role["first"] == ["1.2"] and role["second"] == ["1.2"] and role["both"] == []
    one, other = some_atlas(sha256="a" * 64), some_atlas(sha256="b" * 64)
    assert not compare_runs(one, other)["same_model"], "the file is another"


def test_the_rank_correlation_is_spearmans() -> None:
    random = np.random.default_rng(5)
    for _ in range(20):
        first, second = random.integers(0, 7, 31) / 7.0, random.normal(size=31)
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([30.0, 20, 10])) == pytest.approx(-1)
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None


def test_the_table_says_it() -> None:
    first, second = some_atlas(), some_atlas()
    for field, value in (("value", 0.1), ("low", 0.05), ("high", 0.15)):
        second["measures"]["coreference"][field][8] = value
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(comparison(compare_runs(first, second)))
    console.print(comparison(compare_runs(first, some_atlas(4, 4, 2, name="Other"))))
    text = console.export_text()
    assert "1 values moved beyond both intervals" in text and "0.750 (0.670–0.830)" in text
    assert "Two models: their heads are not compared one by one." in text
