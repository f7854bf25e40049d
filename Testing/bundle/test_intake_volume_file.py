"""NIfTI and NRRD volumes keep their values, their affine and their own axis order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from dicom_files import head_voxels
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy, NotEvaluableError
from scripts.intake.volume_file import slice_axis

HEAD = head_voxels(14, 24, 20).transpose(2, 1, 0)
LPS_AXIAL = np.diag([-3.0, -3.0, 5.0, 1.0]) + np.outer((1, 1, 1, 0), (0, 0, 0, 10.0))


def save_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] = LPS_AXIAL) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def read(path: Path) -> CTStudy:
    (source,) = find_studies(path)
    return read_study(source)


def refusal(path: Path) -> NotEvaluableError:
    with pytest.raises(NotEvaluableError) as fault:
        read(path)
    assert str(fault.value).startswith(path.name)
    assert "\n" not in str(fault.value)
    return fault.value


@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
def test_a_nifti_file_comes_out_as_it_was_written(tmp_path: Path, name: str):
    study = read(save_nifti(tmp_path / name, HEAD))
    np.testing.assert_array_equal(study.voxels, HEAD.T)
    np.testing.assert_allclose(study.affine, LPS_AXIAL)
    assert study.orientation == "LPS"
    assert study.positions_mm == pytest.approx(10 + 5 * np.arange(14))
    assert (study.provenance.source_format, study.provenance.source_name) == ("nifti", name)
    assert study.warnings == ()


@settings(max_examples=40)
@given(
    axes=st.permutations((0, 1, 2)),
    flips=st.tuples(*[st.sampled_from((-1, 1))] * 3),
    angle=st.floats(-30, 30),
    shear=st.floats(-0.4, 0.4),
    mark=st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 12)),
)
def test_a_marked_voxel_stays_in_place_however_the_file_is_laid_out(axes, flips, angle, shear, mark):
    array = np.full((8, 10, 13), 20, dtype=np.int16)
    array[mark] = 1000
    turn = np.eye(3)
    turn[:2, :2] = [
        [np.cos(np.radians(angle)), -np.sin(np.radians(angle))],
        [np.sin(np.radians(angle)), np.cos(np.radians(angle))],
    ]
    turn = turn[[2, 0, 1]][:, [2, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag(flips) @ np.diag([0.7, 1.3, 4.0]))[:, axes]
    affine[:3, list(axes).index(2)] += shear * affine[:3, list(axes).index(1)]
    affine[:3, 3] = (5, -6, 7)
    folder = Path(tempfile.mkdtemp())
    study = read(save_nifti(folder / "marked.nii", array, affine))
    shutil.rmtree(folder)
    (found,) = np.argwhere(study.voxels == 1000)
    place = study.affine @ (*found[::-1], 1)
    np.testing.assert_allclose(place, affine @ (*mark, 1), atol=1e-3)
    assert np.argmax(np.abs(study.affine[2, :3]) / study.spacing_mm) == 2
    np.testing.assert_array_equal(study.in_file_order(study.voxels), array)
    np.testing.assert_allclose(study.file_affine, affine, atol=1e-4)
    assert study.positions_mm[found[0]] == pytest.approx(study.slice_normal @ place[:3], abs=1e-3)
    assert np.linalg.det(study.affine[:3, :3]) == pytest.approx(
        _sign(study.file_axes) * np.linalg.det(affine[:3, :3]), rel=1e-3
    )


def _sign(axes: tuple[int, int, int]) -> float:
    return float(np.linalg.det(np.eye(3)[list(axes)]))


def test_the_slice_axis_is_the_one_closest_to_superior_inferior():
    assert slice_axis(np.diag([1.0, 1, 1, 1])) == 2
    assert slice_axis(np.array([[0, 0, 1, 0], [0, 1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])) == 0


def test_slope_and_intercept_of_the_header_are_applied(tmp_path: Path):
    image = nib.Nifti1Image(((HEAD.astype(float) + 1024) / 2).round().astype(np.int16), LPS_AXIAL)
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "scaled.nii.gz")
    assert np.abs(read(tmp_path / "scaled.nii.gz").voxels - HEAD.T).max() <= 1


def test_fractions_are_rounded_and_extremes_clipped(tmp_path: Path):
    array = HEAD.astype(np.float32)
    array[0, 0, :4] = (30.6, -3024, 70000, -0.4)
    assert read(save_nifti(tmp_path / "float.nii", array)).voxels[:4, 0, 0].tolist() == [31, -1024, 32767, 0]


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint16, np.float32, np.float64, np.int8])
def test_every_number_type_is_read(tmp_path: Path, kind: type):
    array = (HEAD.clip(0, 100)).astype(kind)
    np.testing.assert_array_equal(read(save_nifti(tmp_path / "kind.nii", array)).voxels, HEAD.T.clip(0, 100))


def test_the_sform_is_used_before_the_qform_and_a_conflict_is_named(tmp_path: Path):
    image = nib.Nifti1Image(HEAD, LPS_AXIAL)
    image.set_sform(LPS_AXIAL, code=1)
    image.set_qform(np.diag([3.0, 3, 5, 1]), code=1)
    nib.save(image, tmp_path / "two.nii")
    study = read(tmp_path / "two.nii")
    np.testing.assert_allclose(study.affine, LPS_AXIAL)
    assert [warning.code for warning in study.warnings] == ["two_orientations"]


def test_the_qform_is_used_where_it_is_alone(tmp_path: Path):
    image = nib.Nifti1Image(HEAD, None)
    image.set_qform(LPS_AXIAL, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "qform.nii")
    np.testing.assert_allclose(read(tmp_path / "qform.nii").affine, LPS_AXIAL, atol=1e-5)


def test_a_file_without_orientation_is_read_with_a_warning(tmp_path: Path):
    image = nib.Nifti1Image(HEAD, None)
    image.header.set_zooms((3, 3, 5))
    nib.save(image, tmp_path / "nowhere.nii")
    study = read(tmp_path / "nowhere.nii")
    assert study.spacing_mm == pytest.approx((3, 3, 5))
    assert [warning.code for warning in study.warnings] == ["unknown_orientation"]


def test_four_dimensions_with_one_volume_are_one_volume(tmp_path: Path):
    study = read(save_nifti(tmp_path / "one.nii", HEAD[..., None]))
    np.testing.assert_array_equal(study.voxels, HEAD.T)


def test_four_dimensions_are_refused(tmp_path: Path):
    fault = refusal(save_nifti(tmp_path / "perfusion.nii.gz", np.stack([HEAD, HEAD], axis=-1)))
    assert fault.code == "not_one_volume"
    assert "20 x 24 x 14 x 2 voxels" in str(fault)


def test_two_dimensions_are_refused(tmp_path: Path):
    assert refusal(save_nifti(tmp_path / "slice.nii", HEAD[..., 0])).code == "not_one_volume"


def test_colours_are_refused(tmp_path: Path):
    colours = np.zeros(HEAD.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refusal(save_nifti(tmp_path / "colour.nii", colours)).code == "colour"


def test_complex_numbers_are_refused(tmp_path: Path):
    assert refusal(save_nifti(tmp_path / "complex.nii", HEAD.astype(np.complex64))).code == "colour"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float):
    array = HEAD.astype(np.float32)
    array[3, 4, 5] = value
    assert refusal(save_nifti(tmp_path / "nan.nii.gz", array)).code == "not_finite"


def test_all_zeros_are_refused(tmp_path: Path):
    assert refusal(save_nifti(tmp_path / "zeros.nii.gz", np.zeros_like(HEAD))).code == "empty_volume"


def test_an_affine_without_volume_is_refused(tmp_path: Path):
    path = save_nifti(tmp_path / "flat.nii", HEAD)
    raw = bytearray(path.read_bytes())
    third_row_of_sform = slice(312, 328)
    raw[third_row_of_sform] = bytes(16)
    path.write_bytes(raw)
    assert refusal(path).code == "bad_geometry"


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_nifti_is_refused(tmp_path: Path, name: str, fraction: float):
    path = save_nifti(tmp_path / name, HEAD)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    assert refusal(path).code == "unreadable_file"


def save_nrrd(path: Path, voxels: NDArray[np.generic], vector: bool = False) -> Path:
    image = itk.image_from_array(np.ascontiguousarray(voxels), is_vector=vector)
    image.SetSpacing([3.0, 3.0, 5.0])
    image.SetOrigin([-10.0, -10.0, 10.0])
    itk.imwrite(image, str(path))
    return path


def test_an_nrrd_file_is_turned_from_lps_to_ras(tmp_path: Path):
    study = read(save_nrrd(tmp_path / "head.nrrd", HEAD.T))
    np.testing.assert_array_equal(study.voxels, HEAD.T)
    np.testing.assert_allclose(study.affine, LPS_AXIAL)
    assert study.provenance.source_format == "nrrd"


def test_an_oblique_sheared_nrrd_keeps_its_affine(tmp_path: Path):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 24 14\n"
        "space directions: (0.8,0.1,0) (-0.2,1.6,0) (0,1.5,5)\nspace origin: (1,2,3)\nencoding: raw\nendian: little\n\n"
    )
    path = tmp_path / "sheared.nrrd"
    path.write_bytes(header.encode() + HEAD.T.astype("<i2").tobytes())
    study = read(path)
    np.testing.assert_array_equal(study.voxels, HEAD.T)
    expected = np.array([[-0.8, 0.2, 0, -1], [-0.1, -1.6, -1.5, -2], [0, 0, 5, 3], [0, 0, 0, 1]])
    np.testing.assert_allclose(study.affine, expected, atol=1e-6)
    assert study.tilt_degrees == pytest.approx(np.degrees(np.arctan2(1.5, 5)), abs=0.01)


DIRECTIONS = "space directions: (3,0,0) (0,3,0) (0,0,5)\n"


@pytest.mark.parametrize(
    ("geometry", "named"),
    [
        ("spacings: 3 3 5\n", False),
        ("space dimension: 3\n" + DIRECTIONS, False),
        ("space: scanner-xyz\n" + DIRECTIONS, False),
        ("space: left-posterior-superior\n" + DIRECTIONS, True),
        ("space: RAS\n" + DIRECTIONS, True),
    ],
)
def test_an_nrrd_that_names_no_side_of_the_body_says_so(tmp_path: Path, geometry: str, named: bool):
    path = tmp_path / "head.nrrd"
    header = f"NRRD0005\ntype: short\ndimension: 3\nsizes: 20 24 14\nencoding: raw\nendian: little\n{geometry}\n"
    path.write_bytes(header.encode() + HEAD.T.astype("<i2").tobytes())
    warnings = [(warning.code, str(warning)) for warning in read(path).warnings]
    unknown = ("unknown_orientation", "head.nrrd names no orientation: left and right are assumed")
    assert warnings == ([] if named else [unknown])


def test_an_nrrd_with_vectors_is_refused(tmp_path: Path):
    assert refusal(save_nrrd(tmp_path / "rgb.nrrd", np.stack([HEAD.T] * 3, axis=-1), vector=True)).code == "colour"


def test_an_nrrd_with_four_dimensions_is_refused(tmp_path: Path):
    path = tmp_path / "series.nrrd"
    header = "NRRD0004\ntype: short\ndimension: 4\nsizes: 20 24 14 2\nencoding: raw\nendian: little\n\n"
    path.write_bytes(header.encode() + np.stack([HEAD.T, HEAD.T]).astype("<i2").tobytes())
    assert refusal(path).code == "not_one_volume"


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_nrrd_is_refused(tmp_path: Path, fraction: float):
    path = save_nrrd(tmp_path / "cut.nrrd", HEAD.T)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    assert refusal(path).code == "unreadable_file"
