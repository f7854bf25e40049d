"""Lesions in the report: which slices are shown, and a contour that leaves the blood itself readable."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sample_diagnosis import a_diagnosis, a_study, an_affine, with_lesions
from scipy import ndimage

from scripts.diagnosis import Lesions, LesionVolume
from scripts.labels import LESION_GROUPS, RSNA
from scripts.output.lesion_images import contours, group_masks, largest_slices, lesion_slices
from scripts.output.report_images import report_images
from scripts.output.slice_images import display_of

KEYS = tuple(label.key for label in RSNA)
IPH, IVH, SDH, EDH = 2, 3, 5, 1


def lesions_of(subtypes: NDArray[np.uint8], *groups: str) -> Lesions:
    volumes = tuple(LesionVolume(group, 1.0) for group in ("total", *groups))
    return Lesions(np.where(subtypes > 0, 255, 0).astype(np.uint8), subtypes, 0.5, 0.0, 0.9, volumes)


def areas(slices: int, **pixels: dict[int, int]) -> NDArray[np.uint8]:
    """Subtypes on 20 x 20 pixels: for each subtype, how many pixels of which slice."""
    subtypes = np.zeros((slices, 400), np.uint8)
    numbers = {"iph": IPH, "ivh": IVH, "sdh": SDH, "edh": EDH}
    for name, by_slice in pixels.items():
        for index, count in by_slice.items():
            free = np.flatnonzero(subtypes[index] == 0)[:count]
            subtypes[index, free] = numbers[name]
    return subtypes.reshape(slices, 20, 20)


def single(slices: int) -> tuple[tuple[int, ...], ...]:
    return tuple((index,) for index in range(slices))


def test_the_slices_with_the_largest_area_are_shown_the_largest_first():
    subtypes = areas(9, iph={1: 10, 2: 40, 3: 90, 4: 80, 5: 60, 6: 20})
    lesions = lesions_of(subtypes, "parenchymal")
    assert largest_slices(lesions, KEYS, single(9)) == [3, 4, 5, 2, 6]


def test_every_compartment_is_shown_where_it_is_largest():
    subtypes = areas(12, iph={index: 100 + index for index in range(2, 8)}, sdh={9: 4, 10: 7}, edh={10: 1, 11: 3})
    lesions = lesions_of(subtypes, "parenchymal", "extra_axial")
    assert largest_slices(lesions, KEYS, single(12)) == [7, 6, 5, 4, 10]


def test_of_an_input_slice_the_middle_original_slice_is_shown():
    subtypes = areas(9, iph={3: 50, 4: 50, 5: 50, 0: 20, 1: 20, 2: 20})
    slabs = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
    assert largest_slices(lesions_of(subtypes, "parenchymal"), KEYS, slabs) == [4, 1]


def test_no_lesion_no_slice():
    assert largest_slices(lesions_of(np.zeros((3, 20, 20), np.uint8)), KEYS, single(3)) == []


@pytest.mark.parametrize("directions", [np.diag([-1.0, -1.0, 1.0]), np.array([[0, -1, 0], [1.0, 0, 0], [0, 0, 1]])])
def test_the_contour_runs_around_the_lesion_and_leaves_its_inside_as_it_is(directions: NDArray[np.float64]):
    study = a_study((4, 60, 60), an_affine(directions, spacing_mm=(1.0, 1.0, 5.0)))
    display = display_of(study, np.ones(study.voxels.shape, bool))
    mask = np.zeros((60, 60), bool)
    mask[10:20, 30:50] = True
    subtypes = np.zeros(study.voxels.shape, np.uint8)
    subtypes[1, mask] = SDH
    masks = group_masks(lesions_of(subtypes, "extra_axial"), KEYS, 1)
    (group,) = masks
    assert group.key == "extra_axial"
    grey = np.full(display.sized(np.zeros((60, 60), np.uint8), 600).shape, 90, np.uint8)
    drawn = contours(grey, masks, display)
    inside = display.sized(mask.astype(np.uint8) * 255, 600) >= 128
    assert (drawn[inside] == 90).all()
    line = (drawn == group.colour).all(axis=-1)
    assert np.array_equal(ndimage.binary_fill_holes(line) & ~line & inside, inside)
    far = ndimage.distance_transform_edt(~inside)
    assert far[line].max() < 8
    assert (drawn[far > 8] == 90).all()


def test_even_a_lesion_of_one_voxel_has_a_contour_that_is_seen_in_the_smallest_image():
    study = a_study((4, 512, 512), an_affine(spacing_mm=(0.45, 0.45, 5.0)))
    display = display_of(study, np.ones(study.voxels.shape, bool))
    mask = np.zeros((512, 512), bool)
    mask[200:203, 300:303] = True
    group = LESION_GROUPS[0]
    grey = np.full((180, 180), 90, np.uint8)
    drawn = contours(grey, {group: mask}, display)
    assert (drawn == group.colour).all(axis=-1).sum() >= 8


def test_an_image_without_lesion_stays_grey():
    study = a_study()
    display = display_of(study, np.ones(study.voxels.shape, bool))
    grey = display.sized(study.voxels[0].clip(0, 255).astype(np.uint8), 100)
    assert np.array_equal(contours(grey, {}, display), np.repeat(grey[..., None], 3, axis=-1))


def pixels_of(uri: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_the_tiles_of_a_positive_scan_show_the_extent_of_the_lesion_and_those_of_a_negative_one_do_not():
    diagnosis = with_lesions(a_diagnosis())
    coloured = [
        np.ptp(pixels_of(tile.image).astype(int), axis=-1).max() > 80 for tile in report_images(diagnosis).tiles
    ]
    assert coloured == [bool((plane > 0).any()) for plane in diagnosis.lesions.subtypes]
    assert any(coloured)
    assert not all(coloured)
    findings = tuple(replace(finding, probability=0.1) for finding in diagnosis.findings)
    negative = report_images(replace(diagnosis, findings=findings))
    assert negative.lesion_slices == ()
    assert all(pixels_of(tile.image).ndim == 2 for tile in negative.tiles)


def test_a_shown_slice_states_its_number_place_and_area():
    diagnosis = with_lesions(a_diagnosis())
    display = display_of(diagnosis.study, diagnosis.head)
    lead = lesion_slices(diagnosis, diagnosis.lesions, display)[0]
    counts = (diagnosis.lesions.subtypes > 0).sum(axis=(1, 2))
    assert counts[lead.number - 1] == counts.max()
    assert lead.area_cm2 == pytest.approx(counts.max() * 0.25 / 100)
    assert lead.averaged is None
