"""Two processes train and evaluate as one does, started as a user starts them; no GPU is needed, and none is tested."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from toy_training import (
    DOUBLE,
    FINE_TUNING,
    WITHOUT_CHANCE,
    run_here,
    run_processes,
    started_here,
    toy_bundle,
    trained_weights,
)

from scripts.messages import ExpectedError
from scripts.training.distributed import distributed_network, leave_processes, mean_count, process_device, process_seed

torch.set_num_threads(1)
# Whole processes are started, which takes seconds on an idle machine and minutes on a busy one.
pytestmark = pytest.mark.timeout(1200)

METRIC = "val_mean_auc"
ROUNDING = 1e-9
"""How far weights may differ after eight steps of gradient descent in double precision, on any instruction set.

Two processes add the same terms in another order. A gradient is a sum of at most n = 10 scans x 8 slices x 512 channels
terms of order 1, so that its rounding error is at most n * 2^-53 = 5e-12 (Higham 2002, eq. 4.4). A step moves a weight
by the learning rate, 0.003, times the gradient; over eight steps errors add up, and each is at most doubled by the
steps that follow, for the learning rate times the curvature is far below 1: 8 * 0.003 * 2 * 5e-12 = 2e-13. The bound
leaves a factor of 4,000 for layers in a row; a loss that is divided by the wrong count moves weights by more than 1e-5.
"""
IN_ORDER_ALONE = {"train#dataloader#shuffle": False}
IN_ORDER_TOGETHER = {"train#sampler#shuffle": False}


@dataclass(frozen=True)
class Trained:
    """The same training in one process, from train.json alone, and in two."""

    root: Path
    start: dict[str, torch.Tensor]
    alone_folder: Path
    together_folder: Path
    together_output: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = toy_bundle(tmp_path_factory.mktemp("distributed") / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", list(sys.path))
        chosen_alone = {**WITHOUT_CHANCE, **IN_ORDER_ALONE, "output_dir": "alone"}
        start = started_here(("train", "toy"), chosen_alone)
        run_here(("train", "toy"), chosen_alone)
        # The last checkpoint stays, for inspection: the weights in model.pt are rounded to half precision.
        last = ["$process_number() == 0 and save_trained(@network_def, Path(@model_path))", "$leave_processes()"]
        chosen = {**WITHOUT_CHANCE, **IN_ORDER_TOGETHER, "output_dir": "together", "finalize": last}
        child = run_processes(root, ("train", "toy", "multi_gpu_train"), chosen, processes=2)
        assert child.returncode == 0, child.stderr[-3000:]
    return Trained(root, start, root / "alone", root / "together", child.stderr + child.stdout)


def newest_checkpoint(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*_checkpoint_epoch=4.pt")
    return torch.load(path, weights_only=True)


def validation_metrics(folder: Path) -> list[float]:
    """Return the validation metric of each epoch, as TensorBoard's file has it; there must be one such file."""
    (path,) = [
        path for path in folder.glob("events.out*") if METRIC in EventAccumulator(str(path)).Reload().Tags()["scalars"]
    ]
    return [event.value for event in EventAccumulator(str(path)).Reload().Scalars(METRIC)]


def test_two_processes_validate_as_one_does(trained: Trained):
    alone, together = validation_metrics(trained.alone_folder), validation_metrics(trained.together_folder)
    assert len(set(alone)) > 1
    assert together == pytest.approx(alone, abs=1e-6)


def test_two_processes_learn_the_weights_that_one_learns(trained: Trained):
    alone, together = (
        newest_checkpoint(folder)["network"] for folder in (trained.alone_folder, trained.together_folder)
    )
    assert alone.keys() == together.keys()
    assert {tensor.dtype for tensor in alone.values() if tensor.is_floating_point()} == {torch.float64}
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=ROUNDING, rtol=0, msg=name)
    first = trained.start["primary.classifier.6.bias"]
    assert (alone["network.primary.classifier.6.bias"] - first).abs().max() > 1e5 * ROUNDING, "nothing was learnt"


def test_only_the_first_process_writes(trained: Trained):
    alone, together = (
        sorted(path.name.split(".")[0] for path in folder.iterdir() if "checkpoint" not in path.name)
        for folder in (trained.alone_folder, trained.together_folder)
    )
    assert together == sorted([*alone, "model"])
    assert trained.together_output.count("Epoch[4] Complete") == 2


def test_processes_draw_differently_and_by_the_seed(trained: Trained):
    first, second = newest_checkpoint(trained.together_folder)["random_states"]["processes"]
    (alone,) = newest_checkpoint(trained.alone_folder)["random_states"]["processes"]
    assert torch.equal(first["dataset"]["keys"], alone["dataset"]["keys"])
    assert not torch.equal(second["dataset"]["keys"], first["dataset"]["keys"])
    assert not torch.equal(second["torch"], first["torch"])


def test_two_processes_evaluate_as_one_does(trained: Trained, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(trained.root)
    of_heads = {key: value for key, value in WITHOUT_CHANCE.items() if key.startswith("network_def#")}
    chosen = {**DOUBLE, **of_heads, "model_file": "together/model.pt"}
    run_here(("train", "evaluate", "toy"), {**chosen, "output_dir": "evaluated_alone"}, kind="eval")
    names = ("train", "evaluate", "toy", "multi_gpu_evaluate")
    child = run_processes(trained.root, names, {**chosen, "output_dir": "evaluated_together"}, processes=2)
    assert child.returncode == 0, child.stderr[-3000:]
    alone, together = (metric(trained.root / folder) for folder in ("evaluated_alone", "evaluated_together"))
    assert together == pytest.approx(alone, abs=1e-6)
    assert alone == pytest.approx(validation_metrics(trained.together_folder)[-1], abs=0.02)


def metric(folder: Path) -> float:
    ((name, value),) = csv.reader((folder / "metrics.csv").read_text("utf-8").splitlines())
    assert name == METRIC
    return float(value)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment that ``torch.distributed.run --nproc_per_node=1`` sets."""
    names = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    yield
    if dist.is_initialized():
        leave_processes()


def test_fine_tuning_on_one_process_is_fine_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None):
    monkeypatch.chdir(toy_bundle(tmp_path / "bundle"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    plain = run_here(("train", "finetune", "toy"), {**FINE_TUNING, **IN_ORDER_ALONE, "output_dir": "plain"})
    names = ("train", "finetune", "toy", "multi_gpu_train")
    wrapped = run_here(names, {**FINE_TUNING, **IN_ORDER_TOGETHER, "output_dir": "wrapped"})
    first, second = trained_weights(plain), trained_weights(wrapped)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    assert dist.is_initialized()
    wrapped.finalize()
    assert not dist.is_initialized()
    assert (Path("wrapped") / "finetuned.pt").is_file()


def test_a_count_of_nothing_still_divides():
    assert mean_count(torch.tensor(0)) == 1
    assert mean_count(torch.tensor(7)) == 7


def test_outside_of_torch_distributed_run_the_configuration_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ExpectedError, match=r"torch\.distributed\.run"):
        process_device()


def test_what_the_optimiser_does_not_hold_is_not_waited_for(one_process: None):
    dist.init_process_group("gloo")
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(network[1].parameters(), lr=0.1)
    wrapped = distributed_network(network, optimizer, torch.device("cpu"), find_unused_parameters=False)
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True]
    wrapped(torch.ones(1, 2)).sum().backward()
    assert process_seed(5) == 5
