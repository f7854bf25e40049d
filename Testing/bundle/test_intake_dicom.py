"""Which slices of a DICOM study are read, in which order, and where they lie in the patient."""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import PATIENT_NAME, Series, head_voxels, set_value, write_multi_frame, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.kernel import is_bone_kernel
from scripts.intake.study import CTStudy, NotEvaluableError, Provenance

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
TINY = head_voxels(14, 24, 20)


def read_only_study(folder: Path) -> CTStudy:
    (source,) = find_studies(folder)
    return read_study(source)


def warning_names(study: CTStudy) -> list[str]:
    return [warning.code for warning in study.warnings]


def place_of(study: CTStudy, slice_index: int, row: int, column: int) -> NDArray[np.float64]:
    return (study.affine @ (column, row, slice_index, 1))[:3]


def rotation(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    x, y, z = np.radians(angles)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def test_a_series_comes_out_as_it_was_written(tmp_path: Path):
    series = Series()
    write_series(tmp_path / "head", series)
    study = read_only_study(tmp_path / "head")
    np.testing.assert_array_equal(study.voxels, series.voxels)
    assert study.orientation == "LPS"
    assert study.spacing_mm == pytest.approx((3, 3, 5))
    assert study.tilt_degrees == pytest.approx(0)
    assert study.positions_mm == pytest.approx(10 + 5 * np.arange(24))
    assert study.warnings == ()
    assert study.provenance.source_name == "head"
    assert study.provenance.study_uid == series.study_uid
    assert study.provenance.series_uid == series.series_uid
    assert (study.provenance.kernel, study.provenance.slice_thickness_mm) == ("H31s", 5.0)


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_file_order_and_instance_numbers_never_change_the_stack(seed: int):
    folder = Path(tempfile.mkdtemp())
    generator = random.Random(seed)
    numbers = generator.sample(range(1, 1000), len(TINY))
    names = [f"{number:04d}" for number in generator.sample(range(1000), len(TINY))]
    backwards = generator.random() < 0.5
    series = Series(TINY[::-1] if backwards else TINY, step=(0, 0, -5.0) if backwards else (0, 0, 5.0))
    write_series(folder, series, lambda index, dataset: setattr(dataset, "InstanceNumber", numbers[index]), names)
    study = read_only_study(folder)
    shutil.rmtree(folder)
    np.testing.assert_array_equal(study.voxels, TINY)
    assert (np.diff(study.positions_mm) > 0).all()


@settings(max_examples=25)
@given(
    angles=st.tuples(st.floats(-180, 180), st.floats(-180, 180), st.floats(-180, 180)),
    pixel=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    step=st.floats(0.5, 8),
    tilt=st.floats(-30, 30),
    backwards=st.booleans(),
    mark=st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 12)),
)
def test_a_marked_voxel_lands_where_dicom_says(angles, pixel, step, tilt, backwards, mark):
    turn = rotation(angles)
    normal = turn[:, 2] * (-1 if backwards else 1)
    shear = turn[:, 1] * step * np.tan(np.radians(tilt))
    voxels = np.full((8, 10, 13), 20, dtype=np.int16)
    voxels[mark] = 1000
    series = Series(
        voxels,
        pixel,
        (*turn[:, 0], *turn[:, 1]),
        origin=(12.0, -34.0, 56.0),
        step=normal * step + shear,
        thickness=None,
    )
    folder = Path(tempfile.mkdtemp())
    write_series(folder, series)
    study = read_only_study(folder)
    shutil.rmtree(folder)
    truth = series.position(mark[0]) + turn[:, 0] * pixel[1] * mark[2] + turn[:, 1] * pixel[0] * mark[1]
    (found,) = np.argwhere(study.voxels == 1000)
    assert place_of(study, *found) == pytest.approx(truth * LPS_TO_RAS, abs=0.01)
    assert study.tilt_degrees == pytest.approx(abs(tilt), abs=0.05)
    assert np.linalg.det(study.affine[:3, :3]) > 0
    assert study.positions_mm[found[0]] == pytest.approx(study.slice_normal @ place_of(study, *found), abs=0.01)


@pytest.mark.parametrize("step_mm", [5.0, -5.0])
def test_each_slice_keeps_the_uid_of_its_own_instance(tmp_path: Path, step_mm: float):
    """File names and instance numbers are shuffled; the slices come in the order of their positions."""
    series = replace(Series(TINY), step=(0.0, 0.0, step_mm))
    shuffled = random.Random(3).sample(range(14), 14)
    uids: dict[float, str] = {}

    def shuffle(index: int, dataset: Dataset) -> None:
        dataset.InstanceNumber = shuffled[index] + 1
        uids[series.position(index)[2]] = dataset.SOPInstanceUID

    write_series(tmp_path, series, shuffle, [f"IM{number:03d}" for number in shuffled])
    study = read_only_study(tmp_path)
    assert study.sop_instance_uids == tuple(uids[position] for position in study.positions_mm)
    in_order = TINY if step_mm > 0 else TINY[::-1]
    np.testing.assert_array_equal(study.voxels, in_order)


