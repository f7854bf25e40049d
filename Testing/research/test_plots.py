"""Curves and plots: true to scikit-learn, the same file every time, reasons where data is missing."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from research.evidence.plots import plot_attention_by_height, plot_precision_recall, plot_reliability, plot_roc
from research.metrics.attention_by_height import AttentionByHeight
from research.metrics.curves import precision_recall, roc
from research.metrics.reliability import reliability

ATTENTION = AttentionByHeight((0, 0.25, 0.5, 0.75, 1), (0.1, 0.2, 0.5, 0.2), (0.25,) * 4, (0.0, 0.3, 0.6, 0.1), 36, 46)


def scored(seed=0, scans=80):
    generator = np.random.default_rng(seed)
    labels = (np.arange(scans) % 3 == 0).astype(float)
    return labels, 1 / (1 + np.exp(-generator.normal(2 * labels - 1))), [f"patient {n}" for n in range(scans)]


def drawings():
    """Return a drawing function for each kind of plot."""
    labels, scores, patients = scored()
    curves = {"any": roc(labels, scores, patients, 100, band_count=20), "epidural": roc(labels * 0, scores, patients)}
    recalls = {"any": precision_recall(labels, scores), "epidural": precision_recall(labels * 0, scores)}
    diagrams = {"before": reliability(labels, scores**3), "after": reliability(labels, scores)}
    return {
        "roc": lambda path: plot_roc(curves, path, "Scans"),
        "precision_recall": lambda path: plot_precision_recall(recalls, path),
        "reliability": lambda path: plot_reliability(diagrams, path),
        "attention": lambda path: plot_attention_by_height(ATTENTION, path),
    }


def test_the_roc_curve_is_scikit_learns_and_lies_in_its_band():
    labels, scores, patients = scored()
    curve = roc(labels, scores, patients, 300, band_count=300)
    false_positive, sensitivity, _ = metrics.roc_curve(labels, scores)
    assert curve.false_positive == pytest.approx(false_positive)
    assert curve.sensitivity == pytest.approx(sensitivity)
    assert curve.auc.estimate == pytest.approx(metrics.auc(false_positive, sensitivity))
    inside = np.interp(curve.grid, false_positive, sensitivity)
    assert (np.array(curve.low) <= inside + 1e-9).mean() > 0.97
    assert (np.array(curve.high) >= inside - 1e-9).mean() > 0.97
    assert np.mean(np.array(curve.high) - curve.low) == pytest.approx(0.2, abs=0.12)


def test_the_precision_recall_curve_is_scikit_learns():
    labels, scores, _ = scored()
    curve = precision_recall(np.append(labels, np.nan), np.append(scores, np.nan))
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    assert (curve.precision, curve.recall) == (pytest.approx(precision), pytest.approx(recall))
    assert curve.average_precision == pytest.approx(metrics.average_precision_score(labels, scores))
    assert curve.prevalence == pytest.approx(27 / 80)


def test_an_absent_class_gives_an_empty_curve_and_the_reason():
    _, scores, patients = scored()
    nothing = np.zeros(80)
    assert roc(nothing, scores, patients).auc.remark == "0 positives, 80 negatives"
    assert roc(nothing, scores, patients).sensitivity == ()
    assert precision_recall(nothing, scores).remark == "0 positives, 80 negatives"


def test_one_positive_patient_gives_a_curve_without_a_band():
    _, scores, patients = scored()
    curve = roc(np.arange(80) == 7, scores, patients, 50, band_count=50)
    assert curve.sensitivity[-1] == 1
    assert curve.grid == curve.low == ()


def test_a_band_leaves_out_resamples_that_lack_a_class():
    labels, scores, patients = np.array([1, 0, 1, 1, 1]), [0.5, 0.4, 0.6, 0.7, 0.3], ["a", "a", "b", "c", "d"]
    curve = roc(labels, scores, patients, 100, band_count=100)
    assert curve.auc.resamples < 100
    assert np.isfinite(curve.low).all()


def test_curves_are_json():
    labels, scores, patients = scored()
    for curve in (roc(labels, scores, patients, 20, band_count=5), roc(labels * 0, scores, patients)):
        assert json.dumps(dataclasses.asdict(curve), allow_nan=False)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
@pytest.mark.parametrize("kind", ["roc", "precision_recall", "reliability", "attention"])
def test_the_same_metrics_give_the_same_file(kind, suffix, tmp_path):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    drawings()[kind](first)
    drawings()[kind](second)
    assert first.read_bytes() == second.read_bytes()
    if suffix == ".svg":
        text = first.read_text(encoding="utf-8")
        assert not re.search(r"<dc:date>|20\d\d-\d\d-\d\d|Matplotlib v", text)
        assert text.count("<path") > 20
    else:
        with Image.open(first) as image:
            assert not image.info.get("Software")
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_another_curve_gives_another_plot(tmp_path):
    labels, scores, patients = scored()
    plot_roc({"any": roc(labels, scores, patients, 50)}, tmp_path / "one.svg")
    plot_roc({"any": roc(labels, 1 - scores, patients, 50)}, tmp_path / "other.svg")
    assert (tmp_path / "one.svg").read_bytes() != (tmp_path / "other.svg").read_bytes()


def test_attention_of_positive_scans_alone_is_drawn_too(tmp_path):
    alone = dataclasses.replace(ATTENTION, attention_negative=None, negative_scans=0)
    plot_attention_by_height(alone, tmp_path / "alone.svg")
    plot_attention_by_height(ATTENTION, tmp_path / "both.svg")
    assert (tmp_path / "alone.svg").stat().st_size < (tmp_path / "both.svg").stat().st_size


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"plot\.pdf: plots are \.svg or \.png"):
        plot_reliability({}, tmp_path / "plot.pdf")
