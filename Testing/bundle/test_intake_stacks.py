"""Which slices make one stack, and what is said of the rest: real DICOM files of every kind."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import Edit, head_voxels, set_value, write_multi_frame, write_series
from dicom_heads import HEAD, OTHER, SMALL, assert_is, codes, folder, read, sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import NotEvaluableError

FRAME = "1.2.840.4"


def edits(*each: Edit) -> Edit:
    def edit(index: int, dataset: Dataset) -> None:
        for one in each:
            one(index, dataset)

    return edit


# What belongs together.


@settings(max_examples=10)
@given(shift=st.floats(0.5, 4.5), same_uids=st.booleans(), one_folder=st.booleans(), seed=st.integers(0, 99))
def test_two_patients_are_never_one_head(shift, same_uids, one_folder, seed):
    """Also where de-identification gave both the same Study and Series UID."""
    first = replace(SMALL, study_uid="1.2.3", series_uid="1.2.3.1")
    second = replace(first, voxels=OTHER, origin=(-96, -96, 10.0 + shift))
    if not same_uids:
        second = replace(second, series_uid="1.2.3.2")
    names = random.Random(seed).sample(range(1000), 48)
    with folder() as place:
        other = place if one_folder else place / "other"
        write_series(place, first, names=[f"{name}" for name in names[:24]])
        write_series(other, second, set_value("PatientID", "MRN-2"), names=[f"{name}" for name in names[24:]])
        studies = [read_study(source) for source in find_studies(place)]
    assert len(studies) == 2
    assert {study.voxels.tobytes() for study in studies} == {HEAD.tobytes(), OTHER.tobytes()}
    assert all("several_patients" in codes(study) for study in studies)


DIFFERENCES = {
    "kernel": set_value("ConvolutionKernel", "H60s"),
    "contrast": edits(set_value("ContrastBolusAgent", "Iohexol"), set_value("AcquisitionNumber", 2)),
    "contrast alone": set_value("ContrastBolusAgent", "Iohexol"),
    "tube voltage": set_value("KVP", "80"),
    "frame of reference": set_value("FrameOfReferenceUID", "1.2.840.9"),
    "thickness": set_value("SliceThickness", "2.5"),
    "acquisition": set_value("AcquisitionNumber", 7),
    "time point": set_value("TemporalPositionIdentifier", 2),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_slices_between_each_other_are_one_stack_only_where_they_agree(tmp_path: Path, difference: str):
    between = replace(SMALL, voxels=OTHER, origin=(-96, -96, 12.5))
    common = edits(set_value("FrameOfReferenceUID", FRAME), set_value("KVP", "120"))
    write_series(tmp_path / "first", SMALL, common)
    write_series(tmp_path / "second", between, edits(common, DIFFERENCES[difference]))
    study = read(tmp_path)
    assert study.voxels.shape == HEAD.shape
    assert study.voxels.tobytes() in {HEAD.tobytes(), OTHER.tobytes()}
    assert len(study.provenance.series_choice) == 2


def test_a_plain_scan_is_read_before_one_with_contrast_of_the_same_series(tmp_path: Path):
    between = replace(SMALL, voxels=OTHER, origin=(-96, -96, 12.5))
    write_series(tmp_path / "first", between, DIFFERENCES["contrast alone"])
    write_series(tmp_path / "second", SMALL)
    assert_is(read(tmp_path), HEAD)


@settings(max_examples=10)
@given(
    cut=st.integers(4, 20),
    attribute=st.sampled_from(["SliceThickness", "AcquisitionNumber", "KVP", "ConvolutionKernel"]),
)
def test_parts_that_adjoin_are_one_head_although_they_differ(cut, attribute):
    values = {"SliceThickness": ("2.5", "5"), "KVP": ("140", "120"), "ConvolutionKernel": ("H31s", "H40s")}
    low, high = values.get(attribute, (1, 2))

    def edit(index: int, dataset: Dataset) -> None:
        setattr(dataset, attribute, low if index < cut else high)

    with folder() as place:
        write_series(place, SMALL, edit)
        study = read(place)
    assert_is(study, HEAD)
    assert codes(study) == (["mixed_reconstruction"] if attribute in ("KVP", "ConvolutionKernel") else [])


@settings(max_examples=12)
@given(
    per_rotation=st.sampled_from([2, 3, 4, 6]),
    which=st.integers(0, 3),
    number=st.sampled_from([0, 99]),
    offset=st.sampled_from([0.0, 0.3, 1.5]),
)
def test_a_repeated_rotation_is_dropped_and_the_rest_is_one_head(per_rotation, which, number, offset):
    again = slice(which * per_rotation, (which + 1) * per_rotation)
    repeated = replace(SMALL, voxels=HEAD[again], origin=(-96, -96, 10.0 + 5 * again.start + offset))
    with folder() as place:
        write_series(
            place / "scan",
            SMALL,
            lambda index, dataset: setattr(dataset, "AcquisitionNumber", 1 + index // per_rotation),
        )
        write_series(place / "again", repeated, set_value("AcquisitionNumber", 99))
        study = read(place)
    assert_is(study, HEAD)
    assert f"{per_rotation} slices of a repeated or overlapping stretch left out" in sentences(study)
    assert codes(study) == []


@settings(max_examples=10)
@given(size=st.sampled_from([1e-9, 1e-6, 4e-4, 1e-3, 2e-3]), seed=st.integers(0, 999))
def test_small_noise_in_direction_cosines_leaves_the_stack_whole(size, seed):
    generator = np.random.default_rng(seed)

    def noise(_: int, dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = [
            f"{float(cosine) + generator.uniform(-size, size):.10f}" for cosine in dataset.ImageOrientationPatient
        ]

    with folder() as place:
        write_series(place, SMALL, noise)
        study = read(place)
    assert_is(study, HEAD)
    axes = study.affine[:3, :2] / np.linalg.norm(study.affine[:3, :2], axis=0)
    assert abs(axes[:, 0] @ axes[:, 1]) < 1e-3 + size


@settings(max_examples=8)
@given(cut=st.integers(6, 18), degrees=st.floats(3, 25))
def test_what_another_tilt_keeps_out_of_the_stack_is_warned_of_in_millimetres(cut, degrees):
    angle, middle_mm = np.radians(degrees), HEAD.shape[1] * SMALL.pixel_spacing[0] / 2
    # About the middle of the images: about their corner, a large tilt would move the few low slices among the others.
    origin = (-96, -96 + middle_mm * (1 - np.cos(angle)), 10.0 - middle_mm * np.sin(angle))
    tilted = replace(SMALL, orientation=(1, 0, 0, 0, np.cos(angle), np.sin(angle)), origin=origin)
    with folder() as place:
        write_series(place / "low", replace(tilted, voxels=HEAD[:cut]))
        write_series(place / "high", replace(SMALL, voxels=HEAD[cut:], origin=(-96, -96, 10.0 + 5 * cut)))
        study = read(place)
    assert len(study.voxels) == max(cut, 24 - cut) or len(study.voxels) in (cut, 24 - cut)
    (warning,) = (warning for warning in study.warnings if warning.code == "head_left_out")
    assert warning.values["slices"] >= 1
    assert f"up to {warning.values['mm']:.0f} mm beyond" in str(warning)


def test_a_frame_of_reference_per_image_distinguishes_nothing(tmp_path: Path):
    write_series(tmp_path, SMALL, lambda _, dataset: setattr(dataset, "FrameOfReferenceUID", generate_uid()))
    assert_is(read(tmp_path), HEAD)


def test_a_series_uid_per_image_distinguishes_nothing(tmp_path: Path):
    def anew(_: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = generate_uid(), FRAME

    write_series(tmp_path, SMALL, anew)
    assert_is(read(tmp_path), HEAD)


# Copies and time points.


@settings(max_examples=8)
@given(copies=st.sets(st.integers(0, 23), min_size=1), new_uid=st.booleans(), same_names=st.booleans())
def test_identical_copies_are_dropped_with_a_note(copies, new_uid, same_names):
    with folder() as place:
        paths = write_series(place / "DICOM", SMALL)
        (place / "backup").mkdir()
        for index in copies:
            dataset = pydicom.dcmread(paths[index])
            if new_uid:
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
            dataset.save_as(place / "backup" / (paths[index].name if same_names else f"copy{index}.dcm"))
        study = read(place)
    assert_is(study, HEAD)
    if not (new_uid and len(copies) == 24):
        assert f"{len(copies)} identical copies left out" in sentences(study)


def test_copies_that_differ_are_refused_and_the_remedy_works(tmp_path: Path):
    paths = write_series(tmp_path / "head" / "DICOM", SMALL)
    shutil.copytree(tmp_path / "head" / "DICOM", tmp_path / "head" / "backup")
    damaged = tmp_path / "head" / "backup" / paths[9].name
    raw = bytearray(damaged.read_bytes())
    raw[-900] ^= 0x40
    damaged.write_bytes(raw)
    with pytest.raises(NotEvaluableError) as fault:
        read(tmp_path / "head")
    assert str(fault.value) == (
        "head: DICOM/2_009.dcm and backup/2_009.dcm are copies of one image with different pixels; "
        "remove the damaged one"
    )
    damaged.unlink()
    assert_is(read(tmp_path / "head"), HEAD)


def test_of_two_time_points_in_one_series_one_is_read_and_the_other_named(tmp_path: Path):
    later = replace(SMALL, voxels=OTHER)
    write_series(tmp_path / "t1", SMALL, set_value("AcquisitionTime", "080000"))
    write_series(tmp_path / "t2", later, set_value("AcquisitionTime", "081500"))
    study = read(tmp_path)
    assert_is(study, HEAD)
    assert len(study.provenance.series_choice) == 2


def test_of_two_multi_frame_images_in_one_series_one_is_read(tmp_path: Path):
    for name, voxels in (("one", HEAD), ("two", OTHER)):
        write_multi_frame(tmp_path / name, replace(SMALL, voxels=voxels))
    study = read(tmp_path)
    assert study.voxels.tobytes() in {HEAD.tobytes(), OTHER.tobytes()}
    assert len(study.provenance.series_choice) == 2


def test_one_image_of_another_size_in_the_series_is_left_out(tmp_path: Path):
    """A dose report, or a slice whose header was damaged."""
    write_series(tmp_path, SMALL)
    odd = replace(SMALL, voxels=head_voxels(1, 64, 64), origin=(-96, -96, 400))
    write_series(tmp_path, odd, names=["report.dcm"])
    study = read(tmp_path)
    assert_is(study, HEAD)
    assert len(study.provenance.series_choice) == 2
