"""The cache of maps in front of VGG16's last block: the same picture of a scan as the whole network's, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ct_ich_files import Patient, write_ct_ich
from monai.bundle import ConfigParser
from torch import Tensor, nn

from scripts.datasets.ct_ich import datalist
from scripts.labels import RSNA
from scripts.networks.vgg16 import VGG16Features
from scripts.training import trunk_maps
from scripts.training.feature_cache import FeatureRecipe, ScanFeatures, cached_features
from scripts.training.trunk_maps import CachedFeatureMaps, cached_maps, pooled_features, without_high_res

torch.set_num_threads(1)

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
CPU = torch.device("cpu")
SLICES, VARIANTS, ZOOM_VARIANTS = 8, 3, 2
KEYS = tuple(label.key for label in RSNA)


class InterruptionError(Exception):
    """What ends a run in the middle."""


def recipe(**overrides: Any) -> FeatureRecipe:
    """Parse the recipe of configs/train.json."""
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "train.json")
    parser.update({"image_size": 32, "high_res_size": 48, "variants": VARIANTS, **overrides})
    parser.get_parsed_content("imports")
    return replace(parser.get_parsed_content("recipe"), precision="float32")


def a_backbone(seed: int = 0) -> VGG16Features:
    """VGG16 with weights that keep the maps at a usable size through all thirteen layers."""
    torch.manual_seed(seed)
    backbone = VGG16Features().requires_grad_(False)
    for layer in backbone.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return backbone


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    patients = (Patient(49, ("epidural",)), Patient(50))
    return datalist(write_ct_ich(tmp_path_factory.mktemp("ct-ich"), patients, slices=SLICES, size=96).folder, KEYS, 2)


@pytest.fixture(scope="module")
def how() -> FeatureRecipe:
    return recipe()


@pytest.fixture(scope="module")
def backbone() -> VGG16Features:
    return a_backbone()


@pytest.fixture(scope="module")
def made(
    entries: list[dict[str, Any]],
    how: FeatureRecipe,
    backbone: VGG16Features,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[CachedFeatureMaps]:
    return cached_maps(entries, how, backbone, tmp_path_factory.mktemp("maps"), CPU, ZOOM_VARIANTS)


def pictures_seen(
    backbone: VGG16Features, run: Callable[[], object], fail_after: int | None = None, layer: int = 0
) -> int:
    """Count the pictures that a run shows to one of the backbone's layers."""
    seen = 0

    def count(_layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        nonlocal seen
        seen += len(arguments[0])
        if fail_after is not None and seen > fail_after:
            raise InterruptionError

    hook = backbone.features[layer].register_forward_pre_hook(count)
    try:
        run()
    finally:
        hook.remove()
    return seen


def test_four_blocks_and_the_last_one_are_the_whole_backbone(backbone: VGG16Features):
    pictures = torch.randn(2, 3, 48, 32, generator=torch.Generator().manual_seed(1))
    maps = backbone.frozen_stage()(pictures)
    assert maps.shape == (2, 512, 3, 2)
    assert torch.equal(backbone.trained_stage()(maps), backbone(pictures))


def test_both_parts_share_the_backbones_weights():
    backbone = VGG16Features()
    parts = [*backbone.frozen_stage().parameters(), *backbone.trained_stage().parameters()]
    assert [id(weight) for weight in parts] == [id(weight) for weight in backbone.parameters()]
    assert [layer.out_channels for layer in backbone.trained_stage() if isinstance(layer, nn.Conv2d)] == [512] * 3


def test_maps_are_kept_in_bfloat16_with_their_channels_last(made: list[CachedFeatureMaps]):
    for scan in made:
        assert scan.high_res is not None
        assert scan.image.shape == (VARIANTS, SLICES, 2, 2, 512)
        assert scan.high_res.shape == (ZOOM_VARIANTS, SLICES, 3, 3, 512)
        assert scan.image.dtype == scan.high_res.dtype == torch.bfloat16
        assert scan.image.is_contiguous()
        assert scan.read_slice.tolist() == list(range(SLICES))


def test_features_from_maps_are_those_of_the_whole_backbone(
    made: list[CachedFeatureMaps],
    entries: list[dict[str, Any]],
    how: FeatureRecipe,
    backbone: VGG16Features,
    tmp_path: Path,
):
    direct = cached_features(entries, how, backbone, tmp_path, CPU)
    pooled = pooled_features(made, backbone, CPU, "float32", ZOOM_VARIANTS)
    for found, expected in zip(pooled, direct, strict=True):
        tolerance = 0.02 * float(expected.image.max())
        assert found.image.shape == expected.image.shape
        assert found.image.dtype == torch.float32
        assert (found.image - expected.image).abs().max() < tolerance
        assert (found.high_res - expected.high_res)[:ZOOM_VARIANTS].abs().max() < 0.02 * float(expected.high_res.max())
        assert torch.equal(found.read_slice, expected.read_slice)
        # The bound would tell two variants and two slices apart.
        assert (expected.image[0] - expected.image[1]).abs().max() > 3 * tolerance
        assert (expected.image[0, 0] - expected.image[0, 1]).abs().max() > 3 * tolerance


def test_zoomed_variants_that_are_not_looked_at_repeat_the_last_one(
    made: list[CachedFeatureMaps], backbone: VGG16Features
):
    (two,), (one,) = (pooled_features(made[:1], backbone, CPU, "float32", zoomed) for zoomed in (2, 1))
    assert two.high_res.shape == one.high_res.shape == (VARIANTS, SLICES, 512)
    assert torch.equal(two.high_res[2], two.high_res[1])
    assert not torch.equal(two.high_res[1], two.high_res[0])
    assert all(torch.equal(one.high_res[variant], two.high_res[0]) for variant in range(VARIANTS))
    assert torch.equal(one.image, two.image)
    assert not torch.equal(one.image[2], one.image[1])


def test_without_zoom_key_slices_are_read_again_as_they_were(made: list[CachedFeatureMaps], backbone: VGG16Features):
    features = pooled_features(made[:1], backbone, CPU, "float32")
    (scan,) = without_high_res(features)
    assert torch.equal(scan.image, features[0].image)
    assert torch.equal(scan.high_res, scan.image)
    assert torch.equal(scan.read_slice, features[0].read_slice)


def test_features_are_kept_until_the_last_block_or_the_maps_change(
    made: list[CachedFeatureMaps], backbone: VGG16Features, tmp_path: Path
):
    def pooled(of: VGG16Features, maps: list[CachedFeatureMaps] = made, zoomed: int = 1) -> list[ScanFeatures]:
        return pooled_features(maps, of, CPU, "float32", zoomed, tmp_path)

    def looks(run: Callable[[], object], of: VGG16Features) -> int:
        return pictures_seen(of, run, layer=24)

    first = pooled(backbone)
    assert looks(lambda: pooled(backbone), backbone) == 0
    again, uncached = pooled(backbone), pooled_features(made, backbone, CPU, "float32", 1)
    for kept, fresh in ((again, first), (again, uncached)):
        for one, other in zip(kept, fresh, strict=True):
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.high_res, other.high_res)
            assert torch.equal(one.read_slice, other.read_slice)
    fine_tuned = a_backbone()
    with torch.no_grad():
        fine_tuned.features[28].bias += 1
    of_all = 2 * SLICES * (VARIANTS + 1)
    assert looks(lambda: pooled(fine_tuned), fine_tuned) == of_all
    assert looks(lambda: pooled(backbone, zoomed=2), backbone) == of_all + 2 * SLICES
    changed = [made[0], replace(made[1], mark="made from something else")]
    assert looks(lambda: pooled(backbone, changed), backbone) == of_all
    assert looks(lambda: pooled(backbone, changed), backbone) == 0


