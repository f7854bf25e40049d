"""Features of scans: computed once, resumed after an interruption, computed again exactly where an input changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ct_ich_files import CTICHTree, Patient, write_ct_ich
from tiny_backbone import InterruptionError, TinyBackbone
from torch import Tensor
from torch.nn import functional
from training_recipes import recipe

from scripts.cache import Cache
from scripts.datasets.ct_ich import datalist
from scripts.labels import RSNA
from scripts.messages import ExpectedError
from scripts.networks.drct import DrCT1, DrCT2
from scripts.training import slice_recipe
from scripts.training.cached_scans import CachedFeaturesNetwork
from scripts.training.scan_features import ScanFeatures, scan_features
from scripts.training.slice_recipe import SliceRecipe

torch.set_num_threads(1)

SLICES, VARIANTS = 8, 2
KEYS = tuple(label.key for label in RSNA)
SLICES_OF_A_SCAN = SLICES * VARIANTS * 2


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> CTICHTree:
    patients = (Patient(49, ("epidural",)), Patient(50), Patient(51, ("subdural",)))
    return write_ct_ich(tmp_path_factory.mktemp("ct-ich"), patients, slices=SLICES, size=96)


@pytest.fixture
def entries(original: CTICHTree) -> list[dict[str, Any]]:
    return datalist(original.folder, KEYS, folds=2)


@pytest.fixture(scope="module")
def small_recipe() -> SliceRecipe:
    return recipe()


Make = Callable[..., tuple[list[ScanFeatures], int]]


@pytest.fixture
def make(entries: list[dict[str, Any]], small_recipe: SliceRecipe, tmp_path: Path) -> Make:
    """Return a function that reads all scans through the cache and counts the slices that the backbone was given."""

    def run(
        how: SliceRecipe = small_recipe,
        backbone: TinyBackbone | None = None,
        listed: Sequence[Mapping[str, Any]] = entries,
        folder: Path = tmp_path,
    ) -> tuple[list[ScanFeatures], int]:
        backbone = backbone or TinyBackbone()
        features = scan_features(listed, how, DrCT1(backbone), Cache(folder), torch.device("cpu"))
        return features, backbone.slices

    return run


def same(first: Sequence[ScanFeatures], second: Sequence[ScanFeatures]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.image, b.image) and torch.equal(a.high_res, b.high_res)
        for a, b in zip(first, second, strict=True)
    )


def test_features_are_made_once_and_read_the_second_time_without_the_backbone(make: Make):
    made, seen = make()
    assert seen == 3 * SLICES_OF_A_SCAN
    read, seen = make()
    assert seen == 0
    assert same(made, read)


def test_every_slice_has_features_in_every_variant_and_at_both_sizes(make: Make):
    for features in make()[0]:
        assert features.image.shape == features.high_res.shape == (VARIANTS, SLICES, TinyBackbone.channels)
        assert features.image.dtype == torch.float32
        assert torch.isfinite(features.image).all()
        assert not torch.equal(features.image, features.high_res)


def test_slices_of_one_size_have_no_features_of_another(entries: list[dict[str, Any]], tmp_path: Path):
    once = recipe(image_sizes={"image": "@image_size"})
    (found, *_) = scan_features(entries, once, DrCT1(TinyBackbone()), Cache(tmp_path), torch.device("cpu"))
    assert found.image.isfinite().all()
    assert found.high_res.isnan().all()
    features = torch.stack((found.image[:1], found.high_res[:1]), dim=1)
    assert CachedFeaturesNetwork(DrCT1(TinyBackbone(), slices=SLICES))(features)["logits"].isfinite().all()
    with pytest.raises(ExpectedError, match="give `image_sizes` a `high_res`"):
        CachedFeaturesNetwork(DrCT2(TinyBackbone(), slices=SLICES, key_slices=2))(features)


def test_the_first_variant_is_the_scan_as_it_is(make: Make, entries: list[dict[str, Any]], small_recipe: SliceRecipe):
    features = make()[0][1]
    loaded = small_recipe.load(dict(entries[1]))
    windowed = small_recipe.variant(loaded, 1, 0)
    backbone = TinyBackbone()
    for key, found in (("image", features.image[0]), ("high_res", features.high_res[0])):
        direct = backbone(windowed[key].movedim(0, 1)).flatten(2).max(dim=2).values
        torch.testing.assert_close(found, direct, rtol=1e-3, atol=1e-3)


def test_features_may_leave_out_augmented_variants_or_high_resolution(
    make: Make, entries: list[dict[str, Any]], small_recipe: SliceRecipe, tmp_path: Path
):
    (whole, *_), _ = make()
    backbone, cache = TinyBackbone(), Cache(tmp_path)
    (plain, *_) = scan_features(entries, small_recipe, DrCT1(backbone), cache, torch.device("cpu"), augmented=False)
    assert torch.equal(plain.image, whole.image[:1])
    assert torch.equal(plain.high_res, whole.high_res[:1])
    (low, *_) = scan_features(entries, small_recipe, DrCT1(backbone), cache, torch.device("cpu"), high_res=False)
    assert torch.equal(low.image, whole.image)
    assert torch.equal(low.high_res, whole.image)
    assert cache.computed == 0


def test_augmented_variants_differ_from_the_scan_and_from_scan_to_scan(make: Make):
    features = make()[0]
    for scan in features:
        assert (scan.image[1] - scan.image[0]).abs().max() > 0.01
    changes = [scan.image[1] - scan.image[0] for scan in features]
    assert not torch.allclose(changes[0], changes[1], atol=0.005)


def test_both_sizes_of_a_slice_are_augmented_alike(entries: list[dict[str, Any]]):
    quiet = recipe(**{"recipe#augmentation#noise_hu": 0.0})
    loaded = quiet.load(dict(entries[0]))
    draws = [quiet.augmented(loaded, number, 1) for number in range(4)]

    def distance(high_res: Tensor, image: Tensor) -> float:
        shrunk = functional.interpolate(torch.as_tensor(high_res), size=(32, 32), mode="bilinear", antialias=True)
        return float((shrunk - torch.as_tensor(image)).abs().mean())

    distances = np.array([[distance(high_res["high_res"], image["image"]) for image in draws] for high_res in draws])
    others = distances[~np.eye(4, dtype=bool)].reshape(4, 3)
    assert (np.diag(distances) < 0.75 * others.min(axis=1)).all()


def test_an_interrupted_run_goes_on_where_it_stopped(make: Make, tmp_path: Path):
    broken = TinyBackbone(fail_after=SLICES_OF_A_SCAN + 5)
    with pytest.raises(InterruptionError):
        make(backbone=broken)
    resumed, seen = make()
    assert seen == 2 * SLICES_OF_A_SCAN
    whole, _ = make(folder=tmp_path / "whole")
    assert same(resumed, whole)


def test_a_changed_image_makes_its_scan_again_and_no_other(
    make: Make, original: CTICHTree, tmp_path_factory: pytest.TempPathFactory
):
    copy = tmp_path_factory.mktemp("copy")
    tree = write_ct_ich(copy, original.patients, slices=SLICES, size=96)
    listed = datalist(tree.folder, KEYS, folds=2)
    make(listed=listed)
    image = copy / "Patients_CT" / "050" / "brain" / "3.jpg"
    image.write_bytes((copy / "Patients_CT" / "050" / "brain" / "4.jpg").read_bytes())
    assert make(listed=listed)[1] == SLICES_OF_A_SCAN
    assert make(listed=listed)[1] == 0
    status = image.stat()
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert make(listed=listed)[1] == SLICES_OF_A_SCAN


def test_a_changed_label_or_fold_makes_nothing_again(make: Make, entries: list[dict[str, Any]]):
    make()
    assert make(listed=[{**entry, "label": [1] * 6, "fold": 4} for entry in entries])[1] == 0


@pytest.mark.parametrize(
    "setting",
    [
        {"windows": [[40, 80], [80, 200], [600, 2800]]},
        {"image_size": 48},
        {"high_res_size": 80},
        {"slab_mm": 5.5},
        {"crop_margin": 1.2},
        {"recipe#augmentation#rotation_radians": 0.2},
        {"recipe#augmentation#scaling": 0.2},
        {"recipe#augmentation#window_contrast": 0.05},
        {"recipe#augmentation#window_shift_hu": 4.0},
        {"recipe#augmentation#noise_hu": 2.0},
        {"recipe#augmentation#blur_pixels": 0.5},
        {"recipe#augmentation#seed": 1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_changed_setting_makes_every_scan_again(make: Make, entries: list[dict[str, Any]], setting: dict[str, Any]):
    one = entries[:1]
    make(listed=one)
    changed = recipe(**setting)
    assert make(changed, listed=one)[1] == SLICES_OF_A_SCAN
    assert make(changed, listed=one)[1] == 0


def test_another_way_of_reading_the_same_files_makes_every_scan_again(make: Make, monkeypatch: pytest.MonkeyPatch):
    make()
    monkeypatch.setattr(slice_recipe, "READING_VERSION", slice_recipe.READING_VERSION + 1)
    assert make()[1] == 3 * SLICES_OF_A_SCAN
    assert make()[1] == 0


def test_original_slices_know_the_slab_that_they_were_averaged_into(make: Make, entries: list[dict[str, Any]]):
    assert [scan.input_slice.tolist() for scan in make(listed=entries[:1])[0]] == [list(range(SLICES))]
    thick = recipe(slab_mm=10.0)
    slabs = thick.load(dict(entries[0]))["geometry"].slabs
    assert 1 < len(slabs) < SLICES
    made, read = (make(thick, listed=entries[:1])[0][0] for _ in range(2))
    for found in (made.input_slice, read.input_slice):
        assert [tuple(np.flatnonzero(found.numpy() == number)) for number in range(len(slabs))] == [
            tuple(sorted(slab)) for slab in slabs
        ]
    assert made.image.shape == (VARIANTS, len(slabs), TinyBackbone.channels)


def test_the_seed_of_the_training_changes_no_slice(make: Make, entries: list[dict[str, Any]]):
    make(listed=entries[:1])
    assert make(recipe(seed=1), listed=entries[:1])[1] == 0


def test_another_number_of_variants_makes_every_scan_again(make: Make, entries: list[dict[str, Any]]):
    make(listed=entries[:1])
    features, seen = make(recipe(variants=1), listed=entries[:1])
    assert seen == SLICES * 2
    assert features[0].image.shape[0] == 1


def test_another_backbone_makes_every_scan_again(make: Make):
    made, _ = make()
    again, seen = make(backbone=TinyBackbone(seed=1))
    assert seen == 3 * SLICES_OF_A_SCAN
    assert not same(made, again)


def test_micro_batches_change_nothing_but_the_memory(make: Make, small_recipe: SliceRecipe, tmp_path: Path):
    made, _ = make()
    other, seen = make(replace(small_recipe, micro_batch=4, high_res_micro_batch=5), folder=tmp_path / "other")
    assert seen == 3 * SLICES_OF_A_SCAN
    for first, second in zip(made, other, strict=True):
        torch.testing.assert_close(first.image, second.image, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(first.high_res, second.high_res, rtol=1e-3, atol=1e-3)


def test_progress_is_shown_while_features_are_made(make: Make, capfd: pytest.CaptureFixture[str]):
    make()
    assert "features: 100%" in capfd.readouterr().err
