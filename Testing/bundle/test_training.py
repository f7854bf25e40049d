"""Training and shipping as ``make train`` runs them, in a copy of the bundle, on features that tell labels apart."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import THIRTY_PATIENTS, CTICHTree, write_ct_ich
from monai.bundle import ConfigWorkflow
from training_runs import RANDOM_LITE0, SMALL, copy_of_bundle, same_state, trained, trained_state

from research.metrics.eval_metrics import eval_metrics
from research.metrics.predictions import Predictions, ScanPrediction
from research.training import cross_validation, protocol
from research.training.protocol import Variant
from scripts.calibration import Calibration
from scripts.labels import RSNA
from scripts.operating_points import thresholds
from scripts.training.cached_scans import read_whole_scan
from scripts.weights import load_network

torch.set_num_threads(1)

KEYS = tuple(label.key for label in RSNA)
TOY = {
    **SMALL,
    **RANDOM_LITE0,
    "features": {"_target_": "ct_ich_files.separable_features", "entries": "@datalist"},
    "epochs": 60,
    "batch_size": 8,
    "val_interval": 60,
    "train#checkpoints#interval": 0,
    "learning_rate": 0.003,
    "optimizer#params#aps_learning_rate": 0.003,
}
"""Features that give the labels away in the place of the backbone's, and a learning rate that finds them in seconds."""


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundle as the working directory, which is where training writes."""
    root = copy_of_bundle(tmp_path / "bundle_copy")
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return root


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CTICHTree:
    """Thirty patients with images too small for the backbone: labels for features that are made up."""
    return write_ct_ich(tmp_path_factory.mktemp("tables"), THIRTY_PATIENTS, slices=12, size=24)


@pytest.fixture
def toy(bundle: Path, tables: CTICHTree) -> dict[str, Any]:
    return {**TOY, "dataset_dir": str(tables.folder)}


def sha256_of_files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cache" not in path.relative_to(folder).parts
    }


def test_the_loss_falls_where_features_tell_the_labels_apart(toy: dict[str, Any]):
    _, losses = trained({**toy, "validation_fold": 0, "epochs": 25})
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_a_training_follows_its_seed(toy: dict[str, Any]):
    runs = [trained({**toy, "epochs": 3, "seed": seed})[0] for seed in (0, 0, 1)]
    first, second, other = (trained_state(workflow) for workflow in runs)
    assert same_state(first, second)
    assert not same_state(first, other)


def test_the_learning_rates_are_the_configurations(toy: dict[str, Any]):
    of_configuration = ("learning_rate", "optimizer#params#aps_learning_rate")
    workflow, _ = trained({**{key: value for key, value in toy.items() if key not in of_configuration}, "epochs": 1})
    groups = workflow.parser.get_parsed_content("optimizer").param_groups
    assert [group["lr"] for group in groups] == [0.0005, 0.01, 0.0003], "network, evidence of lesions, APS network"
    assert {group["weight_decay"] for group in groups} == {0.001}


def test_without_a_held_out_fold_every_patient_is_learnt_from(toy: dict[str, Any]):
    workflow, _ = trained({**toy, "validation_fold": None, "epochs": 1})
    train = workflow.parser.get_parsed_content("split").train
    assert [entry["name"] for entry, _ in train] == [f"{patient.number:03d}" for patient in THIRTY_PATIENTS]


def command(monkeypatch: pytest.MonkeyPatch, overrides: dict[str, Any], *options: str) -> list[str]:
    """Run ``python -m research.training.cross_validation`` in this process; return the table that it prints."""
    settings = [word for key, value in overrides.items() for word in ("--set", key, json.dumps(value))]
    monkeypatch.setattr(sys, "argv", ["cross_validation", *options, *settings])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cross_validation.main()
    lines = printed.getvalue().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("30 scans"))
    return lines[start : start + 9]


def test_every_patient_is_read_by_the_network_that_has_not_seen_it(
    toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    runs: list[tuple[set[str], ...]] = []
    run = protocol.run

    def observed(configuration: str | list[str], overrides: Mapping[str, Any]) -> ConfigWorkflow:
        workflow = run(configuration, overrides)
        content = workflow.parser.get_parsed_content
        sides = (content("train#dataset").data, content("split").validation)
        runs.append(tuple({entry["name"] for entry, _ in side} for side in sides))
        return workflow

    monkeypatch.setattr(protocol, "run", observed)
    held_out = protocol.cross_validated(Variant("toy", "", {"folds": 3, "epochs": 1}, None), {**toy, "folds": 2})
    everyone = {f"{patient.number:03d}" for patient in THIRTY_PATIENTS}
    assert len(runs) == 3
    for seen, unseen in runs:
        assert not seen & unseen
        assert seen | unseen == everyone
    assert sum(len(unseen) for _, unseen in runs) == len(everyone)
    assert held_out.logits.shape == held_out.labels.shape == (30, 6)
    assert held_out.labels.sum(axis=0).tolist() == [15, 6, 3, 3, 3, 6]


@dataclass(frozen=True)
class Shipped:
    """A bundle that training wrote into, its metadata before, and the printed table."""

    root: Path
    before: dict[str, Any]
    table: list[str]

    @property
    def metadata(self) -> dict[str, Any]:
        return json.loads((self.root / "configs" / "metadata.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, tables: CTICHTree) -> Shipped:
    root = copy_of_bundle(tmp_path_factory.mktemp("shipped") / "bundle_copy")
    before = json.loads((root / "configs" / "metadata.json").read_text("utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", list(sys.path))
        return Shipped(root, before, command(patch, {**TOY, "dataset_dir": str(tables.folder)}, "--frozen"))


def test_metrics_alone_leave_the_bundle_as_it_was(bundle: Path, toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    before = sha256_of_files(bundle)
    table = command(monkeypatch, {**toy, "epochs": 2}, "--frozen", "--only-metrics")
    assert sha256_of_files(bundle) == before
    assert tuple(line.split()[0] for line in table[2:8]) == KEYS


def test_the_printed_metrics_show_that_held_out_patients_are_separated(shipped: Shipped):
    rows = {line.split()[0]: line.split() for line in shipped.table[2:8]}
    assert tuple(rows) == KEYS
    assert [rows[key][1] for key in KEYS] == ["15", "6", "3", "3", "3", "6"]
    assert float(rows["any"][2]) > 0.9
    assert " ".join(rows["subarachnoid"][4:]) == "only 3 positive, 27 negative"
    found = re.search(r"([\d.]+) \(random baseline ([\d.]+)\)", shipped.table[8])
    assert float(found[1]) > float(found[2]) + 0.2


def test_shipping_writes_the_weights_checksum_and_metrics_into_the_metadata(shipped: Shipped):
    model = shipped.root / "models" / "model.pt"
    assert model.stat().st_size < 20e6
    metadata = shipped.metadata
    assert metadata["weights"] == {"models/model.pt": hashlib.sha256(model.read_bytes()).hexdigest()}
    replaced = {"weights": None, "eval_metrics": None}
    assert {**metadata, **replaced} == {**shipped.before, **replaced}
    labels = metadata["eval_metrics"]["labels"]
    assert [labels[key]["positive"] for key in KEYS] == [15, 6, 3, 3, 3, 6]
    assert f"{labels['any']['auc']:.3f}" == shipped.table[2].split()[2]


def test_shipping_writes_a_calibration_for_every_label(shipped: Shipped):
    written = json.loads((shipped.root / "configs" / "calibration.json").read_text("utf-8"))
    calibration = Calibration.from_dict(written)
    assert calibration.keys == KEYS
    # The subtypes are pooled, and this network's answers are right without a line.
    assert "calibration changes the log loss" in calibration.remarks["subarachnoid"]
    # Without one of the two folds too few are left of this label, too.
    assert (
        calibration.remarks["any"]
        == "not calibrated: 15 positives, 15 negatives; 10 of each must be left without any one fold"
    )
    assert set(calibration.slope) == {1.0}


def test_shipping_writes_operating_points_for_every_label(shipped: Shipped):
    points = {
        name: dict(zip(KEYS, thresholds(shipped.root, name, KEYS), strict=True))
        for name in ("high_sensitivity", "balanced", "high_specificity")
    }
    for point in points.values():
        chosen = {key: threshold for key, threshold in point.items() if threshold is not None}
        assert all(0.0 <= threshold <= 1.0 for threshold in chosen.values())
        # Three scans show each subtype, fifteen show one of them: together they are enough for one threshold.
        assert set(chosen) == set(KEYS)
        assert len({threshold for key, threshold in chosen.items() if key != "any"}) == 1
    assert points["high_sensitivity"]["any"] <= points["balanced"]["any"] <= points["high_specificity"]["any"]


def test_the_shipped_weights_tell_the_patients_apart(
    shipped: Shipped, toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(shipped.root)
    overrides = {**cross_validation.vgg16(), **toy}
    workflow = ConfigWorkflow("configs/train.json", workflow_type="train", logging_file=False, **overrides)
    workflow.initialize()
    network = load_network(workflow.parser.get_parsed_content("network_def"), shipped.root)
    features = workflow.parser.get_parsed_content("features")
    of_any = np.array([float(read_whole_scan(network, scan).probabilities[0]) for scan in features])
    sick = np.array([bool(patient.kinds) for patient in THIRTY_PATIENTS])
    assert of_any[sick].min() > of_any[~sick].max()


def scans(logits: list[list[float]], labels: list[list[float]], **more: Any) -> Predictions:
    keys = KEYS[: len(labels[0])]
    made = [
        ScanPrediction(
            str(number), str(number), number % 2, np.array(truth), np.array(said), np.array([0.7, 0.3]), **more
        )
        for number, (said, truth) in enumerate(zip(logits, labels, strict=True))
    ]
    return Predictions(keys, tuple(made), "a model", f"{len(made)} scans, made up")


def test_logits_that_are_no_numbers_leave_the_bundle_as_it_was(bundle: Path, toy: dict[str, Any]):
    before = sha256_of_files(bundle)
    labels = [[0.0] * 6] * 12 + [[1.0] * 6] * 12
    held_out = scans([[float("nan")] * 6] * 24, labels)
    with pytest.raises(ValueError, match="no numbers; the training has gone astray"):
        cross_validation.ship(held_out, Variant("toy", "", {"epochs": 1}, None), toy)
    assert sha256_of_files(bundle) == before
    assert not (bundle / "cache").exists()


def test_a_table_says_where_a_figure_is_missing():
    held_out = scans([[2.0, -2.0], [-1.5, -2.0], [1.5, -1.0]], [[1, 0], [0, 0], [1, 0]])
    lines = cross_validation.table(eval_metrics(held_out)).splitlines()
    assert lines[0] == "3 scans, made up"
    assert lines[2].split()[:4] == ["any", "2", "1.000", "1.000"]
    assert lines[3].split() == ["epidural", "0", "-", "-", "only", "0", "positive,", "3", "negative"]
    assert lines[4].startswith("no slice labels")


def test_the_table_tells_whether_attention_finds_the_positive_slices():
    shown = scans([[2.0], [1.0]], [[1], [1]], slice_labels=np.array([[1.0], [0.0]]))
    metrics = eval_metrics(shown)
    assert (metrics["key_slices_top_h"], metrics["key_slices_top_h_random_baseline"]) == (1.0, 0.5)
    assert cross_validation.table(metrics).splitlines()[3].endswith("1.000 (random baseline 0.500)")
    other = scans([[2.0], [1.0]], [[1], [1]], slice_labels=np.array([[0.0], [1.0]]))
    assert eval_metrics(other)["key_slices_top_h"] == 0.0


def test_the_metrics_leave_out_what_has_no_label():
    held_out = scans([[2.0], [-1.0], [3.0], [-2.0]], [[1], [0], [float("nan")], [0]])
    row = eval_metrics(held_out)["labels"]["any"]
    assert (row["positive"], row["negative"], row["auc"]) == (1, 2, 1.0)
