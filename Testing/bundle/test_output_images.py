"""Every slice is shown in radiological convention, CT and attribution map alike, and its letters are true."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from nibabel.affines import apply_affine
from PIL import Image
from sample_diagnosis import NEGATIVE, a_diagnosis, a_study, an_affine, with_slice_labels

from scripts.diagnosis import AttributionMap, SliceResult
from scripts.labels import RSNA
from scripts.output.attention_plot import LIGHT, attention_svg
from scripts.output.overlay import colour_bar, overlay
from scripts.output.report_images import report_images, shown_finding
from scripts.output.slice_images import brain_window, display_of

SIGNED_AXES = [
    np.eye(3)[:, list(order)] * signs for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]
AXIAL = [directions for directions in SIGNED_AXES if directions[2, 2] != 0]
TOWARDS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


@pytest.mark.parametrize("directions", SIGNED_AXES)
def test_the_letters_name_the_sides_that_the_pixels_lie_on(directions):
    """The direction from the middle of the screen to an edge, in the patient, is that of the letter there."""
    study = a_study((4, 20, 30), an_affine(directions, (0.5, 0.6, 5.0)))
    display = display_of(study, np.zeros(study.voxels.shape, dtype=bool))
    rows, columns = np.indices(study.voxels.shape[1:])
    shown_rows, shown_columns = display.oriented(rows), display.oriented(columns)

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
        way = place(end) - place(middle)
        assert way @ TOWARDS[getattr(display.markers, edge)] == pytest.approx(np.linalg.norm(way))


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
def test_the_map_lies_on_the_side_of_the_patient_that_it_belongs_to(directions):
    """The patient's right front: upper left on the screen, in the CT and in the attribution map."""
    study = a_study((12, 64, 64), an_affine(directions))
    centre = apply_affine(study.affine, np.array((31.5, 31.5, 6)))
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(64), [6], indexing="xy"), axis=-1)[:, :, 0]
    offset = apply_affine(study.affine, grid) - centre
    right_front = np.linalg.norm(offset[..., :2] - (6.0, 8.0), axis=-1) < 2.5
    values = np.zeros(study.voxels.shape, np.uint8)
    values[6, right_front] = 255
    voxels = study.voxels.copy()
    voxels[6] = np.where(right_front, 100, 0)
    diagnosis = a_diagnosis(replace(study, voxels=voxels))
    slices = tuple(replace(entry, key_rank=1 if entry.index == 6 else None) for entry in diagnosis.slices)
    diagnosis = replace(
        diagnosis,
        head=np.ones(voxels.shape, bool),
        slices=slices,
        maps=(AttributionMap("gradcam", RSNA[-1], values, 1.0),),
    )
    key = report_images(diagnosis).key_slices[0]
    ct, laid_over = pixels_of(key.ct).astype(int), pixels_of(key.map).astype(int)
    colourful = np.ptp(laid_over, axis=-1) > 60
    for bright in (ct > 128, colourful):
        row, column = np.argwhere(bright).mean(axis=0)
        height, width = bright.shape
        assert row / height == pytest.approx(0.5 - 8.0 / 32, abs=0.02)
        assert column / width == pytest.approx(0.5 - 6.0 / 32, abs=0.02)


def test_pixels_that_are_not_square_are_shown_in_true_proportion():
    study = a_study((4, 40, 80), an_affine(spacing_mm=(0.5, 1.0, 5.0)))
    display = display_of(study, np.zeros(study.voxels.shape, dtype=bool))
    assert display.sized(np.zeros((40, 80), np.uint8), 200).shape == (200, 200)


def test_slices_are_cropped_to_the_head_with_a_margin():
    study = a_study((4, 100, 100), an_affine(spacing_mm=(1.0, 1.0, 5.0)))
    head = np.zeros(study.voxels.shape, dtype=bool)
    head[2, 30:60, 40:70] = True
    display = display_of(study, head)
    rows, columns = np.indices((100, 100))
    shown_rows, shown_columns = display.oriented(rows), display.oriented(columns)
    assert (shown_rows.min(), shown_rows.max(), shown_columns.min(), shown_columns.max()) == (24, 65, 34, 75)


def test_the_brain_window_is_black_at_0_and_white_at_80_hu():
    assert brain_window(np.array([-1000, 0, 40, 80, 3000], np.int16)).tolist() == [0, 0, 128, 255, 255]


def test_a_weak_value_leaves_the_ct_as_it_is():
    grey = np.full((1, 3), 100, np.uint8)
    blended = overlay(grey, np.array([[0, 38, 255]], np.uint8))
    assert blended[0, 0].tolist() == blended[0, 1].tolist() == [100, 100, 100]
    assert blended[0, 2, 0] > blended[0, 2, 2]


def test_the_colour_bar_grows_brighter_to_its_end():
    luminance = colour_bar()[0].astype(float) @ (0.2126, 0.7152, 0.0722)
    assert np.argmax(luminance) == 255
    assert np.all(np.diff(luminance[190:]) >= -1)