def test_a_changed_last_block_changes_the_features_and_not_the_maps(
    made: list[CachedFeatureMaps],
    entries: list[dict[str, Any]],
    how: FeatureRecipe,
    backbone: VGG16Features,
    tmp_path: Path,
):
    one = entries[:1]
    cached_maps(one, how, backbone, tmp_path, CPU, 1)
    fine_tuned = a_backbone()
    with torch.no_grad():
        fine_tuned.features[28].bias += 1
    assert pictures_seen(fine_tuned, lambda: cached_maps(one, how, fine_tuned, tmp_path, CPU, 1)) == 0
    before, after = (pooled_features(made[:1], each, CPU, "float32")[0] for each in (backbone, fine_tuned))
    assert not torch.allclose(before.image, after.image, atol=0.1)


PICTURES_OF_A_SCAN = SLICES * (VARIANTS + 1)
"""With one zoomed variant."""


@pytest.mark.parametrize(
    ("changed", "pictures"),
    [
        (lambda how: (how, a_backbone(seed=1), 1), PICTURES_OF_A_SCAN),
        (lambda how: (how, a_backbone(), 2), PICTURES_OF_A_SCAN + SLICES),
        (lambda _how: (recipe(windows=[[40, 80], [80, 200], [600, 2800]]), a_backbone(), 1), PICTURES_OF_A_SCAN),
        (lambda _how: (recipe(variants=2), a_backbone(), 1), PICTURES_OF_A_SCAN - SLICES),
    ],
    ids=["another trunk", "more zoomed variants", "other windows", "fewer variants"],
)
def test_a_changed_input_makes_maps_again(
    entries: list[dict[str, Any]],
    how: FeatureRecipe,
    tmp_path: Path,
    changed: Callable[[FeatureRecipe], tuple[FeatureRecipe, VGG16Features, int]],
    pictures: int,
):
    one = entries[:1]
    cached_maps(one, how, a_backbone(), tmp_path, CPU, 1)
    other, trunk, zoomed = changed(how)
    assert pictures_seen(trunk, lambda: cached_maps(one, other, trunk, tmp_path, CPU, zoomed)) == pictures
    assert pictures_seen(trunk, lambda: cached_maps(one, other, trunk, tmp_path, CPU, zoomed)) == 0


