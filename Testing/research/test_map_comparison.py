"""Analysis of variance and Tukey's test of maps: against scipy, with reasons where they cannot be made."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import f_oneway, ttest_ind

from research.metrics.map_comparison import compare_maps


def three_networks() -> dict[str, list[float]]:
    generator = np.random.default_rng(1)
    return {
        name: (mean + 0.1 * generator.standard_normal(30)).tolist()
        for name, mean in (("a", 0.2), ("b", 0.21), ("c", 0.5))
    }


def test_the_tests_are_scipys_and_every_pair_is_there_once():
    values = three_networks()
    found = compare_maps(values)
    assert found.p == f_oneway(*values.values()).pvalue
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.p < 0.05 for pair in found.pairs] == [False, True, True]
    apart = found.pairs[1]
    assert apart.difference == pytest.approx(np.mean(values["a"]) - np.mean(values["c"]))
    assert apart.low < apart.difference < apart.high < 0
    json.dumps(asdict(found), allow_nan=False)


def test_two_networks_give_the_t_test_of_equal_variances():
    values = {name: sample for name, sample in three_networks().items() if name != "c"}
    wanted = ttest_ind(values["a"], values["b"]).pvalue
    assert compare_maps(values).p == pytest.approx(wanted)
    assert compare_maps(values).pairs[0].p == pytest.approx(wanted, abs=1e-3)


def test_the_spread_is_that_of_the_sample():
    spread = compare_maps({"a": [0.1, 0.3, 0.2], "b": [0.0, 0.0, 0.5]}).spreads["a"]
    assert (spread.cases, spread.smallest, spread.largest) == (3, 0.1, 0.3)
    assert (spread.mean, spread.standard_deviation) == (pytest.approx(0.2), pytest.approx(0.1))


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ({"a": [0.1, 0.2]}, "1 networks, 2 cases"),
        ({"a": [0.1], "b": [0.2]}, "2 networks, 1 cases"),
        ({"a": [0.0, 0.0], "b": [0.0, 0.0]}, "no network's values differ"),
    ],
)
def test_what_cannot_be_tested_has_its_reason(values: dict[str, list[float]], remark: str):
    found = compare_maps(values)
    assert (found.f, found.p, found.pairs) == (None, None, ())
    assert remark in found.remark


@pytest.mark.parametrize("sample", [[], [0.1, float("nan")]])
def test_a_network_without_numbers_is_refused(sample: list[float]):
    with pytest.raises(ValueError, match="b: "):
        compare_maps({"a": [0.1, 0.2], "b": sample})
