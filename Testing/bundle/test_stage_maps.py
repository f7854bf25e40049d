"""Cached maps of the frozen stage: what the whole backbone gives of a scan, computed once, whatever the backbone is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from tiny_backbone import InterruptionError, TinyBackbone
from torch import nn
from training_recipes import recipe

from scripts.cache import Cache
from scripts.datasets.ct_ich import datalist
from scripts.labels import RSNA
from scripts.messages import ExpectedError
from scripts.networks.drct import DrCT1
from scripts.networks.vgg16 import VGG16Features
from scripts.training.scan_features import ScanFeatures, scan_features
from scripts.training.slice_recipe import SliceRecipe
from scripts.training.stage_maps import StageMaps, cached_stage_maps

torch.set_num_threads(1)

CPU = torch.device("cpu")
SLICES, VARIANTS, HIGH_RES_VARIANTS = 8, 3, 2
KEYS = tuple(label.key for label in RSNA)
SLICES_OF_A_SCAN = SLICES * (VARIANTS + 1)
"""With one variant in high resolution."""


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    patients = (Patient(49, ("epidural",)), Patient(50))
    return datalist(write_ct_ich(tmp_path_factory.mktemp("ct-ich"), patients, slices=SLICES, size=96).folder, KEYS, 2)


@pytest.fixture(scope="module")
def how() -> SliceRecipe:
    return recipe(variants=VARIANTS, high_res_size=48)


def maps_of(
    entries: list[dict[str, Any]], how: SliceRecipe, folder: Path, variants: int = 1, seed: int = 0, **backbone: Any
) -> tuple[list[StageMaps], int]:
    """Return the maps and how many slices the frozen stage was given for them."""
    tiny = TinyBackbone(seed, **backbone)
    return cached_stage_maps(entries, how, tiny, Cache(folder), CPU, variants), tiny.slices


@pytest.fixture(scope="module")
def made(entries: list[dict[str, Any]], how: SliceRecipe, tmp_path_factory: pytest.TempPathFactory) -> list[StageMaps]:
    return maps_of(entries, how, tmp_path_factory.mktemp("maps"), HIGH_RES_VARIANTS)[0]


def pooled(
    maps: list[StageMaps], folder: Path, entries: list[dict[str, Any]], how: SliceRecipe, bias: float = 0.0
) -> tuple[list[ScanFeatures], int]:
    """Return the features and how many slices the trained stage was given; ``bias`` stands for fine-tuning."""
    backbone = TinyBackbone()
    with torch.no_grad():
        list(backbone.features[2].parameters())[1].add_(bias)
    features = scan_features(entries, how, DrCT1(backbone), Cache(folder), CPU, maps=maps)
    assert backbone.slices == 0, "the frozen stage was run though its maps were there"
    return features, backbone.trained_slices


@pytest.mark.parametrize("backbone", [TinyBackbone, VGG16Features])
def test_both_stages_are_the_whole_backbone_and_share_its_weights(backbone: type[TinyBackbone | VGG16Features]):
    whole = backbone().eval()
    slices = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(whole.trained_stage()(whole.frozen_stage()(slices)), whole(slices))
    parts = [*whole.frozen_stage().parameters(), *whole.trained_stage().parameters()]
    assert [id(weight) for weight in parts] == [id(weight) for weight in whole.parameters()]


def test_of_vgg16_the_last_of_five_blocks_is_trained():
    backbone = VGG16Features()
    assert backbone.frozen_stage()(torch.rand(1, 3, 32, 32)).shape == (1, 512, 2, 2)
    assert [layer.out_channels for layer in backbone.trained_stage() if isinstance(layer, nn.Conv2d)] == [512] * 3


def test_maps_are_kept_in_bfloat16_with_their_channels_last(made: list[StageMaps]):
    for scan in made:
        assert scan.high_res is not None
        assert scan.image.shape == (VARIANTS, SLICES, 4, 4, 6)
        assert scan.high_res.shape == (HIGH_RES_VARIANTS, SLICES, 6, 6, 6)
        assert scan.image.dtype == scan.high_res.dtype == torch.bfloat16
        assert scan.image.is_contiguous()
        assert scan.input_slice.tolist() == list(range(SLICES))


def test_features_from_maps_are_those_of_the_whole_backbone(
    made: list[StageMaps], entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path
):
    direct = scan_features(entries, how, DrCT1(TinyBackbone()), Cache(tmp_path), CPU)
    for found, expected in zip(pooled(made, tmp_path, entries, how)[0], direct, strict=True):
        # bfloat16 has eight bits of mantissa; sums of a few dozen terms lose no more than two of them.
        tolerance = 2**-7 * float(expected.image.abs().max())
        assert found.image.shape == expected.image.shape
        assert found.image.dtype == torch.float32
        assert (found.image - expected.image).abs().max() < tolerance
        assert (found.high_res - expected.high_res)[:HIGH_RES_VARIANTS].abs().max() < tolerance
        assert torch.equal(found.input_slice, expected.input_slice)
        # The bound would tell two variants and two slices apart.
        assert (expected.image[0] - expected.image[1]).abs().max() > 3 * tolerance
        assert (expected.image[0, 0] - expected.image[0, 1]).abs().max() > 3 * tolerance


def test_variants_without_high_resolution_repeat_the_last_one_that_has_it(
    made: list[StageMaps], entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path
):
    (scan, _), _ = pooled(made, tmp_path, entries, how)
    assert scan.high_res.shape == (VARIANTS, SLICES, TinyBackbone.channels)
    assert torch.equal(scan.high_res[2], scan.high_res[1])
    assert not torch.equal(scan.high_res[1], scan.high_res[0])
    assert not torch.equal(scan.image[2], scan.image[1])


def test_features_are_kept_until_the_trained_stage_or_the_maps_change(
    made: list[StageMaps], entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path
):
    of_a_scan = SLICES * (VARIANTS + HIGH_RES_VARIANTS)
    first, seen = pooled(made, tmp_path, entries, how)
    assert seen == 2 * of_a_scan
    again, seen = pooled(made, tmp_path, entries, how)
    assert seen == 0
    assert all(
        torch.equal(one.image, other.image) and torch.equal(one.high_res, other.high_res)
        for one, other in zip(first, again, strict=True)
    )
    fine_tuned, seen = pooled(made, tmp_path, entries, how, bias=1.0)
    assert seen == 2 * of_a_scan
    assert not torch.allclose(fine_tuned[0].image, first[0].image, atol=0.1)
    changed = [made[0], StageMaps(made[1].image, made[1].high_res, made[1].input_slice, "made from something else")]
    assert pooled(changed, tmp_path, entries, how)[1] == of_a_scan


def test_a_fine_tuned_trained_stage_needs_no_other_maps(
    entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path
):
    maps_of(entries[:1], how, tmp_path)
    fine_tuned = TinyBackbone()
    with torch.no_grad():
        list(fine_tuned.features[2].parameters())[1].add_(1)
    cached_stage_maps(entries[:1], how, fine_tuned, Cache(tmp_path), CPU, 1)
    assert fine_tuned.slices == 0


@pytest.mark.parametrize(
    ("settings", "changed", "slices"),
    [
        ({}, {"seed": 1}, SLICES_OF_A_SCAN),
        ({}, {"variants": 2}, SLICES_OF_A_SCAN + SLICES),
        ({"windows": [[40, 80], [80, 200], [600, 2800]]}, {}, SLICES_OF_A_SCAN),
        ({"variants": 2}, {}, SLICES_OF_A_SCAN - SLICES),
    ],
    ids=["another frozen stage", "more in high resolution", "other windows", "fewer variants"],
)
def test_a_changed_input_makes_maps_again(
    entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path, settings: Any, changed: Any, slices: int
):
    maps_of(entries[:1], how, tmp_path)
    other = recipe(**{"variants": VARIANTS, "high_res_size": 48, **settings})
    assert maps_of(entries[:1], other, tmp_path, **changed)[1] == slices
    assert maps_of(entries[:1], other, tmp_path, **changed)[1] == 0


def test_an_interrupted_run_goes_on_where_it_stopped(
    made: list[StageMaps], entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path
):
    of_a_scan = SLICES_OF_A_SCAN + SLICES
    with pytest.raises(InterruptionError):
        maps_of(entries, how, tmp_path, HIGH_RES_VARIANTS, fail_after=of_a_scan + 5)
    resumed, slices = maps_of(entries, how, tmp_path, HIGH_RES_VARIANTS)
    assert slices == of_a_scan
    for first, second in zip(resumed, made, strict=True):
        assert torch.equal(first.image, second.image)
        assert first.high_res is not None
        assert second.high_res is not None
        assert torch.equal(first.high_res, second.high_res)


def test_single_slices_have_no_features_of_scans(entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path):
    maps, _ = maps_of(entries[:1], how, tmp_path, variants=0)
    assert maps[0].high_res is None
    assert maps[0].image.shape == (VARIANTS, SLICES, 4, 4, 6)
    with pytest.raises(ExpectedError, match="no maps in high resolution"):
        pooled(maps, tmp_path, entries[:1], how)


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda _: b"no maps"], ids=["cut off", "garbage"])
def test_damaged_maps_are_made_again(
    made: list[StageMaps], entries: list[dict[str, Any]], how: SliceRecipe, tmp_path: Path, damage: Damage
):
    maps_of(entries[:1], how, tmp_path, HIGH_RES_VARIANTS)
    (kept,) = (tmp_path / "maps").rglob("output.pkl")
    content = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(damage(content))
    (again,), slices = maps_of(entries[:1], how, tmp_path, HIGH_RES_VARIANTS)
    assert slices == SLICES_OF_A_SCAN + SLICES
    assert torch.equal(again.image, made[0].image)
