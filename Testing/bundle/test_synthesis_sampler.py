"""The sampler draws reproducible, balanced slices, and never from the fold that is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthesis_cases import host
from torch.utils.data import DataLoader

from scripts.datasets.ct_ich import find_scans
from scripts.datasets.rsna_slices import find_slices
from scripts.synthesis.random_synthesis import SynthesisSettings
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.slice_sampler import (
    LABELS,
    BalancedSlices,
    SliceSource,
    ct_ich_sources,
    head_of_slice,
    rsna_sources,
)


def source(fold: int, subtype: str | None, index: int = 13) -> SliceSource:
    labels = np.zeros(len(LABELS), dtype=np.float32)
    if subtype:
        labels[[LABELS.index("any"), LABELS.index(subtype)]] = 1.0
    study = slice_study(host().voxels[index], (1.3, 1.25))
    mask = np.zeros(study.voxels.shape[1:], dtype=bool)
    mask[60:80, 60:80] = subtype is not None
    return SliceSource(f"{fold} {subtype}", fold, labels, lambda: (study, mask), bone=True)


@pytest.fixture(scope="module")
def sources() -> list[SliceSource]:
    kinds = [None] * 4 + ["subdural"] * 8 + ["epidural"]
    return [source(fold, kind) for fold in (0, 1) for kind in kinds]


def test_slices_come_in_the_image_size_with_labels_and_mask(sources: list[SliceSource]):
    drawn = BalancedSlices(sources, 96, 12, seed=1)
    for index in range(len(drawn)):
        entry = drawn[index]
        assert entry["image"].shape == (1, 96, 96)
        assert entry["image"].dtype == torch.float32
        assert entry["mask"].shape == (1, 96, 96)
        assert entry["labels"].shape == (6,)
        assert bool(entry["mask"].any()) == bool(entry["labels"][LABELS.index("any")])
        # Brain in the middle, air in the corners.
        assert entry["image"][0, 0, 0] < -900
        assert 0 < entry["image"][0, 44:52, 44:52].median() < 90


def test_the_parts_are_kept_and_subtypes_balanced(sources: list[SliceSource]):
    settings = SynthesisSettings({"intraparenchymal": 1.0}, (5.0, 20.0), mimic=0.0, artefact=0.0)
    drawn = BalancedSlices(sources, 32, 150, positive=0.5, synthetic=0.3, settings=settings, seed=2)
    entries = [drawn[index] for index in range(len(drawn))]
    synthetic = np.array([entry["synthetic"] for entry in entries])
    positive = np.array([float(entry["labels"][0]) > 0 for entry in entries])
    assert synthetic.mean() == pytest.approx(0.3, abs=0.12)
    assert (positive & ~synthetic).mean() == pytest.approx(0.5, abs=0.12)
    real = [entry["labels"] for entry in entries if entry["labels"][0] > 0 and not entry["synthetic"]]
    epidural = np.mean([float(labels[LABELS.index("epidural")]) for labels in real])
    # One in nine of the real positives is epidural; drawn by subtype it is one in two.
    assert epidural == pytest.approx(0.5, abs=0.15)


def test_the_held_out_fold_is_never_drawn_from(sources: list[SliceSource]):
    drawn = BalancedSlices(sources, 32, 30, held_out_fold=1, synthetic=0.1, seed=3)
    assert {drawn[index]["name"][0] for index in range(30)} == {"0"}


def test_seed_epoch_and_index_decide_and_workers_do_not(sources: list[SliceSource]):
    first, again = (BalancedSlices(sources, 32, 6, seed=4) for _ in range(2))
    assert all(torch.equal(first[k]["image"], again[k]["image"]) for k in (5, 0, 3))
    again.set_epoch(1)
    assert not all(torch.equal(first[k]["image"], again[k]["image"]) for k in range(6))
    batches = list(DataLoader(first, batch_size=3))
    assert batches[0]["image"].shape == (3, 1, 32, 32)
    assert torch.equal(batches[1]["image"][2], first[5]["image"])


def test_an_index_beyond_the_epoch_is_refused(sources: list[SliceSource]):
    with pytest.raises(IndexError):
        BalancedSlices(sources, 32, 3)[3]


@pytest.mark.parametrize("wrong", [{"positive": 0.8, "synthetic": 0.5}, {"positive": -0.1}])
def test_parts_that_do_not_fit_are_refused(sources: list[SliceSource], wrong: dict[str, float]):
    with pytest.raises(ValueError, match="parts of positives"):
        BalancedSlices(sources, 32, 3, **wrong)


def test_folds_without_negatives_are_refused(sources: list[SliceSource]):
    with pytest.raises(ValueError, match="hold no negative"):
        BalancedSlices([each for each in sources if each.positive], 32, 3)


def test_the_head_leaves_out_the_headrest():
    plane = host().voxels[13].astype(np.float32)
    plane[-6:-4] = 60.0
    head = head_of_slice(plane)
    assert head[84, 80]
    assert not head[-6:-4].any()


def test_both_datasets_are_drawn_from(ich_data: Path):
    scans = find_scans(ich_data / "ct-ich")[:12]
    sources = ct_ich_sources(scans, lambda patient: int(patient) % 4)
    sources += rsna_sources(find_slices(ich_data / "rsna-slices")[:400])
    drawn = BalancedSlices(sources, 160, 24, held_out_fold=0, seed=5)
    entries = [drawn[index] for index in range(24)]
    assert {entry["bone"] for entry in entries} == {True, False}
    assert {entry["synthetic"] for entry in entries} == {True, False}
    for entry in entries:
        assert not entry["mask"].any() or entry["labels"][0] == 1.0
        assert entry["mask_known"] or not entry["synthetic"]
