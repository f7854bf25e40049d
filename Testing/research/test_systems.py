"""A published system goes the whole way by its own file: trained, measured on held-out patients, installed, used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from phantom_cases import FINE
from PIL import Image
from rsna_slice_files import write_labelled_slices
from training_runs import BUNDLE, inside_a_copy_of_bundle

from research.metrics.predictions import Predictions
from research.systems import map_overview, read_phantom
from research.systems.__main__ import main, of_reading, run
from research.systems.installing import FEWEST_MAPS, install
from research.systems.measured import MeasuredSystem, Value
from research.systems.page import MARK
from research.systems.read_phantom import checked, read_by
from research.systems.training import SystemTraining, fold_weights, published_system, published_systems, stages_of
from research.training.protocol import prepared
from scripts.messages import ExpectedError
from scripts.phantom import Haemorrhage, make_phantom, write_nifti
from scripts.phantom.writing import write_dicom_series
from scripts.systems import systems
from scripts.weights import WeightsError, load_network, model_identity, note_file, save_trained

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
    assert 0 <= measured["slice_auc_by_height"] <= 1
    shown = sum(bool(patient.kinds) for patient in PATIENTS)
    assert measured["erased_blood"]["scans"] == shown, "every scan with a mask was read without its blood"
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


def test_the_fold_that_was_measured_is_installed_instead_of_training_once_more(
    measured: dict[str, Any], root: Path, overrides: dict[str, Any]
):
    system = published_system(NAME)
    target = root / system.model_file
    before = target.read_bytes()
    run(system, [0, 1], overrides, only_metrics=False, install_fold=1)
    own = fold_weights(system, 1)
    assert own is not None
    assert target.read_bytes() == own.read_bytes() != before
    assert json.loads(note_file(target).read_text("utf-8"))["trained_on"].endswith("; without fold 1")
    assert "without" not in json.loads(note_file(own).read_text("utf-8"))["trained_on"]
    assert fold_weights(system, 4) is None


def test_enough_maps_of_held_out_scans_give_an_installed_system_one_scale(measured: dict[str, Any], root: Path):
    system = published_system(NAME)
    own, target = fold_weights(system, 0), root / system.model_file
    assert own is not None
    assert len(measured["largest"]) == 2 * sum(len(patient.kinds) for patient in PATIENTS), "any, and a subtype"
    predictions = Predictions.from_json(root / "cache" / "systems" / NAME / "predictions.json")
    kept = target.read_bytes(), note_file(target).read_bytes()
    for count, scale in ((FEWEST_MAPS, 2.0), (FEWEST_MAPS - 1, None)):
        install(system, own, predictions, {"slice_gradcam": [2.0] * count})
        stated = json.loads((target.parent / "attribution_scale.json").read_text("utf-8"))
        assert stated["slice_gradcam"] == scale
        assert stated["gradcam"] is None
    target.write_bytes(kept[0])
    note_file(target).write_bytes(kept[1])


def test_a_label_that_no_scan_states_is_named_in_the_installed_note_even_of_weights_without_one(
    measured: dict[str, Any], root: Path
):
    system = published_system(NAME)
    target = root / system.model_file
    kept = target.read_bytes(), note_file(target).read_bytes()
    predictions = Predictions.from_json(root / "cache" / "systems" / NAME / "predictions.json")
    scans = [replace(scan, labels=scan.labels.copy(), slice_labels=None) for scan in predictions.scans]
    for scan in scans:
        scan.labels[predictions.keys.index("epidural")] = np.nan
    alone = root / "cache" / "without a note.pt"
    alone.write_bytes(kept[0])
    install(system, alone, replace(predictions, scans=tuple(scans)), {}, 0, trained_on="scans, from random weights")
    note = json.loads(note_file(target).read_text("utf-8"))
    assert note["labels_without_training"] == ["epidural"]
    assert note["trained_on"] == ("scans, from random weights; without fold 0; no scan states epidural, not answered")
    target.write_bytes(kept[0])
    note_file(target).write_bytes(kept[1])


def test_given_weights_are_measured_and_nothing_is_trained_or_installed(
    measured: dict[str, Any], root: Path, overrides: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    own = fold_weights(published_system(NAME), 0)
    assert own is not None
    settings = [part for key, value in overrides.items() for part in ("--set", key, json.dumps(value))]
    main(["--system", NAME, "--folds", "0", "--weights", str(own), *settings])
    assert "DenseNet-A" in capsys.readouterr().out
    content = json.loads((root / "cache" / "systems" / NAME / "evaluation.json").read_text("utf-8"))
    assert content["folds"] == [0]
    assert content["length"] == "2 steps"
    with pytest.raises(SystemExit):
        main(["--system", NAME, "--folds", "0", "--weights", "nowhere/{fold}.pt", *settings])


@pytest.mark.parametrize(
    "arguments",
    [["--system", "shipped"], ["--weights", "a.pt"], ["--system", NAME, "--install-fold", "3"], ["--trained", "a"]],
    ids=["the shipped one is trained elsewhere", "weights of no system", "a fold that is not measured", "of no fold"],
)
def test_what_does_not_go_together_is_refused(root: Path, arguments: list[str]):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_maps_of_trained_systems_are_drawn_on_the_slice_with_most_blood(
    measured: dict[str, Any], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(map_overview, "SLICES", 8)
    monkeypatch.setattr(map_overview, "PIXELS", 64)
    phantom = map_overview.draw_head(map_overview.HEADS[0], 8, 64)
    areas = map_overview.blood(phantom).sum(axis=(1, 2))
    assert areas[map_overview.largest_slice(phantom)] == areas.max() > 0
    overview = tmp_path / "maps.jpg"
    map_overview.main(["--only", NAME, "densenet40", "--output", str(overview)])
    width, height = Image.open(overview).size
    assert width > height > 100, "CT, truth and one system; the other has no weights"


def test_a_panel_states_probability_and_accuracy(root: Path):
    drawn = map_overview.DrawnMap(np.zeros((2, 2), np.uint8), 0.25)
    unknown = Value(None, None, None)
    found = MeasuredSystem((0,), 17, 8, Value(0.6, 0.4, 0.8), Value(0.7, 0.6, 0.8), unknown, "gradcam", {}, "", "", "")
    assert map_overview.caption(drawn, None) == "p 0.25, not measured"
    assert map_overview.caption(drawn, found) == "p 0.25, AUC 0.70"
    assert map_overview.caption(drawn, replace(found, slice_auc=unknown)) == f"p 0.25, no slice answer {MARK}"
    names = {system.name: map_overview.panel_name(system) for system in systems(root)}
    assert names["ich_app_densenet_adjacent_optimised"] == "DenseNet, adjacent, optim."
    assert len(set(names.values())) == len(names)


TINY: dict[str, dict[str, Any]] = {
    "radnet": {"image_size": 32},
    "drct1_rsna": {"image_size": 32},
    "saliency_multitask": {"image_size": 64},
}
"""One that reads neighbourhoods of slices, one that reads whole scans, one of two networks."""


@pytest.mark.parametrize("name", TINY)
def test_installed_systems_of_every_kind_read_the_phantom_into_a_result_with_maps(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", str(BUNDLE))
    file = root / "configs" / f"{name}.json"
    content = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(content | TINY[name]), encoding="utf-8")
    system = published_system(name)
    network = prepared(["configs/inference.json", f"configs/{name}.json"], {}, initialize=False)
    save_trained(network.parser.get_parsed_content("network_def"), root / system.model_file)
    for beside in ("operating_points", "calibration", "attribution_scale"):
        shutil.copyfile(root / "configs" / f"{beside}.json", (root / system.model_file).with_name(f"{beside}.json"))
    write_dicom_series(make_phantom(FINE, (Haemorrhage("subdural", "left", 30.0),), seed=1), tmp_path / "study")
    try:
        found = read_by(system, tmp_path / "study", tmp_path / "results", ["--device", "cpu"])
    finally:
        shutil.rmtree((root / system.model_file).parent)
        file.write_text(json.dumps(content), encoding="utf-8")
    assert found.faults == ()
    assert found.maps == 6
    assert found.probability is not None
    folder = next(path for path in (tmp_path / "results").iterdir() if path.is_dir())
    other = checked(replace(system, title="Another"), folder)
    assert other.faults == (f"read by {system.title}",)
    (folder / "report.html").unlink()
    assert "no report" in checked(system, folder).faults


def test_the_command_reads_by_every_installed_system_and_fails_with_any(
    measured: dict[str, Any], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Four slices of 32 pixels are no head that can be evaluated.
    monkeypatch.setattr(read_phantom, "SLICES", 4)
    monkeypatch.setattr(read_phantom, "PIXELS", 32)
    monkeypatch.setenv("PYTHONPATH", str(BUNDLE))
    with pytest.raises(SystemExit, match="1"):
        read_phantom.main(["--output", str(tmp_path), "--only", NAME])
    with pytest.raises(SystemExit, match="1"):
        read_phantom.main(["--output", str(tmp_path), "--only", NAME, "--study", str(tmp_path / "nowhere")])


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
