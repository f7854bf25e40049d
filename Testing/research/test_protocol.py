"""The whole protocol on small images: nobody who is held out is seen, and what was fine-tuned once is used again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from monai.bundle import ConfigWorkflow
from rsna_slice_files import write_labelled_slices
from training_runs import RANDOM_VGG16, SMALL, inside_a_copy_of_bundle

from research.evidence.predicting import fine_tune, predict, predict_side_by_side
from research.metrics.predictions import Predictions
from research.training import protocol
from research.training.protocol import Variant, cross_validated, fine_tuned, scan_prediction, trained
from scripts.labels import RSNA
from scripts.networks.drct import DrCT1, DrCT2
from scripts.networks.vgg16 import VGG16Features
from scripts.training.scan_features import ScanFeatures

torch.set_num_threads(1)

PATIENTS = (Patient(49, ("epidural",)), Patient(50), Patient(51, ("subdural",)), Patient(52), Patient(53), Patient(54))
KEYS = tuple(label.key for label in RSNA)
NAMES = {f"{patient.number:03d}" for patient in PATIENTS}
SLICES = 8
HEADS = {"epochs": 1, "val_interval": 1, "folds": 2}
SMALL_IMAGES = {key: value for key, value in SMALL.items() if key != "folds"}
"""Folds stand with the heads here: assigned otherwise for fine-tuning, held-out patients would be seen."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        yield root


