"""ResNet18 in the place of VGG16 by one file and one override: trained, then read with its own weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from monai.bundle import ConfigWorkflow
from resnet18_backbone import ResNet18Features
from training_runs import SMALL, TRAIN, inside_a_copy_of_bundle, trained

from scripts.networks.drct import DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.weights import load_network, model_identity

torch.set_num_threads(1)

OVERRIDE = Path(__file__).with_name("resnet18.json")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        yield root


@pytest.fixture(scope="module")
def training(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ConfigWorkflow, list[float]]:
    patients = (Patient(49, ("epidural",)), Patient(50), Patient(51, ("subdural",)))
    folder = write_ct_ich(tmp_path_factory.mktemp("images"), patients, slices=9, size=96).folder
    few = {"dataset_dir": str(folder), "validation_fold": 0, "epochs": 2, "val_interval": 2}
    workflow, losses = trained({**SMALL, **few, "device": "$torch.device('cpu')"}, TRAIN, str(OVERRIDE))
    workflow.finalize()
    return workflow, losses


def a_network() -> DrCT2:
    return DrCT2(
        ResNet18Features(), slices=8, key_slices=4, high_res_size=64, heads={"hidden": 32, "slice_classifier": True}
    )


def test_it_trains_by_the_configuration_of_training(training: tuple[ConfigWorkflow, list[float]]):
    workflow, losses = training
    assert np.isfinite(losses).all()
    assert type(workflow.parser.get_parsed_content("network_def").backbone) is ResNet18Features


def test_its_trained_file_holds_the_whole_backbone_and_reads_without_a_warning(
    training: tuple[ConfigWorkflow, list[float]], root: Path, caplog: pytest.LogCaptureFixture
):
    trained_network = training[0].parser.get_parsed_content("network_def")
    network = load_network(a_network(), root, "cache/training/model.pt")
    assert caplog.text == ""
    for name, tensor in trained_network.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    assert "random" not in model_identity(root, network, "cache/training/model.pt").trained_on


def test_both_backbones_have_a_frozen_and_a_trained_stage_that_are_the_whole():
    windows = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for backbone in (ResNet18Features().eval(), VGG16Features().eval()):
        with torch.no_grad():
            maps = backbone(windows)
            assert torch.equal(backbone.trained_stage()(backbone.frozen_stage()(windows)), maps)
        assert maps.shape == (1, backbone.channels, 64 // backbone.stride, 64 // backbone.stride)
