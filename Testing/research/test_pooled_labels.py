"""Subtypes that are too rare each share one calibration and one threshold, if they are enough together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from research.metrics.calibration import fit_platt, platt_where_it_helps
from research.metrics.class_counts import pooled_keys
from research.metrics.operating_points import achieved_points, operating_points
from scripts.operating_points import DEFAULT_THRESHOLD

KEYS = ("any", "epidural", "subarachnoid", "subdural")
Floats = NDArray[np.float64]


def drawn(seed: int = 0, scans: int = 200) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return logits that are far too certain, labels of which the last two are rare, and folds."""
    generator = np.random.default_rng(seed)
    truth = generator.random((scans, 4)) < 0.4
    truth[:, 2] = np.arange(scans) % 23 == 0
    truth[:, 3] = np.arange(scans) % 23 == 7
    logits = 5.0 * (1.6 * truth - 0.8 + generator.normal(size=truth.shape))
    return logits, truth.astype(np.float64), np.arange(scans) % 5


def test_the_rare_subtypes_are_pooled_and_the_others_not() -> None:
    _, labels, _ = drawn()
    assert pooled_keys(labels, KEYS, fewest=10) == ("subarachnoid", "subdural")
    assert pooled_keys(labels, KEYS, fewest=5) == ()


def test_any_haemorrhage_is_never_pooled_with_a_subtype() -> None:
    _, labels, _ = drawn()
    labels[:, 0] = labels[:, 2]
    assert "any" not in pooled_keys(labels, KEYS, fewest=10)


def test_too_few_together_are_not_pooled() -> None:
    _, labels, _ = drawn(scans=60)
    assert pooled_keys(labels, KEYS, fewest=10) == ()


def test_pooled_labels_share_the_line_of_all_their_scans() -> None:
    logits, labels, folds = drawn()
    found = platt_where_it_helps(logits, labels, KEYS, folds)(logits, labels, KEYS)
    assert (found.slope[2], found.offset[2]) == (found.slope[3], found.offset[3])
    both = fit_platt(logits[:, 2:].reshape(-1, 1), labels[:, 2:].reshape(-1, 1), ("both",))
    assert (found.slope[2], found.offset[2]) == pytest.approx((both.slope[0], both.offset[0]), rel=1e-6)
    assert found.remarks["subdural"] == "one line for subarachnoid, subdural together: 18 positives, 382 negatives"
    assert found.prevalence[2:] == (0.045, 0.045)


def test_pooled_labels_stay_as_they_are_where_the_line_does_not_help() -> None:
    generator = np.random.default_rng(1)
    part = np.array([0.4, 0.4, 0.04, 0.04])
    labels = (generator.random((200, 4)) < part).astype(np.float64)
    labels[:, 2:] = drawn()[1][:, 2:]
    logits = np.tile(np.log(part / (1 - part)), (200, 1)) + generator.normal(scale=0.01, size=(200, 4))
    found = platt_where_it_helps(logits, labels, KEYS, np.arange(200) % 5)(logits, labels, KEYS)
    assert "changes the log loss" in found.remarks["subarachnoid"]
    assert found.remarks["subarachnoid"] == found.remarks["subdural"]
    assert (found.slope[2:], found.offset[2:]) == ((1.0, 1.0), (0.0, 0.0))


def test_pooled_labels_share_the_threshold_of_all_their_scans() -> None:
    logits, labels, _ = drawn()
    points = operating_points(expit(logits), labels, KEYS, fewest=10)
    both = operating_points(expit(logits[:, 2:]).reshape(-1, 1), labels[:, 2:].reshape(-1, 1), ("both",))
    for name, thresholds in points.items():
        assert thresholds["subdural"] == thresholds["subarachnoid"] != DEFAULT_THRESHOLD
        assert thresholds["subdural"] >= both[name]["both"]
    for name in ("high_sensitivity", "high_specificity"):
        assert points[name]["subdural"] == both[name]["both"]


def test_pooled_labels_are_nine_times_in_ten_right_about_scans_without_them() -> None:
    logits, labels, _ = drawn()
    threshold = operating_points(expit(logits), labels, KEYS, fewest=10)["balanced"]["subdural"]
    negative = expit(logits[:, 2:])[labels[:, 2:] == 0]
    assert (negative < threshold).mean() >= 0.9


def test_what_pooled_labels_reach_is_counted_for_each_by_itself() -> None:
    logits, labels, folds = drawn()
    found = achieved_points(logits, labels, KEYS, folds, platt_where_it_helps, 10)["balanced"]
    assert (found["subdural"].positive, found["subdural"].negative) == (9, 191)
    assert found["subdural"].remark is None
