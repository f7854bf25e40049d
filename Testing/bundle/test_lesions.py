"""A lesion map becomes volumes: what counts as lesion, how large a voxel is in any stack, and how sure a volume is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from marked_phantoms import geometry_of
from numpy.typing import NDArray
from sample_diagnosis import a_study, an_affine

from scripts.diagnosis import Lesions
from scripts.explanation.lesion_volumes import ASSUMED_SPACING, LesionSettings, measure_lesions, voxel_ml
from scripts.explanation.lesions import LesionReading, read_lesions
from scripts.intake.study import CTStudy, Provenance
from scripts.labels import CQ500, LESION_GROUPS, RSNA
from scripts.networks.study_network import StudyOutput
from scripts.phantom import Grid, Haemorrhage, make_phantom
from scripts.reading_geometry import CropPlane, ReadingGeometry, head_centred_crop, slabs_of
from scripts.volume_calibration import VolumeBand, VolumeCalibration

torch.set_num_threads(1)

NOTHING = torch.zeros(0)
IPH, IVH, SAH, SDH = 2, 3, 4, 5


def an_output(logits: torch.Tensor | None) -> StudyOutput:
    return StudyOutput(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, lesion_logits=logits)


def a_reading(subtypes: NDArray[np.integer], probability: float = 0.9) -> LesionReading:
    value = np.uint8(round(255 * probability))
    return LesionReading(np.where(subtypes > 0, value, 0).astype(np.uint8), subtypes.astype(np.uint8))


def blocks(study: CTStudy, **places: tuple[int, tuple[slice, slice, slice]]) -> NDArray[np.uint8]:
    subtypes = np.zeros(study.voxels.shape, np.uint8)
    for number, place in places.values():
        subtypes[place] = number
    return subtypes


def measured(subtypes: NDArray[np.uint8], study: CTStudy, **chosen: object) -> Lesions:
    return measure_lesions(a_reading(subtypes), study, RSNA, LesionSettings(**{"smallest_ml": 0.0, **chosen}))


def volumes_of(lesions: Lesions) -> dict[str, float]:
    return {volume.group: volume.ml for volume in lesions.volumes}


def test_a_network_without_a_decoder_has_no_lesions():
    study = a_study()
    assert read_lesions(an_output(None), geometry_of(study), study.voxels > -200) is None


def test_outside_the_crop_and_outside_the_head_there_is_no_lesion():
    plane = CropPlane(4, 12, 6, 14, flip_rows=False, flip_columns=False)
    geometry = ReadingGeometry(plane, ((0,), (1,)), (2, 20, 20))
    head = np.ones((2, 20, 20), dtype=bool)
    head[1] = False
    lesions = read_lesions(an_output(torch.full((2, 6, 8, 8), 9.0)), geometry, head)
    inside = np.zeros((20, 20), dtype=bool)
    inside[4:12, 6:14] = True
    assert np.array_equal(lesions.probability[0] > 0, inside)
    assert np.array_equal(lesions.subtypes > 0, lesions.probability >= 13)
    assert not lesions.probability[1].any()


def test_255_is_probability_1_in_every_scan():
    geometry = ReadingGeometry(CropPlane(0, 4, 0, 4, flip_rows=False, flip_columns=False), ((0,),), (1, 4, 4))
    weak = read_lesions(an_output(torch.full((1, 6, 4, 4), -2.0)), geometry, np.ones((1, 4, 4), dtype=bool))
    assert set(weak.probability.ravel().tolist()) == {round(255 * torch.tensor(-2.0).sigmoid().item())}


def test_the_subtype_is_the_most_probable_of_the_five_and_never_another_label():
    logits = torch.full((1, len(CQ500), 4, 4), -5.0)
    logits[0, 0], logits[0, SAH], logits[0, 7] = 3.0, 1.0, 8.0
    geometry = ReadingGeometry(CropPlane(0, 4, 0, 4, flip_rows=False, flip_columns=False), ((0,),), (1, 4, 4))
    lesions = read_lesions(an_output(logits), geometry, np.ones((1, 4, 4), dtype=bool))
    assert set(lesions.subtypes.ravel().tolist()) == {SAH}


@settings(max_examples=60)
@given(
    spacing=st.tuples(st.floats(0.3, 1.2), st.floats(0.3, 1.2), st.floats(0.6, 8.0)),
    tilt=st.floats(-28, 28),
    rotation=st.tuples(st.floats(-15, 15), st.floats(-15, 15), st.floats(-180, 180)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_a_voxel_of_an_even_stack_is_as_large_as_the_affine_s_determinant(
    spacing: tuple[float, float, float],
    tilt: float,
    rotation: tuple[float, float, float],
    flips: tuple[bool, bool, bool],
):
    grid = Grid((6, 8, 9), spacing, tilt_degrees=tilt, rotation_degrees=rotation, flips=flips)
    study = CTStudy(np.zeros(grid.shape, np.int16), grid.affine, grid.positions_mm, Provenance("a study", "phantom"))
    expected = abs(np.linalg.det(grid.affine[:3, :3])) / 1000
    assert voxel_ml(study) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(np.prod(spacing) / 1000, rel=1e-6)


def test_slices_of_an_uneven_stack_have_their_own_thickness():
    study = a_study((5, 64, 64), an_affine(spacing_mm=(1.0, 1.0, 5.0)))
    uneven = replace(study, positions_mm=np.array([0.0, 2.5, 5.0, 15.0, 25.0]))
    assert (1000 * voxel_ml(uneven)).tolist() == [2.5, 2.5, 6.25, 10.0, 10.0]
    downwards = replace(study, positions_mm=uneven.positions_mm[::-1].copy())
    assert (1000 * voxel_ml(downwards)).tolist() == [10.0, 10.0, 6.25, 2.5, 2.5]


@pytest.mark.parametrize(("stated", "expected"), [(8.0, 8.0), (None, 5.0)])
def test_a_single_slice_is_as_thick_as_its_header_states(stated: float | None, expected: float):
    single = a_study((1, 64, 64), an_affine(spacing_mm=(1.0, 1.0, 5.0)))
    single = replace(single, provenance=Provenance("a slice", "dicom", slice_thickness_mm=stated))
    assert (1000 * voxel_ml(single)).tolist() == [expected]


GRIDS = {
    "thick": Grid((26, 110, 110), (2.0, 2.0, 6.0)),
    "thin": Grid((80, 110, 110), (2.0, 2.0, 2.0)),
    "tilted": Grid((26, 110, 110), (2.0, 2.0, 6.0), tilt_degrees=20.0),
    "oblique, flipped": Grid((26, 110, 110), (2.0, 2.0, 6.0), rotation_degrees=(8, -6, 20), flips=(True, False, True)),
    "pixels not square": Grid((26, 90, 150), (1.5, 2.5, 6.0)),
}


@pytest.mark.parametrize("name", list(GRIDS))
def test_a_phantom_s_bleedings_come_back_with_their_volume_and_compartment(name: str):
    """True masks take the way of logits: to the pixels of the crop, back to the voxels, into millilitres."""
    grid = GRIDS[name]
    phantom = make_phantom(grid, [Haemorrhage("intraparenchymal", "left", 30), Haemorrhage("subdural", "right", 40)])
    study = CTStudy(phantom.voxels, grid.affine, grid.positions_mm, Provenance("a phantom", "phantom"))
    head = phantom.voxels > -300
    geometry = ReadingGeometry(head_centred_crop(study, head, 1.1), slabs_of(study, 5.0), study.voxels.shape)
    keys = [label.key for label in RSNA]
    labels = {0: np.logical_or.reduce(list(phantom.masks.values()))}
    labels |= {keys.index(kind): mask for kind, mask in phantom.masks.items()}
    size = 192
    logits = torch.full((len(geometry.slabs), 6, size, size), -8.0)
    for number, mask in labels.items():
        fraction = (geometry.resample((mask * 1000).astype(np.int16), size) / 1000).clamp(0.001, 0.999)
        logits[:, number] = fraction.logit()
    lesions = measure_lesions(read_lesions(an_output(logits), geometry, head), study, RSNA, LesionSettings())
    true_ml = {
        kind: float(mask.sum() * abs(np.linalg.det(grid.affine[:3, :3])) / 1000) for kind, mask in phantom.masks.items()
    }
    found = volumes_of(lesions)
    assert set(found) == {"total", "parenchymal", "extra_axial"}
    assert found["parenchymal"] == pytest.approx(true_ml["intraparenchymal"], rel=0.08)
    assert found["extra_axial"] == pytest.approx(true_ml["subdural"], rel=0.12)
    assert found["total"] == pytest.approx(found["parenchymal"] + found["extra_axial"])
    mask = np.logical_or.reduce(list(phantom.masks.values()))
    overlap = 2 * np.sum(mask & (lesions.subtypes > 0)) / (mask.sum() + np.sum(lesions.subtypes > 0))
    assert overlap > 0.85


def test_the_mask_follows_from_the_stored_map_and_the_threshold_alone():
    study = a_study((4, 20, 20), an_affine(spacing_mm=(10.0, 10.0, 10.0)))
    subtypes = blocks(study, all=(IPH, np.s_[:, :, :]))
    for threshold in (0.1, 0.5, 0.501, 0.9, 1.0):
        chosen = LesionSettings(threshold=threshold, smallest_ml=0.0)
        for value in (chosen.lowest_value - 1, chosen.lowest_value):
            reading = LesionReading(np.full(subtypes.shape, value, np.uint8), subtypes)
            lesions = measure_lesions(reading, study, RSNA, chosen)
            assert bool(lesions.subtypes.any()) == (value >= 255 * threshold) == bool(lesions.volumes)


def test_specks_are_dropped_and_what_touches_is_one_lesion():
    study = a_study((4, 40, 40), an_affine(spacing_mm=(5.0, 5.0, 8.0)))
    subtypes = blocks(
        study,
        diagonal=(SDH, np.s_[0, 0:2, 0:2]),
        across=(SDH, np.s_[1, 2:4, 2:4]),
        speck=(IPH, np.s_[3, 30, 30]),
    )
    lesions = measured(subtypes, study, smallest_ml=1.0)
    assert volumes_of(lesions) == pytest.approx({"total": 1.6, "extra_axial": 1.6})
    assert not lesions.subtypes[3].any()
    assert measured(subtypes, study, smallest_ml=1.7).volumes == ()


def test_a_fringe_of_another_subtype_belongs_to_the_lesion_that_it_touches():
    study = a_study((4, 40, 40), an_affine(spacing_mm=(5.0, 5.0, 8.0)))
    subtypes = blocks(study, bleed=(IPH, np.s_[1:3, 10:15, 10:15]), fringe=(IVH, np.s_[1, 15, 10:12]))
    assert volumes_of(measured(subtypes, study, smallest_ml=0.5)) == pytest.approx({"total": 10.4, "parenchymal": 10.4})


def test_the_total_comes_first_and_then_the_largest_compartment():
    study = a_study((4, 40, 40), an_affine(spacing_mm=(5.0, 5.0, 8.0)))
    subtypes = blocks(study, small=(IPH, np.s_[1, 0:2, 0:2]), large=(SAH, np.s_[1, 10:20, 10:20]))
    epidural_and_subdural = blocks(study, first=(1, np.s_[3, 0:9, 0:3]), second=(SDH, np.s_[3, 0:9, 3:6]))
    lesions = measured(subtypes + epidural_and_subdural, study)
    assert [volume.group for volume in lesions.volumes] == ["total", "subarachnoid", "extra_axial", "parenchymal"]
    assert volumes_of(lesions)["extra_axial"] == pytest.approx(54 * 0.2)


def test_every_subtype_belongs_to_one_compartment():
    assert sorted(key for group in LESION_GROUPS for key in group.labels) == sorted(label.key for label in RSNA[1:])
    for vocabulary in (RSNA, CQ500):
        assert {label.key for label in vocabulary[1:6]} == {label.key for label in RSNA[1:]}


def test_a_map_without_a_lesion_has_no_volumes():
    study = a_study()
    assert measured(np.zeros(study.voxels.shape, np.uint8), study).volumes == ()


def test_a_size_of_voxels_that_was_assumed_is_named():
    study = a_study()

    class Assumed:
        code = ASSUMED_SPACING

    subtypes = blocks(study, bleed=(IPH, np.s_[4:6, 20:30, 20:30]))
    assert not measured(subtypes, study).spacing_assumed
    assert measured(subtypes, replace(study, warnings=(Assumed(),))).spacing_assumed


def test_limits_are_those_of_the_band_that_a_volume_falls_into():
    bands = {"total": (VolumeBand(1.0, 0.5, 2.0, 20), VolumeBand(10.0, 0.8, 1.25, 40, factor=1.1))}
    calibration = VolumeCalibration(0.9, bands)
    assert calibration.limits("total", 0.9) is None
    assert calibration.limits("total", 4.0) == (2.0, 8.0)
    assert calibration.limits("total", 10.0) == (8.0, 12.5)
    assert calibration.limits("ventricular", 4.0) is None
    study = a_study((4, 40, 40), an_affine(spacing_mm=(5.0, 5.0, 8.0)))
    subtypes = blocks(study, bleed=(IPH, np.s_[1:3, 10:20, 10:20]))
    total, group = measured(subtypes, study, calibration=calibration).volumes
    assert (total.ml, total.mask_ml, total.low_ml, total.high_ml) == pytest.approx((44.0, 40.0, 32.0, 50.0))
    # A compartment has its share of the calibrated total: the parts add up to the whole.
    assert (group.ml, group.mask_ml) == pytest.approx((44.0, 40.0))
    assert (group.low_ml, group.high_ml) == (None, None)


def test_a_compartment_is_never_larger_than_the_total_that_it_is_part_of():
    bands = {
        "total": (VolumeBand(0.0, 0.5, 2.0, 20, factor=0.8),),
        "parenchymal": (VolumeBand(0.0, 1.0, 3.0, 20, factor=1.5),),
    }
    study = a_study((4, 40, 40), an_affine(spacing_mm=(5.0, 5.0, 8.0)))
    subtypes = blocks(study, bleed=(IPH, np.s_[1:3, 10:20, 10:20]))
    total, group = measured(subtypes, study, calibration=VolumeCalibration(0.9, bands)).volumes
    assert (total.ml, group.ml) == pytest.approx((32.0, 32.0))
    # Its own limits are widened to hold it.
    assert (group.low_ml, group.high_ml) == pytest.approx((32.0, 120.0))


@pytest.mark.parametrize("band", [(0.0, 0.0, 2.0, 3), (0.0, 2.0, 0.5, 3), (0.0, 0.5, 2.0, 3, 2.1)])
def test_limits_that_are_none_are_refused(band: tuple[float, ...]):
    with pytest.raises(ValueError, match="limits"):
        VolumeCalibration(0.9, {"total": (VolumeBand(*band),)})
    with pytest.raises(ValueError, match="level"):
        VolumeCalibration(1.0)


def test_below_five_per_cent_a_voxel_has_no_subtype():
    plane = CropPlane(0, 4, 0, 4, flip_rows=False, flip_columns=False)
    geometry = ReadingGeometry(plane, ((0,), (1,), (2,)), (3, 4, 4))
    logits = torch.full((3, 6, 4, 4), -5.0)
    logits[1], logits[2] = -2.0, 2.0
    lesions = read_lesions(an_output(logits), geometry, np.ones((3, 4, 4), dtype=bool))
    assert [bool(plane.any()) for plane in lesions.subtypes] == [False, True, True]
    assert lesions.probability[0].any()


@pytest.mark.parametrize("chosen", [{"threshold": 0.04}, {"threshold": 1.1}, {"smallest_ml": -1.0}])
def test_settings_out_of_range_are_refused(chosen: dict[str, float]):
    with pytest.raises(ValueError, match="out of range"):
        LesionSettings(**chosen)


def test_a_small_piece_inside_a_lesion_belongs_to_the_lesion_s_largest_subtype():
    study = a_study()
    slices, rows, columns = study.voxels.shape
    subtypes = np.zeros((slices, rows, columns), np.uint8)
    subtypes[1:3, 2 : rows - 2, 2 : columns - 2] = IPH
    subtypes[1, 3, 3] = SDH
    found = measured(subtypes, study)
    assert set(np.unique(found.subtypes)) == {0, IPH}
    assert volumes_of(found)["total"] == pytest.approx(float(voxel_ml(study) @ (subtypes > 0).sum(axis=(1, 2))))


def test_a_second_subtype_of_a_large_part_of_a_lesion_stays_and_so_does_what_lies_apart():
    study = a_study()
    subtypes = np.zeros(study.voxels.shape, np.uint8)
    subtypes[:2, :4, :4] = IPH
    subtypes[:2, 4:6, :4] = IVH
    subtypes[-1, -1, -1] = SDH
    found = measured(subtypes, study)
    assert np.array_equal(found.subtypes, subtypes)
