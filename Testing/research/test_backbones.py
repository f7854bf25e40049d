"""Backbones side by side: the same training, one fold of single slices held out, the same measures, none twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared_groups import a_group
from training_runs import BUNDLE

from research.evidence import backbones
from research.evidence.backbones import CANDIDATES, HELD_OUT_FOLD, Candidate, label_aucs, overrides_of
from scripts.training.prepared_slices import PreparedGroup

torch.set_num_threads(1)

SMALL = {
    "datalist": "$[]",
    "slice_datalist": "$[]",
    "prepared": {"_target_": "test_backbones.single_slices"},
    "image_size": 64,
    "high_res_size": 96,
    "batches": [[64, 4, 1.0]],
}
LITE = {"_target_": "training_runs.UntrainedLite0"}
WITHOUT_DECODER = {"_target_": "scripts.networks.vgg16.VGG16Features", "pretrained": False}


def single_slices() -> list[PreparedGroup]:
    """Return slices of every fold, the odd ones with blood, and a phantom."""
    folds = [a_group("slices", fold, positive=(1, 3, 5), bone=False) for fold in range(HELD_OUT_FOLD + 1)]
    return [*folds, a_group("phantom", -1, positive=(0, 1))]


@pytest.fixture
def _in_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLE)
    small = {**SMALL, "output_dir": str(tmp_path / "training")}
    two = {
        "first": Candidate("First", LITE, overrides=small),
        "second": Candidate("Second", WITHOUT_DECODER, part=0.5, overrides=small),
    }
    monkeypatch.setattr(backbones, "CANDIDATES", two)
    monkeypatch.setattr(backbones, "SCAN", {"image": (2, 64), "high_res": (1, 96)})


@pytest.mark.usefixtures("_in_the_bundle")
def test_every_backbone_is_trained_and_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backbones.main(["--output", str(tmp_path / "run"), "--batches", "40"])
    found = json.loads((tmp_path / "run" / "backbones.json").read_text("utf-8"))
    assert {name: row["batches"] for name, row in found["rows"].items()} == {"first": 40, "second": 20}
    for row in found["rows"].values():
        assert set(row["auc"]) == {"any", "subdural", "mean"}
        assert 0.0 <= row["auc"]["any"]["low"] <= row["auc"]["any"]["estimate"] <= row["auc"]["any"]["high"] <= 1.0
        assert row["gflop"] > 0
        assert row["seconds"] > 0
    assert found["rows"]["second"]["parameters_million"] == pytest.approx(14.714688)
    assert not list((tmp_path / "training").glob("*checkpoint*"))
    monkeypatch.setattr(backbones, "_measure", lambda *_: pytest.fail("measured twice"))
    backbones.main(["--output", str(tmp_path / "run"), "--batches", "40", "--only", "first"])
    again = json.loads((tmp_path / "run" / "backbones.json").read_text("utf-8"))
    assert again["rows"]["first"]["auc"] == found["rows"]["first"]["auc"]
    assert again["rows"]["second"] == found["rows"]["second"]


def test_no_backbone_learns_from_the_fold_it_is_measured_on():
    for candidate in CANDIDATES.values():
        overrides = overrides_of(candidate, 200)
        assert overrides["train#dataset#held_out"] == {"slices": [HELD_OUT_FOLD]}
        assert overrides["validation_fold"] == HELD_OUT_FOLD
        assert overrides["validate#dataset#kinds"] == ["slices"]


def test_an_area_is_that_of_each_label_and_a_label_without_positives_has_none():
    labels = np.zeros((8, 6))
    labels[4:, 0] = labels[4:, 5] = 1
    logits = np.tile(np.arange(8.0)[:, None], (1, 6))
    logits[:, 5] *= -1
    found = label_aucs(labels, logits, count=50)
    assert set(found) == {"any", "subdural", "mean"}
    assert found["any"].estimate == 1.0
    assert found["subdural"].estimate == 0.0
    assert found["mean"].estimate == 0.5
