"""Subgroups: who belongs where, and no metric from a handful of scans."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from research.metrics.predictions import Predictions, ScanPrediction
from research.metrics.subgroups import bands, groups_of, subgroup_metrics

NAN = float("nan")


def predictions_of(*groups):
    scans = [
        ScanPrediction(f"scan {number}", f"patient {number}", 0, [1.0], [0.3], [1.0], group=group)
        for number, group in enumerate(groups)
    ]
    return Predictions(("any",), scans, "DrCT2", "5 folds")


def scored(scans=80, seed=0):
    generator = np.random.default_rng(seed)
    labels = (np.arange(scans) % 2).astype(float)[:, None]
    sexes = np.where(generator.random(scans) < 0.5, "female", "male").tolist()
    return generator.random((scans, 1)) * 0.7 + 0.3 * labels, labels, [str(n) for n in range(scans)], {"sex": sexes}


def test_ages_are_in_bands_with_their_edges():
    found = bands([0.01, 17.9, 18, 64.9, 65, 97, NAN], (18, 40, 65))
    assert found == [
        *("under 18", "under 18", "18 to under 40", "40 to under 65", "65 and over", "65 and over", "unknown"),
    ]
    with pytest.raises(ValueError, match="must rise"):
        bands([1], (40, 18))
    with pytest.raises(ValueError, match="must rise"):
        bands([1], ())


def test_every_property_of_the_scans_makes_its_groups():
    predictions = predictions_of(
        {"sex": "female", "age": 30, "tilt": 1.0},
        {"sex": "male", "age": 70, "tilt": 3.0},
        {"age": NAN, "tilt": 8.0},
    )
    assert groups_of(predictions) == {
        "age": ["18 to under 40", "65 and over", "unknown"],
        "sex": ["female", "male", "unknown"],
        "tilt": ["under 3", "3 and over", "3 and over"],
    }
    assert groups_of(predictions, {"age": (50,)})["age"] == ["under 50", "50 and over", "unknown"]


def test_a_missing_property_is_unknown_and_a_mixed_one_refused():
    assert groups_of(predictions_of({"age": NAN}, {})) == {"age": ["unknown", "unknown"]}
    assert groups_of(predictions_of({}, {})) == {}
    with pytest.raises(ValueError, match="sex is text in some scans and a number in others"):
        groups_of(predictions_of({"sex": "female"}, {"sex": 1.0}))


def test_metrics_of_a_subgroup_are_those_of_its_scans_alone():
    predicted, labels, patients, groups = scored()
    found = subgroup_metrics(predicted, labels, ["any"], patients, groups, threshold=0.4, count=100)
    for sex in ("female", "male"):
        rows = np.array(groups["sex"]) == sex
        metrics = found["sex"][sex]["any"]
        assert metrics.auc.estimate == pytest.approx(roc_auc_score(labels[rows], predicted[rows]))
        assert metrics.auc.low < metrics.auc.estimate < metrics.auc.high
        positive = predicted[rows, 0] >= 0.4
        assert metrics.sensitivity.estimate == pytest.approx(positive[labels[rows, 0] == 1].mean())
        assert metrics.specificity.estimate == pytest.approx(1 - positive[labels[rows, 0] == 0].mean())
        assert (metrics.scans, metrics.remark) == (rows.sum(), None)


def test_four_positives_are_too_few_and_five_are_not():
    predicted, labels, patients, _ = scored(40)
    labels[:] = 0
    labels[:9] = 1
    groups = {"sex": ["female"] * 4 + ["male"] * 5 + ["female", "male"] * 15 + ["male"]}
    found = subgroup_metrics(predicted, labels, ["any"], patients, groups, count=50)["sex"]
    assert found["female"]["any"].remark == "too few: 4 positives, 15 negatives"
    assert found["female"]["any"].auc.estimate is None
    assert found["male"]["any"].remark is None


def test_unknown_labels_do_not_count_as_scans():
    predicted, labels, patients, _ = scored(40)
    labels[:10] = NAN
    predicted[:10] = NAN
    found = subgroup_metrics(predicted, labels, ["any"], patients, {"all": ["everyone"] * 40}, count=50)
    metrics = found["all"]["everyone"]["any"]
    assert (metrics.scans, metrics.positive, metrics.negative) == (30, 15, 15)
    assert json.dumps(dataclasses.asdict(metrics), allow_nan=False)


def test_subgroups_of_another_number_of_scans_are_refused():
    predicted, labels, patients, _ = scored(10)
    with pytest.raises(ValueError, match="sex: subgroups of 1 scans, 10 scans"):
        subgroup_metrics(predicted, labels, ["any"], patients, {"sex": ["male"]})
