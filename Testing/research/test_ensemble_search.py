"""The search of the best ensemble: by hand, against scikit-learn, and never on the fold that is measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from evidence_files import made_up
from sklearn.metrics import roc_auc_score

from research.metrics.predictions import Predictions
from research.systems.ensemble_search import best_ensemble, mean_auc
from research.systems.ensembles import members_note
from scripts.networks.slice_ensemble import TWELVE


def candidates(*skills: float) -> dict[str, Predictions]:
    return {
        name: made_up(name, skill, seed=seed) for seed, (name, skill) in enumerate(zip(TWELVE, skills, strict=False))
    }


def flipped_outside(predictions: Predictions, fold: int) -> Predictions:
    """Return predictions that are wrong in every fold but one."""
    scans = tuple(
        scan if scan.fold == fold else dataclasses.replace(scan, slice_logits=-scan.slice_logits)
        for scan in predictions.scans
    )
    return dataclasses.replace(predictions, scans=scans)


def test_the_mean_auc_is_scikit_learns_and_leaves_out_a_label_without_both_classes():
    generator = np.random.default_rng(0)
    labels = (generator.random((50, 3)) < 0.3).astype(float)
    labels[:, 2] = 0
    scores = np.round(generator.random((50, 3)), 1)
    wanted = np.mean([roc_auc_score(labels[:, column], scores[:, column]) for column in (0, 1)])
    assert mean_auc(labels, scores) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="nothing to choose by"):
        mean_auc(np.zeros((5, 2)), np.ones((5, 2)))


def test_members_that_know_different_things_are_joined_and_one_that_knows_nothing_is_left_out():
    members, score = best_ensemble(candidates(1.0, 1.0, -1.0), [0, 1, 2, 3, 4])
    assert members.names == TWELVE[:2]
    assert members.rule in ("average", "accuracy")
    assert members.searched_on == "held-out slices of 5 other folds"
    alone = best_ensemble(candidates(1.0), [0, 1, 2, 3, 4])[1]
    assert score > alone


def test_the_accuracies_are_counted_on_the_folds_that_choose():
    found = candidates(1.0)
    (accuracy,) = best_ensemble(found, [1])[0].accuracies
    scans = [scan for scan in found[TWELVE[0]].scans if scan.fold == 1]
    right = np.concatenate([(scan.slice_logits >= 0) == (scan.slice_labels == 1) for scan in scans])
    assert accuracy == pytest.approx(right.mean(), abs=1e-6)


def test_the_fold_that_is_measured_does_not_choose():
    found = candidates(1.0, 0.8)
    found[TWELVE[1]] = flipped_outside(found[TWELVE[1]], 0)
    members, _ = best_ensemble(found, [1, 2, 3, 4])
    assert members.names == TWELVE[:1]
    assert members == best_ensemble({name: flipped_outside_of(each) for name, each in found.items()}, [1, 2, 3, 4])[0]


def flipped_outside_of(predictions: Predictions) -> Predictions:
    """Return the same predictions, wrong in fold 0 alone."""
    scans = tuple(
        dataclasses.replace(scan, slice_logits=-scan.slice_logits) if scan.fold == 0 else scan
        for scan in predictions.scans
    )
    return dataclasses.replace(predictions, scans=scans)


def test_candidates_on_other_scans_or_folds_without_labels_are_refused():
    found = candidates(1.0, 1.0)
    with pytest.raises(ValueError, match="no slice of these folds"):
        best_ensemble(found, [9])
    found[TWELVE[1]] = dataclasses.replace(found[TWELVE[1]], scans=found[TWELVE[1]].scans[3:])
    with pytest.raises(ValueError, match="not measured on the same scans"):
        best_ensemble(found, [0, 1, 2, 3, 4])


def test_an_ensembles_note_says_of_each_member_what_it_was_trained_on(tmp_path: Path):
    files = [tmp_path / f"{name}.pt" for name in ("one", "two", "three", "four")]
    for file, text in zip(files, ("240 steps", "1,000 steps", "240 steps"), strict=False):
        note = {"trained_on": text, "start": "random weights"}
        file.with_suffix(".json").write_text(json.dumps(note), encoding="utf-8")
    assert members_note(["one", "three"], [files[0], files[2]]) == {
        "trained_on": "240 steps",
        "start": "random weights",
    }
    assert members_note(["one", "two", "three", "four"], files) == {
        "trained_on": "one, three: 240 steps; two: 1,000 steps; four: not known",
        "start": "one, two, three: random weights; four: not known",
    }
    assert members_note(["four"], files[3:]) == {}
