"""Comparisons of systems go the whole way at a small size: maps by architecture, and an ensemble of trained members."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from phantom_cases import FINE
from rsna_slice_files import write_labelled_slices
from training_runs import BUNDLE, inside_a_copy_of_bundle

from research.metrics.predictions import Predictions
from research.systems.__main__ import main as systems_main
from research.systems.__main__ import run
from research.systems.ensembles import NOT_SEARCHED
from research.systems.gradcam_quality import ARCHITECTURES, main, stated_tests
from research.systems.saliency_quality import ABLATIONS, VARIANTS
from research.systems.saliency_quality import main as saliency_main
from research.systems.training import SystemTraining, published_system
from scripts.explanation.saliency import RECORDED, STAND_IN
from scripts.networks.backbone import Backbone
from scripts.networks.slice_ensemble import read_members
from scripts.phantom import Haemorrhage, make_phantom, write_nifti
from scripts.weights import load_network, note_file, read_state

torch.set_num_threads(1)

PATIENTS = tuple(Patient(number, ("subdural",) if number % 2 else ()) for number in range(49, 55))
QUICK = {"image_size": 32, "epochs": 1, "steps_per_epoch": 2, "batch_size": 4}
COMPARED = ("resnet18", "vit_small")
PAIR = ("ich_app_resnet_windows_plain", "ich_app_densenet_adjacent_optimised")
ENSEMBLE = "ich_app_ensemble"


class Tiny(Backbone):
    """Stands for each architecture: a slice becomes one pixel per stride of 8."""

    channels, stride, frozen_layers, pooling = 6, 8, 0, "mean"

    def __init__(self, pretrained: bool = True, fetch: bool = False) -> None:
        del pretrained, fetch
        super().__init__([torch.nn.Conv2d(3, 6, 8, stride=8)])


class TinyEncoder(Backbone):
    """Stands for DenseNet-201 without its last block: maps at 1/32 of the size."""

    channels, stride, frozen_layers, pooling = 5, 32, 0, "mean"

    def __init__(self) -> None:
        super().__init__([torch.nn.Conv2d(3, 5, 32, stride=32)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        for name in (*(f"gradcam_{each}" for each in COMPARED), *PAIR, ENSEMBLE):
            file = root / "configs" / f"{name}.json"
            content = json.loads(file.read_text("utf-8")) | QUICK
            if name != ENSEMBLE:
                content["backbone"] = {"_target_": f"{Tiny.__module__}.Tiny"}
            file.write_text(json.dumps(content), encoding="utf-8")
        file = root / "configs" / "saliency_multitask.json"
        content = json.loads(file.read_text("utf-8")) | QUICK
        content["backbone"]["encoder"] = {"_target_": f"{TinyEncoder.__module__}.TinyEncoder"}
        file.write_text(json.dumps(content), encoding="utf-8")
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


@pytest.fixture
def tiny_members(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dict.fromkeys(("efficientnet", "resnet", "densenet"), Tiny)
    monkeypatch.setattr("scripts.networks.slice_ensemble.ARCHITECTURES", tiny)
    monkeypatch.setattr("research.systems.ensembles.TWELVE", PAIR)


def test_architectures_are_trained_read_and_compared_by_one_command(root: Path, overrides: dict[str, Any]):
    command = ["--only", *COMPARED, "--folds", "0", "1"]
    for key, value in overrides.items():
        command += ["--set", key, json.dumps(value)]
    main(command)
    found = json.loads((root / "cache" / "systems" / "gradcam_quality.json").read_text("utf-8"))
    positive = sum(bool(patient.kinds) for patient in PATIENTS)
    for name in COMPARED:
        row = found["diagnosis"][name]
        assert 0 <= row["accuracy"] <= 1
        assert row["slices"] == 6 * len(PATIENTS)
        assert found["difference"]["spreads"][name]["cases"] == positive
        assert "random weights" in found["trained"][name]
    page = (root / "cache" / "systems" / "gradcam_quality.md").read_text("utf-8")
    assert "Research use only" in page
    assert page.count("| resnet18 |") == page.count("| vit_small |") == 1
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1


def test_every_architecture_of_the_comparison_has_its_configuration(root: Path):
    for name in ARCHITECTURES:
        assert published_system(f"gradcam_{name}").configuration == f"configs/gradcam_{name}.json"


def test_the_tests_are_written_with_the_pairs_that_differ():
    pairs = [
        {"first": "a", "second": "b", "difference": 0.1, "p": 0.01},
        {"first": "a", "second": "c", "difference": 0, "p": 0.9},
    ]
    assert stated_tests({"f": 4.2, "p": 0.0004, "pairs": pairs}).endswith(
        "p < 0.001; pairs apart by Tukey's test: a and b (+0.100, p 0.010)."
    )
    assert stated_tests({"f": 0.1, "p": 0.9, "pairs": pairs[1:]}).endswith("Tukey's test: none.")
    assert stated_tests({"p": None, "remark": "one network"}) == "no analysis of variance (one network)."


@pytest.mark.usefixtures("tiny_members")
def test_an_ensemble_is_put_together_from_trained_members_measured_and_installed(root: Path, overrides: dict[str, Any]):
    found = run(published_system(ENSEMBLE), [0, 1], overrides, only_metrics=False)
    assert found["scans"] == len(PATIENTS)
    assert found["map_method"] == "slice_gradcam"
    folder = root / "cache" / "systems"
    assert Predictions.from_json(folder / ENSEMBLE / "predictions.json").has_slice_logits
    weights = root / "models" / ENSEMBLE / "model.pt"
    members = read_members(weights)
    assert set(members.names) <= set(PAIR)
    assert members.searched_on == "held-out slices of 2 other folds"
    state = read_state(root, f"models/{ENSEMBLE}/model.pt", None)
    member = next((folder / members.names[0]).glob("slices-None-*.pt"))
    torch.testing.assert_close(state["heads.0.1.weight"], read_state(root, str(member), None)["head.1.weight"])


@pytest.mark.usefixtures("tiny_members")
def test_an_installed_ensemble_is_built_with_the_members_of_its_file(root: Path):
    from research.training.protocol import prepared  # noqa: PLC0415

    content = prepared(["configs/inference.json", f"configs/{ENSEMBLE}.json"], {}, initialize=False).parser
    network = content.get_parsed_content("network_def")
    weights = f"models/{ENSEMBLE}/model.pt"
    assert len(network.heads) == len(read_members(root / weights).names)
    assert load_network(network, root, weights) is network


@pytest.mark.usefixtures("tiny_members")
def test_an_ensemble_of_one_fold_averages_all_members_as_nothing_may_choose_them(
    root: Path, overrides: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    kept = tmp_path / "trained"
    for name in PAIR:
        own = SystemTraining(overrides).trained(published_system(name), 0)
        (kept / name).mkdir(parents=True)
        # As another configuration would have named them.
        shutil.copyfile(own, kept / name / "slices-0-0123456789abcdef.pt")
    before = sorted(kept.rglob("*"))
    settings = [part for key, value in overrides.items() for part in ("--set", key, json.dumps(value))]
    systems_main(["--system", ENSEMBLE, "--trained", str(kept), "--install-fold", "0", *settings])
    assert sorted(kept.rglob("*")) == before, "nothing is trained, nothing is written there"
    members = read_members(root / "models" / ENSEMBLE / "model.pt")
    assert (members.names, members.rule, members.searched_on) == (PAIR, "average", NOT_SEARCHED)
    shutil.rmtree(kept / PAIR[0])
    systems_main(["--trained", str(kept), "--only-metrics", *settings])
    alone = (root / "cache" / "systems" / ENSEMBLE).glob("members-0-*.members.json")
    assert any(json.loads(file.read_text("utf-8"))["names"] == [PAIR[1]] for file in alone)
    assert f"{PAIR[0]}: no trained weights without fold 0 in trained" in caplog.text
    with pytest.raises(SystemExit, match="1"):
        systems_main(["--system", ENSEMBLE, "--trained", str(tmp_path), "--only-metrics", *settings])
    assert "no trained weights" in caplog.text


def test_the_saliency_network_is_trained_in_four_stages_and_says_what_stood_in_for_gaze(
    root: Path, overrides: dict[str, Any]
):
    found = run(published_system("saliency_multitask"), [0], overrides, only_metrics=True)
    assert STAND_IN in found["trained"]["0"]
    files = sorted((root / "cache" / "systems" / "saliency_multitask").glob("*-0-*.pt"))
    states = {file.name.split("-")[0]: torch.load(file, weights_only=True) for file in files}
    assert set(states) == {"triplets", "encoder", "saliency", "fusion"}

    def changed(part: str) -> list[bool]:
        stages = [states[name] for name in ("triplets", "encoder", "saliency", "fusion")]
        names = [name for name in stages[0] if name.startswith(part) and name.endswith("weight")]
        return [any(not torch.equal(one[name], other[name]) for name in names) for one, other in pairwise(stages)]

    assert changed("backbone.encoder") == [True, False, False]
    assert changed("backbone.unet") == [False, True, False]
    assert changed("backbone.fusion") == changed("head") == [False, False, True]


def of_saliency(overrides: dict[str, Any], *arguments: str, **others: str) -> list[str]:
    command = [*arguments]
    for key, value in {**overrides, **others}.items():
        command += ["--set", key, json.dumps(value)]
    return command


def saliency_result(root: Path) -> dict[str, Any]:
    return json.loads((root / "cache" / "systems" / "saliency_quality.json").read_text("utf-8"))


def test_saliency_and_its_four_ablations_are_measured_by_one_command_that_says_what_stood_in_for_gaze(
    root: Path, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    saliency_main(of_saliency(overrides, "--folds", "0"))
    found = saliency_result(root)
    assert found["truth"] == STAND_IN
    assert set(found["saliency"]) == {"full", "without_encoder", "plain_unet", "even map"}
    assert set(found["diagnosis"]) == {"full", "encoder_triplets", "encoder"}
    for row in found["saliency"].values():
        # Two slices of the one held-out scan show blood.
        assert (row["slices"], row["scans"]) == (2, 1)
        assert row["divergence"]["mean"] > 0
        assert 0 < row["similarity"]["mean"] < 1
    assert found["saliency"]["even map"]["correlation"]["mean"] is None
    assert {row["slices"] for row in found["diagnosis"].values()} == {6}
    assert [row["examined"] for row in found["ablations"]] == [examined for examined, _, _ in ABLATIONS]
    maps, second, third, last = found["ablations"]
    assert set(maps) >= {"divergence", "correlation", "similarity"}
    assert set(second) >= {"divergence"}
    assert set(third) & {"divergence", "accuracy", "auc"} == set(last) & {"divergence", "accuracy", "auc"}
    page = (root / "cache" / "systems" / "saliency_quality.md").read_text("utf-8")
    assert "Research use only" in page
    assert STAND_IN in page
    assert page.count("| full network |") >= 2
    # Each variant has weights of its own, and the full network's are those of make systems.
    weights = root / "cache" / "systems" / "saliency_multitask"
    assert len(list(weights.glob("saliency-0-*.pt"))) == 3
    assert len(list(weights.glob("encoder-0-*.pt"))) == 2

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("monai.bundle.ConfigWorkflow.run", fail)
    monkeypatch.setattr("research.systems.saliency_slices._read", fail)
    saliency_main(of_saliency(overrides, "--folds", "0"))
    assert saliency_result(root) == found
    saliency_main(of_saliency(overrides, "--only", "full", "--trained", str(weights.parent)))
    assert saliency_result(root)["saliency"]["full"] == found["saliency"]["full"]


def test_the_ablations_differ_by_keys_of_the_configuration_alone():
    assert [sorted(each.overrides) for each in VARIANTS.values()].count(["backbone#unet"]) == 2
    assert set(ABLATIONS[0][1:]) == {"without_encoder", "plain_unet"}
    for _, one, other in ABLATIONS:
        first, second = VARIANTS[one], VARIANTS[other]
        assert (first.maps and second.maps) or (first.answers and second.answers)


def test_the_saliency_network_reads_a_ct_into_a_result_that_says_what_its_map_learned_from(
    root: Path, overrides: dict[str, Any], tmp_path: Path
):
    weights = SystemTraining(overrides).trained(published_system("saliency_multitask"), 0)
    study = tmp_path / "study.nii.gz"
    write_nifti(make_phantom(FINE, (Haemorrhage("subdural", "left", 30.0),), seed=1), study)
    command = [sys.executable, "-m", "monai.bundle", "run", "--device", "cpu", "--model_file", str(weights.absolute())]
    command += ["--config_file", "['configs/inference.json','configs/saliency_multitask.json']"]
    command += ["--dataset_dir", str(study), "--output_dir", str(tmp_path / "result")]
    # Not installed: it has no thresholds, calibration and scale of its own.
    for name in ("operating_points", "calibration", "attribution_scale"):
        command += [f"--{name}_file", f"configs/{name}.json"]
    places = [BUNDLE, *(BUNDLE.parent / "Testing" / name for name in ("bundle", "research"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = [path for path in (tmp_path / "result").iterdir() if path.is_dir()]
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert STAND_IN in result["model"]["trained_on"]
    assert {entry["kind"] for entry in result["maps"]} == {"attention", "slice_gradcam", "saliency_masks"}
    image = nib.Nifti1Image.from_filename(folder / "saliency.nii.gz")
    assert image.shape == tuple(result["study"]["shape"])
    assert np.allclose(image.affine, nib.Nifti1Image.from_filename(study).affine)
    assert np.asarray(image.dataobj).max() == 255
    assert "masks in place of gaze" in (folder / "report.html").read_text("utf-8")


def test_gaze_maps_of_a_folder_teach_and_measure_in_place_of_masks(
    root: Path, overrides: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    own = {**overrides, "prepared": "$__import__('system_groups').groups_of_patients()"}
    system = published_system("saliency_multitask")
    for entry in SystemTraining(own).datalist(system):
        study = entry["study"].read()
        looked = np.zeros(study.voxels.shape, dtype=np.float32)
        looked[2:4, 150:200, 200:260] = 3.0
        nib.save(nib.Nifti1Image(looked.transpose(2, 1, 0), study.affine), tmp_path / f"{entry['name']}.nii.gz")
    command = of_saliency(own, "--folds", "0", "--only", "plain_unet")
    saliency_main([*command, "--gaze_dir", str(tmp_path)])
    found = saliency_result(root)
    assert found["truth"] == RECORDED
    # Of the held-out scan two slices were looked at, with blood or without.
    assert found["saliency"]["plain_unet"]["slices"] == 2
    notes = [
        note_file(path).read_text("utf-8")
        for path in (root / "cache" / "systems" / "saliency_multitask").glob("saliency-0-*.pt")
    ]
    assert sum(RECORDED in note for note in notes) == 1
    with pytest.raises(SystemExit):
        saliency_main([*command, "--gaze_dir", str(tmp_path / "nowhere")])
    assert "no such folder of gaze maps" in capsys.readouterr().err