@pytest.fixture(scope="module")
def base(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    return {
        **SMALL_IMAGES,
        **RANDOM_VGG16,
        "dataset_dir": str(write_ct_ich(folder / "ct-ich", PATIENTS, slices=SLICES, size=96).folder),
        "device": "$torch.device('cpu')",
        "cache_root": "cache/here",
    }


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    slices = write_labelled_slices(tmp_path_factory.mktemp("slices") / "rsna", 8)
    return Variant("tried", "What was tried", HEADS, {"slices_dir": str(slices), "epochs": 1, "batch_size": 8})


Runs = list[tuple[list[str], ConfigWorkflow]]


def observe(patch: pytest.MonkeyPatch) -> Runs:
    """Collect the configurations and the workflow of every training from now on."""
    collected: Runs = []
    run = protocol.run

    def observed(configuration: str | list[str], overrides: Mapping[str, Any]) -> ConfigWorkflow:
        workflow = run(configuration, overrides)
        collected.append((configuration if isinstance(configuration, list) else [configuration], workflow))
        return workflow

    patch.setattr(protocol, "run", observed)
    return collected


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return observe(monkeypatch)


def seen_in(workflow: ConfigWorkflow) -> set[str]:
    """Names of the scans that a training's own dataset holds."""
    scans = {entry["name"] for entry in workflow.parser.get_parsed_content("datalist")}
    return scans & {entry["name"] for entry, _ in workflow.parser.get_parsed_content("train#dataset").data}


@pytest.fixture(scope="module")
def observed(base: dict[str, Any], variant: Variant) -> tuple[Predictions, Runs]:
    with pytest.MonkeyPatch.context() as patch:
        collected = observe(patch)
        return cross_validated(variant, base, keep=Path("cache/networks")), collected


def test_nobody_who_is_held_out_is_seen_in_fine_tuning_or_in_training(observed: tuple[Predictions, Runs]):
    _, runs = observed
    assert [len(configurations) for configurations, _ in runs] == [2, 1, 2, 1]
    judged = []
    for (_, tuning), (_, heads) in zip(runs[::2], runs[1::2], strict=True):
        unseen = {entry["name"] for entry, _ in heads.parser.get_parsed_content("split").validation}
        judged += sorted(unseen)
        for workflow in (tuning, heads):
            assert seen_in(workflow) == NAMES - unseen
    assert sorted(judged) == sorted(NAMES)


def test_every_patient_is_judged_once_slice_by_slice(observed: tuple[Predictions, Runs]):
    predictions, _ = observed
    assert sorted(scan.name for scan in predictions.scans) == sorted(NAMES)
    assert predictions.folds.tolist() == sorted(predictions.folds.tolist())
    assert set(predictions.folds.tolist()) == {0, 1}
    assert predictions.protocol == "6 scans, cross-validation by patient in 2 folds, held-out patients pooled"
    assert predictions.model == "What was tried"
    truth = {f"{patient.number:03d}": bool(patient.kinds) for patient in PATIENTS}
    for scan in predictions.scans:
        assert bool(scan.labels[0]) == truth[scan.name]
        assert scan.slice_attention.shape == (SLICES,)
        assert scan.slice_attention.sum() == pytest.approx(1.0, abs=1e-5)
        assert scan.slice_logits is not None
        assert scan.slice_logits.shape == (SLICES, 6)
        assert scan.slice_labels is not None
        assert np.isfinite(scan.logits).all()
        assert scan.group["slices"] == SLICES


def test_the_networks_of_the_folds_are_kept_if_asked(observed: tuple[Predictions, Runs], root: Path):
    _, runs = observed
    for fold, (_, heads) in enumerate(runs[1::2]):
        state = torch.load(root / "cache" / "networks" / f"{fold}.pt", weights_only=True)
        trained_bias = heads.parser.get_parsed_content("network_def").fusion[-1].bias.detach()
        assert torch.equal(state["fusion.6.bias"], trained_bias.half())
        assert "backbone.features.28.weight" in state


def test_the_heads_start_from_their_own_folds_fine_tuning(observed: tuple[Predictions, Runs], root: Path):
    _, runs = observed
    blocks = [
        [workflow.parser.get_parsed_content("backbone").features[28].weight for _, workflow in pair]
        for pair in (runs[:2], runs[2:])
    ]
    for tuned, used in blocks:
        assert torch.equal(tuned.half().float(), used)
    assert not torch.equal(blocks[0][1], blocks[1][1])
    assert not list((root / "cache" / "here" / "finetuned").glob("*.partial"))


@pytest.mark.usefixtures("observed")
def test_what_was_fine_tuned_is_used_again_whatever_the_heads_are(base: dict[str, Any], variant: Variant, runs: Runs):
    other = Variant("other", "Other heads", {**HEADS, "learning_rate": 0.001, "sub_stack_size": 4}, variant.finetuning)
    elsewhere = {**base, "model_path": "cache/elsewhere/model.pt"}
    first, again = fine_tuned(variant, 0, base), fine_tuned(other, 0, elsewhere)
    assert first == again
    assert runs == []
    workflow = trained(variant, 0, base)
    assert [len(configurations) for configurations, _ in runs] == [1]
    assert workflow.parser.get_parsed_content("start_from") == str(Path(str(first)).absolute())


@pytest.mark.usefixtures("observed")
def test_the_evidences_stage_of_fine_tuning_says_whether_all_folds_were_there(
    base: dict[str, Any], variant: Variant, runs: Runs
):
    assert fine_tune(variant, base)
    assert runs == []
    block = fine_tuned(variant, 1, base)
    assert block is not None
    Path(block).unlink()
    assert not fine_tune(variant, base)
    assert [len(configurations) for configurations, _ in runs] == [2]


@pytest.mark.usefixtures("observed")
def test_variants_side_by_side_are_predicted_as_in_one_process(base: dict[str, Any], variant: Variant, tmp_path: Path):
    both = [replace(variant, name=f"seed_{seed}", heads={**HEADS, "seed": seed}) for seed in (0, 1)]
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert not predict_side_by_side(both, base, together)
    found = {each.name: predict(each, base, alone)[0].logits for each in both}
    for name, logits in found.items():
        np.testing.assert_allclose(
            Predictions.from_json(together / f"{name}.json").logits, logits, rtol=1e-3, atol=1e-4
        )
    assert not np.allclose(found["seed_0"], found["seed_1"])


@pytest.mark.usefixtures("observed")
def test_another_way_of_fine_tuning_is_made_anew(base: dict[str, Any], variant: Variant, runs: Runs):
    assert variant.finetuning is not None
    other = Variant("tried", "", HEADS, {**variant.finetuning, "learning_rate": 0.001})
    assert fine_tuned(other, 0, base) != fine_tuned(variant, 0, base)
    assert [len(configurations) for configurations, _ in runs] == [2]


def test_the_last_block_learns_from_the_images_that_it_will_be_shown(
    base: dict[str, Any], variant: Variant, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Mapping[str, Any]] = []

    def refuse(_configuration: object, overrides: Mapping[str, Any]) -> ConfigWorkflow:
        asked.append(overrides)
        raise KeyboardInterrupt

    monkeypatch.setattr(protocol, "run", refuse)
    heads = {**HEADS, "slab_mm": 4.0, "seed": 7}
    with pytest.raises(KeyboardInterrupt):
        fine_tuned(Variant("other", "", heads, {**(variant.finetuning or {}), "folds": 3}), 0, base)
    assert (asked[0]["slab_mm"], asked[0]["folds"]) == (4.0, HEADS["folds"]), "other folds would show held-out patients"
    assert "seed" not in asked[0]


@pytest.mark.usefixtures("observed")
def test_folds_dealt_otherwise_are_fine_tuned_anew(base: dict[str, Any], variant: Variant, runs: Runs):
    three = Variant("tried", "", {**HEADS, "folds": 3}, variant.finetuning)
    workflow = trained(three, 2, base)
    assert [len(configurations) for configurations, _ in runs] == [2, 1]
    unseen = {entry["name"] for entry, _ in workflow.parser.get_parsed_content("split").validation}
    assert len(unseen) == 2
    assert seen_in(runs[0][1]) == NAMES - unseen


def test_other_data_in_the_same_place_are_learnt_from_anew(
    base: dict[str, Any], variant: Variant, runs: Runs, tmp_path: Path
):
    moved = {**base, "dataset_dir": str(write_ct_ich(tmp_path, PATIENTS, slices=SLICES, size=96).folder)}
    block = fine_tuned(variant, 0, moved)
    # One epidural slice is labelled subdural now: a correction that leaves every image as it is.
    table = Path(moved["dataset_dir"]) / "hemorrhage_diagnosis.csv"
    labels = pd.read_csv(table)
    labels.loc[labels.index[labels["Epidural"] == 1][0], ["Epidural", "Subdural"]] = (0, 1)
    labels.to_csv(table, index=False)
    assert fine_tuned(variant, 0, moved) != block
    assert len(runs) == 2


class CutOff:
    """A workflow that ends while it writes its weights."""

    def __init__(self, model_path: str) -> None:
        self.model_path = Path(model_path)

    def finalize(self) -> None:
        self.model_path.parent.mkdir(parents=True, exist_ok=True)
        self.model_path.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_fine_tuning_that_was_cut_off_is_not_taken_for_a_whole_one(
    base: dict[str, Any], variant: Variant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "run", lambda _files, overrides: CutOff(overrides["model_path"]))
    elsewhere = {**base, "cache_root": "cache/cut_off"}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fine_tuned(variant, 1, elsewhere)
    assert {path.suffix for path in Path("cache/cut_off/finetuned").iterdir()} == {".partial"}


def test_a_frozen_variant_needs_no_slices(base: dict[str, Any], runs: Runs):
    frozen = Variant("frozen", "", HEADS, None)
    assert fine_tuned(frozen, 0, base) is None
    trained(frozen, 0, base)
    (((configuration,), workflow),) = runs
    assert configuration == protocol.HEADS
    assert workflow.parser.get_parsed_content("start_from") is None


def an_entry() -> dict[str, Any]:
    return {
        "name": "x",
        "patient": "p",
        "fold": 3,
        "label": [1.0, float("nan")],
        "slice_labels": None,
        "study": object(),
    }


def test_what_is_said_of_a_slab_is_said_of_each_of_its_slices():
    torch.manual_seed(0)
    network = DrCT2(VGG16Features(), labels=2, slices=3, key_slices=2, heads={"slice_classifier": True}).eval()
    image = torch.rand(1, 3, 512)
    slabs = torch.tensor([2, 2, 2, 1, 0, 0])
    whole = scan_prediction(network, an_entry(), ScanFeatures(image, image, torch.arange(3)))
    found = scan_prediction(network, an_entry(), ScanFeatures(image, image, slabs))
    np.testing.assert_allclose(found.logits, whole.logits)
    shares = np.array([3, 3, 3, 1, 2, 2])
    np.testing.assert_allclose(found.slice_attention, whole.slice_attention[slabs.numpy()] / shares)
    assert found.slice_attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert found.slice_logits is not None
    assert whole.slice_logits is not None
    np.testing.assert_allclose(found.slice_logits, whole.slice_logits[slabs.numpy()])
    middle = {0: 5, 1: 3, 2: 1}
    assert found.key_slices == tuple(middle[number] for number in whole.key_slices)
    attended = whole.slice_attention[list(whole.key_slices)]
    assert (np.diff(attended) <= 0).all()
    assert (found.fold, found.slice_labels, found.group) == (3, None, {"slices": 6.0})


def test_a_network_without_evidence_says_nothing_of_slices():
    features = ScanFeatures(torch.rand(1, 3, 512), torch.rand(1, 3, 512), torch.arange(3))
    found = scan_prediction(DrCT1(VGG16Features(), labels=2, slices=3), an_entry(), features)
    assert found.slice_logits is None
    assert found.key_slices == ()


def test_a_scan_seen_in_several_augmentations_gets_the_mean_of_their_probabilities():
    torch.manual_seed(0)
    network = DrCT2(VGG16Features(), labels=2, slices=3, key_slices=2, heads={"slice_classifier": True}).eval()
    image = torch.rand(2, 3, 512)
    single = [scan_prediction(network, an_entry(), ScanFeatures(one, one, torch.arange(3))) for one in image.split(1)]
    found = scan_prediction(network, an_entry(), ScanFeatures(image, image, torch.arange(3)), augmentations=2)
    probabilities = [1 / (1 + np.exp(-each.logits)) for each in (*single, found)]
    np.testing.assert_allclose(probabilities[2], (probabilities[0] + probabilities[1]) / 2, rtol=1e-5)
    assert found.slice_attention.sum() == pytest.approx(1.0, abs=1e-5)
    assert found.key_slices == single[0].key_slices
