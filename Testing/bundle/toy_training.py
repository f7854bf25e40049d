"""A training of seconds for whole processes: made-up features instead of VGG16's, and a handler that ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow

from scripts.training.scan_features import ScanFeatures
from scripts.training.stage_maps import StageMaps

TESTING = Path(__file__).resolve().parent
BUNDLE = TESTING.parents[1] / "monai_bundle"
LABELS = 6
SLICES = 12
TOY = {
    "backbone": {"_target_": "scripts.networks.vgg16.VGG16Features", "pretrained": False},
    "start_from": None,
    "datalist": {"_target_": "toy_training.toy_datalist", "scans": 31, "folds": "@folds"},
    "features": {"_target_": "toy_training.toy_features", "entries": "@datalist"},
    "scan_maps": {"_target_": "toy_training.toy_maps", "entries": "@datalist"},
    "slices_dir": None,
    "folds": 3,
    "epochs": 4,
    "val_interval": 1,
    "batch_size": 10,
    "learning_rate": 0.003,
    "sub_stack_size": 8,
    "network_def#key_slices": 4,
}
"""Overrides of train.json: 20 scans to learn from, 11 held out; all else is as it stands there."""
DOUBLE = {"network": "$CachedFeaturesNetwork(@network_def).double().to(@device)", "features#double": True}
WITHOUT_CHANCE = {
    **DOUBLE,
    "network_def#heads#dropout": 0.0,
    "network_def#heads#normalisation": "scan",
    "network_def#heads#slice_pooling": "attention",
    "train#dataset#random": False,
    "optimizer#_target_": "torch.optim.SGD",
}
"""Every scan's contribution to a step is then its own, whatever else lies in its process's part of the batch; and
rounding stays rounding: Adam divides each gradient by its own size, and so makes a whole step of one that is nothing
but the rounding of a sum, whose sign depends on the order of its terms."""

FINE_TUNING = {
    "datalist#scans": 9,
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.0002,
    "mixup": 0.2,
    "mask_weight": 0.0,
}
"""Overrides of finetune.json: few slices, for the last block is as large as ever; toys have no masks."""


def toy_datalist(scans: int, folds: int) -> list[dict[str, Any]]:
    """Return entries whose slice labels are drawn; every seventh scan has none."""
    entries = []
    for number in range(scans):
        slice_labels = np.random.default_rng(number).random((SLICES, LABELS)) < (0.25 if number % 2 else 0.02)
        slice_labels[:, 0] = slice_labels[:, 1:].any(axis=1)
        entries.append(
            {
                "name": f"scan{number}",
                "patient": f"patient{number}",
                "fold": number % folds,
                "label": slice_labels.any(axis=0).astype(np.float32),
                "slice_labels": None if number % 7 == 3 else slice_labels.astype(np.float32),
            }
        )
    return entries


def toy_features(entries: Sequence[Mapping[str, Any]], double: bool = False) -> list[ScanFeatures]:
    """Return features that hint at the labels, in single or double precision."""
    features = []
    for number, entry in enumerate(entries):
        generator = torch.Generator().manual_seed(number)
        made = torch.rand(2, 2, SLICES, 512, generator=generator)
        if entry["slice_labels"] is not None:
            hints = torch.from_numpy(entry["slice_labels"]).repeat_interleave(10, dim=1)
            made[..., : hints.shape[1]] += 0.3 * hints
        made = made.double() if double else made
        features.append(ScanFeatures(made[0], made[1], torch.arange(SLICES)))
    return features


def toy_maps(entries: Sequence[Mapping[str, Any]]) -> list[StageMaps]:
    """Return maps of noise, four pixels each."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, SLICES, 2, 2, 512)
    return [StageMaps(torch.rand(shape, generator=generator).bfloat16(), None, torch.arange(SLICES)) for _ in entries]


class KilledIn:
    """Handler that kills its own process, as a power cut would, in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def toy_bundle(folder: Path) -> Path:
    """Copy the bundle's configurations and write the toy's beside them."""
    shutil.copytree(BUNDLE / "configs", folder / "configs")
    (folder / "configs" / "toy.json").write_text(json.dumps(TOY), encoding="utf-8")
    return folder


def configurations(*names: str) -> list[str]:
    return [f"configs/{name}.json" for name in names]


def run_here(names: Sequence[str], overrides: Mapping[str, Any], kind: str = "train") -> ConfigWorkflow:
    """Initialise and run configurations of the working directory in this process; ``finalize`` is the caller's."""
    files = configurations(*names)
    workflow = ConfigWorkflow(files, workflow_type=kind, meta_file=None, logging_file=False, **overrides)
    workflow.initialize()
    workflow.run()
    return workflow


def started_here(names: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights that a training starts from."""
    files = configurations(*names)
    workflow = ConfigWorkflow(files, workflow_type="train", meta_file=None, logging_file=False, **overrides)
    workflow.initialize()
    return {
        name: tensor.clone() for name, tensor in workflow.parser.get_parsed_content("network_def").state_dict().items()
    }


def run_processes(
    root: Path, names: Sequence[str], overrides: Mapping[str, Any], processes: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run configurations as a user does, under ``torch.distributed.run`` where a number of processes is given."""
    (root / "configs" / "overrides.json").write_text(json.dumps(dict(overrides)), encoding="utf-8")
    several = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"] if processes else []
    files = str(configurations(*names, "overrides"))
    paths = os.pathsep.join((str(BUNDLE), str(TESTING)))
    child = subprocess.Popen(
        [sys.executable, "-m", *several, "monai.bundle", "run", "--config_file", files],
        cwd=root,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, error = child.communicate()
    except BaseException:
        # The launcher's own end would leave the processes that it started behind.
        os.killpg(child.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, output, error)


def trained_weights(workflow: ConfigWorkflow) -> dict[str, torch.Tensor]:
    """Copy the heads' and the last block's weights."""
    state = workflow.parser.get_parsed_content("network_def").state_dict()
    frozen = tuple(f"backbone.{name}" for name in ("features.0.", "features.2."))
    return {name: tensor.clone() for name, tensor in state.items() if not name.startswith(frozen)}
