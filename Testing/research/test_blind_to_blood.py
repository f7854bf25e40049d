"""A network that only knows in which height haemorrhages lie is told from one that sees blood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phantom_cases import SMALL

from research.metrics.slice_height import auc_by_height, positive_by_height
from research.systems.erased_blood import BLOOD_HU, BRAIN_HU, without_blood
from research.systems.evaluation import slice_auc_by_height
from scripts.intake.head import head_mask
from scripts.phantom import Haemorrhage, make_phantom

MIDDLE = np.array([0, 0, 1, 1, 0, 0], dtype=float)


def entry(name: str, fold: int, labels: np.ndarray | None) -> dict[str, object]:
    return {"patient": name, "fold": fold, "slice_labels": None if labels is None else labels[:, None]}


def test_the_share_of_positive_slices_follows_the_height_whatever_the_number_of_slices():
    shares = positive_by_height([MIDDLE, np.array([0.0, 1.0, 0.0])], bins=3)
    np.testing.assert_allclose(shares, [0, 1, 0])
    half = positive_by_height([MIDDLE, np.array([0.0, np.nan, 0.0])], bins=3)
    np.testing.assert_allclose(half, [0, 1, 0], err_msg="what is not labelled does not count")
    with pytest.raises(ValueError, match="no labelled slice at some height"):
        positive_by_height([np.array([0.0, np.nan, 0.0])], bins=3)


def test_slices_scored_by_height_alone_are_told_apart_where_haemorrhages_lie_alike():
    shares = positive_by_height([MIDDLE], bins=6)
    alike = [(f"patient {number}", MIDDLE, shares) for number in range(4)]
    assert auc_by_height(alike, count=10).estimate == 1.0
    elsewhere = [("a patient", np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]), shares)]
    assert auc_by_height(elsewhere, count=10).estimate == pytest.approx(0.25), "both lose to two, and tie with two"


def test_heights_are_learnt_from_the_folds_that_are_not_measured():
    low = np.array([1, 1, 0, 0, 0, 0], dtype=float)
    entries = [entry("a", 0, MIDDLE), entry("b", 1, low), entry("c", 1, None), entry("d", 1, np.full(6, np.nan))]
    found = slice_auc_by_height(entries, {0})
    assert found is not None
    assert found < 0.5, "fold 1 has them elsewhere"
    assert slice_auc_by_height([entry("a", 0, MIDDLE), entry("b", 1, MIDDLE)], {0, 1}) == 1.0
    assert slice_auc_by_height([entry("a", 0, MIDDLE)], {0}) is None, "no other fold"
    assert slice_auc_by_height([entry("c", 0, None), entry("d", 1, MIDDLE)], {0}) is None, "no labelled slice"


def test_erased_blood_looks_like_the_brain_around_it_and_nothing_else_changes():
    phantom = make_phantom(SMALL, (Haemorrhage("intraparenchymal"),))
    mask = np.any(list(phantom.masks.values()), axis=0)
    study, head = phantom.study, head_mask(phantom.study.voxels, phantom.study.spacing_mm)
    before = study.voxels.copy()
    erased = without_blood(study, mask, head, margin=0)
    assert study.voxels[mask].mean() > BLOOD_HU[0]
    assert BRAIN_HU[0] <= erased.voxels[mask & (study.voxels >= BLOOD_HU[0])].mean() < BRAIN_HU[1]
    np.testing.assert_array_equal(erased.voxels[~mask], study.voxels[~mask])
    np.testing.assert_array_equal(study.voxels, before)
    again = without_blood(study, mask, head, margin=0)
    np.testing.assert_array_equal(erased.voxels, again.voxels)
    nothing = without_blood(replace(study, voxels=np.full_like(before, 60)), mask, head)
    assert (nothing.voxels == 60).all(), "a slice without brain has nothing to put there"
