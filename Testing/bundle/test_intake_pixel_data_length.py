"""A file that holds more pixels than its header states is refused by name or warned of, however it is compressed."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_files import Series, head_voxels, set_pixels, transcode, write_multi_frame, write_series
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.pixel_data_length import codestream_size, has_excess
from scripts.intake.study import CTStudy, NotEvaluableError

ROWS, COLUMNS = 32, 24
SMALL = head_voxels(13, ROWS, COLUMNS, (6.0, 8.0))
SYNTAXES = {
    "uncompressed": None,
    "JPEG Lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
    "RLE": gdcm.TransferSyntax.RLELossless,
}


def read_only_study(folder: Path) -> CTStudy:
    (source,) = find_studies(folder)
    return read_study(source)


def refusal(path: Path) -> str:
    with pytest.raises(NotEvaluableError) as fault:
        read_only_study(path)
    assert fault.value.code == "unreadable_pixel_data"
    return str(fault.value)


def compressed_series(folder: Path, syntax: str) -> list[Path]:
    paths = write_series(folder, Series(SMALL))
    for path in paths if SYNTAXES[syntax] else ():
        transcode(path, SYNTAXES[syntax])
    return paths


def state(path: Path, keyword: str, value: int) -> None:
    """Change what a file's header states, and nothing of its pixel data."""
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("keyword", "value", "right"), [("Rows", ROWS - 1, ROWS), ("Columns", COLUMNS - 1, COLUMNS), ("Rows", 1, ROWS)]
)
def test_fewer_rows_or_columns_than_stored_are_refused(
    tmp_path: Path, syntax: str, keyword: str, value: int, right: int
):
    paths = compressed_series(tmp_path / "head", syntax)
    for path in paths:
        state(path, keyword, value)
    assert "export the study again" in refusal(tmp_path / "head")
    for path in paths:
        state(path, keyword, right)
    np.testing.assert_array_equal(read_only_study(tmp_path / "head").voxels, SMALL)


@pytest.mark.parametrize("syntax", ["uncompressed", "JPEG Lossless", "JPEG 2000"])
def test_fewer_bits_allocated_than_stored_are_refused(tmp_path: Path, syntax: str):
    for path in compressed_series(tmp_path, syntax):
        state(path, "BitsAllocated", 8)
    assert "Bits Allocated" in refusal(tmp_path)


def test_a_single_slice_with_pixels_of_two_is_refused(tmp_path: Path):
    for path in write_series(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = dataset.PixelData * 2
        dataset.save_as(path)
    assert "Number of Frames" in refusal(tmp_path)


@pytest.mark.parametrize("syntax", [name for name, syntax in SYNTAXES.items() if syntax])
def test_a_compressed_slice_with_two_frames_is_refused(tmp_path: Path, syntax: str):
    for path in compressed_series(tmp_path, syntax):
        dataset = pydicom.dcmread(path)
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([frame, frame], has_bot=False)
        dataset.save_as(path)
    assert "Number of Frames" in refusal(tmp_path)


def test_a_frame_in_several_fragments_is_one_frame(tmp_path: Path):
    for path in compressed_series(tmp_path, "JPEG 2000"):
        dataset = pydicom.dcmread(path)
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([frame], fragments_per_frame=3, has_bot=False)
        dataset.save_as(path)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert study.warnings == ()


@pytest.mark.parametrize("syntax", ["uncompressed", "RLE"])
@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_frames_than_stored_or_placed_is_refused(tmp_path: Path, syntax: str, change: int):
    path, _ = write_multi_frame(tmp_path, Series(SMALL))
    dataset = pydicom.dcmread(path)
    if syntax == "RLE":
        dataset.compress(RLELossless)
    dataset.NumberOfFrames = len(SMALL) + change
    dataset.save_as(path)
    assert "multi_frame.dcm" in refusal(tmp_path)
    state(path, "NumberOfFrames", len(SMALL))
    np.testing.assert_array_equal(read_only_study(tmp_path).voxels, SMALL)


def test_more_frames_than_places_are_refused(tmp_path: Path):
    path, _ = write_multi_frame(tmp_path, Series(SMALL))
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence = list(dataset.PerFrameFunctionalGroupsSequence)[:-1]
    dataset.save_as(path)
    assert "more pixels" in refusal(tmp_path)


def test_frames_without_any_place_are_refused_by_name(tmp_path: Path):
    dataset = Series(SMALL).dataset(0)
    set_pixels(dataset, (SMALL + 1024).astype(np.int16))
    dataset.NumberOfFrames = len(SMALL)
    dataset.save_as(tmp_path / "frames.dcm", enforce_file_format=True)
    assert "13 frames without their positions; export single slices" in refusal(tmp_path)


@pytest.mark.parametrize("syntax", ["uncompressed", "RLE"])
def test_a_few_bytes_more_are_read_with_a_warning(tmp_path: Path, syntax: str):
    for path in write_series(tmp_path, Series(SMALL)):
        dataset = pydicom.dcmread(path)
        if syntax == "RLE":
            dataset.compress(RLELossless)
            (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
            dataset.PixelData = encapsulate([frame + b"\x03abcd\x80"])
        else:
            dataset.PixelData += bytes(6)
        dataset.save_as(path)
    study = read_only_study(tmp_path)
    np.testing.assert_array_equal(study.voxels, SMALL)
    assert [warning.code for warning in study.warnings] == ["excess_pixel_data"]


@given(st.integers(1, ROWS + 2), st.integers(1, COLUMNS + 2), st.sampled_from([8, 16, 32]))
def test_no_pixel_beyond_those_that_are_stated_goes_unnoticed(rows: int, columns: int, bits: int):
    dataset = Dataset()
    set_pixels(dataset, np.zeros((ROWS, COLUMNS), dtype=np.uint16))
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = rows, columns, bits
    stated, stored = rows * columns * bits // 8, len(dataset.PixelData)
    padded = stated + stated % 2
    try:
        noticed = has_excess("1.dcm", dataset, ExplicitVRLittleEndian)
    except NotEvaluableError:
        assert stored - padded >= columns * bits // 8
    else:
        assert noticed == (stored > padded)


@given(st.integers(1, 40), st.integers(2, 40), st.randoms(use_true_random=False))
def test_the_length_of_run_length_coded_slices_is_counted(rows: int, columns: int, random):
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    values = np.array([random.choice([0, 0, 0, random.randrange(4096)]) for _ in range(rows * columns)], np.uint16)
    set_pixels(dataset, values.reshape(rows, columns))
    dataset.compress(RLELossless, generate_instance_uid=False)
    assert not has_excess("1.dcm", dataset, RLELossless)
    dataset.Rows = rows - 1
    with pytest.raises(NotEvaluableError):
        has_excess("1.dcm", dataset, RLELossless)


@pytest.mark.parametrize("syntax", ["JPEG Lossless", "JPEG-LS", "JPEG 2000"])
def test_a_compressed_image_states_its_own_size(tmp_path: Path, syntax: str):
    path, *_ = compressed_series(tmp_path, syntax)
    dataset = pydicom.dcmread(path)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    assert codestream_size(frame, dataset.file_meta.TransferSyntaxUID) == (COLUMNS, ROWS, 16)
    assert codestream_size(frame[:8], dataset.file_meta.TransferSyntaxUID) is None
