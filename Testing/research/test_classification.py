"""Classification metrics against scikit-learn and hand calculation, with labels missing in every way."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn_metrics

from research.metrics.class_counts import class_counts, known
from research.metrics.classification import (
    FEW,
    MACRO,
    classification_metrics,
    label_metrics,
    rsna_weights,
    scan_losses,
    weighted_log_loss,
)
from research.metrics.reliability import reliability

KEYS = ("any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
NAN = float("nan")


def random_scans(seed=0, scans=120, labels=6):
    generator = np.random.default_rng(seed)
    truth = (generator.random((scans, labels)) < 0.4).astype(float)
    return np.clip(0.25 * truth + 0.75 * generator.random(truth.shape), 0, 1), truth


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_metrics_are_scikit_learns(threshold):
    predicted, truth = random_scans()
    metrics = classification_metrics(predicted, truth, KEYS, threshold)
    for column, key in enumerate(KEYS):
        true, scores = truth[:, column], predicted[:, column]
        positive = scores >= threshold
        expected = {
            "auc": sklearn_metrics.roc_auc_score(true, scores),
            "average_precision": sklearn_metrics.average_precision_score(true, scores),
            "precision": sklearn_metrics.precision_score(true, positive),
            "recall": sklearn_metrics.recall_score(true, positive),
            "specificity": sklearn_metrics.recall_score(true, positive, pos_label=0),
            "f1": sklearn_metrics.f1_score(true, positive),
            "log_loss": sklearn_metrics.log_loss(true, scores),
            "brier": sklearn_metrics.brier_score_loss(true, scores),
        }
        found = {name: getattr(metrics.labels[key], name) for name in expected}
        assert found == pytest.approx(expected)
        assert metrics.labels[key].remark is None


def test_macro_metrics_are_scikit_learns():
    predicted, truth = random_scans()
    macro = classification_metrics(predicted, truth, KEYS).macro
    positive = predicted >= 0.5
    assert macro["auc"].value == pytest.approx(sklearn_metrics.roc_auc_score(truth, predicted, average="macro"))
    assert macro["f1"].value == pytest.approx(sklearn_metrics.f1_score(truth, positive, average="macro"))
    assert macro["precision"].value == pytest.approx(sklearn_metrics.precision_score(truth, positive, average="macro"))
    assert macro["recall"].value == pytest.approx(sklearn_metrics.recall_score(truth, positive, average="macro"))
    assert all((macro[name].labels, macro[name].remark) == (6, None) for name in MACRO)


def test_the_log_loss_counts_any_double_as_the_challenge_did():
    predicted, truth = random_scans()
    metrics = classification_metrics(predicted, truth, KEYS)
    # The challenge listed each slice's six rows and gave the rows of "any" the sample weight 2.
    weights = np.tile([2, 1, 1, 1, 1, 1], len(truth))
    expected = sklearn_metrics.log_loss(truth.ravel(), predicted.ravel(), sample_weight=weights)
    assert metrics.weighted_log_loss == pytest.approx(expected)
    assert metrics.weights == pytest.approx({key: 2 / 7 if key == "any" else 1 / 7 for key in KEYS})


def test_the_loss_of_each_scan_averages_to_the_loss_of_all():
    predicted, truth = random_scans()
    weights = list(rsna_weights(KEYS).values())
    losses = scan_losses(predicted, truth, weights)
    assert losses.shape == (120,)
    assert losses.mean() == pytest.approx(weighted_log_loss(predicted, truth, weights))


def test_a_certain_mistake_costs_much_but_not_infinitely_much():
    assert label_metrics([1.0, 0.0], [0, 1]).log_loss == pytest.approx(-np.log(1e-15), rel=1e-3)


def test_sensitivity_at_fixed_specificity_is_what_one_counts_by_hand():
    # 20 negatives at 0.00, 0.05, ..., 0.95; two of them may be positive at specificity 0.90, one at 0.95.
    negatives = np.arange(20) / 20
    positives = np.array([0.99, 0.93, 0.88, 0.2])
    metrics = label_metrics(np.concatenate([negatives, positives]), [0] * 20 + [1] * 4)
    assert metrics.sensitivity_at_specificity == {"0.90": 0.75, "0.95": 0.5}
    # All four positives are needed for 0.90 of four: from 0.2 upwards 16 of 20 negatives are positive.
    assert metrics.specificity_at_sensitivity == pytest.approx({"0.90": 0.2, "0.95": 0.2})


@pytest.mark.parametrize(("label", "reason"), [(0, "0 positives, 12 negatives"), (1, "12 positives, 0 negatives")])
def test_a_label_without_one_class_has_no_metric_that_needs_both_but_the_reason(label, reason):
    predicted = np.linspace(0.05, 0.9, 12)
    metrics = label_metrics(predicted, np.full(12, label))
    assert metrics.auc is metrics.average_precision is None
    assert set(metrics.sensitivity_at_specificity.values()) == {None}
    assert set(metrics.specificity_at_sensitivity.values()) == {None}
    assert metrics.remark == reason
    missing = (metrics.precision, metrics.recall, metrics.f1) if label == 0 else (metrics.specificity,)
    assert set(missing) == {None}
    assert metrics.log_loss == pytest.approx(sklearn_metrics.log_loss([label] * 12, predicted, labels=[0, 1]))
    assert metrics.brier == pytest.approx(np.mean((predicted - label) ** 2))


def test_a_metric_from_few_scans_comes_with_their_number():
    assert label_metrics(np.linspace(0, 1, 82), np.arange(82) < 3).remark == "3 positives, 79 negatives"
    assert label_metrics(np.linspace(0, 1, 20), np.arange(20) < FEW).remark is None
    assert label_metrics([0.1, 0.8], [0, 1]).remark == "1 positive, 1 negative"


def test_precision_of_a_threshold_that_nothing_reaches_is_zero_with_a_remark():
    metrics = label_metrics(np.linspace(0, 0.4, 24), np.arange(24) < 12)
    assert metrics.precision == metrics.f1 == metrics.recall == 0
    assert metrics.remark == "none reaches the threshold 0.5: precision counts as 0"


def test_macro_metrics_leave_out_labels_that_have_none_and_name_them():
    predicted, truth = random_scans(labels=3)
    truth[:, 1] = 0
    macro = classification_metrics(predicted, truth, ("any", "epidural", "subdural")).macro
    assert macro["auc"].value == pytest.approx(sklearn_metrics.roc_auc_score(truth[:, [0, 2]], predicted[:, [0, 2]]))
    assert macro["auc"].labels == 2
    assert macro["auc"].remark == "without epidural: 0 positives, 120 negatives"
    assert macro["log_loss"].labels == 3


def test_unknown_labels_leave_a_scan_out_of_that_label_alone():
    predicted, truth = random_scans(labels=2)
    partly = truth.copy()
    partly[:30, 1] = NAN
    predicted[:5, 1] = NAN
    metrics = classification_metrics(predicted, partly, ("any", "subdural"))
    alone = label_metrics(predicted[30:, 1], truth[30:, 1])
    assert dataclasses.replace(metrics.labels["subdural"], unknown=0) == alone
    assert metrics.labels["subdural"].unknown == 30
    assert metrics.labels["any"] == label_metrics(predicted[:, 0], truth[:, 0])
    # Weights of what is unknown fall away: 120 entries that count double, 90 that count once.
    first, second = metrics.labels["any"].log_loss, metrics.labels["subdural"].log_loss
    assert metrics.weighted_log_loss == pytest.approx((240 * first + 90 * second) / 330)


def test_an_unknown_label_has_no_metric_at_all():
    metrics = classification_metrics(np.full((4, 1), 0.3), np.full((4, 1), NAN), ("midline_shift",))
    label = metrics.labels["midline_shift"]
    assert label.remark == "0 positives, 0 negatives, 4 unknown"
    assert {getattr(label, name) for name in MACRO} == {None}
    assert {metric.value for metric in metrics.macro.values()} == {None}
    assert metrics.weighted_log_loss is None


def test_metrics_are_json():
    predicted, truth = random_scans(labels=2)
    truth[:, 1] = NAN
    metrics = classification_metrics(predicted, truth, ("any", "epidural"))
    written = json.dumps(dataclasses.asdict(metrics), allow_nan=False)
    assert json.loads(written)["labels"]["epidural"]["auc"] is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="keys"):
        classification_metrics(np.zeros((3, 2)), np.zeros((3, 2)), ("any",))
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        label_metrics([0.1, 0.2], [0.5, 1])
    with pytest.raises(ValueError, match="NaN where its label is known"):
        label_metrics([0.1, NAN], [0, 1])
    with pytest.raises(ValueError, match="NaN where its label is known"):
        scan_losses([[NAN]], [[1]], [1])
    with pytest.raises(ValueError, match="3 predictions, 2 labels"):
        known([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        reliability([0, 1], [0.1, 1.2])
    with pytest.raises(ValueError, match="0 bins"):
        reliability([0, 1], [0.1, 0.2], 0)


def test_counts_read_as_a_reason():
    assert str(class_counts([1, 0, 0, NAN])) == "1 positive, 2 negatives, 1 unknown"
    assert class_counts([1, 1, 0]).rarest == 1


def test_the_reliability_diagram_is_what_one_counts_by_hand():
    points = reliability([0, 1, 1, 1, NAN], [0.1, 0.15, 0.85, 1.0, 0.5], bins=5)
    assert points.predicted == pytest.approx((0.125, 0.925))
    assert points.observed == (0.5, 1.0)
    assert points.count == (2, 2)
    assert points.expected_calibration_error == pytest.approx((2 * 0.375 + 2 * 0.075) / 4)


def test_calibrated_probabilities_have_next_to_no_calibration_error():
    generator = np.random.default_rng(3)
    predicted = generator.random(200_000)
    truth = generator.random(200_000) < predicted
    assert reliability(truth, predicted).expected_calibration_error < 0.01
    assert reliability(truth, predicted**3).expected_calibration_error > 0.1


@given(arrays(float, 30, elements=st.floats(0, 1)), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_calibration_error_lies_between_zero_and_one_and_every_scan_is_in_a_bin(predicted, seed, bins):
    truth = np.random.default_rng(seed).integers(0, 2, 30)
    points = reliability(truth, predicted, bins)
    assert sum(points.count) == 30
    assert 0 <= points.expected_calibration_error <= 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_order_of_scans_changes_no_metric(seed):
    predicted, truth = random_scans(seed, scans=25, labels=1)
    truth[0] = NAN
    order = np.random.default_rng(seed).permutation(25)
    one, other = label_metrics(predicted[:, 0], truth[:, 0]), label_metrics(predicted[order, 0], truth[order, 0])
    assert (one.auc, one.f1, one.remark) == (other.auc, other.f1, other.remark)
    assert one.sensitivity_at_specificity == other.sensitivity_at_specificity
    for name in ("average_precision", "log_loss", "brier", "expected_calibration_error"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))


@given(
    arrays(float, 24, elements=st.integers(0, 40).map(lambda step: step / 40)),
    arrays(bool, 22),
    st.floats(0.2, 5),
)
@settings(max_examples=40, deadline=None)
def test_ranking_metrics_do_not_change_under_a_monotone_map(predicted, some, exponent):
    truth = np.append(some, [True, False])
    one, other = label_metrics(predicted, truth), label_metrics(predicted**exponent, truth)
    assert (one.auc, one.average_precision) == (other.auc, other.average_precision)
    assert one.sensitivity_at_specificity == other.sensitivity_at_specificity
