"""A published system goes the whole way by its own file: trained, measured on held-out patients, installed, used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from phantom_cases import FINE
from rsna_slice_files import write_labelled_slices
from training_runs import BUNDLE, inside_a_copy_of_bundle

from research.metrics.predictions import Predictions
from research.systems.__main__ import main, of_reading, run
from research.systems.training import SystemTraining, published_system, published_systems, stages_of
from research.training.protocol import prepared
from scripts.messages import ExpectedError
from scripts.phantom import Haemorrhage, make_phantom, write_nifti
from scripts.systems import systems
from scripts.weights import WeightsError, load_network, model_identity

torch.set_num_threads(1)

PATIENTS = tuple(Patient(number, ("subdural",) if number % 2 else ()) for number in range(49, 55))
NAME = "densenet_a"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        configuration = root / "configs" / f"{NAME}.json"
        content = json.loads(configuration.read_text("utf-8"))
        # Of the network and its input alone: how it is trained and read stays the system's own.
        content |= {"image_size": 32, "epochs": 1, "steps_per_epoch": 2, "batch_size": 4}
        content["backbone"]["growth"] = 3
        configuration.write_text(json.dumps(content), encoding="utf-8")
        yield root


@pytest.fixture(scope="module")
def overrides(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    return {
        "dataset_dir": str(write_ct_ich(folder / "ct-ich", PATIENTS, slices=6, size=384).folder),
        "slices_dir": str(write_labelled_slices(folder / "rsna", 8)),
        "prepared": "$__import__('system_groups').some_groups()",
        "device": "$torch.device('cpu')",
        "folds": 2,
    }


@pytest.fixture(scope="module")
def measured(root: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    return run(published_system(NAME), [0, 1], overrides, only_metrics=False)


def test_it_is_measured_on_the_patients_that_each_fold_left_out(measured: dict[str, Any], root: Path):
    assert measured["scans"] == len(PATIENTS)
    assert measured["folds"] == [0, 1]
    predictions = Predictions.from_json(root / "cache" / "systems" / NAME / "predictions.json")
    assert {scan.fold for scan in predictions.scans} == {0, 1}
    assert predictions.has_slice_logits
    assert set(measured["map_quality"]) >= {"any", "subdural", "overall"}
    assert measured["map_method"] == "slice_gradcam"
    assert "random weights" in measured["trained"]["0"]


def test_what_was_trained_is_not_trained_again(
    measured: dict[str, Any], root: Path, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("monai.bundle.ConfigWorkflow.run", fail)
    assert SystemTraining(overrides).trained(published_system(NAME), 0).is_file()


def test_an_installed_system_reads_a_ct_into_a_result_that_names_it(
    measured: dict[str, Any], root: Path, tmp_path: Path
):
    assert [system.name for system in systems(root) if system.installed] == [NAME]
    study = tmp_path / "study.nii.gz"
    write_nifti(make_phantom(FINE, (Haemorrhage("subdural", "left", 30.0),), seed=1), study)
    files = f"['configs/inference.json','configs/{NAME}.json']"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files, "--device", "cpu"]
    command += ["--dataset_dir", str(study), "--output_dir", str(tmp_path / "result")]
    environment = {**os.environ, "PYTHONPATH": str(BUNDLE)}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    folder = next(path for path in (tmp_path / "result").iterdir() if path.is_dir())
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert result["model"]["network"] == "DenseNet-A (RADnet without LSTM)"
    assert "random weights" in result["model"]["trained_on"]
    assert {entry["kind"] for entry in result["maps"]} == {"attention", "slice_gradcam"}
    assert (folder / "gradcam_any.nii.gz").is_file()
    # Its auxiliary segmentations: any haemorrhage, no subtype, no volume.
    assert nib.Nifti1Image.from_filename(folder / "lesion.nii.gz").shape == tuple(result["study"]["shape"])
    assert result["lesions"]["volumes"] == []
    assert [group["key"] for group in result["lesions"]["groups"]] == ["unspecified"]
    assert "read by DenseNet-A" in (folder / "report.html").read_text("utf-8")


def test_a_system_without_weights_says_which_command_makes_them(root: Path):
    workflow = prepared(["configs/inference.json", "configs/densenet40.json"], {}, initialize=False)
    network = workflow.parser.get_parsed_content("network_def")
    with pytest.raises(WeightsError, match="make systems SYSTEM=densenet40"):
        load_network(network, root, "models/densenet40/model.pt")
    with pytest.raises(WeightsError, match="densenet40"):
        model_identity(BUNDLE, network, "models/densenet40/model.pt")


def test_every_system_states_its_stages_and_where_its_weights_belong():
    found = published_systems() if Path("configs").is_dir() else []
    for system in found:
        assert stages_of(system)
        assert system.model_file == f"models/{system.name}/model.pt"


def test_settings_of_reading_are_shared_with_inference():
    assert of_reading({"epochs": 2, "image_size": 64, "backbone#growth": 3}) == {"image_size": 64, "backbone#growth": 3}


def test_an_unknown_system_is_refused_with_those_that_there_are(root: Path):
    with pytest.raises(ExpectedError, match="radnet"):
        published_system("radnett")


def test_a_system_without_stages_cannot_be_trained(root: Path):
    file = root / "configs" / "odd.json"
    content = {"system": {"name": "odd", "title": "Odd"}, "model_file": "models/odd/model.pt"}
    file.write_text(json.dumps(content), encoding="utf-8")
    try:
        with pytest.raises(ExpectedError, match="odd"):
            stages_of(published_system("odd"))
        with pytest.raises(SystemExit):
            main(["--system", "odd"])
    finally:
        file.unlink()