def test_averaged_slices_are_one_tile_and_their_key_slice_shows_the_mean():
    slabs = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    diagnosis = a_diagnosis(input_slices=slabs)
    images = report_images(diagnosis)
    assert [tile.number for tile in images.tiles] == ["1–3", "4–6", "7–9", "10–12"]
    assert all(key.averaged in {(1, 3), (4, 6), (7, 9), (10, 12)} for key in images.key_slices)
    first = next(entry for entry in diagnosis.slices if entry.key_rank == 1)
    assert next(tile.rank for tile, slab in zip(images.tiles, slabs, strict=True) if first.index in slab) == 1


def test_of_positive_types_the_one_is_shown_whose_map_is_strongest_on_the_key_slices():
    diagnosis = a_diagnosis(probabilities={"any": 0.99, "subdural": 0.7, "epidural": 0.8, "subarachnoid": 0.3})
    (key, *_), shape = (entry.index for entry in diagnosis.slices if entry.key_rank), diagnosis.study.voxels.shape
    elsewhere = next(entry.index for entry in diagnosis.slices if entry.key_rank is None)

    def chosen(**marks: tuple[int, int, float]) -> str:
        """Mark one voxel per label: slice, value, scale of its map."""
        maps = []
        for label in RSNA:
            voxels = np.zeros(shape, np.uint8)
            place, value, scale = marks.get(label.key, (0, 0, 1.0))
            voxels[place, 3, 4] = value
            maps.append(AttributionMap("gradcam", label, voxels, scale))
        return shown_finding(replace(diagnosis, maps=tuple(maps))).label.key

    assert chosen(subdural=(key, 100, 1.0), epidural=(elsewhere, 255, 1.0)) == "subdural"
    assert chosen(subdural=(key, 100, 1.0), epidural=(key, 60, 2.0)) == "epidural", "in logits, not in steps of a scale"
    assert chosen(subarachnoid=(key, 255, 1.0), any=(key, 255, 1.0)) == "epidural", "a negative type is not shown"
    assert chosen() == "epidural", "the most probable where all maps are empty"


def test_without_a_positive_type_the_map_of_any_is_shown():
    for probabilities in ({"any": 0.99, "subdural": 0.3}, {"any": 0.1, "subdural": 0.3}):
        assert shown_finding(a_diagnosis(probabilities=probabilities)).label.key == "any"


def test_feature_attention_is_shown_where_the_run_made_a_map_of_it():
    diagnosis = a_diagnosis()
    attended = AttributionMap("feature_attention", None, diagnosis.maps[1].voxels, 1.0)
    assert all(small.finding for small in report_images(diagnosis).small_maps)
    shown = report_images(replace(diagnosis, maps=(diagnosis.maps[0], attended, *diagnosis.maps[1:]))).small_maps
    assert [str(small.name) for small in shown if small.finding is None] == ["Feature attention"]
    assert len(shown) == 1 + len([finding for finding in diagnosis.findings if finding.positive])


def test_maps_of_negative_findings_are_drawn_only_when_asked_for():
    negative = a_diagnosis(probabilities=NEGATIVE)
    images = report_images(negative)
    assert (images.small_maps, {key.map for key in images.key_slices}) == ((), {""})
    asked = report_images(replace(negative, draw_negative_maps=True))
    assert len(asked.small_maps) == len(RSNA)
    assert all(key.map for key in asked.key_slices)
    mixed = report_images(a_diagnosis(probabilities={"any": 0.9, "subdural": 0.8}))
    assert [small.finding.label.key for small in mixed.small_maps] == ["any", "subdural"]


@pytest.mark.parametrize(("kind", "label"), [("gradcam", None), ("attention", RSNA[0]), ("scanpath", None)])
def test_a_map_of_an_unknown_kind_or_without_its_label_is_refused(kind, label):
    with pytest.raises(ValueError, match="map"):
        AttributionMap(kind, label, np.zeros((1, 1, 1), np.uint8), 1.0)


@pytest.mark.parametrize("count", [1, 12, 400])
def test_the_histogram_holds_a_bar_for_every_original_slice(count):
    slices = tuple(SliceResult(index, 5.0 * index - 60, 1 / count, None) for index in range(count))
    drawn = attention_svg(slices, (), LIGHT)
    assert drawn.count(f"fill: {LIGHT.bar}".encode()) == count
    assert drawn == attention_svg(slices, (), LIGHT)


@pytest.mark.parametrize(("count", "dots"), [(12, 10), (90, 0)])
def test_each_slice_that_was_read_has_a_dot_at_its_output_unless_there_are_too_many(count, dots):
    labelled = with_slice_labels(a_diagnosis(a_study((count, 16, 16)))).slices
    drawn = attention_svg(labelled, (), LIGHT)
    marks = re.findall(rf'<use [^>]*y="([0-9.]+)"[^>]*fill: {LIGHT.slice_mark}'.encode(), drawn)
    assert len(marks) == dots
    known = [entry.haemorrhage for entry in labelled if entry.haemorrhage is not None]
    if dots:
        # The ordinate of an SVG grows downwards.
        heights = np.interp(known, (min(known), max(known)), (max(map(float, marks)), min(map(float, marks))))
        np.testing.assert_allclose(np.array(marks, dtype=float), heights, atol=0.01)