def test_an_interrupted_run_goes_on_where_it_stopped(
    made: list[CachedFeatureMaps],
    entries: list[dict[str, Any]],
    how: FeatureRecipe,
    backbone: VGG16Features,
    tmp_path: Path,
):
    def run() -> list[CachedFeatureMaps]:
        return cached_maps(entries, how, backbone, tmp_path, CPU, ZOOM_VARIANTS)

    of_a_scan = PICTURES_OF_A_SCAN + SLICES
    with pytest.raises(InterruptionError):
        pictures_seen(backbone, run, fail_after=of_a_scan + 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["049.pt"]
    assert pictures_seen(backbone, run) == of_a_scan
    resumed = run()
    for first, second in zip(resumed, made, strict=True):
        assert torch.equal(first.image, second.image)
        assert first.high_res is not None
        assert second.high_res is not None
        assert torch.equal(first.high_res, second.high_res)


def test_slices_without_a_zoom_have_no_features_of_scans(
    entries: list[dict[str, Any]], how: FeatureRecipe, backbone: VGG16Features, tmp_path: Path
):
    maps = cached_maps(entries[:1], how, backbone, tmp_path, CPU, 0)
    assert maps[0].high_res is None
    assert maps[0].image.shape == (VARIANTS, SLICES, 2, 2, 512)
    with pytest.raises(ValueError, match="no zoomed maps"):
        pooled_features(maps, backbone, CPU)


def test_a_file_that_cannot_be_read_after_writing_ends_the_run(
    entries: list[dict[str, Any]],
    how: FeatureRecipe,
    backbone: VGG16Features,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(trunk_maps, "read_cached", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"049\.pt: what was just written cannot be read"):
        cached_maps(entries, how, backbone, tmp_path, CPU, 0)
