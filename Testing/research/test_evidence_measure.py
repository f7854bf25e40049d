"""Measuring for the evidence: the right metrics, on held-out scans, with reasons where one is missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evidence_files import KEYS, NO_SLICES, PLAN, SHIPPED, WEAK, made_up, write_run
from sklearn.metrics import average_precision_score, roc_auc_score

from research.evidence.measure import measure
from research.evidence.measured_file import FORMAT, jsonable, read_measured, write_measured
from research.evidence.shipped_metrics import data_summary, fold_metrics, held_out, size_metrics
from research.evidence.tables import comparison
from research.metrics.comparison import delong
from research.metrics.curves import average_precision_interval, weighted_average_precision
from research.metrics.interpretive_tasks import attended_scans, top_h_proportions
from research.metrics.predictions import Predictions
from research.training.cross_validation import decisions
from scripts.labels import RSNA

SLICE_ARRAYS = ("slice_labels", "slice_logits")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return measure(write_run(tmp_path_factory.mktemp("run")), PLAN, 30)


def changed(predictions, **changes):
    return Predictions(
        predictions.keys,
        tuple(
            dataclasses.replace(scan, **{name: of(scan) for name, of in changes.items()}) for scan in predictions.scans
        ),
        predictions.model,
        predictions.protocol,
    )


def test_a_row_holds_scikit_learns_metrics(measured):
    predictions = made_up("good", 1.2)
    slice_labels, slice_logits, _ = predictions.slice_level()
    row = measured["rows"][SHIPPED]
    wanted = roc_auc_score(predictions.labels[:, 0], predictions.logits[:, 0])
    assert row["scan_auc"]["estimate"] == pytest.approx(wanted, abs=1e-3)
    assert row["scan_auc"]["low"] < row["scan_auc"]["estimate"] < row["scan_auc"]["high"]
    assert row["slice_auc"]["estimate"] == pytest.approx(
        roc_auc_score(slice_labels[:, 0], slice_logits[:, 0]), abs=1e-3
    )
    assert row["macro_auc"]["labels"] == 5
    assert row["macro_auc"]["remark"] == "without epidural: 0 positives, 60 negatives"
    assert row["top_h"]["random_baseline"] < row["top_h"]["value"]


def test_a_network_without_a_slice_classifier_has_no_metric_of_slices(measured):
    assert measured["rows"][NO_SLICES]["slice_auc"]["estimate"] is None
    assert measured["rows"][NO_SLICES]["slice_auc"]["remark"] == "no slice classifier"
    assert measured["tables"][0]["comparisons"][NO_SLICES]["slices"] is None
    assert not changed(made_up("", 1), slice_logits=lambda _: None).has_slice_logits


def test_rows_are_tested_against_the_marked_one(measured):
    found = measured["tables"][0]["comparisons"]
    assert set(found) == {NO_SLICES, WEAK}
    first, second = made_up("weak", 0.3, seed=1), made_up("good", 1.2)
    wanted = delong(first.labels[:, 0], first.logits[:, 0], second.logits[:, 0])
    assert found[WEAK]["delong"]["difference"] == pytest.approx(wanted.difference, abs=1e-3)
    assert found[WEAK]["delong"]["p"] < 0.01
    assert found[WEAK]["slices"]["difference"] < 0
    assert found[WEAK]["t_test"]["difference"] > 0
    assert found[WEAK]["t_test"]["units"] == 54


def test_the_order_of_scans_does_not_change_a_comparison_and_other_scans_forbid_it():
    first, second = made_up("weak", 0.3, seed=1), made_up("good", 1.2)
    turned = Predictions(second.keys, second.scans[::-1], "", "")
    assert comparison(first, turned, 20) == comparison(first, second, 20)
    fewer = Predictions(second.keys, second.scans[1:], "", "")
    assert comparison(first, fewer, 20) == {"reason": "not measured on the same scans and labels"}


def test_repetitions_have_mean_and_standard_deviation(measured):
    pair = [measured["rows"][name]["scan_auc"]["estimate"] for name in (SHIPPED, WEAK)]
    repetitions = measured["tables"][1]["repetitions"]["scan_auc"]
    assert repetitions["mean"] == pytest.approx(np.mean(pair), abs=1e-5)
    assert repetitions["standard_deviation"] == pytest.approx(np.std(pair, ddof=1), abs=1e-5)
    assert measured["tables"][0]["repetitions"] is None


@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_the_thresholds_that_are_shipped_are_those_that_are_evaluated(slope):
    predictions = changed(made_up("sharp", 1.2), logits=lambda scan: slope * scan.logits)
    calibration, points = decisions(predictions)
    evaluated = held_out(predictions)
    assert evaluated.uncalibrated == calibration.remarks
    for name, of_label in evaluated.points.items():
        assert {key: point.threshold for key, point in of_label.items()} == points[name]


def test_slices_whose_probabilities_are_too_large_are_calibrated_on_held_out_slices():
    predictions = changed(made_up("good", 1.2), slice_logits=lambda scan: 2 * scan.slice_logits + 3)
    of_slices = decisions(predictions)[0].slices
    labels, logits = (np.concatenate([getattr(scan, name) for scan in predictions.scans]) for name in SLICE_ARRAYS)
    assert of_slices.offset[0] < -1
    assert of_slices.prevalence[0] == pytest.approx(labels[:, 0].mean(), abs=1e-4)
    assert of_slices.apply(logits)[:, 0].mean() == pytest.approx(labels[:, 0].mean(), abs=0.01)
    assert decisions(changed(predictions, slice_labels=lambda _: None))[0].slices is None


def test_no_fold_is_thresholded_by_its_own_labels():
    predictions = made_up("good", 1.2)
    before = held_out(predictions)
    flipped = changed(
        predictions,
        labels=lambda scan: 1 - scan.labels if scan.fold == 0 else scan.labels,
    )
    after = held_out(flipped)
    here = predictions.folds == 0
    np.testing.assert_array_equal(before.thresholded[here], after.thresholded[here])
    np.testing.assert_allclose(before.calibrated[here], after.calibrated[here])
    assert not np.allclose(before.calibrated[~here], after.calibrated[~here])


def test_every_fold_has_its_own_area():
    predictions = made_up("good", 1.2)
    for fold in fold_metrics(predictions):
        here = predictions.folds == fold["fold"]
        assert fold["auc"] == pytest.approx(roc_auc_score(predictions.labels[here, 0], predictions.logits[here, 0]))


def test_every_scan_with_haemorrhage_counts_under_the_number_of_its_slices():
    counts = iter([1, 4, 5, 9, 10] * 12)

    def bleeding(scan):
        shown = np.zeros_like(scan.slice_labels)
        shown[: next(counts) if scan.labels[0] == 1 else 0, 0] = 1
        return shown

    predictions = changed(made_up("good", 1.2), slice_labels=bleeding)
    found = held_out(predictions)
    sizes = size_metrics(predictions, found)
    assert [size["slices"] for size in sizes] == ["1 to 4", "5 to 9", "10 and more"]
    positive = int((predictions.labels[:, 0] == 1).sum())
    whole, rest = divmod(positive, 5)
    assert [size["scans"] for size in sizes] == [2 * whole + min(rest, 2), 2 * whole + min(max(rest - 2, 0), 2), whole]
    assert sum(size["true_positive"] for size in sizes) == ((predictions.labels * found.thresholded)[:, 0] == 1).sum()


def test_key_slices_of_two_ways_to_train_are_tested_pairwise():
    good, weak = made_up("good", 1.2), made_up("weak", 0.3, seed=1)
    found = comparison(good, weak, 20)["top_h"]
    shares = [top_h_proportions(attended_scans(each, "any")) for each in (good, weak)]
    assert found.difference == pytest.approx(
        np.mean(list(shares[0].values())) - np.mean(list(shares[1].values())), abs=0.05
    )
    assert 0 < found.p < 1
    assert comparison(good, good, 20)["top_h"].difference == 0


def test_the_people_in_the_data_are_counted_once(measured):
    data = measured["shipped"]["data"]
    assert (data["scans"], data["patients"], data["folds"]) == (60, 54, 5)
    assert sum(data["sex"].values()) == 54
    assert data["age"]["lowest"] <= data["age"]["median"] <= data["age"]["highest"]
    assert data["age"]["known"] < 54
    assert data["labels"]["epidural"] == {"scans": 0, "slices": 0}
    nobody = changed(made_up("", 1), group=lambda _: {}, slice_labels=lambda _: None)
    assert data_summary(nobody)["age"]["median"] is None
    assert data_summary(nobody)["sex"] == {"unknown": 54}
    assert data_summary(nobody)["labels"]["any"]["slices"] is None


def test_metrics_of_a_label_without_a_positive_scan_are_missing_with_their_reason(measured):
    scans = measured["shipped"]["scans"]
    assert scans["average_precision"]["epidural"]["remark"] == "0 positives, 60 negatives"
    assert scans["raw"]["labels"]["epidural"]["auc"] is None
    assert scans["roc"]["epidural"]["sensitivity"] == []
    assert scans["thresholded"]["macro"]["f1"]["labels"] == 5
    assert measured["drct2"]["picked"][SHIPPED]["epidural"]["picked"]["reason"] == "no slice shows it"


def test_subgroups_stand_from_the_lowest_to_the_unknown(measured):
    ages = list(measured["shipped"]["subgroups"]["age"])
    assert ages == ["under 18", "18 to under 40", "40 to under 65", "65 and over", "unknown"]
    sex = measured["shipped"]["subgroups"]["sex"]["female"]["any"]
    assert sex["sensitivity"]["low"] <= sex["sensitivity"]["estimate"] <= sex["sensitivity"]["high"]


def test_a_run_without_explanations_is_measured_and_one_without_the_shipped_variant_is_not(tmp_path):
    folder = write_run(tmp_path / "run", complete=False)
    found = measure(folder, PLAN, 5)
    assert (found["explanations"], found["external_test"], found["run"]) == (None, None, None)
    (folder / "predictions" / f"{SHIPPED}.json").unlink()
    with pytest.raises(ValueError, match="shipped: no predictions"):
        measure(folder, PLAN, 5)


def test_the_measured_file_comes_back_and_another_file_is_refused(measured, tmp_path):
    path = tmp_path / "evidence.json"
    write_measured(measured, path)
    assert read_measured(path) == measured
    assert measured["schema"] == FORMAT
    assert max(len(line) for line in path.read_text("utf-8").splitlines()) < 5000
    path.write_text('{"schema": "another"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"evidence\.json: schema 'another'"):
        read_measured(path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"evidence\.json: no measured evidence"):
        read_measured(path)


def test_what_is_no_metric_is_not_written():
    assert jsonable({1: (float("nan"), 0.123456789, True, None)}) == {"1": [None, 0.1234568, True, None]}
    with pytest.raises(TypeError, match="no metric: set"):
        jsonable({1, 2})


def test_average_precision_under_weights_is_scikit_learns():
    generator = np.random.default_rng(3)
    labels, scores = generator.integers(0, 2, 40), generator.integers(0, 12, 40) / 12
    weights = generator.integers(0, 4, (20, 40))
    wanted = [average_precision_score(labels, scores, sample_weight=row) for row in weights]
    assert weighted_average_precision(labels, scores, weights) == pytest.approx(wanted)
    assert np.isnan(weighted_average_precision(labels, scores, np.zeros((1, 40)))).all()
    found = average_precision_interval(
        np.append(labels, np.nan), np.append(scores, np.nan), [str(n) for n in range(41)], 50
    )
    assert found.estimate == pytest.approx(average_precision_score(labels, scores))
    assert found.low < found.estimate < found.high


def test_an_ensemble_is_measured_as_a_model_of_its_own(tmp_path):
    folder = write_run(tmp_path)
    plan = dataclasses.replace(PLAN, ensembles={"both": (SHIPPED, WEAK)}, ensemble_titles={"both": "Both"})
    found = measure(folder, plan, count=20)["rows"]
    assert found["both"] != found[SHIPPED]
    without = dataclasses.replace(plan, ensembles={"both": (SHIPPED, "never_run")})
    assert "both" not in measure(folder, without, count=20)["rows"]


def test_the_made_up_labels_are_those_of_the_network():
    assert tuple(label.key for label in RSNA) == KEYS
