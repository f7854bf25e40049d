"""Experiment tracking through MONAI's own ``--tracking mlflow``: what a training leaves in the local store."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ct_ich_files import THIRTY_PATIENTS, write_ct_ich
from mlflow import MlflowClient
from mlflow.entities import Run
from monai.bundle import ConfigWorkflow
from training_runs import RANDOM_LITE0, SMALL, copy_of_bundle

torch.set_num_threads(1)

EPOCHS = 2


def tracked_training(overrides: dict[str, Any]) -> None:
    """Run as ``python -m monai.bundle run --config_file configs/train.json --tracking mlflow`` does."""
    workflow = ConfigWorkflow(
        "configs/train.json", workflow_type="train", logging_file=False, tracking="mlflow", **overrides
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a tracked training of two epochs wrote into."""
    root = copy_of_bundle(tmp_path_factory.mktemp("tracked") / "bundle_copy")
    tables = write_ct_ich(tmp_path_factory.mktemp("tables"), THIRTY_PATIENTS, slices=12, size=24)
    overrides = {
        **SMALL,
        **RANDOM_LITE0,
        "dataset_dir": str(tables.folder),
        "features": {"_target_": "ct_ich_files.separable_features", "entries": "@datalist"},
        "epochs": EPOCHS,
        "val_interval": 1,
        "experiment_name": "ICHDiagnosis",
        "run_name": "two epochs",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", list(sys.path))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracked_training(overrides)
    return root / "cache" / "training"


@pytest.fixture(scope="module")
def client(store: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{store / 'mlruns.db'}")


@pytest.fixture(scope="module")
def tracked(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("ICHDiagnosis")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_name for run in runs] == ["two epochs"]
    return runs[0]


def test_the_run_is_closed(tracked: Run):
    assert tracked.info.status == "FINISHED"


def test_every_epochs_figure_is_kept(client: MlflowClient, tracked: Run):
    history = {name: client.get_metric_history(tracked.info.run_id, name) for name in tracked.data.metrics}
    assert [point.step for point in history["val_mean_auc"]] == [1, 2]
    assert [point.step for point in history["train_mean_auc"]] == [1, 2]
    losses = [point.value for point in history["train_loss"]]
    assert len(losses) >= EPOCHS
    assert all(0 < loss < 10 for loss in losses)


def test_the_run_states_how_long_it_trains(tracked: Run):
    assert tracked.data.params["max_epochs"] == str(EPOCHS)


def test_the_configuration_that_was_run_is_kept_with_the_run(store: Path, client: MlflowClient, tracked: Run):
    (artifact,) = client.list_artifacts(tracked.info.run_id)
    (kept,) = store.glob(f"mlruns/**/{artifact.path}")
    configuration = json.loads(kept.read_text(encoding="utf-8"))
    assert (configuration["epochs"], configuration["seed"]) == (EPOCHS, 0)


def test_all_of_it_stays_in_the_outputs_folder(store: Path, tracked: Run):
    assert store.as_uri() in tracked.info.artifact_uri
    assert (store / "mlruns.db").is_file()
    assert not list(store.parents[1].glob("mlruns*"))
