"""Another backbone by one override: ResNet18 with random weights is trained on the phantom as VGG16 is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from monai.bundle import ConfigWorkflow
from rsna_slice_files import write_labelled_slices
from training_runs import FINETUNE, SMALL, TRAIN, inside_a_copy_of_bundle, trained

from research.training.protocol import FROM_MAPS

torch.set_num_threads(1)

PATIENTS = (Patient(49, ("epidural",)), Patient(50), Patient(51, ("subdural",)), Patient(52))
OVERRIDE = str(Path(__file__).with_name("resnet18.json"))
LAST_LAYER = "backbone.features.7."
Run = tuple[ConfigWorkflow, list[float]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        yield root


@pytest.fixture(scope="module")
def overrides(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    return {
        **SMALL,
        "image_size": 64,
        "dataset_dir": str(write_ct_ich(folder / "ct-ich", PATIENTS, slices=8, size=96).folder),
        "slices_dir": str(write_labelled_slices(folder / "rsna", 8)),
        "device": "$torch.device('cpu')",
        "epochs": 2,
        "val_interval": 1,
        "batch_size": 8,
    }


@pytest.fixture(scope="module")
def fine_tuned(overrides: dict[str, Any]) -> Run:
    workflow, losses = trained(overrides, TRAIN, FINETUNE, OVERRIDE)
    workflow.finalize()
    return workflow, losses


@pytest.fixture(scope="module")
def start(overrides: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The random weights that training starts from."""
    workflow = ConfigWorkflow([TRAIN, OVERRIDE], workflow_type="train", meta_file=None, logging_file=False, **overrides)
    workflow.initialize()
    state = workflow.parser.get_parsed_content("network_def").state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def test_its_last_layer_alone_is_fine_tuned_and_its_whole_is_written(
    fine_tuned: Run, start: dict[str, torch.Tensor], root: Path
):
    workflow, losses = fine_tuned
    assert np.isfinite(losses).all()
    written = torch.load(root / "cache" / "training" / "finetuned.pt", weights_only=True)
    of_backbone = {name for name in start if name.startswith("backbone.features.")}
    assert of_backbone <= written.keys(), "no file has its weights, so that the trained one must"
    weights = {name for name in of_backbone if name.endswith("weight")}
    changed = {name for name in weights if not torch.equal(written[name], start[name].half())}
    assert changed == {name for name in weights if name.startswith(LAST_LAYER)}
    assert workflow.parser.get_parsed_content("masks")["049"].shape[-2:] == (2, 2), "64 pixels by a stride of 32"


def test_its_heads_are_trained_on_features_of_the_fine_tuned_layer(
    fine_tuned: Run, overrides: dict[str, Any], root: Path
):
    written = root / "cache" / "training" / "finetuned.pt"
    workflow, losses = trained({**overrides, **FROM_MAPS, "start_from": str(written)}, TRAIN, OVERRIDE)
    workflow.finalize()
    assert np.isfinite(losses).all()
    features = workflow.parser.get_parsed_content("features")
    assert [scan.image.shape for scan in features] == [(2, 8, 512)] * len(PATIENTS)
    tuned = torch.load(written, weights_only=True)
    state = workflow.parser.get_parsed_content("network_def").state_dict()
    assert all(
        torch.equal(state[name].to(tuned[name].dtype), tuned[name]) for name in tuned if name.startswith(LAST_LAYER)
    )
    assert (root / "cache" / "training" / "model.pt").is_file()


def test_features_of_the_whole_backbone_need_no_fine_tuning(overrides: dict[str, Any]):
    workflow, losses = trained({**overrides, "epochs": 1}, TRAIN, OVERRIDE)
    assert np.isfinite(losses).all()
    assert all(scan.high_res.isfinite().all() for scan in workflow.parser.get_parsed_content("features"))
