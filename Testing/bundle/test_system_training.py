"""A published system is trained by its own override alone: slice networks first, then what stands behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from prepared_groups import SIDE, a_group
from test_published_networks import winner
from training_runs import BUNDLE, inside_a_copy_of_bundle

from scripts.messages import ExpectedError
from scripts.networks.slice_system import SlicePass
from scripts.training.neighbourhood_batches import HeldOutNeighbourhoods, NeighbourhoodBatches, neighbours
from scripts.training.prepared_features import without_fold
from scripts.training.scan_features import ScanFeatures
from scripts.training.sequence_learning import SequenceLearning, SequenceScans, labelled_sequences
from scripts.training.slice_augmentation import SliceAugmentation
from scripts.training.slice_learning import SliceLearningLoss, label_loss

torch.set_num_threads(1)

BRAIN = [[40, 80]]
ADJACENT = [[40, 80, -1], [40, 80, 0], [40, 80, 1]]
STILL = SliceAugmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
STAGES = ["configs/train.json", "configs/prepared_slices.json", "configs/train_systems.json"]
QUICK: dict[str, Any] = {
    "prepared": "$__import__('system_groups').some_groups()",
    "device": "$torch.device('cpu')",
    "image_size": 32,
    "epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "validation_fold": 0,
}


def batches(windows: list[list[int]], **settings: Any) -> NeighbourhoodBatches:
    groups = [a_group("scan", 0, (2,)), a_group("slices", 0, (0,), bone=False)]
    chosen: dict[str, Any] = {"held_out": {}, "sizes": [(SIDE, 6, 1.0)], "count": 2, "augmentation": STILL}
    return NeighbourhoodBatches(groups, windows=windows, **{**chosen, **settings})


def test_a_sample_holds_a_slice_and_its_neighbours_with_their_labels_and_masks():
    batch = batches(BRAIN, reach=1)[0]
    assert batch["image"].shape == (6, 3, 1, SIDE, SIDE)
    assert batch["label"].shape == (6, 3, 6)
    assert batch["mask"].shape == (6, 3, SIDE, SIDE)
    shown = batch["mask"].flatten(2).amax(dim=2) > 0
    assert torch.equal(shown, batch["label"][..., 0] == 1), "labels belong to the slices that show blood"


def test_channels_of_a_slice_show_its_neighbours():
    batch = batches(ADJACENT)[0]
    bright = batch["image"][:, 0].flatten(2).amax(dim=2) > 0.85
    positive = batch["label"][:, 0, 0] == 1
    assert positive.any()
    assert bright[positive].tolist() == [[False, True, False]] * int(positive.sum())


@pytest.mark.parametrize(("windows", "reach", "kinds"), [(BRAIN, 0, 2), (BRAIN, 1, 1), (ADJACENT, 0, 1)])
def test_single_slices_teach_only_those_who_look_at_no_neighbour(windows: list[list[int]], reach: int, kinds: int):
    assert len({group.kind for group in batches(windows, reach=reach).groups}) == kinds


def test_beyond_the_ends_of_a_scan_the_last_slice_is_repeated():
    assert neighbours(0, 2, 4).tolist() == [0, 0, 0, 1, 2]
    assert neighbours(3, 1, 4).tolist() == [2, 3, 3]


def test_a_wider_field_shows_the_head_smaller_and_air_around_it():
    plain, wide = batches(BRAIN)[0]["image"], batches(BRAIN, field=1.5)[0]["image"]
    assert (wide > 0).float().mean() < 0.6 * (plain > 0).float().mean()


def test_the_settings_of_batches_tell_what_they_hold():
    assert batches(BRAIN, reach=1).settings != batches(BRAIN).settings


def test_held_out_slices_are_those_of_the_fold_with_their_neighbours():
    data = HeldOutNeighbourhoods([a_group("scan", 0, (1,)), a_group("scan", 1)], 0, ADJACENT, 32)
    assert len(data) == 6
    assert data[1]["image"].shape == (1, 3, 32, 32)
    assert [float(data[place]["label"][0]) for place in range(3)] == [0.0, 1.0, 0.0]


def test_the_loss_falls_towards_the_right_labels_and_pixels():
    label = torch.tensor([[[1.0, torch.nan, 0.0, 0.0, 0.0, 1.0]]])
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., 2:4, 2:4] = 5
    batch = {"label": label, "mask": mask, "mask_known": torch.ones(1, 1, dtype=torch.bool)}
    right = torch.where(label == 1, 8.0, -8.0)
    pixels = torch.where(mask > 0, 8.0, -8.0)
    loss = SliceLearningLoss()
    good = loss(SlicePass((right,), (pixels,)), batch)
    assert good < 0.01
    assert loss(SlicePass((right,), (-pixels,)), batch) > good + 1
    assert loss(SlicePass((-right,), (pixels,)), batch) > good + 1
    coarse = loss(SlicePass((right,), (pixels[..., ::2, ::2],)), batch)
    assert torch.isfinite(coarse), "a segmentation of another size is compared at its own"


def test_labels_that_nobody_knows_teach_nothing():
    logits = torch.zeros(1, 6, requires_grad=True)
    loss = label_loss(logits, torch.full((1, 6), torch.nan), torch.ones(6))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with inside_a_copy_of_bundle(tmp_path_factory.mktemp("bundle") / "copy") as root:
        yield root


def run(name: str, *stages: str, **overrides: Any) -> tuple[ConfigWorkflow, list[float]]:
    """Train as ``monai.bundle run`` does with the system's override last; return each epoch's mean loss too."""
    files = [*STAGES, *stages, f"configs/{name}.json"]
    settings = {**QUICK, **overrides}
    workflow = ConfigWorkflow(files, workflow_type="train", meta_file=None, logging_file=False, **settings)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    return workflow, workflow.parser.get_parsed_content("epoch_loss").means


SLENDER = {"backbone#growth": 3, "batch_size": 3}


@pytest.mark.parametrize("name", ["radnet", "densenet_a", "densenet40"])
def test_radnet_and_its_baselines_are_trained_by_their_override(name: str, root: Path):
    _, losses = run(name, **SLENDER, steps_per_epoch=6, learning_rate=0.02)
    assert len(losses) == 2
    assert losses[1] < losses[0], "the loss falls"
    weights = root / "cache" / "training" / f"{name}.pt"
    assert weights.is_file()
    note = json.loads(weights.with_suffix(".json").read_text("utf-8"))
    assert "random weights" in note["trained_on"]
    assert "2 x scan" in note["trained_on"], "the held-out fold's is not among them"


def test_the_learning_rate_of_radnet_falls_tenfold_after_each_third(root: Path):
    workflow, _ = run("radnet", **SLENDER, epochs=3, steps_per_epoch=1)
    schedule = workflow.parser.get_parsed_content("schedule")
    assert sorted(schedule.milestones) == [1, 2]
    assert schedule.gamma == pytest.approx(0.1)
    optimizer = workflow.parser.get_parsed_content("optimizer")
    assert (type(optimizer).__name__, optimizer.defaults["momentum"], optimizer.defaults["lr"]) == ("SGD", 0.9, 0.01)


SMALL_WINNER = {"backbone#members": [{"_target_": "tiny_backbone.TinyBackbone", "seed": seed} for seed in (0, 1)]}


def test_the_winners_slice_networks_then_its_sequence_model_are_trained_end_to_end(root: Path):
    run("rsna2019_winner", **SMALL_WINNER, model_path=str(root / "cache" / "slices.pt"))
    start = torch.load(root / "cache" / "slices.pt", weights_only=True)
    workflow, losses = run(
        "rsna2019_winner",
        "configs/train_sequences.json",
        **SMALL_WINNER,
        start_from=str(root / "cache" / "slices.pt"),
        epochs=8,
        learning_rate=0.003,
    )
    assert np.mean(losses[-2:]) < np.mean(losses[:2]), "the loss falls"
    state = workflow.parser.get_parsed_content("network_def").state_dict()
    unchanged = [torch.equal(state[name].half(), start[name].half()) for name in start if "sequence" not in name]
    assert all(unchanged), "the slice networks stay as they were"
    assert not torch.equal(state["sequence.second_head.weight"].half(), start["sequence.second_head.weight"].half())


def sequence_data(count: int, slices: int = 30) -> list[tuple[dict[str, Any], ScanFeatures]]:
    entry = {"label": [1.0] * 6, "slice_labels": np.arange(slices, dtype=np.float32)[:, None].repeat(6, axis=1)}
    image = torch.arange(slices, dtype=torch.float32)[None, :, None]
    return [(entry, ScanFeatures(image, image, torch.arange(slices)))] * count


@pytest.mark.parametrize("slices", [30, 60])
def test_runs_of_slices_keep_their_labels_in_any_step_and_direction(slices: int):
    data = SequenceScans(sequence_data(20, slices=slices), length=24)
    steps = set()
    for index in range(len(data)):
        sample = data[index]
        inside = sample["label"][:, 0].isfinite()
        assert torch.equal(sample["image"][inside, 0], sample["label"][inside, 0])
        assert torch.equal(sample["positions_mm"], 5.0 * sample["image"][:, 0])
        steps |= set(sample["image"][inside, 0].diff().tolist())
    assert steps == {1.0, 2.0, -1.0, -2.0}, "a scan of routine slices is read every other one, too"


def test_every_other_slice_of_a_short_scan_is_read_once_and_the_rest_of_the_run_has_no_label():
    data = SequenceScans(sequence_data(20, slices=30), length=24)
    runs = [data[index]["label"][:, 0] for index in range(len(data))]
    seen = {tuple(sorted(run_[run_.isfinite()].tolist())) for run_ in runs if int(run_.isfinite().sum()) == 15}
    assert seen == {tuple(map(float, range(0, 30, 2))), tuple(map(float, range(1, 30, 2)))}


def test_a_note_counts_no_scan_of_the_fold_that_was_held_out():
    groups = [a_group("scan", 0), a_group("scan", 1), a_group("synthetic scan", 1), a_group("phantom", -1)]
    assert [(group.kind, group.fold) for group in without_fold(groups, 1)] == [("scan", 0), ("phantom", -1)]
    assert without_fold(groups, None) == groups
    settings = json.loads((BUNDLE / "configs" / "train_sequences.json").read_text("utf-8"))
    assert "without_fold(@prepared_scans, @validation_fold)" in settings["finalize"][1]


def test_short_scans_are_filled_up_without_labels():
    sample = SequenceScans(sequence_data(1, slices=5), length=8)[0]
    assert sample["image"].shape == (8, 1)
    assert int(sample["label"][:, 0].isnan().sum()) == 3


def test_another_epoch_draws_other_runs_and_the_same_one_the_same():
    data = SequenceScans(sequence_data(8, slices=60))
    first = [data[index]["image"] for index in range(8)]
    assert all(torch.equal(data[index]["image"], run_) for index, run_ in enumerate(first))
    data.epoch = 1
    assert not all(torch.equal(data[index]["image"], run_) for index, run_ in enumerate(first))


def test_a_sequence_needs_scans():
    with pytest.raises(ExpectedError):
        SequenceScans([])


def test_what_few_synthetic_pixels_state_is_not_known_of_the_scan_either():
    entries = labelled_sequences([a_group("scan", 0, (1,)), a_group("phantom", -1, (1,), blood_pixels=3)])
    assert [entry["real"] for entry in entries] == [True, False]
    assert entries[0]["label"][0] == 1.0
    assert np.isnan(entries[1]["slice_labels"][1, 0])


def test_only_the_sequence_model_is_put_into_training_mode():
    learning = SequenceLearning(winner()).train()
    assert learning.training
    assert learning.network.sequence is not None
    assert learning.network.sequence.training
    assert not learning.network.backbone.training
