"""Enhanced CT: of many frames in one file, those of one plain scan of the head are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import Series, head_voxels, set_pixels
from dicom_heads import OTHER, SMALL, codes, sentences
from dicom_heads import read as read_only_study
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from scripts.intake.study import NotEvaluableError

ANOTHER = replace(SMALL, voxels=OTHER)
Edit = Callable[[int, Dataset], None]


def enhanced_ct(
    path: Path,
    *series: Series,
    order: slice = slice(None, None, -1),
    edit: Edit | None = None,
    **attributes: object,
) -> Path:
    """Write the slices of one series or more as the frames of one file, by default the last slice first.

    ``edit(n, frame)`` changes the functional groups of a frame of the n-th series.
    """
    dataset = series[0].dataset(0)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedCTImageStorage
    shared, measures, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, dataset.SliceThickness
    plane.ImageOrientationPatient = dataset.ImageOrientationPatient
    values.RescaleSlope, values.RescaleIntercept = dataset.RescaleSlope, dataset.RescaleIntercept
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    shared.PixelValueTransformationSequence = Sequence([values])
    frames, stored = [], []
    for number, each in enumerate(series):
        for index in range(len(each.voxels))[order]:
            frame, position = Dataset(), Dataset()
            position.ImagePositionPatient = [float(millimetre) for millimetre in each.position(index)]
            frame.PlanePositionSequence = Sequence([position])
            if edit:
                edit(number, frame)
            frames.append(frame)
            stored.append(each.voxels[index] - int(each.intercept))
    for keyword in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(dataset, keyword)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    set_pixels(dataset, np.stack(stored).astype(np.int16))
    dataset.NumberOfFrames = len(frames)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def sequence_of(**attributes: object) -> Sequence:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_an_enhanced_multi_frame_ct_is_read(tmp_path: Path):
    series = Series(head_voxels(13, 32, 24, (6.0, 8.0)), pixel_spacing=(6.0, 8.0))
    study = read_only_study(enhanced_ct(tmp_path / "enhanced.dcm", series))
    np.testing.assert_array_equal(study.voxels, series.voxels)
    assert study.spacing_mm == pytest.approx((8, 6, 5))
    assert study.provenance.slice_thickness_mm == 5


@pytest.mark.parametrize("stored", [1, len(SMALL.voxels) - 2])
def test_more_frames_named_than_stored_are_refused(tmp_path: Path, stored: int):
    path = enhanced_ct(tmp_path / "enhanced.dcm", SMALL)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[: SMALL.voxels[0].nbytes * stored]
    dataset.NumberOfFrames = stored
    dataset.save_as(path)
    with pytest.raises(
        NotEvaluableError, match=r"enhanced\.dcm: pixel data is cut off .*; copy the file again"
    ) as fault:
        read_only_study(path)
    assert fault.value.code == "unreadable_pixel_data"


def test_frames_of_a_localizer_are_no_slices_of_the_head(tmp_path: Path):
    """They lie where the next two slices would, and only their own Frame Type names them."""
    above = replace(SMALL, voxels=OTHER[:2], origin=SMALL.position(len(SMALL.voxels)))

    def edit(number: int, frame: Dataset) -> None:
        kind = ["ORIGINAL", "PRIMARY", "LOCALIZER" if number else "VOLUME", "NONE"]
        frame.CTImageFrameTypeSequence = sequence_of(FrameType=kind)

    mixed = ["ORIGINAL", "PRIMARY", "MIXED", "NONE"]
    study = read_only_study(enhanced_ct(tmp_path / "enhanced.dcm", SMALL, above, edit=edit, ImageType=mixed))
    np.testing.assert_array_equal(study.voxels, SMALL.voxels)
    assert "2 slices of 5 mm, kernel H31s): left out, localizer" in sentences(study)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (["DERIVED", "PRIMARY", "VOLUME", "ENERGY_PROP_WT"], "derived from another series"),
        (["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"], "projections, renderings or screenshots"),
        (["DERIVED", "PRIMARY", "VOLUME", "IODINE"], "no Hounsfield units"),
    ],
    ids=["of two energies", "maximum", "iodine"],
)
def test_computed_frames_give_way_to_those_that_were_measured(tmp_path: Path, kind: list[str], reason: str):
    def edit(number: int, frame: Dataset) -> None:
        measured = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frame.CTImageFrameTypeSequence = sequence_of(FrameType=measured if number else kind)

    mixed = ["DERIVED", "PRIMARY", "MIXED", "MIXED"]
    study = read_only_study(enhanced_ct(tmp_path / "enhanced.dcm", ANOTHER, SMALL, edit=edit, ImageType=mixed))
    np.testing.assert_array_equal(study.voxels, SMALL.voxels)
    assert reason in sentences(study)


def test_frames_before_the_contrast_medium_are_read(tmp_path: Path):
    def edit(number: int, frame: Dataset) -> None:
        given = "NO" if number else "YES"
        frame.ContrastBolusUsageSequence = sequence_of(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered=given)

    agent = sequence_of(CodeMeaning="Iohexol", ContrastBolusAgentNumber=1)
    path = enhanced_ct(tmp_path / "enhanced.dcm", ANOTHER, SMALL, edit=edit, ContrastBolusAgentSequence=agent)
    study = read_only_study(path)
    np.testing.assert_array_equal(study.voxels, SMALL.voxels)
    assert codes(study) == []


@pytest.mark.parametrize("interleaved", [False, True], ids=["one after the other", "every second frame"])
def test_an_image_that_was_split_into_two_files_is_one_head(tmp_path: Path, interleaved: bool):
    parts = (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(0, 7), slice(7, None))
    for number, part in enumerate(parts, start=1):
        enhanced_ct(tmp_path / f"{number}.dcm", SMALL, order=part, ConcatenationUID="1.2.3.4")
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, SMALL.voxels)


def test_a_file_per_frame_is_one_head(tmp_path: Path):
    for index in range(len(SMALL.voxels)):
        enhanced_ct(tmp_path / f"{index}.dcm", SMALL, order=slice(index, index + 1))
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, SMALL.voxels)
