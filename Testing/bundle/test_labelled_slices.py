"""Slices one by one with their labels: which label a slab has, which variant is drawn, and whose slices they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.messages import ExpectedError
from scripts.training.labelled_slices import (
    LabelledMaps,
    LabelledSlices,
    labels_of_input_slices,
    split_slices,
)
from scripts.training.stage_maps import StageMaps

torch.set_num_threads(1)

NAN = math.nan


def numbered_maps(slices: int, variants: int, scan: int = 0) -> StageMaps:
    """Maps 1 x 2 that say whose they are: 100 x scan + 10 x variant + slice, the right cell 0.5 more than the left."""
    number = 100.0 * scan + 10.0 * torch.arange(variants)[:, None] + torch.arange(slices)
    cells = number[..., None, None, None] + torch.tensor([0.0, 0.5])[None, None, None, :, None]
    image = cells.expand(variants, slices, 1, 2, 512).to(torch.float32)
    return StageMaps(image, None, torch.arange(slices))


def pair(labels: list[list[float]] | None, variants: int = 1, fold: int = 0, scan: int = 0) -> LabelledMaps:
    entry: dict[str, Any] = {"fold": fold, "name": str(scan), "slice_labels": None}
    if labels is not None:
        entry["slice_labels"] = np.array(labels, dtype=np.float32)
    return entry, numbered_maps(3 if labels is None else len(labels), variants, scan)


def left_and_right(sample: dict[str, torch.Tensor]) -> tuple[float, float]:
    assert sample["image"].shape == (512, 1, 2)
    return float(sample["image"][0, 0, 0]), float(sample["image"][511, 0, 1])


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([0, 0], 0),
        ([0, 1], 1),
        ([1, 1], 1),
        ([0, NAN], NAN),
        ([NAN, NAN], NAN),
        ([1, NAN], 1),
        ([NAN, 0, 1], 1),
    ],
)
def test_a_slab_shows_what_one_of_its_slices_shows(members: list[float], expected: float):
    labels = np.array(members, dtype=np.float32)[:, None]
    found = labels_of_input_slices(labels, torch.zeros(len(members), dtype=torch.int64))
    assert found.dtype == torch.float32
    assert found.shape == (1, 1)
    np.testing.assert_equal(found.item(), expected)


def test_input_slices_may_run_against_the_original_ones_and_labels_do_not_mix():
    labels = np.array([[1, 0], [0, 0], [0, NAN], [0, 1], [NAN, 0]], dtype=np.float32)
    found = labels_of_input_slices(labels, torch.tensor([2, 2, 1, 0, 0]))
    np.testing.assert_array_equal(found.numpy(), np.array([[NAN, 1], [0, NAN], [1, 0]], dtype=np.float32))


@given(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=1, max_size=12))
def test_slices_that_stand_alone_keep_their_labels(values: list[float]):
    labels = np.array(values, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(labels_of_input_slices(labels, torch.arange(len(values))).numpy(), labels)


def test_every_slice_of_every_labelled_scan_comes_once_with_its_label():
    data = [pair([[1, 0], [0, 1]], scan=1), pair(None, scan=2), pair([[0, 0], [1, NAN], [1, 1]], scan=3)]
    slices = LabelledSlices(data, random=False)
    assert len(slices) == 5
    samples = [slices[index] for index in range(5)]
    assert [left_and_right(sample)[0] for sample in samples] == [100, 101, 300, 301, 302]
    labels = np.stack([sample["label"][:2].numpy() for sample in samples])
    np.testing.assert_array_equal(labels, np.array([[1, 0], [0, 1], [0, 0], [1, NAN], [1, 1]], dtype=np.float32))


def test_scans_without_slice_labels_teach_no_block_and_the_error_says_so():
    with pytest.raises(ExpectedError, match="learns from slice labels, and no scan has any"):
        LabelledSlices([pair(None)], random=True)


def test_a_slab_is_one_slice_with_the_label_of_its_members():
    entry, maps = pair([[0], [1], [0], [0]])
    slabs = StageMaps(maps.image[:, :2], None, torch.tensor([0, 0, 1, 1]))
    slices = LabelledSlices([(entry, slabs)], random=False)
    assert [slices[index]["label"][0].item() for index in range(len(slices))] == [1.0, 0.0]


def test_validation_slices_are_as_they_are():
    slices = LabelledSlices([pair([[1], [0]], variants=3)], random=False)
    assert [left_and_right(slices[1]) for _ in range(5)] == [(1.0, 1.5)] * 5


def test_training_draws_every_variant_and_mirrors_half_of_the_maps():
    slices = LabelledSlices([pair([[1], [0]], variants=3)], random=True)
    slices.set_random_state(0)
    drawn = [left_and_right(slices[1]) for _ in range(300)]
    assert set(drawn) == {
        pair_
        for variant in range(3)
        for value in [10.0 * variant + 1]
        for pair_ in ((value, value + 0.5), (value + 0.5, value))
    }
    mirrored = sum(left > right for left, right in drawn)
    assert 110 < mirrored < 190
    assert {float(slices[1]["label"][0]) for _ in range(10)} == {0.0}


def test_the_mask_is_that_of_the_drawn_variant_and_mirrored_with_it():
    mask = torch.zeros(3, 2, 1, 2)
    mask[:, 1, 0, 0] = torch.tensor([0.25, 0.5, 1.0])
    slices = LabelledSlices([pair([[1], [0]], variants=3)], random=True, masks={"0": mask})
    slices.set_random_state(0)
    for _ in range(100):
        sample = slices[1]
        left, right = left_and_right(sample)
        variant = int(min(left, right)) // 10
        share = float(mask[variant, 1, 0, 0])
        assert sample["label"].tolist() == ([0.0, share, 0.0] if left < right else [0.0, 0.0, share])


def test_a_scan_without_a_mask_has_an_empty_one():
    slices = LabelledSlices([pair([[1], [0]])], random=False, masks={"another": torch.ones(1, 2, 1, 2)})
    assert slices[0]["label"].tolist() == [1.0, 0.0, 0.0]


def test_draws_follow_the_seed():
    slices = LabelledSlices([pair([[1], [0]], variants=3)], random=True)
    runs = []
    for seed in (0, 0, 1):
        slices.set_random_state(seed)
        runs.append([left_and_right(slices[0]) for _ in range(20)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_scans_are_split_by_fold_and_single_slices_all_train():
    scans = [pair([[0]], fold=number % 3, scan=number) for number in range(7)]
    batches = [pair([[1]], fold=0, scan=number) for number in (10, 11)]
    lists: dict[str, Any] = {
        "scans": [entry for entry, _ in scans],
        "scan_maps": [maps for _, maps in scans],
        "batches": [entry for entry, _ in batches],
        "batch_maps": [maps for _, maps in batches],
    }

    def names(pairs: list[LabelledMaps]) -> list[str]:
        return sorted(entry["name"] for entry, _ in pairs)

    for fold in range(3):
        split = split_slices(**lists, validation_fold=fold)
        assert {entry["fold"] for entry, _ in split.validation} == {fold}
        assert names([*split.validation, *split.train]) == names([*scans, *batches])
    everything = split_slices(**lists, validation_fold=None)
    assert names(everything.train) == names([*scans, *batches])
    assert names(everything.validation) == names(scans)
    without = split_slices(**lists, validation_fold=0, with_scans=False)
    assert names(without.train) == names(without.validation) == names(batches)
    bare, maps = pair(None, fold=1)
    assert split_slices([bare], [maps], [], [], 1).validation == [], "no slice is labelled"


def test_frequencies_are_of_the_slices_where_a_label_is_known():
    data = [pair([[1, 0, NAN], [0, NAN, NAN]]), pair([[0, 1, NAN], [0, 1, NAN]])]
    assert LabelledSlices(data, random=False).frequencies() == pytest.approx([0.25, 2 / 3, NAN], nan_ok=True)
