"""One training of the bundle's own configuration on images that really pass through VGG16, and its evaluation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import CTICHTree, Patient, write_ct_ich
from monai.bundle import ConfigParser, ConfigWorkflow
from training_runs import SMALL, inside_a_copy_of_bundle, same_state, trained, trained_state, weights_at_the_start

from scripts.inferer import StudyInferer
from scripts.training.cached_scans import read_whole_scan

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CTICHTree:
    patients = (Patient(49, ("epidural",)), Patient(50), Patient(51, ("subdural",)))
    return write_ct_ich(tmp_path_factory.mktemp("images"), patients, slices=9, size=96)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        yield root


@pytest.fixture(scope="module")
def overrides(images: CTICHTree) -> dict[str, Any]:
    return {
        **SMALL,
        "dataset_dir": str(images.folder),
        "validation_fold": 0,
        "epochs": 3,
        "val_interval": 1,
        "device": "$torch.device('cpu')",
    }


@pytest.fixture(scope="module")
def cold(root: Path, overrides: dict[str, Any]) -> tuple[ConfigWorkflow, list[float]]:
    workflow, losses = trained(overrides)
    workflow.finalize()
    return workflow, losses


def test_it_has_every_property_that_monai_asks_of_a_training(cold: tuple[ConfigWorkflow, list[float]]):
    assert cold[0].check_properties() == []


def test_it_runs_every_epoch_and_writes_weights(cold: tuple[ConfigWorkflow, list[float]], root: Path):
    workflow, losses = cold
    assert workflow.parser.get_parsed_content("train#trainer").state.epoch == 3
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert (root / "cache" / "training" / "model.pt").is_file()
    assert workflow.parser.get_parsed_content("cache").computed == 3
    assert not (root / "models" / "model.pt").exists()


def test_the_validator_evaluates_held_out_patients(cold: tuple[ConfigWorkflow, list[float]]):
    workflow, _ = cold
    split = workflow.parser.get_parsed_content("split")
    assert {entry["fold"] for entry, _ in split.validation} == {0}
    assert {entry["fold"] for entry, _ in split.train} == {1}
    evaluator = workflow.parser.get_parsed_content("validate#evaluator")
    assert 0.0 <= evaluator.state.metrics["val_mean_auc"] <= 1.0


def test_vgg16_sees_different_heads(cold: tuple[ConfigWorkflow, list[float]]):
    features = cold[0].parser.get_parsed_content("features")
    assert [scan.image.shape for scan in features] == [(2, 9, 512)] * 3
    assert all(float(scan.image.std(dim=1).mean()) > 0.1 for scan in features)


def test_the_frozen_backbone_is_as_it_was(cold: tuple[ConfigWorkflow, list[float]], overrides: dict[str, Any]):
    kept = cold[0].parser.get_parsed_content("network_def").backbone.state_dict()
    original = weights_at_the_start(overrides)
    assert all(torch.equal(original[f"backbone.{name}"], tensor) for name, tensor in kept.items())


def test_cached_features_give_the_very_same_training(
    cold: tuple[ConfigWorkflow, list[float]], overrides: dict[str, Any]
):
    warm, losses = trained(overrides)
    assert warm.parser.get_parsed_content("cache").computed == 0
    assert losses == cold[1]
    assert same_state(trained_state(warm), trained_state(cold[0]))


def _windowed(parser: ConfigParser, entry: dict[str, Any]) -> dict[str, Any]:
    """Return what inference is given of a scan: its geometry and head, and the windows of the training's recipe."""
    recipe = parser.get_parsed_content("recipe")
    loaded = recipe.load(dict(entry))
    return {**loaded, **recipe.variant(loaded, 0, 0)}


def test_training_reads_a_scan_as_inference_does(cold: tuple[ConfigWorkflow, list[float]]):
    parser = cold[0].parser
    network = parser.get_parsed_content("network_def").eval()
    entry, features = parser.get_parsed_content("split").validation[0]
    expected = read_whole_scan(network, features)
    study = _windowed(parser, entry)
    reading = StudyInferer(precision="float32")(study, network)
    torch.testing.assert_close(reading.probabilities, expected.probabilities, atol=2e-3, rtol=0)
    torch.testing.assert_close(reading.slice_attention, expected.slice_attention, atol=2e-3, rtol=0)


def test_evaluate_reads_the_trained_weights_and_leaves_them_alone(
    cold: tuple[ConfigWorkflow, list[float]], root: Path, overrides: dict[str, Any]
):
    model = root / "cache" / "training" / "model.pt"
    kept = root / "cache" / "kept.pt"
    shutil.copy(model, kept)
    model.write_bytes(b"not to be overwritten")
    chosen = {key: value for key, value in overrides.items() if key != "validation_fold"}
    files = ["configs/train.json", "configs/evaluate.json"]
    workflow = ConfigWorkflow(files, workflow_type="eval", logging_file=False, model_file="cache/kept.pt", **chosen)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    assert model.read_bytes() == b"not to be overwritten"
    shutil.copy(kept, model)
    evaluated, trained_on = trained_state(workflow), trained_state(cold[0])
    for name, tensor in trained_on.items():
        torch.testing.assert_close(evaluated[name], tensor, atol=1e-6, rtol=1e-3)
    assert {entry["fold"] for entry, _ in workflow.parser.get_parsed_content("split").validation} == {0}
    name, value = (root / "cache" / "training" / "metrics.csv").read_text("utf-8").strip().split(",")
    assert name == "val_mean_auc"
    expected = cold[0].parser.get_parsed_content("validate#evaluator").state.metrics["val_mean_auc"]
    assert float(value) == pytest.approx(expected, abs=1e-3)
