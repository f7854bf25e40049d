"""Every slice is shown in radiological convention, CT and heat map alike, and its letters tell the truth."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from nibabel.affines import apply_affine
from PIL import Image
from sample_diagnosis import a_diagnosis, a_study, an_affine

from scripts.diagnosis import AttributionMap, SliceResult
from scripts.labels import RSNA
from scripts.output.attention_plot import LIGHT, attention_svg
from scripts.output.display import brain_window, display_of
from scripts.output.evidence_views import evidence_views, heat_finding
from scripts.output.pictures import heat_legend, heat_on

SIGNED_AXES = [
    np.eye(3)[:, list(order)] * signs for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]
AXIAL = [directions for directions in SIGNED_AXES if directions[2, 2] != 0]
TOWARDS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


@pytest.mark.parametrize("directions", SIGNED_AXES)
def test_the_letters_name_the_sides_that_the_pixels_lie_on(directions):
    """Walk over the screen and compare the walk's direction in the patient with the letter at its end."""
    study = a_study((4, 20, 30), an_affine(directions, (0.5, 0.6, 5.0)))
    display = display_of(study, np.zeros(study.voxels.shape, dtype=bool))
    rows, columns = np.indices(study.voxels.shape[1:])
    shown_rows, shown_columns = display.turned(rows), display.turned(columns)

    def place(at: tuple[int, int]) -> np.ndarray:
        return apply_affine(study.affine, (shown_columns[at], shown_rows[at], 1))

    middle = tuple(size // 2 for size in shown_rows.shape)
    ends = {
        "left": (middle[0], 0),
        "right": (middle[0], -1),
        "top": (0, middle[1]),
        "bottom": (-1, middle[1]),
    }
    for edge, end in ends.items():
        walk = place(end) - place(middle)
        assert walk @ TOWARDS[getattr(display.markers, edge)] == pytest.approx(np.linalg.norm(walk))


@pytest.mark.parametrize("directions", AXIAL)
def test_axial_slices_show_the_patient_s_right_on_the_left_and_anterior_up(directions):
    study = a_study((4, 20, 30), an_affine(directions))
    markers = display_of(study, study.voxels > -200).markers
    assert (markers.left, markers.right, markers.top, markers.bottom) == ("R", "L", "A", "P")


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_turned_head_keeps_its_letters(degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ np.diag([-1.0, -1.0, 1.0])
    study = a_study((4, 20, 30), an_affine(turned, tilt_degrees=15))
    assert display_of(study, study.voxels > -200).markers.left == "R"


@pytest.mark.parametrize("directions", AXIAL)
def test_heat_lies_on_the_side_of_the_patient_that_it_belongs_to(directions):
    """The patient's right front: upper left on the screen, in the CT and in the heat map."""
    study = a_study((12, 64, 64), an_affine(directions))
    centre = apply_affine(study.affine, np.array((31.5, 31.5, 6)))
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64), [6], indexing="xy"), axis=-1)[:, :, 0]
    offset = apply_affine(study.affine, grid) - centre
    right_front = np.linalg.norm(offset[..., :2] - (6.0, 8.0), axis=-1) < 2.5
    heat = np.zeros(study.voxels.shape, np.uint8)
    heat[6, right_front] = 255
    voxels = study.voxels.copy()
    voxels[6] = np.where(right_front, 100, 0)
    diagnosis = a_diagnosis(replace(study, voxels=voxels))
    slices = tuple(replace(entry, key_rank=1 if entry.index == 6 else None) for entry in diagnosis.slices)
    diagnosis = replace(
        diagnosis,
        head=np.ones(voxels.shape, bool),
        slices=slices,
        maps=(AttributionMap("gradcam", RSNA[-1], heat, 1.0),),
    )
    key = evidence_views(diagnosis).key_slices[0]
    ct, overlay = pixels_of(key.ct).astype(int), pixels_of(key.heat).astype(int)
    colourful = np.ptp(overlay, axis=-1) > 60
    for bright in (ct > 128, colourful):
        row, column = np.argwhere(bright).mean(axis=0)
        height, width = bright.shape
        assert row / height == pytest.approx(0.5 - 8.0 / 32, abs=0.02)
        assert column / width == pytest.approx(0.5 - 6.0 / 32, abs=0.02)


def test_pixels_that_are_not_square_are_shown_in_true_proportion():
    study = a_study((4, 40, 80), an_affine(spacing_mm=(0.5, 1.0, 5.0)))
    display = display_of(study, np.zeros(study.voxels.shape, dtype=bool))
    assert display.sized(np.zeros((40, 80), np.uint8), 200).shape == (200, 200)


def test_slices_are_cut_to_the_head_with_a_margin():
    study = a_study((4, 100, 100), an_affine(spacing_mm=(1.0, 1.0, 5.0)))
    head = np.zeros(study.voxels.shape, dtype=bool)
    head[2, 30:60, 40:70] = True
    display = display_of(study, head)
    assert (display.rows, display.columns) == (slice(24, 66), slice(34, 76))


def test_the_brain_window_is_black_at_0_and_white_at_80_hu():
    assert brain_window(np.array([-1000, 0, 40, 80, 3000], np.int16)).tolist() == [0, 0, 128, 255, 255]


def test_weak_evidence_leaves_the_ct_as_it_is():
    grey = np.full((1, 3), 100, np.uint8)
    blended = heat_on(grey, np.array([[0, 38, 255]], np.uint8))
    assert blended[0, 0].tolist() == blended[0, 1].tolist() == [100, 100, 100]
    assert blended[0, 2, 0] > blended[0, 2, 2]


def test_the_colour_bar_grows_brighter_to_its_end():
    luminance = heat_legend()[0].astype(float) @ (0.2126, 0.7152, 0.0722)
    assert np.argmax(luminance) == 255
    assert np.all(np.diff(luminance[190:]) >= -1)


def test_a_slab_is_one_tile_and_its_key_slice_shows_the_mean_that_was_read():
    slabs = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    diagnosis = a_diagnosis(read_slices=slabs)
    views = evidence_views(diagnosis)
    assert [tile.number for tile in views.tiles] == ["1–3", "4–6", "7–9", "10–12"]
    assert all(key.averaged.startswith("mean of slices") for key in views.key_slices)
    first = next(entry for entry in diagnosis.slices if entry.key_rank == 1)
    assert next(tile.rank for tile, slab in zip(views.tiles, slabs, strict=True) if first.index in slab) == 1


def test_the_heat_map_is_the_likeliest_positive_kind_s():
    def chosen(**probabilities: float) -> str:
        return heat_finding(a_diagnosis(probabilities=probabilities).findings).label.key

    assert chosen(any=0.99, subdural=0.7, epidural=0.8) == "epidural"
    assert chosen(any=0.99, subdural=0.3) == "any"
    assert chosen(any=0.1, subdural=0.3) == "any"


@pytest.mark.parametrize("count", [1, 12, 400])
def test_the_histogram_holds_a_bar_for_every_stored_slice(count):
    slices = tuple(SliceResult(index, 5.0 * index - 60, 1 / count, None, True) for index in range(count))
    drawn = attention_svg(slices, (), LIGHT)
    assert drawn.count(f"fill: {LIGHT.bar}".encode()) == count
    assert drawn == attention_svg(slices, (), LIGHT)
