"""A user's mistake is answered with one line that names the file, the fault and the remedy."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from dicom_files import Series, head_voxels, set_value, write_series
from PIL import Image
from pydicom.dataset import Dataset

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import IntakeError, NotEvaluableError

SMALL = Series(head_voxels(13, 24, 20))
DAMAGED_ATTRIBUTES = (
    "unreadable_pixel_data",
    "head: 2_004.dcm: its rescale, padding or bit attributes are damaged; export the original series",
)


def refusal(path: Path) -> tuple[str, str]:
    """Code and message with which the only study at a path is refused."""
    (source,) = find_studies(path)
    with pytest.raises(NotEvaluableError) as fault:
        read_study(source)
    message = str(fault.value)
    assert "\n" not in message
    assert str(path.parent) not in message
    return fault.value.code, message


def no_study(path: Path) -> str:
    with pytest.raises(IntakeError) as fault:
        find_studies(path)
    assert "\n" not in str(fault.value)
    assert str(path.parent) not in str(fault.value)
    return str(fault.value)


def test_a_path_that_does_not_exist(tmp_path: Path):
    assert no_study(tmp_path / "nowhere") == "nowhere: no such file or folder; check the path"


def test_an_empty_folder(tmp_path: Path):
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    assert no_study(tmp_path / "empty").startswith("empty: empty folder; give a DICOM folder")


def test_a_folder_without_dicom(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    (tmp_path / "letter.txt").write_text("Dear colleague")
    assert no_study(tmp_path).startswith(f"{tmp_path.name}: no CT study inside; give a DICOM folder")


def test_a_file_of_another_kind(tmp_path: Path):
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    assert no_study(tmp_path / "image.png").startswith("image.png: no CT study inside; give")


def test_a_file_cut_off_in_its_header(tmp_path: Path):
    path = write_series(tmp_path / "head", SMALL)[4]
    path.write_bytes(path.read_bytes()[: int(0.2 * path.stat().st_size)])
    code, message = refusal(tmp_path / "head")
    assert code == "damaged_file"
    assert message.startswith("2_004.dcm: ")
    assert message.endswith("copy it again")


@pytest.mark.parametrize("kept", range(140, 1100, 60))
def test_no_cut_through_a_file_goes_unnoticed(tmp_path: Path, kept: int):
    path = write_series(tmp_path / "head", SMALL)[4]
    path.write_bytes(path.read_bytes()[:kept])
    code, message = refusal(tmp_path / "head")
    assert code in {"damaged_file", "unreadable_pixel_data", "no_geometry"}
    assert "2_004.dcm" in message


def test_a_file_cut_off_in_its_pixels(tmp_path: Path):
    path = write_series(tmp_path / "head", SMALL)[4]
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(tmp_path / "head") == (
        "unreadable_pixel_data",
        "head: 2_004.dcm: pixel data is cut off or damaged; copy the file again",
    )


def test_pixel_data_of_another_length_than_the_header_says(tmp_path: Path):
    def shorten(index: int, dataset: Dataset) -> None:
        if index == 4:
            dataset.PixelData = dataset.PixelData[:-200]

    write_series(tmp_path / "head", SMALL, shorten)
    assert refusal(tmp_path / "head")[0] == "unreadable_pixel_data"


def test_compressed_pixel_data_that_is_damaged(tmp_path: Path):
    for path in write_series(tmp_path / "head", SMALL):
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.PixelData = dataset.PixelData[:60] + bytes(len(dataset.PixelData) - 60)
        dataset.save_as(path)
    code, message = refusal(tmp_path / "head")
    assert code == "unreadable_pixel_data"
    assert "2_000.dcm" in message


@pytest.mark.parametrize(
    ("keyword", "named"),
    [
        ("PixelRepresentation", "Pixel Representation (0028,0103)"),
        ("BitsStored", "Bits Stored (0028,0101)"),
        ("PhotometricInterpretation", "Photometric Interpretation (0028,0004)"),
        ("PixelData", "Pixel Data (7FE0,0010)"),
    ],
)
def test_an_attribute_without_which_no_pixel_can_be_read_is_named(tmp_path: Path, keyword: str, named: str):
    write_series(tmp_path / "head", SMALL, set_value(keyword, None))
    code, message = refusal(tmp_path / "head")
    assert code == "unreadable_pixel_data"
    assert message == f"head: 2_000.dcm: lacks {named}; export the original series"


def test_slices_without_rescale(tmp_path: Path):
    write_series(tmp_path / "head", SMALL, set_value("RescaleSlope", None))
    code, message = refusal(tmp_path / "head")
    assert code == "no_hounsfield_units"
    assert message == "head: 2_000.dcm: has no rescale slope and intercept; export the original series"


@pytest.mark.parametrize(
    ("keyword", "representation", "value"),
    [
        ("RescaleSlope", "DS", [1, 1]),
        ("RescaleSlope", "DS", "nan"),
        ("RescaleIntercept", "DS", "inf"),
        ("PixelPaddingValue", "SS", [-2000, -2000]),
        ("PixelPaddingValue", "FD", float("inf")),
    ],
)
def test_attributes_that_pixels_cannot_be_read_with(tmp_path: Path, keyword: str, representation: str, value: object):
    def spoil(index: int, dataset: Dataset) -> None:
        if index == 4:
            with pydicom.config.disable_value_validation():
                dataset.add_new(keyword, representation, value)

    write_series(tmp_path / "head", SMALL, spoil)
    assert refusal(tmp_path / "head") == DAMAGED_ATTRIBUTES


def test_a_padding_value_of_unknown_representation(tmp_path: Path):
    def pad(_: int, dataset: Dataset) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -2000)

    path = write_series(tmp_path / "head", SMALL, pad)[4]
    tag, value = b"\x28\x00\x20\x01", b"\x30\xf8"
    known, unknown = tag + b"SS\x02\x00" + value, tag + b"UN\x00\x00\x03\x00\x00\x00" + value + b"\x00"
    assert path.read_bytes().count(known) == 1
    path.write_bytes(path.read_bytes().replace(known, unknown))
    assert refusal(tmp_path / "head") == DAMAGED_ATTRIBUTES


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_geometry(tmp_path: Path, keyword: str):
    write_series(tmp_path / "head", SMALL, set_value(keyword, None))
    code, message = refusal(tmp_path / "head")
    assert code == "no_geometry"
    assert message.endswith("lacks position, orientation or pixel spacing; export the original series")


def test_slices_that_all_state_one_position(tmp_path: Path):
    write_series(tmp_path / "head", SMALL, set_value("ImagePositionPatient", [0, 0, 0]))
    assert refusal(tmp_path / "head") == (
        "no_geometry",
        f"head: all {len(SMALL.voxels)} slices state the same position; export the original series",
    )


def test_directions_that_are_not_perpendicular(tmp_path: Path):
    write_series(tmp_path / "head", replace(SMALL, orientation=(1, 0, 0, 1, 0, 0)))
    assert refusal(tmp_path / "head")[0] == "no_geometry"


def test_magnetic_resonance(tmp_path: Path):
    write_series(tmp_path / "head", replace(SMALL, modality="MR"))
    assert refusal(tmp_path / "head") == ("not_ct", "head: modality MR, CT needed; choose the CT study")


def test_only_localizers(tmp_path: Path):
    write_series(tmp_path / "head", replace(SMALL, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")))
    assert refusal(tmp_path / "head") == (
        "localizer_only",
        "head: holds only localizer images; export the axial series too",
    )


def test_only_secondary_images(tmp_path: Path):
    write_series(tmp_path / "head", replace(SMALL, image_type=("DERIVED", "SECONDARY", "SCREEN SAVE")))
    assert refusal(tmp_path / "head")[0] == "no_original_series"


def test_colour_images(tmp_path: Path):
    write_series(tmp_path / "head", SMALL, set_value("SamplesPerPixel", 3))
    assert refusal(tmp_path / "head")[0] == "colour"


def test_mixed_sizes(tmp_path: Path):
    write_series(tmp_path / "head", SMALL)
    other = replace(SMALL, voxels=head_voxels(11, 32, 20), origin=(-96, -96, 100))
    for path in sorted((tmp_path / "head").iterdir())[11:]:
        path.unlink()
    write_series(tmp_path / "head", other, names=[f"large{index}.dcm" for index in range(11)])
    assert refusal(tmp_path / "head") == (
        "mixed_sizes",
        "head: mixes images of 20 x 24, 20 x 32 pixels; export one series",
    )


def test_mixed_pixel_spacings(tmp_path: Path):
    write_series(tmp_path / "head", SMALL, lambda index, dataset: setattr(dataset, "PixelSpacing", [3 + index % 2, 3]))
    assert refusal(tmp_path / "head")[0] == "mixed_sizes"


def test_two_different_slices_at_one_position_can_be_told_by_their_names(tmp_path: Path):
    paths = write_series(tmp_path / "head", SMALL)
    dataset = pydicom.dcmread(paths[5])
    dataset.PixelData = pydicom.dcmread(paths[6]).PixelData
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    (tmp_path / "head" / "again").mkdir()
    dataset.save_as(tmp_path / "head" / "again" / "2_005.dcm")
    assert refusal(tmp_path / "head") == (
        "duplicate_positions",
        "head: again/2_005.dcm and head/2_005.dcm lie at the same position with different pixels; export one time "
        "point or one series",
    )
    (tmp_path / "head" / "again" / "2_005.dcm").unlink()
    (source,) = find_studies(tmp_path / "head")
    assert len(read_study(source).voxels) == 13


def test_a_dicom_file_that_is_none(tmp_path: Path):
    (tmp_path / "slice.dcm").write_bytes(b"x" * 2000)
    assert refusal(tmp_path / "slice.dcm") == (
        "damaged_file",
        "slice.dcm: is no DICOM file or lost its beginning; copy it again",
    )


@pytest.mark.parametrize(
    "name", ["../slice.dcm", "/tmp/slice.dcm", "a/../../slice.dcm", "..\\slice.dcm", "C:\\slice.dcm"]
)
def test_a_zip_whose_names_leave_it(tmp_path: Path, name: str):
    (path, *_) = write_series(tmp_path / "head", SMALL)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.write(path, "good.dcm")
        archive.writestr(name, path.read_bytes())
    assert refusal(tmp_path / "evil.zip") == (
        "unsafe_zip",
        "evil.zip: holds file names that leave the archive ('..' or absolute); pack it again",
    )


def test_a_zip_without_dicom(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "letters.zip", "w") as archive:
        archive.writestr("letter.txt", "Dear colleague")
    assert refusal(tmp_path / "letters.zip")[0] == "no_dicom"


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.95])
def test_a_truncated_zip(tmp_path: Path, fraction: float):
    path = tmp_path / "head.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in write_series(tmp_path / "head", SMALL):
            archive.write(member, member.name)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    assert refusal(path) == ("unreadable_zip", "head.zip: damaged zip archive; copy or pack it again")


def test_a_zip_with_a_damaged_member(tmp_path: Path):
    path = tmp_path / "head.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in write_series(tmp_path / "head", SMALL):
            archive.write(member, member.name)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    code, message = refusal(path)
    assert code in {"unreadable_pixel_data", "damaged_file"}
    assert message.startswith(("head.zip: 2_00", "2_00"))


def test_a_zip_with_a_password(tmp_path: Path):
    (path, *_) = write_series(tmp_path / "head", SMALL)
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.write(path, "slice.dcm")
    raw = bytearray((tmp_path / "locked.zip").read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(raw)
    assert refusal(tmp_path / "locked.zip")[1] == "locked.zip: needs a password; unpack it first"
