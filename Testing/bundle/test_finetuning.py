"""Fine-tuning as configs/finetune.json describes it, on small images, and the training of the heads that follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from monai.bundle import ConfigWorkflow
from rsna_slice_files import write_labelled_slices
from training_runs import (
    FINETUNE,
    RANDOM_VGG16,
    SMALL,
    TRAIN,
    inside_a_copy_of_bundle,
    same_state,
    trained,
    weights_at_the_start,
)

from research.training.protocol import FROM_MAPS

torch.set_num_threads(1)

PATIENTS = (Patient(49, ("epidural",)), Patient(50), Patient(51, ("subdural",)), Patient(52))
SLICES, SINGLE_SLICES, EPOCHS = 8, 24, 5
Run = tuple[ConfigWorkflow, list[float]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        yield root


@pytest.fixture(scope="module")
def overrides(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What both configurations are told: small images, and where the data lie."""
    folder = tmp_path_factory.mktemp("data")
    return {
        **SMALL,
        **RANDOM_VGG16,
        "dataset_dir": str(write_ct_ich(folder / "ct-ich", PATIENTS, slices=SLICES, size=96).folder),
        "validation_fold": 0,
        "device": "$torch.device('cpu')",
    }


@pytest.fixture(scope="module")
def of_slices(overrides: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_labelled_slices(tmp_path_factory.mktemp("slices") / "rsna", SINGLE_SLICES)
    return {**overrides, "slices_dir": str(folder), "epochs": EPOCHS, "batch_size": 8}


@pytest.fixture(scope="module")
def fine_tuned(root: Path, of_slices: dict[str, Any]) -> Run:
    workflow, losses = trained(of_slices, TRAIN, FINETUNE)
    workflow.finalize()
    return workflow, losses


@pytest.fixture(scope="module")
def written(fine_tuned: Run, root: Path) -> Path:
    return root / "cache" / "training" / "finetuned.pt"


@pytest.fixture(scope="module")
def heads(written: Path, overrides: dict[str, Any]) -> Run:
    going_on = {"start_from": str(written), **FROM_MAPS, "epochs": 2, "val_interval": 1}
    return trained({**overrides, **going_on}, TRAIN)


def test_the_loss_falls(fine_tuned: Run):
    _, losses = fine_tuned
    per_epoch = len(losses) // EPOCHS
    assert per_epoch == (2 * SLICES + SINGLE_SLICES) // 8
    assert np.isfinite(losses).all()
    assert np.mean(losses[-per_epoch:]) < 0.8 * np.mean(losses[:per_epoch])


def test_slices_of_held_out_patients_are_evaluated_and_never_learnt_from(fine_tuned: Run):
    content = fine_tuned[0].parser.get_parsed_content
    train_pairs, validation_pairs = content("split").train, content("split").validation
    batches = {entry["name"] for entry in content("slice_datalist")}
    assert {entry["fold"] for entry, _ in validation_pairs} == {0}
    assert {entry["fold"] for entry, _ in train_pairs if entry["name"] not in batches} == {1}
    assert not {entry["patient"] for entry, _ in validation_pairs} & {entry.get("patient") for entry, _ in train_pairs}
    assert batches <= {entry["name"] for entry, _ in train_pairs}
    for name, pairs in (("train", train_pairs), ("validate", validation_pairs)):
        dataset = content(f"{name}#dataset")
        assert [id(maps) for maps in dataset.maps] == [id(maps) for _, maps in pairs]
        assert dataset.random == (name == "train")
    assert 0.0 <= content("validate#evaluator").state.metrics["val_mean_auc"] <= 1.0


def test_the_learning_rates_rise_and_fall(fine_tuned: Run):
    groups = fine_tuned[0].parser.get_parsed_content("optimizer").param_groups
    plain = fine_tuned[0].parser
    assert [group["max_lr"] for group in groups] == [plain["learning_rate"], plain["classifier_learning_rate"]]
    assert all(group["lr"] < 0.05 * group["max_lr"] for group in groups)
    network = plain.get_parsed_content("network")
    assert [len(group["params"]) for group in groups] == [
        len(list(part.parameters())) for part in (network.block, network.slice_classifier)
    ]


def test_the_file_holds_the_backbone_and_the_heads(fine_tuned: Run, written: Path):
    state = torch.load(written, weights_only=True)
    backbone = fine_tuned[0].parser.get_parsed_content("network_def").backbone.state_dict()
    assert {name for name in state if name.startswith("backbone.")} == {f"backbone.{name}" for name in backbone}
    assert "primary.slice_classifier.output.weight" in state
    primary = {name: value for name, value in state.items() if name.startswith("primary.slice_classifier.")}
    assert all(torch.equal(state[name.replace("primary", "aps", 1)], value) for name, value in primary.items())


def test_the_frozen_stage_is_as_it_was_and_the_block_is_not(fine_tuned: Run, of_slices: dict[str, Any]):
    kept = fine_tuned[0].parser.get_parsed_content("network_def").backbone.state_dict()
    original = weights_at_the_start(of_slices, TRAIN, FINETUNE)
    changed = {name for name, tensor in kept.items() if not torch.equal(original[f"backbone.{name}"], tensor)}
    assert changed == {f"features.{place}.{kind}" for place in (24, 26, 28) for kind in ("weight", "bias")}


def test_maps_and_masks_are_computed_once(fine_tuned: Run, of_slices: dict[str, Any]):
    scans, batches, masks = len(PATIENTS), 2, 2
    assert fine_tuned[0].parser.get_parsed_content("cache").computed == scans + batches + masks
    again, losses = trained(of_slices, TRAIN, FINETUNE)
    assert again.parser.get_parsed_content("cache").computed == 0
    assert losses == fine_tuned[1]
    first, second = (run.parser.get_parsed_content("network").state_dict() for run in (fine_tuned[0], again))
    assert same_state(first, second)


def test_the_heads_go_on_from_the_fine_tuned_block_and_evidence(heads: Run, written: Path, root: Path):
    workflow, losses = heads
    assert np.isfinite(losses).all()
    state = torch.load(written, weights_only=True)
    kept = workflow.parser.get_parsed_content("network_def").backbone.state_dict()
    block = {name: value for name, value in state.items() if name.startswith("backbone.")}
    assert all(torch.equal(kept[name.removeprefix("backbone.")], value.float()) for name, value in block.items())
    assert not any(
        weight.requires_grad for weight in workflow.parser.get_parsed_content("network_def").backbone.parameters()
    )
    going_on = {**SMALL, **RANDOM_VGG16, "start_from": str(written)}
    start = ConfigWorkflow(TRAIN, workflow_type="train", meta_file=None, logging_file=False, **going_on)
    start.initialize()
    first, last = (each.parser.get_parsed_content("network_def").primary.slice_classifier for each in (start, workflow))
    assert torch.equal(first.output.weight, state["primary.slice_classifier.output.weight"].float())
    assert not torch.equal(last.output.weight, first.output.weight)
    assert (last.output.weight - first.output.weight).abs().max() < 0.05


def test_the_heads_are_given_features_of_the_fine_tuned_stage(heads: Run, fine_tuned: Run, root: Path):
    content = heads[0].parser.get_parsed_content
    assert not (root / "cache" / "features").exists()
    maps, backbone = content("scan_maps")[0], content("network_def").backbone
    with torch.inference_mode():
        last = backbone.trained_stage()(maps.image[0].permute(0, 3, 1, 2).float())
    expected = last.amax(dim=(-2, -1))
    torch.testing.assert_close(content("features")[0].image[0], expected, atol=0.02 * float(expected.max()), rtol=0)
    assert [entry["name"] for entry, _ in content("split").validation] == [
        entry["name"] for entry, _ in fine_tuned[0].parser.get_parsed_content("split").validation
    ]


def test_fine_tuning_without_single_slices_uses_those_of_scans(of_slices: dict[str, Any]):
    workflow, losses = trained({**of_slices, "slices_dir": None, "validation_fold": None, "epochs": 1}, TRAIN, FINETUNE)
    content = workflow.parser.get_parsed_content
    assert content("slice_datalist") == []
    assert len(content("train#dataset")) == len(PATIENTS) * SLICES
    assert len(content("validate#dataset")) == len(PATIENTS) * SLICES
    assert np.isfinite(losses).all()


def test_slices_can_be_mixed_while_they_are_learnt_from(of_slices: dict[str, Any], fine_tuned: Run):
    _, losses = trained({**of_slices, "mixup": 0.3, "epochs": 1}, TRAIN, FINETUNE)
    assert np.isfinite(losses).all()
    assert losses[1:] != fine_tuned[1][1 : len(losses)]
