"""Every haemorrhage lies where its kind must lie, has its volume and density, and leaves the rest alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from synthesis_cases import SMALL, anatomy, host, on_stored_voxels
from test_synthesis_anatomy import TILTED, reordered

from scripts.phantom.grid import Grid
from scripts.synthesis.extra_axial import draw_epidural
from scripts.synthesis.lesion import LABEL_VALUES, SUBTYPES, LesionRequest
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.sites import RADIUS_MM
from scripts.synthesis.synthesis import PATTERNS, Synthesis, synthesise
from scripts.synthesis.working_grid import SynthesisError

WAYS = [(subtype, pattern) for subtype in SUBTYPES for pattern in PATTERNS[subtype]]


@lru_cache(maxsize=32)
def made(subtype: str, pattern: str, volume_ml: float = 9.0, seed: int = 1, grid: Grid = SMALL) -> Synthesis:
    request = LesionRequest(subtype, volume_ml, pattern)
    return synthesise(host(grid), [request], np.random.default_rng(seed), anatomy(grid))


def depth(grid: Grid = SMALL) -> NDArray[np.float32]:
    return np.asarray(on_stored_voxels(anatomy(grid), anatomy(grid).cavity.depth), dtype=np.float32)


@pytest.mark.parametrize(("subtype", "pattern"), WAYS)
def test_it_has_the_volume_that_was_asked_for(subtype: str, pattern: str):
    result = made(subtype, pattern)
    placed = sum(lesion.volume_ml for lesion in result.lesions)
    assert placed == pytest.approx(9.0, rel=0.15)
    voxel_ml = anatomy().grid.voxel_ml
    in_mask = float((result.label_map == LABEL_VALUES[subtype]).sum()) * voxel_ml
    assert in_mask == pytest.approx(placed, rel=0.35)


@pytest.mark.parametrize("subtype", ["epidural", "subdural", "intraparenchymal"])
@pytest.mark.parametrize("volume_ml", [1.0, 25.0, 70.0])
def test_small_and_large_ones_have_their_volume(subtype: str, volume_ml: float):
    pattern = {"epidural": "lens", "subdural": "convexity", "intraparenchymal": "lobar"}[subtype]
    result = made(subtype, pattern, volume_ml, seed=4)
    assert sum(lesion.volume_ml for lesion in result.lesions) == pytest.approx(volume_ml, rel=0.15)


@pytest.mark.parametrize(("subtype", "pattern"), WAYS)
def test_it_lies_inside_the_skull(subtype: str, pattern: str):
    inside = made(subtype, pattern).label_map > 0
    assert inside.any()
    assert depth()[inside].min() > -1.3
    assert host().voxels[inside].max() < 150


@pytest.mark.parametrize(("subtype", "pattern"), WAYS)
def test_its_density_is_that_of_blood(subtype: str, pattern: str):
    result = made(subtype, pattern)
    core = ndimage.binary_erosion(result.label_map > 0, np.ones((1, 3, 3)))
    values = result.study.voxels[core if core.sum() > 20 else result.label_map > 0]
    fresh = subtype != "subdural" or pattern in ("falx", "tentorium")
    assert (36.0 if fresh else 8.0) < np.median(values) < 84.0


@pytest.mark.parametrize("grid", [SMALL, TILTED], ids=["straight", "tilted"])
@pytest.mark.parametrize(("subtype", "pattern"), [("epidural", "lens"), ("subdural", "convexity")])
def test_extra_axial_blood_touches_the_inner_table(subtype: str, pattern: str, grid: Grid):
    result = made(subtype, pattern, grid=grid, volume_ml=20.0)
    bone = host(grid).voxels > 150
    spacing = (1000.0, *host(grid).spacing_mm[1::-1])
    to_bone = ndimage.distance_transform_edt(~bone, sampling=spacing)
    mask = result.label_map > 0
    touching = [to_bone[k][mask[k]].min() <= 1.5 + 1.3 for k in np.flatnonzero(mask.sum(axis=(1, 2)) > 12)]
    # Bone starts half a pixel (of 1.3 mm) beyond the nearest voxel's centre, and half a pixel beyond the last of blood.
    assert np.mean(touching) > 0.9
    # Nothing but blood lies between: from each voxel of blood to the nearest bone there is no brain.
    shallow = (depth(grid) > 0.4) & (depth(grid) < 2.0) & ndimage.binary_erosion(mask, np.ones((1, 3, 3)))
    assert (result.label_map[shallow] > 0).all()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(volume_ml=st.floats(0.3, 80.0), seed=st.integers(0, 1000))
def test_an_epidural_lens_bulges_beyond_the_chord(volume_ml: float, seed: int):
    layer, thickness = draw_epidural(anatomy(), volume_ml, np.random.default_rng(seed))
    sagitta = layer.extent_mm[0] * layer.extent_mm[1] / (2.0 * RADIUS_MM)
    assert thickness > sagitta
    assert max(layer.extent_mm) < 70.0


def test_a_subdural_crescent_is_longer_and_thinner_than_an_epidural_lens():
    shapes = {}
    for subtype, pattern in (("epidural", "lens"), ("subdural", "convexity")):
        lengths, depths = [], []
        for seed in range(3):
            mask = made(subtype, pattern, 25.0, seed).label_map > 0
            widest = int(mask.sum(axis=(1, 2)).argmax())
            rows, columns = np.nonzero(mask[widest])
            lengths.append(np.hypot(np.ptp(rows) * 1.25, np.ptp(columns) * 1.3))
            depths.append(np.quantile(depth()[widest][mask[widest]], 0.98))
        shapes[subtype] = float(np.mean(depths)) / float(np.mean(lengths))
    assert shapes["subdural"] < 0.75 * shapes["epidural"]


def test_subdural_blood_stays_on_its_side_of_the_falx():
    result = made("subdural", "convexity", 60.0)
    x = np.stack([SMALL.slice_points(k)[0].reshape(SMALL.shape[1:]) for k in range(SMALL.shape[0])])
    sides = x[result.label_map > 0]
    assert max((sides > 3.0).mean(), (sides < -3.0).mean()) > 0.99


@pytest.mark.parametrize("pattern", list(PATTERNS["subarachnoid"]))
def test_subarachnoid_blood_fills_fluid_outside_the_ventricles(pattern: str):
    result = made("subarachnoid", pattern)
    blood = result.label_map == LABEL_VALUES["subarachnoid"]
    voxels = host().voxels.astype(np.float32)
    smooth = ndimage.gaussian_filter(voxels, (0, 0.6, 0.6))
    assert (smooth[blood] < anatomy().brain_hu - 3.0).mean() > 0.98
    ventricles = on_stored_voxels(anatomy(), anatomy().ventricles)
    assert not (blood & ventricles).any()


@pytest.mark.parametrize("pattern", list(PATTERNS["intraventricular"]))
def test_intraventricular_blood_lies_in_ventricles(pattern: str):
    blood = made("intraventricular", pattern).label_map == LABEL_VALUES["intraventricular"]
    ventricles = on_stored_voxels(anatomy(), anatomy().ventricles)
    assert (ndimage.binary_dilation(ventricles, np.ones((1, 3, 3)))[blood]).all()


@pytest.mark.parametrize("flips", [(False, False, False), (False, True, False)], ids=["supine", "stored upside down"])
def test_ventricular_blood_sinks_to_the_back_of_the_head(flips: tuple[bool, bool, bool]):
    study = reordered(host(), flips, False)
    request = LesionRequest("intraventricular", 6.0, "level")
    result = synthesise(study, [request], np.random.default_rng(2))
    y = np.stack([SMALL.slice_points(k)[1].reshape(SMALL.shape[1:]) for k in range(SMALL.shape[0])])
    for axis, flip in enumerate(flips):
        y = np.flip(y, axis) if flip else y
    x = np.abs(np.stack([SMALL.slice_points(k)[0].reshape(SMALL.shape[1:]) for k in range(SMALL.shape[0])]))
    blood = result.label_map > 0
    fluid = (study.voxels < 18) & (depth() > 15.0) & (x > 8.0) & (x < 32.0) & (y > -60.0) & (y < 40.0)
    assert np.median(y[blood]) < np.median(y[fluid & ~blood]) - 10.0


def test_a_haematoma_displaces_brain_and_darkens_its_rim():
    changes = []
    for seed in range(4):
        result = made("intraparenchymal", "lobar", 20.0, seed)
        blood = result.label_map > 0
        rim = ndimage.binary_dilation(blood, np.ones((1, 3, 3)), iterations=5)
        rim &= ~ndimage.binary_dilation(blood, np.ones((1, 3, 3)), iterations=2) & (depth() > 4.0)
        before, after = (study.voxels[rim].astype(float).mean() for study in (host(), result.study))
        changes.append(after - before)
    assert np.median(changes) < -2.0


@pytest.mark.parametrize(("subtype", "pattern"), WAYS)
def test_what_lies_outside_the_skull_or_in_other_slices_is_unchanged(subtype: str, pattern: str):
    result = made(subtype, pattern)
    changed = result.study.voxels != host().voxels
    assert not changed[depth() < -3.0].any()
    first = min(lesion.slices[0] for lesion in result.lesions)
    last = max(lesion.slices[1] for lesion in result.lesions)
    assert not changed[: max(0, first - 3)].any()
    assert not changed[last + 4 :].any()
    assert result.study.affine is host().affine or np.array_equal(result.study.affine, host().affine)
    assert np.array_equal(result.study.positions_mm, host().positions_mm)
    assert result.study.spacing_mm == host().spacing_mm
    assert result.study.provenance == host().provenance


@pytest.mark.parametrize(("subtype", "pattern"), [("epidural", "lens"), ("intraparenchymal", "deep")])
def test_the_noise_within_blood_is_the_hosts(subtype: str, pattern: str):
    result = made(subtype, pattern, 60.0, 2)
    core = ndimage.binary_erosion(result.label_map > 0, np.ones((1, 3, 3)), iterations=4) & (depth() > 5.0)
    assert core.sum() > 100
    quiet = (depth() > 12.0) & (np.abs(ndimage.gaussian_filter(host().voxels, (0, 3, 3)) - anatomy().brain_hu) < 3.0)
    strengths = []
    for voxels, where in ((result.study.voxels, core), (host().voxels, quiet)):
        image = voxels.astype(np.float32)
        strengths.append(np.median(np.abs(image - ndimage.gaussian_filter(image, (0, 1.2, 1.2)))[where]))
    assert 0.6 < strengths[0] / strengths[1] < 1.6


def test_the_same_seed_gives_the_same_study_and_another_seed_another():
    request = [LesionRequest("subdural", 12.0)]
    first, again, other = (
        synthesise(host(), request, np.random.default_rng(seed), anatomy()).study.voxels for seed in (8, 8, 9)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(flips=st.tuples(st.booleans(), st.booleans(), st.booleans()), transposed=st.booleans())
def test_the_storage_order_of_the_host_does_not_change_the_lesion(flips: tuple[bool, bool, bool], transposed: bool):
    request = [LesionRequest("epidural", 14.0), LesionRequest("intraventricular", 4.0, "level")]
    plain = synthesise(host(), request, np.random.default_rng(3), anatomy())
    moved = synthesise(reordered(host(), flips, transposed), request, np.random.default_rng(3))
    back = moved.label_map.transpose(0, 2, 1) if transposed else moved.label_map
    for axis, flip in enumerate(flips):
        back = np.flip(back, axis) if flip else back
    assert (back != plain.label_map).mean() < 1e-5


def test_two_haemorrhages_lie_in_one_head():
    requests = [LesionRequest("intraparenchymal", 15.0, "deep"), LesionRequest("intraventricular", 5.0, "cast")]
    result = synthesise(host(), requests, np.random.default_rng(0), anatomy())
    assert result.labels["intraparenchymal"]
    assert result.labels["intraventricular"]
    assert [lesion.kind for lesion in result.lesions] == ["intraparenchymal", "intraventricular"]


def test_bilateral_blood_is_on_both_sides():
    result = made("subdural", "bilateral", 40.0)
    assert {lesion.side for lesion in result.lesions} == {"left", "right"}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_labels_agree_with_the_label_map_and_the_lesions(seed: int):
    settings_ = SynthesisSettings(volume_ml=(0.5, 40.0), second=0.5)
    result = draw_synthesis(host(), np.random.default_rng(seed), settings_, anatomy=anatomy())
    kinds = {lesion.kind for lesion in result.lesions if lesion.kind in SUBTYPES}
    assert result.labels["any"]
    for subtype, value in LABEL_VALUES.items():
        assert np.array_equal(result.slice_labels[subtype], (result.label_map == value).any(axis=(1, 2)))
        assert not result.labels[subtype] or subtype in kinds
    assert np.array_equal(result.slice_labels["any"], (result.label_map > 0).any(axis=(1, 2)))
    assert result.label_map.dtype == np.uint8
    assert result.study.voxels.dtype == np.int16


def test_a_host_without_ventricles_refuses_ventricular_blood_by_name():
    bare = anatomy()
    bare = type(bare)(**{**bare.__dict__, "ventricles": np.zeros_like(bare.ventricles)})
    with pytest.raises(SynthesisError) as fault:
        synthesise(host(), [LesionRequest("intraventricular", 4.0)], np.random.default_rng(0), bare)
    assert fault.value.code == "no_fluid"


@pytest.mark.parametrize(("subtype", "volume_ml"), [("extradural", 5.0), ("subdural", 0.0), ("subdural", 500.0)])
def test_requests_that_cannot_exist_are_refused(subtype: str, volume_ml: float):
    with pytest.raises(ValueError, match=r"unknown subtype|ml of blood"):
        LesionRequest(subtype, volume_ml)
