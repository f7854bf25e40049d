"""What ``python -m research.training.cross_validation`` accepts, refuses and passes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser

from research.metrics.predictions import Predictions, ScanPrediction
from research.training import cross_validation
from research.training.cross_validation import own_data
from research.training.protocol import Variant
from scripts.datasets.registry import DATASETS
from scripts.labels import RSNA
from scripts.messages import ExpectedError

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
CONFIGURATION = BUNDLE / "configs" / "train.json"
OWN = ("--studies", "studies", "--labels", "labels.csv")


class Recorder:
    """Stands where hours of training would run; remembers what it was asked."""

    def __init__(self) -> None:
        self.validated: list[tuple[Variant, Mapping[str, Any]]] = []
        self.written: list[Path] = []
        self.shipped = 0

    def cross_validated(self, variant: Variant, base: Mapping[str, Any]) -> Predictions:
        self.validated.append((variant, base))
        labels = np.array([1.0])
        scans = tuple(ScanPrediction(name, name, 0, labels, labels, np.ones(1)) for name in "ab")
        return Predictions(("any",), scans, variant.title, "2 scans, made up")

    def write_model(self, _predictions: Predictions, _variant: Variant, _base: Mapping[str, Any], folder: Path) -> None:
        self.written.append(folder)

    def ship(self, _predictions: Predictions, _variant: Variant, _base: Mapping[str, Any]) -> None:
        self.shipped += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    recorder = Recorder()
    for name in ("cross_validated", "write_model", "ship"):
        monkeypatch.setattr(cross_validation, name, getattr(recorder, name))
    monkeypatch.chdir(tmp_path)
    return recorder


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cross_validation.main(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--studies", "studies"), "--studies and --labels belong together"),
        (("--labels", "labels.csv"), "--studies and --labels belong together"),
        (("--fine-tune",), "--fine-tune belongs to --studies"),
        ((*OWN, "--fine-tune", "--frozen"), "--fine-tune belongs to --studies"),
        ((*OWN, "--set-finetuning", "epochs", "2"), "--set-finetuning belongs to --fine-tune"),
        (("--set-finetuning", "epochs", "2"), "--set-finetuning belongs to --fine-tune or --vgg16"),
        (("--frozen", "--set-finetuning", "epochs", "2"), "--set-finetuning belongs to --fine-tune or --vgg16"),
        ((*OWN, "--set-slices", "epochs", "2"), "--set-slices belongs to the shipped network's training"),
        (("--vgg16", "--set-slices", "epochs", "2"), "--set-slices belongs to the shipped network's training"),
        (OWN, "--studies needs --output: your weights are not to replace the shipped ones"),
        (("--set", "epochs"), "expected 2 arguments"),
        (("--set", "device", "cuda:0"), "cuda:0 is not JSON"),
        (("--set-finetuning", "epochs", "three"), "three is not JSON"),
        (("--epochs", "3"), "unrecognized arguments: --epochs 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_arguments_that_do_not_fit_are_refused_before_anything_runs(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], complaint: str
):
    assert complaint in refusal(capsys, *argv)
    assert recorder.validated == []


def test_without_arguments_the_shipped_way_is_trained_into_the_bundle(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
):
    cross_validation.main([])
    ((variant, base),) = recorder.validated
    assert (variant.heads, variant.finetuning, variant.slices, base) == ({}, None, {}, {})
    assert "trained end to end" in variant.title
    assert (recorder.shipped, recorder.written) == (1, [])
    assert "2 scans, made up" in capsys.readouterr().out


def test_overrides_go_to_the_configuration_that_they_are_meant_for(recorder: Recorder):
    cross_validation.main(
        ["--only-metrics", "--set", "epochs", "30", "--set", "device", '"cpu"', "--set-slices", "epochs", "2"]
    )
    ((variant, _),) = recorder.validated
    assert variant.heads == {"epochs": 30, "device": "cpu"}
    assert variant.slices == {"epochs": 2}
    assert variant.finetuning is None
    assert recorder.shipped == 0


@pytest.fixture
def override_of_vgg16(recorder: Recorder, tmp_path: Path) -> dict[str, Any]:
    """The bundle's override, where the command reads it."""
    (tmp_path / "configs").mkdir()
    shutil.copy(BUNDLE / "configs" / "vgg16.json", tmp_path / "configs")
    content: dict[str, Any] = json.loads((tmp_path / "configs" / "vgg16.json").read_text("utf-8"))
    return content


