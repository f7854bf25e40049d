"""From files to the network's input through the configurations' own transforms, and the augmentation of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.transforms import Compose
from monai.utils import convert_to_tensor
from phantom_cases import FINE
from torch import Tensor
from torch.nn import functional

from scripts.intake.study import AIR_HU, NotEvaluableError
from scripts.phantom import Phantom, make_phantom, write_dicom_series, write_nifti
from scripts.training.augmentation import Augmentation
from scripts.training.cached_scans import CachedScans
from scripts.training.scan_features import ScanFeatures
from scripts.transforms import HounsfieldWindows

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
IMAGE, HIGH_RES = 64, 96
# Lowest and highest HU of each window: 35/80, 57.5/35, 80/200.
WINDOW_EDGES = ((-5, 75), (40, 75), (-20, 180))


def configuration(name: str, **changes: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / name))
    for key, value in {"bundle_root": str(BUNDLE), **changes}.items():
        parser[key] = value
    parser.get_parsed_content("imports")
    return parser


@pytest.fixture(scope="module")
def preprocessing() -> Compose:
    return configuration("inference.json", image_size=IMAGE, high_res_size=HIGH_RES).get_parsed_content("preprocessing")


@pytest.fixture(scope="module")
def augmentation() -> Augmentation:
    return configuration("train.json").get_parsed_content("recipe#augmentation")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(FINE, seed=3)


@pytest.fixture(scope="module")
def entry(preprocessing: Compose, phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return preprocessing({"image": write_nifti(phantom, tmp_path_factory.mktemp("phantom") / "a head.nii.gz")})


def test_windows_have_the_values_that_one_computes_by_hand():
    hounsfield = torch.tensor([-1024.0, -100, -20, 0, 20, 40, 80, 180, 600, 2000, 3000]).reshape(1, 1, 1, -1)
    brain, subdural, bone = HounsfieldWindows([(40, 80), (80, 200), (600, 2800)])(hounsfield).flatten(1)
    torch.testing.assert_close(brain, torch.tensor([0, 0, 0, 0, 0.25, 0.5, 1, 1, 1, 1, 1]))
    torch.testing.assert_close(subdural, torch.tensor([0, 0, 0, 0.1, 0.2, 0.3, 0.5, 1, 1, 1, 1]))
    torch.testing.assert_close(
        bone, torch.tensor([0, 700, 780, 800, 820, 840, 880, 980, 1400, 2800, 2800]) / 2800, atol=1e-6, rtol=0
    )


@given(st.floats(-2000, 4000), st.floats(-500, 1000), st.floats(1, 4000))
def test_a_window_never_leaves_0_to_1(hounsfield: float, centre: float, width: float):
    shown = HounsfieldWindows([(centre, width)])(torch.full((1, 1, 1, 1), hounsfield)).item()
    assert 0 <= shown <= 1
    assert shown == pytest.approx(np.clip((hounsfield - centre) / width + 0.5, 0, 1), abs=1e-3)


def test_a_file_becomes_images_at_both_sizes(entry: dict[str, Any], phantom: Phantom):
    input_slices = int(entry["study"].slices_to_read.sum())
    assert entry["study"].skull.brain.sum() < input_slices < phantom.grid.shape[0]
    assert tuple(entry["image"].shape) == (3, input_slices, IMAGE, IMAGE)
    assert tuple(entry["high_res"].shape) == (3, input_slices, HIGH_RES, HIGH_RES)
    assert entry["image"].dtype == entry["high_res"].dtype == torch.float32
    assert np.array_equal(entry["study"].voxels, phantom.voxels)
    assert entry["head"].shape == phantom.voxels.shape
    assert 0.05 < entry["head"].mean() < 0.8


@pytest.mark.parametrize(("key", "size"), [("image", IMAGE), ("high_res", HIGH_RES)])
def test_images_are_windows_of_the_head_in_0_to_1(entry: dict[str, Any], key: str, size: int):
    head_alone = np.where(entry["head"], entry["study"].voxels, AIR_HU).astype(np.int16)
    hounsfield = entry["geometry"].resample(head_alone, size).numpy()
    for channel, (low, high) in enumerate(WINDOW_EDGES):
        expected = np.clip((hounsfield - low) / (high - low), 0, 1)
        np.testing.assert_allclose(entry[key][channel].numpy(), expected, atol=1e-5)


def test_values_lie_in_the_range_that_the_metadata_states(entry: dict[str, Any]):
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "metadata.json"))
    lowest, highest = parser.get("network_data_format#inputs#image#value_range")
    assert entry["image"].min() >= lowest - 1e-3
    assert entry["image"].max() <= highest + 1e-3


def test_air_table_and_headrest_are_black(entry: dict[str, Any]):
    corners = entry["image"][0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(convert_to_tensor(corners), torch.zeros_like(corners), atol=1e-4, rtol=0)


def test_a_dicom_series_gives_the_images_of_the_same_nifti_file(
    entry: dict[str, Any], preprocessing: Compose, phantom: Phantom, tmp_path: Path
):
    write_dicom_series(phantom, tmp_path / "series")
    from_dicom = preprocessing({"image": tmp_path / "series"})
    torch.testing.assert_close(from_dicom["image"], entry["image"], atol=1e-3, rtol=0)


def test_a_study_that_must_not_be_read_is_refused_by_name(preprocessing: Compose, phantom: Phantom, tmp_path: Path):
    write_dicom_series(phantom, tmp_path / "series")
    for path in sorted((tmp_path / "series").iterdir())[7:]:
        path.unlink()
    with pytest.raises(RuntimeError) as caught:
        preprocessing({"image": tmp_path / "series"})
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, NotEvaluableError):
        cause = cause.__cause__
    assert cause is not None
    assert cause.code == "too_few_slices"


@pytest.mark.parametrize("key", ["windows", "image_sizes", "slab_mm", "crop_margin", "sub_stack_size"])
def test_training_and_inference_see_the_same(key: str):
    training, inference = (configuration(name).get_parsed_content(key) for name in ("train.json", "inference.json"))
    assert training == inference


def test_training_and_inference_build_the_same_network():
    training, inference = (dict(configuration(name).get("network_def")) for name in ("train.json", "inference.json"))
    assert training.pop("labels") == "$len(@label_keys)"
    assert inference.pop("labels") == "$len(@labels)"
    assert training == inference


def test_training_and_inference_use_the_same_windows(preprocessing: Compose):
    recipe = configuration("train.json").get_parsed_content("recipe")
    hounsfield = {key: torch.linspace(-1024, 3000, 48).reshape(1, 3, 4, 4) for key in ("image", "high_res")}
    expected = Compose(preprocessing.transforms[-1:])(dict(hounsfield))
    for key, images in recipe.variant(hounsfield, 0, 0).items():
        torch.testing.assert_close(convert_to_tensor(images), convert_to_tensor(expected[key]))


def head_images(size: int) -> Tensor:
    """Four slices in HU: a head with a bright mark on the image's left, none in the last two slices."""
    images = torch.full((1, 4, size, size), float(AIR_HU))
    first, last = size // 5, size - size // 5
    images[:, :2, first:last, first:last] = 30.0
    images[:, :2, size // 3 : size // 2, size // 4 : size // 3] = 300.0
    return images


def augmented(augmentation: Augmentation, seed: int) -> dict[str, Tensor]:
    changed = augmentation.transform(seed)({"image": head_images(224), "high_res": head_images(512)})
    return {key: convert_to_tensor(images) for key, images in changed.items()}


@pytest.mark.parametrize("seed", range(4))
def test_augmentation_keeps_sizes_and_changes_both_images_alike(augmentation: Augmentation, seed: int):
    changed = augmented(augmentation, seed)
    assert changed["image"].shape == (1, 4, 224, 224)
    assert changed["high_res"].shape == (1, 4, 512, 512)
    image = changed["image"][0]
    reduced = functional.interpolate(changed["high_res"], size=(224, 224), mode="area")[0]
    assert ((image > -500) != (reduced > -500)).float().mean() < 0.01
    mark, mark_high_res = (torch.nonzero(images[0] > 165).float().mean(dim=0) for images in (image, reduced))
    torch.testing.assert_close(mark, mark_high_res, atol=1.5, rtol=0)
    assert (image - reduced)[(image > -500) & (reduced > -500)].median().abs() < 3


def test_augmentation_mirrors_left_and_right_only(augmentation: Augmentation):
    changed = augmented(augmentation, 0)["image"][0]
    row, column = torch.nonzero(changed[0] > 165).float().mean(dim=0).tolist()
    assert column > 112
    assert row < 112
    assert (changed[:2] > -500).any(dim=(1, 2)).all()
    assert not (changed[2:] > -500).any()


def test_augmentation_is_gentle_and_repeatable(augmentation: Augmentation):
    once, again, other = (augmented(augmentation, seed)["image"] for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    brain = once[0, 0][(once[0, 0] > 0) & (once[0, 0] < 100)]
    assert abs(brain.median() - 30) < 8
    assert brain.std() < 10


def scans_of(slices: int, variants: int = 2) -> list[tuple[dict[str, Any], ScanFeatures]]:
    """Features that say which variant and slice they are, at the image's size and, negated, at the high resolution."""
    image = torch.arange(variants)[:, None] * 1000.0 + torch.arange(slices)
    maxima = image[..., None].expand(-1, -1, 512)
    entry = {"label": [1, 0, 0, 1, 0, 0], "slice_labels": None}
    return [(entry, ScanFeatures(maxima, -maxima, torch.arange(slices)))]


def drawn(scans: CachedScans, times: int) -> Sequence[tuple[int, list[int]]]:
    """Variant and slices of repeated draws."""
    draws = []
    for _ in range(times):
        image, high_res = scans[0]["image"][:, :, 0]
        assert torch.equal(image, -high_res)
        variants = {int(value) // 1000 for value in image}
        assert len(variants) == 1
        draws.append((variants.pop(), [int(value) % 1000 for value in image]))
    return draws


@pytest.mark.parametrize(("slices", "sub_stack_size"), [(40, 32), (64, 32), (33, 32), (90, 28), (20, 32)])
def test_drawn_slices_keep_their_order_and_in_time_all_are_seen(slices: int, sub_stack_size: int):
    scans = CachedScans(scans_of(slices), sub_stack_size, random=True)
    scans.set_random_state(1)
    draws = drawn(scans, 200)
    assert all(len(chosen) == sub_stack_size and chosen == sorted(chosen) for _, chosen in draws)
    assert {index for _, chosen in draws for index in chosen} == set(range(slices))
    assert {variant for variant, _ in draws} == {0, 1}
    if slices >= sub_stack_size:
        assert all(len(set(chosen)) == sub_stack_size for _, chosen in draws)


def test_draws_follow_their_seed():
    first, second, third = (CachedScans(scans_of(50), 32, random=True) for _ in range(3))
    for scans, seed in ((first, 1), (second, 1), (third, 2)):
        scans.set_random_state(seed)
    assert drawn(first, 10) == drawn(second, 10)
    assert drawn(first, 10) != drawn(third, 10)


def test_without_chance_a_scan_is_sampled_evenly_and_unaugmented():
    scans = CachedScans(scans_of(64), 32, random=False)
    assert drawn(scans, 2) == [(0, list(range(1, 64, 2)))] * 2
    assert scans[0]["label"][0].tolist() == [1, 0, 0, 1, 0, 0]
    assert scans[0]["label"][1:].isnan().all()
    assert len(scans) == 1
