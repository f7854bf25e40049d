"""Macro precision, recall and F1 against scikit-learn, and their chance against every possible draw."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from research.metrics.thresholded_scores import thresholded_scores

PATIENTS = [f"patient {number}" for number in range(40)]


def test_the_scores_are_scikit_learns_macro_averages():
    generator = np.random.default_rng(3)
    labels = (generator.random((40, 3)) < 0.3).astype(float)
    predicted = np.where(generator.random((40, 3)) < 0.7, labels, 1 - labels)
    found = thresholded_scores(predicted, labels, PATIENTS, 200)
    wanted = precision_recall_fscore_support(labels, predicted, average="macro")
    for metric, value in zip(found.values(), wanted, strict=False):
        assert metric.value == pytest.approx(value)
        assert metric.low < metric.value < metric.high
        assert (metric.scans, metric.patients) == (40, 40)


def test_a_label_without_a_positive_scan_is_left_out_and_an_unknown_one_is_not_counted():
    labels = np.array([[1, 0, 1], [0, 0, np.nan], [1, 0, 0], [0, 0, 0]])
    predicted = np.array([[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    found = thresholded_scores(predicted, labels, PATIENTS[:4], 20)
    assert (found["precision"].value, found["recall"].value) == (1.0, 0.75)
    assert found["f1"].value == pytest.approx((2 / 3 + 1) / 2)


def test_chance_is_the_mean_over_every_draw_of_as_many_scans():
    labels = np.array([[1], [1], [0], [0], [0], [0]], dtype=float)
    scores = []
    for chosen in itertools.combinations(range(6), 3):
        predicted = np.isin(np.arange(6), chosen).astype(float)[:, None]
        scores.append(thresholded_scores(predicted, labels, PATIENTS[:6], 1))
    for name in ("precision", "recall", "f1"):
        assert np.mean([found[name].value for found in scores]) == pytest.approx(scores[0][name].random_baseline)


def test_predicting_nothing_scores_nothing_and_no_positive_scan_has_its_reason():
    nothing = thresholded_scores(np.zeros((4, 1)), np.array([[1], [0], [1], [0]]), PATIENTS[:4], 5)
    assert [metric.value for metric in nothing.values()] == [0.0, 0.0, 0.0]
    none = thresholded_scores(np.ones((2, 1)), np.zeros((2, 1)), PATIENTS[:2], 5)
    assert {metric.reason for metric in none.values()} == {"no scan shows a label"}
