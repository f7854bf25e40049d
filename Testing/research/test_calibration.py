"""Calibration and operating points: they find what was planted, keep the order, and are evaluated on held-out scans."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from research.metrics.calibration import SLOPES, cross_fitted, fit_platt, platt_where_it_helps
from research.metrics.operating_points import TARGET, achieved_points, operating_points
from research.metrics.reliability import reliability
from scripts.calibration import Calibration, identity

KEYS = ("any", "subdural")


def drawn(seed=0, scans=400, slope=1.0, offset=0.0):
    """Draw logits that are calibrated after ``slope`` and ``offset``, and labels; folds of five."""
    generator = np.random.default_rng(seed)
    calibrated = generator.normal(-0.3, 2, (scans, 2))
    labels = (generator.random((scans, 2)) < expit(calibrated)).astype(float)
    return (calibrated - offset) / slope, labels, np.arange(scans) % 5


def test_platt_scaling_finds_the_line_that_was_planted():
    logits, labels, _ = drawn(scans=20_000, slope=0.4, offset=-1.0)
    found = fit_platt(logits, labels, KEYS)
    assert found.slope == pytest.approx((0.4, 0.4), rel=0.05)
    assert found.offset == pytest.approx((-1, -1), abs=0.06)
    assert found.remarks == {}


def test_platt_scaling_is_logistic_regression_but_for_its_targets():
    logits, labels, _ = drawn(scans=5000, slope=0.4, offset=-1.0)
    found = fit_platt(logits, labels, KEYS)
    regression = LogisticRegression(C=1e9, tol=1e-8).fit(logits[:, :1], labels[:, 0])
    assert found.slope[0] == pytest.approx(regression.coef_[0, 0], rel=5e-3)
    assert found.offset[0] == pytest.approx(regression.intercept_[0], abs=5e-3)


def test_calibration_lowers_the_calibration_error_of_an_overconfident_model():
    logits, labels, folds = drawn(scans=2000, slope=0.3, offset=0.5)
    found = cross_fitted(logits, labels, KEYS, folds)
    after = reliability(labels[:, 0], found[:, 0]).expected_calibration_error
    assert after < 0.5 * reliability(labels[:, 0], expit(logits[:, 0])).expected_calibration_error


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_calibration_never_changes_the_order_of_scans(seed, direction, scale):
    generator = np.random.default_rng(seed)
    labels = (generator.random((40, 2)) < 0.5).astype(float)
    logits = scale * generator.normal(direction * labels)
    grid = np.linspace(-5, 5, 50)[:, None].repeat(2, axis=1)
    found = fit_platt(logits, labels, KEYS)
    assert all(SLOPES[0] <= slope <= SLOPES[1] for slope in found.slope)
    assert (np.diff(found.apply(grid), axis=0) >= 0).all()
    assert (np.diff(grid * found.slope + found.offset, axis=0) > 0).all()


def test_a_model_that_ranks_the_wrong_way_is_not_reversed_but_remarked():
    labels = np.tile([[0.0], [1.0]], (20, 1))
    logits = -3 * labels + np.linspace(0, 1, 40)[:, None]
    found = fit_platt(logits, labels, ("any",))
    assert found.remarks == {"any": "the slope is at its bound 0.01"}
    assert roc_auc_score(labels[:, 0], found.apply(logits)[:, 0]) == roc_auc_score(labels[:, 0], logits[:, 0]) < 0.5
    # What is left is the proportion of positives, whatever the logit.
    assert found.apply(logits) == pytest.approx(np.full((40, 1), 0.5), abs=0.02)


def test_perfectly_separated_classes_give_no_certainty_from_forty_scans():
    labels = np.tile([[0.0], [1.0]], (20, 1))
    found = fit_platt(20 * labels - 10, labels, ("any",))
    # Platt's targets: 21 / 22 for a positive, 1 / 22 for a negative.
    assert found.apply([[10.0], [-10.0]])[:, 0] == pytest.approx([21 / 22, 1 / 22], abs=1e-4)


def test_calibrated_logits_are_mostly_left_alone_with_the_reason():
    remarks: list[str] = []
    for seed in range(50):
        logits, labels, folds = drawn(seed, scans=80)
        remarks += platt_where_it_helps(logits, labels, KEYS, folds)(logits, labels, KEYS).remarks.values()
    assert 65 < len(remarks) < 100, "of a hundred labels"
    reason = "not calibrated: calibration changes the log loss of held-out patients from"
    assert all(remark.startswith(reason) for remark in remarks)


@pytest.mark.parametrize("slope", [0.3, 3.0])
def test_uncalibrated_logits_are_calibrated(slope):
    logits, labels, folds = drawn(scans=200, slope=slope)
    found = platt_where_it_helps(logits, labels, KEYS, folds)(logits, labels, KEYS)
    assert found == fit_platt(logits, labels, KEYS)
    assert found.remarks == {}


def test_leaving_calibrated_logits_alone_serves_new_patients_better_than_a_fit_on_few():
    always: list[float] = []
    where_it_helps: list[float] = []
    for seed in range(40):
        logits, labels, folds = drawn(seed, scans=60)
        unseen, truth, _ = drawn(1000 + seed, scans=500)
        for losses, fit in (
            (always, fit_platt),
            (where_it_helps, platt_where_it_helps(logits, labels, KEYS, folds)),
        ):
            losses.append(log_loss(truth.ravel(), fit(logits, labels, KEYS).apply(unseen).ravel()))
    assert np.mean(where_it_helps) < np.mean(always)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.8, 1.0, 1.3]))
@settings(max_examples=30, deadline=None)
def test_scans_of_all_folds_are_on_one_scale(seed, slope):
    # Calibration in some folds and none in others would apply thresholds to logits that they were not chosen on.
    logits, labels, folds = drawn(seed, scans=60, slope=slope)
    labels[:, 1] = np.arange(60) < 11
    fit = platt_where_it_helps(logits, labels, KEYS, folds)
    fitted = [fit(logits[folds != fold], labels[folds != fold], KEYS) for fold in range(5)]
    for column in range(2):
        assert len({(each.slope[column], each.offset[column]) == (1, 0) for each in fitted}) == 1


def test_a_label_that_nobody_knows_leaves_the_others_calibrated():
    logits, labels, folds = drawn(scans=200, slope=0.3)
    labels[:, 1] = np.nan
    found = platt_where_it_helps(logits, labels, KEYS, folds)(logits, labels, KEYS)
    assert found.slope[0] != 1
    assert list(found.remarks) == ["subdural"]


def test_what_counts_as_few_counts_in_the_trial_too():
    logits, labels, folds = drawn(scans=200, slope=0.1)
    labels[:, 1] = np.where(np.cumsum(labels[:, 1]) <= 8, labels[:, 1], 0)
    assert "10 of each" in platt_where_it_helps(logits, labels, KEYS, folds)(logits, labels, KEYS).remarks["subdural"]
    assert platt_where_it_helps(logits, labels, KEYS, folds, fewest=3)(logits, labels, KEYS).slope[1] != 1


def test_one_fold_alone_is_not_calibrated():
    logits, labels, _ = drawn(scans=60)
    found = platt_where_it_helps(logits, labels, KEYS, np.zeros(60))(logits, labels, KEYS)
    assert list(found.slope) == [1, 1]
    assert set(found.remarks) == set(KEYS)


def test_a_label_of_too_few_positives_keeps_its_probabilities_and_says_why():
    logits, labels, _ = drawn(scans=82, slope=0.3)
    labels[:, 1] = np.arange(82) < 4
    found = fit_platt(logits, labels, KEYS)
    assert (found.slope[1], found.offset[1]) == (1, 0)
    assert found.remarks == {"subdural": "not calibrated: 4 positives, 78 negatives"}
    np.testing.assert_array_equal(found.apply(logits)[:, 1], expit(logits[:, 1]))
    assert fit_platt(logits, labels, KEYS, fewest=4).remarks == {}


def test_unknown_labels_take_no_part():
    logits, labels, _ = drawn(scans=100)
    partly, rubbish = np.vstack([labels, np.full((9, 2), np.nan)]), np.vstack([logits, np.full((9, 2), np.nan)])
    assert fit_platt(rubbish, partly, KEYS) == fit_platt(logits, labels, KEYS)
    nothing = fit_platt(logits, np.full_like(labels, np.nan), KEYS)
    assert nothing.remarks == dict.fromkeys(KEYS, "not calibrated: 0 positives, 0 negatives, 100 unknown")
    assert nothing.slope == identity(KEYS).slope


def test_a_calibration_survives_json():
    logits, labels, _ = drawn()
    found = dataclasses.replace(fit_platt(logits, labels, KEYS), slices=fit_platt(logits + 1, labels, KEYS))
    assert Calibration.from_dict(json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_lines_follow_their_labels_into_another_order():
    lines = Calibration(KEYS, (1.0, 2.0), (0.0, 3.0), {"subdural": "pooled"}, (0.4, 0.1), identity(KEYS))
    turned = lines.of_labels(KEYS[::-1])
    assert (turned.slope, turned.offset, turned.prevalence) == ((2.0, 1.0), (3.0, 0.0), (0.1, 0.4))
    assert turned.slices == identity(KEYS[::-1])
    assert lines.of_labels(["any"]).remarks == {}
    with pytest.raises(ValueError, match="not in tuple"):
        lines.of_labels(["chronic"])


def test_held_out_patients_do_not_touch_their_own_calibration():
    logits, labels, folds = drawn(scans=200, slope=0.4)
    before = cross_fitted(logits, labels, KEYS, folds)
    labels[folds == 2] = 1 - labels[folds == 2]
    after = cross_fitted(logits, labels, KEYS, folds)
    np.testing.assert_array_equal(after[folds == 2], before[folds == 2])
    assert not np.allclose(after[folds == 1], before[folds == 1])


def test_what_cannot_be_calibrated_is_refused():
    logits, labels, folds = drawn(scans=10)
    with pytest.raises(ValueError, match="needs two folds"):
        cross_fitted(logits, labels, KEYS, np.zeros(10))
    with pytest.raises(ValueError, match="1 keys"):
        fit_platt(logits, labels, ("any",))
    logits[0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        cross_fitted(logits, labels, KEYS, folds)
    with pytest.raises(ValueError, match="slopes must be above 0"):
        Calibration(KEYS, (1.0, 0.0), (0.0, 0.0), {})
    with pytest.raises(ValueError, match="1 offsets"):
        Calibration(KEYS, (1.0, 1.0), (0.0,), {})


@given(seed=st.integers(0, 10_000), positives=st.integers(1, 15), negatives=st.integers(1, 60))
def test_more_specific_points_have_no_lower_thresholds(seed, positives, negatives):
    generator = np.random.default_rng(seed)
    labels = np.repeat([1.0, 0.0], [positives, negatives])[:, None]
    points = operating_points(expit(generator.normal(labels * generator.uniform(0, 4))), labels, ("any",))
    thresholds = [points[name]["any"] for name in ("high_sensitivity", "balanced", "high_specificity")]
    assert thresholds == sorted(thresholds)


def test_operating_points_leave_unknown_labels_out():
    logits, labels, _ = drawn(scans=60)
    partly, more = np.vstack([labels, [[np.nan, np.nan]]]), np.vstack([expit(logits), [[np.nan, 0.3]]])
    assert operating_points(more, partly, KEYS) == operating_points(expit(logits), labels, KEYS)


def always(fit):
    """Calibrate by one and the same fit, whatever the scans say."""
    return lambda *_scans: fit


@pytest.mark.parametrize("choice", [None, always(fit_platt), platt_where_it_helps])
def test_achieved_metrics_are_close_to_the_target_on_many_scans(choice):
    logits, labels, folds = drawn(scans=4000, slope=0.4, offset=0.7)
    points = achieved_points(logits, labels, KEYS, folds, choice)
    for key in KEYS:
        assert points["high_sensitivity"][key].sensitivity.estimate == pytest.approx(TARGET, abs=0.02)
        assert points["high_specificity"][key].specificity.estimate == pytest.approx(TARGET, abs=0.02)
        assert points["balanced"][key].remark is None


def test_each_fold_is_thresholded_by_the_others_and_the_counts_are_pooled():
    logits, labels, folds = drawn(scans=100)
    point = achieved_points(logits, labels, KEYS, folds)["balanced"]["any"]
    true_positive = true_negative = 0
    for fold in range(5):
        here = folds == fold
        chosen = operating_points(expit(logits[~here]), labels[~here], KEYS)["balanced"]["any"]
        assert point.fold_thresholds[fold] == chosen
        positive = expit(logits[here, 0]) >= chosen
        true_positive += int((positive & (labels[here, 0] == 1)).sum())
        true_negative += int((~positive & (labels[here, 0] == 0)).sum())
    assert (point.true_positive, point.true_negative) == (true_positive, true_negative)
    assert point.sensitivity.estimate == true_positive / labels[:, 0].sum()
    assert point.specificity.estimate == true_negative / (1 - labels[:, 0]).sum()
    assert point.threshold == operating_points(expit(logits), labels, KEYS)["balanced"]["any"]


@pytest.mark.parametrize("choice", [None, always(fit_platt), platt_where_it_helps])
def test_held_out_scans_do_not_decide_their_thresholds(choice):
    logits, labels, folds = drawn(scans=200, slope=0.4)
    before = achieved_points(logits, labels, KEYS, folds, choice)
    labels[folds == 3] = 1 - labels[folds == 3]
    logits[folds == 3] += 5
    after = achieved_points(logits, labels, KEYS, folds, choice)
    for name, point in before.items():
        assert after[name]["any"].fold_thresholds[3] == point["any"].fold_thresholds[3]
    assert any(after[name]["any"].fold_thresholds[1] != before[name]["any"].fold_thresholds[1] for name in before)


def test_a_useless_model_is_not_flattered():
    # Chosen and evaluated on the same 30 scans, the best threshold for noise looks better than a random one.
    flattering, honest = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        logits, labels = generator.normal(size=(30, 1)), (np.arange(30) % 2).astype(float)[:, None]
        cut = operating_points(expit(logits), labels, ["any"])["balanced"]["any"]
        positive = expit(logits[:, 0]) >= cut
        flattering.append(positive[labels[:, 0] == 1].mean() - positive[labels[:, 0] == 0].mean())
        point = achieved_points(logits, labels, ["any"], np.arange(30) // 2 % 5)["balanced"]["any"]
        honest.append(point.sensitivity.estimate + point.specificity.estimate - 1)
    # At a specificity of 0.9 noise has little to gain; what it gains, it gains in nearly every draw.
    gained = np.subtract(flattering, honest)
    assert gained.mean() > 4 * gained.std(ddof=1) / np.sqrt(len(gained))
    assert abs(np.mean(honest)) < 0.05


def test_a_label_of_too_few_scans_keeps_the_default_threshold_and_states_in_how_many_folds():
    logits, labels, folds = drawn(scans=100)
    labels[:, 1] = 0
    labels[:3, 1] = 1
    point = achieved_points(logits, labels, KEYS, folds, always(fit_platt), fewest=3)["balanced"]["subdural"]
    # Three positives in folds 0, 1 and 2: without any of these folds two are left.
    assert point.remark == "default threshold in 3 of 5 folds, too few scans: 3 positives, 97 negatives"
    assert [point.fold_thresholds[fold] for fold in range(3)] == [0.5] * 3
    labels[:, 1] = np.nan
    point = achieved_points(logits, labels, KEYS, folds)["balanced"]["subdural"]
    assert (point.threshold, point.sensitivity.estimate) == (0.5, None)
    assert json.dumps(dataclasses.asdict(point), allow_nan=False)


def test_too_few_folds_to_evaluate_on_are_refused():
    logits, labels, folds = drawn(scans=20)
    with pytest.raises(ValueError, match="need two folds, three with calibration, not 1"):
        achieved_points(logits, labels, KEYS, np.zeros(20))
    with pytest.raises(ValueError, match="need two folds, three with calibration, not 2"):
        achieved_points(logits, labels, KEYS, folds % 2, platt_where_it_helps)