def test_the_papers_backbone_is_fine_tuned_with_its_own_overrides(
    recorder: Recorder, override_of_vgg16: dict[str, Any]
):
    cross_validation.main(["--output", "mine", "--vgg16", "--set-finetuning", "epochs", "2"])
    ((variant, base),) = recorder.validated
    assert (variant.finetuning, variant.slices) == ({"epochs": 2}, None)
    assert "fine-tuned" in variant.title
    assert base["backbone"]["_target_"].endswith("VGG16Features")
    assert base["start_from"] is None, "the shipped weights are another backbone's"
    told = json.loads(Path("mine/inference.json").read_text("utf-8"))
    for key in ("backbone", "image_size", "high_res_size", "windows"):
        assert told[key] == override_of_vgg16[key], "inference is to read as it was trained"


@pytest.mark.usefixtures("override_of_vgg16")
def test_a_frozen_backbone_is_called_so(recorder: Recorder):
    cross_validation.main(["--only-metrics", "--frozen"])
    ((variant, base),) = recorder.validated
    assert (variant.finetuning, variant.slices) == (None, None)
    assert "fine-tuned" not in variant.title
    assert base["backbone"]["_target_"].endswith("VGG16Features")


def test_predictions_and_weights_go_into_the_folder_that_is_asked_for(recorder: Recorder):
    cross_validation.main(["--output", "mine/first"])
    assert (recorder.shipped, recorder.written) == (0, [Path("mine/first")])
    written = Predictions.from_json(Path("mine/first/predictions.json"))
    assert [scan.name for scan in written.scans] == ["a", "b"]


def test_metrics_alone_can_keep_their_predictions(recorder: Recorder):
    cross_validation.main(["--only-metrics", "--output", "mine"])
    assert (recorder.shipped, recorder.written) == (0, [])
    assert Path("mine/predictions.json").is_file()


def test_ones_own_studies_go_on_from_the_shipped_weights_in_caches_of_their_own(recorder: Recorder):
    cross_validation.main([*OWN, "--output", "mine", "--set", "folds", "3"])
    ((variant, base),) = recorder.validated
    assert base["start_from"] == "models/model.pt"
    assert base["cache#folder"] != "cache"
    assert variant.finetuning is None
    assert "shipped weights" in variant.title
    assert base["dataset"] == "own"
    assert variant.heads == {"folds": 3}
    assert recorder.written == [Path("mine")]


def test_ones_own_slice_labels_train_the_last_block_on_if_asked(recorder: Recorder):
    cross_validation.main([*OWN, "--output", "mine", "--fine-tune", "--set-finetuning", "epochs", "2"])
    ((variant, base),) = recorder.validated
    assert variant.finetuning == {"slices_dir": None, "epochs": 2}
    assert base["start_from"] == "models/model.pt"
    assert base["cache_root"] != "cache", "one's own blocks are to lie apart from the shipped ones"


@pytest.mark.parametrize(
    "studies", ["plain", "with space", "a 'quoted' \"name\"", "back\\slash", "someone@home", "Köln $5", "@folds"]
)
def test_a_folder_of_any_name_reaches_the_dataset(studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def own_datalist(folder: str, **settings: Any) -> list[dict[str, Any]]:
        asked.append((folder, settings.pop("cache").folder, settings))
        return []

    monkeypatch.setitem(DATASETS, "own", own_datalist)
    parser = ConfigParser()
    parser.read_config(CONFIGURATION)
    for key, value in own_data(studies, "labels.csv").items():
        if key != "cache_root":
            parser[key] = value
    parser["folds"] = 4
    parser.get_parsed_content("imports")
    parser.get_parsed_content("datalist")
    expected = {"labels": tuple(label.key for label in RSNA), "folds": 4, "table": str(tmp_path / "labels.csv")}
    assert asked == [(str(tmp_path / studies), Path("cache/own"), expected)]


def test_the_overrides_of_ones_own_data_are_keys_of_the_configuration():
    configuration = json.loads(CONFIGURATION.read_text("utf-8"))
    overridden = {key.split("#")[0] for key in own_data("studies", "labels.csv")} - {"cache_root"}
    assert overridden <= configuration.keys()


@pytest.mark.parametrize("key", ["network_def", "train#preprocessing#transforms#2#_target_"])
def test_what_inference_could_not_repeat_is_refused_before_the_training(key: str, recorder: Recorder):
    with pytest.raises(ExpectedError, match=f"--set {key}: inference could not read"):
        cross_validation.main([*OWN, "--output", "mine", "--set", key, "{}"])
    assert not recorder.validated
    cross_validation.main([*OWN, "--only-metrics", "--set", key, "{}"])
    assert recorder.validated


def test_a_folder_that_is_not_there_ends_in_one_line(tmp_path: Path):
    command = ["-m", "research.training.cross_validation", "--only-metrics", "--studies", str(tmp_path / "none")]
    command += ["--labels", str(tmp_path / "labels.csv")]
    done = subprocess.run([sys.executable, *command], cwd=BUNDLE, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ERROR" in done.stderr.splitlines()[-1]
