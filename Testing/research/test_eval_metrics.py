"""The metrics of the bundle's metadata: scikit-learn's, the same from training and evidence, with reasons for gaps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evidence_files import made_up
from numpy.typing import ArrayLike
from scipy.special import logit
from sklearn.metrics import average_precision_score, roc_auc_score

from research.evidence.shipped_metrics import shipped_metrics
from research.metrics.classification import FEW
from research.metrics.eval_metrics import eval_metrics, write_eval_metrics
from research.metrics.predictions import Predictions, ScanPrediction


def predictions_of(probabilities: ArrayLike, labels: ArrayLike, *keys: str) -> Predictions:
    pairs = zip(logit(np.asarray(probabilities)), np.asarray(labels), strict=True)
    scans = [ScanPrediction(str(n), str(n), n % 2, truth, logits, [1.0]) for n, (logits, truth) in enumerate(pairs)]
    return Predictions(keys, tuple(scans), "a model", "made up")


def test_the_metrics_are_scikit_learns_to_three_decimals():
    generator = np.random.default_rng(1)
    labels = (generator.random((60, 2)) < 0.4).astype(int)
    probabilities = 0.01 + 0.3 * labels + 0.6 * generator.random((60, 2))
    metrics = eval_metrics(predictions_of(probabilities, labels, "any", "subdural"))["labels"]
    for column, key in enumerate(("any", "subdural")):
        truth, predicted = labels[:, column], probabilities[:, column]
        assert metrics[key] == {
            "positive": truth.sum(),
            "negative": 60 - truth.sum(),
            "auc": round(roc_auc_score(truth, predicted), 3),
            "average_precision": round(average_precision_score(truth, predicted), 3),
            "remark": None,
        }


@pytest.mark.parametrize(
    ("label", "counts"), [(0, "only 0 positive, 12 negative"), (1, "only 12 positive, 0 negative")]
)
def test_a_label_without_one_class_has_no_metric_but_the_reason(label: int, counts: str):
    predictions = predictions_of(np.linspace(0.1, 0.9, 12)[:, None], np.full((12, 1), label), "epidural")
    row = eval_metrics(predictions)["labels"]["epidural"]
    assert (row["auc"], row["average_precision"], row["remark"]) == (None, None, counts)


def test_a_metric_from_few_scans_comes_with_a_remark():
    labels = (np.arange(40) < FEW - 1).astype(int)[:, None]
    row = eval_metrics(predictions_of(0.99 - np.arange(40)[:, None] / 50, labels, "epidural"))["labels"]["epidural"]
    assert (row["auc"], row["remark"]) == (1.0, "only 9 positive, 31 negative")


def test_slices_without_labels_or_without_a_classifier_have_no_metrics():
    metrics = eval_metrics(predictions_of([[0.1], [0.8]], [[0], [1]], "any"))
    assert metrics["slice_auc"] is metrics["key_slices_top_h"] is metrics["key_slices_top_h_random_baseline"] is None
    assert eval_metrics(made_up("silent", 0.6, slice_classifier=False))["slice_auc"] is None
    speaking = eval_metrics(made_up("good", 1.2))
    assert speaking["slice_auc"] > 0.9
    assert speaking["key_slices_top_h"] > speaking["key_slices_top_h_random_baseline"]


def test_training_and_evidence_state_the_same_metrics():
    predictions = made_up("good", 1.2)
    assert shipped_metrics(predictions, 5)["eval_metrics"] == eval_metrics(predictions)


def test_the_metadata_gets_its_metrics_and_keeps_the_rest(tmp_path: Path):
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps({"version": "1", "eval_metrics": {"old": 1}, "task": "ä"}), encoding="utf-8")
    write_eval_metrics({"protocol": "made up"}, path)
    assert json.loads(path.read_text("utf-8")) == {
        "version": "1",
        "eval_metrics": {"protocol": "made up"},
        "task": "ä",
    }
