"""Runs the bundle's training configurations in a copy of the bundle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from scripts.networks.efficientnet_lite import EfficientNetLite0


class UntrainedLite0(EfficientNetLite0):
    """The shipped backbone with random weights: the package of ImageNet's need not be on this machine."""

    pretrained = False


BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
RANDOM_VGG16 = {
    "backbone": {"_target_": "scripts.networks.vgg16.VGG16Features", "pretrained": False},
    "start_from": None,
}
"""The override of tests that train: ImageNet's weights of VGG16 need not be on this machine."""
RANDOM_LITE0 = {"backbone": {"_target_": "training_runs.UntrainedLite0"}, "start_from": None}
"""The same of the shipped backbone."""
SMALL = {
    "image_size": 32,
    "high_res_size": 64,
    "sub_stack_size": 8,
    "variants": 2,
    "network_def#key_slices": 4,
    "folds": 2,
}
TRAIN = "configs/train.json"
FINETUNE = "configs/finetune.json"


def copy_of_bundle(folder: Path) -> Path:
    shutil.copytree(BUNDLE / "configs", folder / "configs")
    return folder


@contextmanager
def inside_a_copy_of_bundle(folder: Path) -> Iterator[Path]:
    """Work in a copy, as a person would who started there; configurations add their own folder to the path."""
    with pytest.MonkeyPatch.context() as patch:
        root = copy_of_bundle(folder)
        patch.chdir(root)
        patch.setattr(sys, "path", list(sys.path))
        yield root


def trained(overrides: dict[str, Any], *configurations: str) -> tuple[ConfigWorkflow, list[float]]:
    """Run a configuration, train.json unless named, as ``monai.bundle run`` does; return each iteration's loss too."""
    files = list(configurations or (TRAIN,))
    workflow = ConfigWorkflow(files, workflow_type="train", meta_file=None, logging_file=False, **overrides)
    workflow.initialize()
    losses: list[float] = []
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    workflow.run()
    return workflow, losses


def weights_at_the_start(overrides: dict[str, Any], *configurations: str) -> dict[str, torch.Tensor]:
    """Return the weights that a configuration's training begins with."""
    files = list(configurations or (TRAIN,))
    workflow = ConfigWorkflow(files, workflow_type="train", meta_file=None, logging_file=False, **overrides)
    workflow.initialize()
    return dict(workflow.parser.get_parsed_content("network_def").state_dict())


def trained_state(workflow: ConfigWorkflow) -> dict[str, torch.Tensor]:
    state = workflow.parser.get_parsed_content("network_def").state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if not name.startswith("backbone.")}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