def test_all_frames_of_a_multi_frame_image_keep_its_uid(tmp_path: Path):
    path, uid = write_multi_frame(tmp_path, Series(TINY))
    study = read_only_study(path)
    np.testing.assert_array_equal(study.voxels, TINY)
    assert study.sop_instance_uids == (uid,) * 14


def test_an_image_without_an_instance_uid_has_that_of_its_file(tmp_path: Path):
    uids = []

    def strip(_: int, dataset: Dataset) -> None:
        uids.append(dataset.file_meta.MediaStorageSOPInstanceUID)
        del dataset.SOPInstanceUID

    write_series(tmp_path, Series(TINY), strip)
    assert read_only_study(tmp_path).sop_instance_uids == tuple(uids)


def test_a_study_takes_one_instance_uid_per_slice():
    study = CTStudy(TINY, np.eye(4), np.arange(14.0), Provenance("head", "dicom"), sop_instance_uids=("1.2",) * 14)
    with pytest.raises(ValueError, match="14 SOP Instance UIDs for 13 slices"):
        replace(study, voxels=TINY[1:], positions_mm=np.arange(13.0))


def test_two_series_in_one_folder_are_not_interleaved(tmp_path: Path):
    soft = Series()
    bone = replace(soft, voxels=soft.voxels + 1, series_uid="1.2.3", number=3, kernel="H70h", origin=(-96, -96, 12.5))
    write_series(tmp_path, soft)
    write_series(tmp_path, bone)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, soft.voxels)
    assert tuple(map(str, study.provenance.series_choice)) == (
        "Series 2 (24 slices of 5 mm, kernel H31s): chosen, no contrast medium named, soft tissue kernel.",
        "Series 3 (24 slices of 5 mm, kernel H70h): left out, bone kernel.",
    )


@pytest.mark.parametrize(
    ("change", "edit", "reason"),
    [
        ({"kernel": "BONE"}, None, "bone kernel"),
        ({}, set_value("ContrastBolusAgent", "IOMERON"), "contrast medium"),
        ({"thickness": 0.6}, None, "slices of 3 to 5 mm are preferred"),
        ({"thickness": 10.0}, None, "slices of 3 to 5 mm are preferred"),
        ({"voxels": head_voxels(23)}, None, "it has fewer slices"),
        ({"voxels": head_voxels(5)}, None, "it covers too little of the head"),
        ({"image_type": ("DERIVED", "PRIMARY", "AXIAL")}, None, "derived from another series"),
        ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, None, "derived or secondary images"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, None, "localizer"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "SCOUT")}, None, "localizer"),
        ({"modality": "MR"}, None, "not CT"),
        ({"number": 9}, None, "an equal series comes first"),
    ],
)
def test_the_better_series_is_read_and_the_other_is_named_with_the_reason(tmp_path: Path, change, edit, reason):
    good = Series(number=5)
    other = replace(good, **{"series_uid": "1.2.3", "number": 1, **change})
    write_series(tmp_path / "b", good)
    write_series(tmp_path / "a", other, edit)
    study = read_only_study(tmp_path)
    assert study.provenance.series_uid == good.series_uid
    (left_out,) = (sentence for sentence in map(str, study.provenance.series_choice) if "left out" in sentence)
    assert left_out.startswith(f"Series {other.number} ({len(other.voxels)} slices of ")
    assert left_out.endswith(f": left out, {reason}.")


def test_a_localizer_inside_the_series_is_dropped(tmp_path: Path):
    series = Series()
    write_series(tmp_path, series)
    localizer = Series(head_voxels(1, 40, 30), series_uid=series.series_uid, study_uid=series.study_uid)
    localizer = replace(localizer, orientation=(0, 1, 0, 0, 0, -1), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    write_series(tmp_path, localizer, names=["localizer.dcm"])
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, series.voxels)


def test_slices_of_another_orientation_in_the_series_are_a_stack_of_their_own(tmp_path: Path):
    series = Series()
    coronal = replace(series, voxels=head_voxels(8), orientation=(1, 0, 0, 0, 0, -1), step=(0, 5, 0))
    write_series(tmp_path / "axial", series)
    write_series(tmp_path / "coronal", coronal)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, series.voxels)
    assert len(study.provenance.series_choice) == 2


def test_a_repeated_acquisition_is_not_interleaved_with_the_first(tmp_path: Path):
    series = Series()
    again = replace(series, voxels=head_voxels(20), origin=(-96, -96, 12.5))
    write_series(tmp_path / "first", series)
    write_series(tmp_path / "again", again, set_value("AcquisitionNumber", 2))
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, series.voxels)


