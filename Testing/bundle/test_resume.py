"""Interrupted training goes on from its last epoch, ends where it would have ended, and never takes up another's."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from torch import nn
from toy_training import FINE_TUNING, configurations, run_here, run_processes, toy_bundle, trained_weights

from research.training.protocol import run
from scripts.training.resume import training_key

torch.set_num_threads(1)
# Whole processes are started, which takes seconds on an idle machine and minutes on a busy one.
pytestmark = pytest.mark.timeout(1200)


class StoppedAfter:
    """Handler that ends training early, checkpoints left as they are."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=self.epoch), lambda engine: engine.terminate())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with toy features as the working directory."""
    folder = toy_bundle(tmp_path / "bundle")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def training(*names: str, **overrides: Any) -> tuple[ConfigWorkflow, list[int]]:
    """Run heads' training in this process; return the epochs that were begun too."""
    workflow = ConfigWorkflow(
        configurations("train", "toy", *names), workflow_type="train", meta_file=None, logging_file=False, **overrides
    )
    workflow.initialize()
    epochs: list[int] = []
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: epochs.append(engine.state.epoch))
    workflow.run()
    return workflow, epochs


def stopped(*names: str, epoch: int, **overrides: Any) -> None:
    """Run a training and stop it after an epoch."""
    files = configurations(*(names or ("train", "toy")))
    workflow = ConfigWorkflow(files, workflow_type="train", meta_file=None, logging_file=False, **overrides)
    workflow.initialize()
    StoppedAfter(epoch).attach(workflow.parser.get_parsed_content("train#trainer"))
    workflow.run()


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("*_checkpoint_epoch=*.pt"), key=lambda path: path.name[::-1])


def same(first: ConfigWorkflow, second: ConfigWorkflow) -> bool:
    one, other = trained_weights(first), trained_weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def uninterrupted(root: Path) -> ConfigWorkflow:
    return training(output_dir="whole")[0]


def test_a_killed_training_loses_one_epoch_and_ends_with_the_same_weights(root: Path, uninterrupted: ConfigWorkflow):
    killed = {"output_dir": "killed", "+train#handlers": [{"_target_": "toy_training.KilledIn", "epoch": 3}]}
    child = run_processes(root, ("train", "toy"), killed)
    assert child.returncode == -signal.SIGKILL
    assert [path.stem[-1] for path in checkpoints(root / "killed")] == ["1", "2"]
    resumed, epochs = training(output_dir="killed", resume=True)
    assert epochs == [3, 4]
    assert same(resumed, uninterrupted)


def test_a_checkpoint_that_was_cut_off_is_passed_over(root: Path, uninterrupted: ConfigWorkflow):
    stopped(epoch=3, output_dir="cut")
    newest = checkpoints(root / "cut")[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    resumed, epochs = training(output_dir="cut", resume=True)
    assert epochs == [3, 4]
    assert same(resumed, uninterrupted)


def test_a_checkpoint_holds_plain_tensors_and_no_backbone(root: Path):
    stopped(epoch=3, output_dir="plain")
    files = checkpoints(root / "plain")
    assert [path.stem[-1] for path in files] == ["2", "3"]
    content = torch.load(files[-1], weights_only=True)
    assert content["trainer"]["iteration"] == 6
    assert content["network"]
    assert not [name for name in content["network"] if "backbone" in name]
    assert [name for name in content["network"] if "running_mean" in name]
    assert files[-1].stat().st_size < 10e6


def test_training_starts_anew_unless_it_is_asked_to_go_on(root: Path):
    stopped(epoch=3, output_dir="anew")
    before = {path.name for path in checkpoints(root / "anew")}
    _, epochs = training(output_dir="anew")
    assert epochs == [1, 2, 3, 4]
    assert {path.name for path in checkpoints(root / "anew")} != before


def test_another_trainings_checkpoint_is_left_alone(root: Path, caplog: pytest.LogCaptureFixture):
    stopped(epoch=2, output_dir="shared")
    before = {path.name: path.read_bytes() for path in checkpoints(root / "shared")}
    _, epochs = training(output_dir="shared", resume=True, validation_fold=1)
    assert epochs == [1, 2, 3, 4]
    assert "it starts from the beginning" in caplog.text
    kept = {path.name: path.read_bytes() for path in checkpoints(root / "shared")}
    assert before.items() <= kept.items()


def test_a_finished_training_removes_its_checkpoints(root: Path, uninterrupted: ConfigWorkflow):
    assert checkpoints(root / "whole")
    uninterrupted.finalize()
    assert (root / "whole" / "model.pt").is_file()
    assert not checkpoints(root / "whole")


def test_the_protocol_neither_writes_nor_takes_up_checkpoints(root: Path, uninterrupted: ConfigWorkflow):
    stopped(epoch=2, output_dir="protocol")
    before = {path.name: path.stat().st_mtime_ns for path in checkpoints(root / "protocol")}
    workflow = run(configurations("train", "toy"), {"output_dir": "protocol", "resume": True})
    assert same(workflow, uninterrupted)
    assert {path.name: path.stat().st_mtime_ns for path in checkpoints(root / "protocol")} == before


def test_fine_tuning_goes_on_with_its_learning_rate(root: Path):
    names = ("train", "finetune", "toy")
    chosen = {**FINE_TUNING, "epochs": 3}
    whole = run_here(names, {**chosen, "output_dir": "whole"})
    stopped(*names, epoch=1, **chosen, output_dir="part")
    resumed = run_here(names, {**chosen, "output_dir": "part", "resume": True})
    assert same(resumed, whole)
    rates = [
        [group["lr"] for group in workflow.parser.get_parsed_content("optimizer").param_groups]
        for workflow in (whole, resumed)
    ]
    assert rates[0] == rates[1]


class Dataset:
    """One scan, of which nothing is made."""

    def __init__(self, label: int) -> None:
        self.data = [({"name": "scan", "label": np.array([label]), "slice_labels": None}, None)]
        self.R = np.random.RandomState(0)


def key(**changed: Any) -> str:
    """Key of a training of one layer, something about it changed."""
    torch.manual_seed(changed.get("seed", 0))
    network = nn.Sequential(nn.Linear(3, 2), nn.Dropout(changed.get("dropout", 0.5)))
    optimizer = torch.optim.Adam(network.parameters(), lr=changed.get("rate", 0.1))
    loss = nn.BCEWithLogitsLoss()
    loss.slice_weight = changed.get("slice_weight", 1.0)
    dataset = Dataset(changed.get("label", 1))
    return training_key(network, optimizer, loss, dataset, [changed.get("epochs", 4)])


def test_the_same_training_has_the_same_key():
    assert key() == key()


CHANGES = [{"seed": 1}, {"dropout": 0.4}, {"rate": 0.2}, {"slice_weight": 0.0}, {"label": 0}, {"epochs": 5}]


@pytest.mark.parametrize("changed", CHANGES, ids=str)
def test_whatever_decides_a_training_changes_its_key(changed: dict[str, Any]):
    assert key(**changed) != key()
