"""Maps overlay the CT's file voxel on voxel, whatever its orientation, axis order and tilt."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from sample_diagnosis import a_marked_map, a_study, an_affine

from scripts.diagnosis import AttributionMap
from scripts.output.folder import OutputError
from scripts.output.map_files import map_file, map_image

SHAPE = (5, 6, 7)
SIGNED_AXES = [
    np.eye(3)[:, list(order)] * signs for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
        turned = step @ turned
    return turned


@settings(max_examples=60, deadline=None)
@given(
    directions=st.sampled_from(SIGNED_AXES),
    degrees=st.tuples(*[st.floats(-30, 30)] * 3),
    tilt=st.sampled_from([0.0, 18.5]),
    file_axes=st.permutations(range(3)),
    voxel=st.tuples(*(st.integers(0, size - 1) for size in SHAPE)),
)
def test_a_marked_voxel_lands_where_it_belongs(directions, degrees, tilt, file_axes, voxel):
    affine = an_affine(rotation(degrees) @ directions, (0.4, 0.7, 4.0), tilt)
    study = a_study(SHAPE, affine, file_axes=tuple(file_axes))
    image = nib.Nifti1Image.from_bytes(gzip.decompress(map_file(a_marked_map(study, voxel), study)))
    assert image.shape == study.in_file_order(study.voxels).shape
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, study.file_affine, atol=1e-4)
    where = np.argwhere(np.asanyarray(image.dataobj) == 255)
    assert len(where) == 1
    slice_, row, column = voxel
    expected = apply_affine(affine, (column, row, slice_))
    np.testing.assert_allclose(apply_affine(image.affine, where[0]), expected, atol=1e-3)
    np.testing.assert_allclose(np.sort(image.header.get_zooms()), np.sort(nib.affines.voxel_sizes(affine)), rtol=1e-5)


@pytest.mark.parametrize("directions", SIGNED_AXES)
def test_the_qform_says_the_same_where_there_is_no_shear(directions):
    study = a_study(SHAPE, an_affine(rotation((5, 10, -15)) @ directions))
    image = map_image(a_marked_map(study, (0, 0, 0)), study)
    assert (image.get_sform(coded=True)[1], image.get_qform(coded=True)[1]) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)


def test_a_tilted_study_leaves_the_qform_unknown_because_it_cannot_hold_shear():
    study = a_study(SHAPE, an_affine(tilt_degrees=18.5))
    image = map_image(a_marked_map(study, (0, 0, 0)), study)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(image.get_sform(), study.file_affine, atol=1e-4)


def test_the_rounding_of_dicom_cosines_is_not_taken_for_a_tilt():
    directions = np.diag([-1.0, -1.0, 1.0])
    directions[2, 0], directions[0, 2] = 2e-6, 1e-6
    study = a_study((36, 64, 64), an_affine(directions))
    assert int(map_image(a_marked_map(study, (0, 0, 0)), study).header["qform_code"]) == 1


def test_another_library_reads_the_same_place(tmp_path: Path):
    """ITK counts in LPS: its point is ours with the first two signs turned."""
    study = a_study(SHAPE, an_affine(rotation((4, -8, 12))))
    path = tmp_path / "gradcam.nii.gz"
    path.write_bytes(map_file(a_marked_map(study, (3, 2, 6)), study))
    image = itk.imread(str(path))
    assert image.GetPixel([6, 2, 3]) == 255
    point = np.array(image.TransformIndexToPhysicalPoint([6, 2, 3])) * (-1, -1, 1)
    np.testing.assert_allclose(point, apply_affine(study.affine, (6, 2, 3)), atol=1e-3)


def test_the_same_map_gives_the_same_bytes():
    study = a_study(SHAPE)
    assert map_file(a_marked_map(study, (1, 2, 3)), study) == map_file(a_marked_map(study, (1, 2, 3)), study)


@pytest.mark.parametrize("wrong", [np.zeros((5, 6, 8), np.uint8), np.zeros(SHAPE, np.float32)])
def test_a_map_that_does_not_fit_the_study_is_refused(wrong):
    with pytest.raises(OutputError, match="does not fit the study"):
        map_image(AttributionMap("attention", None, wrong, 1.0), a_study(SHAPE))