def test_acquisitions_that_adjoin_are_one_scan(tmp_path: Path):
    series = Series()
    write_series(tmp_path, series, lambda index, dataset: setattr(dataset, "AcquisitionNumber", index // 2))
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, series.voxels)


def test_a_missing_slice_is_reported(tmp_path: Path):
    paths = write_series(tmp_path)
    paths[7].unlink()
    study = read_only_study(tmp_path)
    assert len(study.voxels) == 23
    assert warning_names(study) == ["missing_slices", "uneven_slice_spacing"]
    assert str(study.warnings[0]) == "1 slice is missing: median gap 5.0 mm, largest 10.0 mm"
    assert study.positions_mm[7] - study.positions_mm[6] == pytest.approx(10)
    assert study.spacing_mm[2] == pytest.approx(23 * 5 / 22)


def test_two_planned_spacings_lack_nothing(tmp_path: Path):
    def widen(index: int, dataset: Dataset) -> None:
        dataset.ImagePositionPatient[2] = 5.0 * index + 5.0 * max(0, index - 12)

    write_series(tmp_path, edit=widen)
    assert warning_names(read_only_study(tmp_path)) == ["uneven_slice_spacing"]


def test_contrast_is_a_warning_where_no_other_series_exists(tmp_path: Path):
    write_series(tmp_path, edit=set_value("ContrastBolusAgent", "IOMERON"))
    study = read_only_study(tmp_path)
    assert warning_names(study) == ["contrast"]


def test_the_minimal_headers_of_rsna_are_enough(tmp_path: Path):
    def strip(index: int, dataset: Dataset) -> None:
        for keyword in ("InstanceNumber", "AcquisitionNumber", "ImageType", "SOPClassUID", "PatientName"):
            delattr(dataset, keyword)
        dataset.SOPInstanceUID = f"ID_{index:09x}"

    series = Series(number=None, thickness=None, kernel=None, study_uid="ID_1f6d1e8aeb", series_uid="ID_e17326e0bd")
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        write_series(tmp_path, series, strip)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, series.voxels)
    assert study.provenance.series_uid == "ID_e17326e0bd"
    assert study.sop_instance_uids == tuple(f"ID_{index:09x}" for index in range(24))
    assert tuple(map(str, study.provenance.series_choice)) == (
        "Series without a number (24 slices of 5 mm): chosen, no contrast medium named.",
    )


def test_a_file_without_modality_is_ct_by_its_storage_class(tmp_path: Path):
    series = Series()
    write_series(tmp_path, series, set_value("Modality", None))
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, series.voxels)


def test_nothing_of_the_patient_is_kept(tmp_path: Path):
    def identify(index: int, dataset: Dataset) -> None:
        """Random UIDs hold the patient's number now and then."""
        dataset.SOPInstanceUID = f"1.2.5.{index}"

    write_series(tmp_path / "head", Series(study_uid="1.2.3", series_uid="1.2.4"), identify)
    (source,) = find_studies(tmp_path / "head")
    text = f"{source!r} {read_study(source).provenance!r}"
    assert not [
        word for word in (*PATIENT_NAME.split("^"), "4711", "1950") if word in text.replace(source.study_id, "")
    ]


def test_slices_that_lie_beside_the_stack_are_refused(tmp_path: Path):
    def shift(index: int, dataset: Dataset) -> None:
        dataset.ImagePositionPatient[0] += 40.0 * (index == 9)

    write_series(tmp_path / "head", edit=shift)
    with pytest.raises(NotEvaluableError, match=r"^head: 2_009\.dcm lies 40\.0 mm beside the other slices; export"):
        read_only_study(tmp_path / "head")


@pytest.mark.parametrize(
    "kernel", ["H60s", "Hr64h", "J70h", "B70f", "BONE", "BONEPLUS", "EDGE", "FC30", "FC81", "D", "YC"]
)
def test_bone_kernels_are_known(kernel: str):
    assert is_bone_kernel(kernel)


@pytest.mark.parametrize(
    "kernel", [None, "", "H31s", "J40s", "Hr38h", "STANDARD", "STD+", "SOFT", "FC21", "FC68", "UB"]
)
def test_soft_tissue_kernels_are_not_taken_for_bone(kernel: str | None):
    assert not is_bone_kernel(kernel)


def test_the_real_rsna_series_is_read_whole(ich_data: Path):
    study = read_only_study(ich_data / "rsna-series-iph-ivh")
    assert study.voxels.shape == (36, 512, 512)
    assert study.spacing_mm == pytest.approx((0.488, 0.488, 5.0), abs=0.001)
    assert study.tilt_degrees == pytest.approx(8.0, abs=0.1)
    assert study.voxels.min() == -1024
    assert study.warnings == ()
    assert study.sop_instance_uids is not None
    assert len(set(study.sop_instance_uids)) == 36
    assert all(uid.startswith("ID_") for uid in study.sop_instance_uids)


def test_the_real_tilted_series_keeps_its_shear(ich_data: Path):
    study = read_only_study(ich_data / "ge-gantry-tilt")
    assert study.voxels.shape == (28, 512, 512)
    assert study.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert warning_names(study) == ["uneven_slice_spacing"]
    assert (study.affine @ (0, 0, 27, 1))[:3] == pytest.approx((125, 123.540, 157.776), abs=0.001)
