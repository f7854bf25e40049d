"""Sensitivity at a fixed specificity, counted by hand, and intervals that are as wide as they must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.metrics.volume_sensitivity import (
    ScoredScan,
    sensitivity_by_subtype,
    sensitivity_by_volume,
    synthetic_auc,
    threshold_at_specificity,
)

FEW = 200


def negatives(scores: list[float]) -> list[ScoredScan]:
    return [ScoredScan(f"host {number}", {"any": score, "subdural": -score}) for number, score in enumerate(scores)]


def positive(number: int, score: float, volume: float, subtype: str = "subdural") -> ScoredScan:
    return ScoredScan(f"host {number}", {"any": score, "subdural": -score}, subtype, volume)


@given(
    st.lists(st.integers(-4, 4), min_size=1, max_size=30),
    st.sampled_from([0.1, 0.5, 0.8, 0.9, 1.0]),
)
def test_the_threshold_is_the_smallest_that_keeps_enough_negatives_below_it(values: list[int], specificity: float):
    scores = np.array(values, dtype=np.float64)
    threshold = threshold_at_specificity(scores, specificity)
    assert (scores < threshold).mean() >= specificity - 1e-9
    assert (scores < np.nextafter(threshold, -np.inf)).mean() < specificity


def test_without_negatives_there_is_no_threshold():
    with pytest.raises(ValueError, match="0 negatives"):
        threshold_at_specificity(np.array([]))


def test_true_positives_are_counted_in_each_bin_of_volume():
    # Four of five negatives lie below 0.9 at specificity 0.8.
    scans = negatives([0.1, 0.2, 0.3, 0.4, 0.9])
    scans += [positive(0, 0.35, 0.5), positive(1, 0.5, 1.0), positive(2, 0.3, 4.9), positive(3, 0.8, 5.0)]
    scans += [positive(4, 0.95, 80.0)]
    found = sensitivity_by_volume(scans, count=FEW)
    counts = {name: (each.true_positive, each.positive) for name, each in found.items()}
    assert counts == {
        "0.3 to 1 ml": (0, 1),
        "1 to 5 ml": (1, 2),
        "5 to 10 ml": (1, 1),
        "10 to 30 ml": (0, 0),
        "30 to 80 ml": (1, 1),
        "from 1 ml": (3, 4),
        "from 5 ml": (2, 2),
        "from 10 ml": (1, 1),
        "all": (3, 5),
    }
    assert found["10 to 30 ml"].remark == "no such scan"
    assert found["10 to 30 ml"].estimate is None


def test_an_interval_holds_its_estimate_and_is_never_a_point():
    generator = np.random.default_rng(1)
    scans = negatives(generator.normal(0.0, 1.0, 40).tolist())
    scans += [positive(number, float(generator.normal(1.0, 1.0)), 3.0) for number in range(40)]
    scans += [positive(number, 50.0, 40.0) for number in range(40)]
    found = sensitivity_by_volume(scans, count=FEW)
    for name in ("1 to 5 ml", "30 to 80 ml", "all"):
        each = found[name]
        assert each.estimate is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.estimate <= each.high
        assert each.low < each.high
    assert found["30 to 80 ml"].estimate == 1.0
    assert found["30 to 80 ml"].low == pytest.approx(0.912, abs=0.002)


def test_the_thresholds_own_uncertainty_widens_the_interval():
    generator = np.random.default_rng(2)
    marks = generator.normal(1.0, 1.0, 60).tolist()
    widths = []
    for count in (6, 60):
        # The same distribution of negatives, known from few hosts and from many.
        scores = np.quantile(np.linspace(-2.0, 2.0, 601), np.linspace(0.0, 1.0, count)).tolist()
        scans = negatives(scores) + [positive(number, mark, 3.0) for number, mark in enumerate(marks)]
        found = sensitivity_by_volume(scans, count=FEW)["all"]
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[0] > 1.2 * widths[1]


def test_a_subtype_is_read_by_any_and_by_its_own_label_beside_the_same_negatives():
    scans = negatives([0.1, 0.2, 0.3, 0.4, 0.9])
    scans += [positive(0, 0.5, 3.0, "subdural"), ScoredScan("host 1", {"any": 0.6, "epidural": 9.0}, "epidural", 2.0)]
    scans = [ScoredScan(s.host, {"epidural": 0.0, **s.scores}, s.subtype, s.volume_ml) for s in scans]
    found = sensitivity_by_subtype([s for s in scans if s.subtype != "epidural"], count=FEW)
    assert list(found) == ["subdural"]
    assert found["subdural"]["any"]["all"].true_positive == 1
    # Its own score is -0.5, below all negatives but one.
    assert found["subdural"]["own"]["all"].true_positive == 0


def test_a_scan_with_another_subtype_is_no_negative_of_this_one():
    scans = [ScoredScan(str(n), {"any": 0.0, "subdural": 0.0, "epidural": 0.0}) for n in range(3)]
    scans += [ScoredScan("4", {"any": 1.0, "subdural": 1.0, "epidural": 5.0}, "subdural", 3.0)]
    scans += [ScoredScan("5", {"any": 1.0, "subdural": 9.0, "epidural": -1.0}, "epidural", 3.0)]
    found = synthetic_auc(scans, FEW)
    assert (found["any"].estimate, found["subdural"].estimate, found["epidural"].estimate) == (1.0, 1.0, 0.0)
