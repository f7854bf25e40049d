"""The record of predictions: what is written comes back, and what does not fit together is refused."""

import json

import numpy as np
import pytest

from research.metrics.predictions import Predictions, ScanPrediction, ensemble

NAN = float("nan")


def a_scan(name="one", **changes):
    values = {
        "name": name,
        "patient": "049",
        "fold": 2,
        "labels": [1, NAN],
        "logits": [1.23456789, -0.000123456789],
        "slice_attention": [0.5, NAN, 0.25],
        "slice_labels": [[1, NAN], [0, 0], [1, NAN]],
        "slice_logits": [[2, -1], [NAN, NAN], [123456.7, 0]],
        "key_slices": (2, 0),
        "group": {"sex": "female", "age": 61.0, "weight": NAN},
    }
    return ScanPrediction(**(values | changes))


def predictions_of(*scans):
    return Predictions(("any", "epidural"), scans, "DrCT2", "5 folds by patient")


def test_what_is_written_comes_back_to_five_digits(tmp_path):
    written = predictions_of(a_scan(), a_scan("two", slice_labels=None, slice_logits=None, key_slices=(), group={}))
    written.to_json(tmp_path / "predictions.json")
    back = Predictions.from_json(tmp_path / "predictions.json")
    assert (back.keys, back.model, back.protocol) == (written.keys, written.model, written.protocol)
    for one, other in zip(back.scans, written.scans, strict=True):
        assert (one.name, one.patient, one.fold, one.key_slices) == (
            other.name,
            other.patient,
            other.fold,
            other.key_slices,
        )
        for array in ("labels", "logits", "slice_attention", "slice_labels", "slice_logits"):
            expected = getattr(other, array)
            if expected is None:
                assert getattr(one, array) is None
            else:
                np.testing.assert_allclose(getattr(one, array), expected, rtol=1e-4)
    assert back.scans[0].group["sex"] == "female"
    assert back.scans[0].group["age"] == 61
    assert np.isnan(back.scans[0].group["weight"])


def test_the_file_is_json_that_every_reader_takes(tmp_path):
    predictions_of(a_scan()).to_json(tmp_path / "predictions.json")
    text = (tmp_path / "predictions.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    scan = json.loads(text)["scans"][0]
    assert scan["labels"] == [1, None]
    assert scan["logits"] == [1.2346, -0.00012346]


def test_a_written_file_read_and_written_again_is_the_same(tmp_path):
    predictions_of(a_scan()).to_json(tmp_path / "first.json")
    Predictions.from_json(tmp_path / "first.json").to_json(tmp_path / "second.json")
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_arrays_over_all_scans_stand_in_their_order():
    predictions = predictions_of(a_scan(), a_scan("two", patient="050", fold=1))
    assert predictions.labels.shape == predictions.logits.shape == (2, 2)
    assert list(predictions.patients) == ["049", "050"]
    assert list(predictions.folds) == [2, 1]


def test_slices_carry_their_patient_and_scans_without_them_are_left_out():
    predictions = predictions_of(a_scan(), a_scan("two", slice_logits=None), a_scan("three", patient="050"))
    labels, logits, patients = predictions.slice_level()
    assert labels.shape == logits.shape == (6, 2)
    assert list(patients) == ["049"] * 3 + ["050"] * 3
    with pytest.raises(ValueError, match="no scan has both"):
        predictions_of(a_scan(slice_labels=None)).slice_level()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": [0.0]}, "logits of shape"),
        ({"slice_labels": [[0, 0]]}, "slice_labels of shape"),
        ({"labels": [0.5, 0]}, "must be 0, 1 or NaN"),
        ({"logits": [0, np.inf]}, "logits must not be infinite"),
        ({"key_slices": (3,)}, "key slices"),
    ],
)
def test_a_scan_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        a_scan(**changes)


def test_predictions_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="names must be unique: one"):
        predictions_of(a_scan(), a_scan())
    with pytest.raises(ValueError, match="2 labels, 1 keys"):
        Predictions(("any",), (a_scan(),), "", "")
    with pytest.raises(ValueError, match="no scan"):
        predictions_of()


@pytest.mark.parametrize("text", ["not json", "[]", '{"schema": "ich-predictions/1"}', '{"schema": "another"}'])
def test_another_file_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json"):
        Predictions.from_json(tmp_path / "other.json")


def test_an_ensemble_has_the_mean_of_its_members_probabilities():
    one, other = predictions_of(a_scan()), predictions_of(a_scan(logits=[0.0, 2.0], slice_attention=[0.1, NAN, 0.75]))
    found = ensemble([one, other], "both")
    probabilities = [1 / (1 + np.exp(-each.logits)) for each in (one, other, found)]
    np.testing.assert_allclose(probabilities[2], (probabilities[0] + probabilities[1]) / 2)
    np.testing.assert_allclose(found.scans[0].slice_attention, [0.3, NAN, 0.5])
    np.testing.assert_allclose(found.scans[0].slice_logits, one.scans[0].slice_logits)
    assert (found.model, found.scans[0].key_slices) == ("both", (2, 0))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (predictions_of(a_scan("two")), "not of the same scans"),
        (Predictions(("any", "subdural"), (a_scan(),), "x", "y"), "not the same labels"),
        (predictions_of(a_scan(slice_logits=None)), "only some members have slice logits"),
    ],
)
def test_models_that_do_not_fit_together_are_no_ensemble(other, message):
    with pytest.raises(ValueError, match=message):
        ensemble([predictions_of(a_scan()), other], "both")
