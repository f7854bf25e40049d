"""Runs the bundle's training configuration in a copy of the bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[1] / "monai_bundle"
SMALL = {"picture_size": 32, "zoom_size": 64, "sample_size": 8, "network_def#key_slices": 4, "folds": 2}


def copy_of_bundle(folder: Path) -> Path:
    shutil.copytree(BUNDLE / "configs", folder / "configs")
    (folder / "models").mkdir()
    (folder / "models" / "backbone.pt").symlink_to(BUNDLE / "models" / "backbone.pt")
    return folder


def trained(overrides: dict[str, Any]) -> tuple[ConfigWorkflow, list[float]]:
    """Run the configuration as ``monai.bundle run`` does and return each epoch's loss."""
    workflow = ConfigWorkflow(
        "configs/train.json", workflow_type="train", meta_file=None, logging_file=False, **overrides
    )
    workflow.initialize()
    losses: list[float] = []
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    workflow.run()
    return workflow, losses


def trained_state(workflow: ConfigWorkflow) -> dict[str, torch.Tensor]:
    state = workflow.parser.get_parsed_content("network_def").state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if not name.startswith("backbone.")}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
