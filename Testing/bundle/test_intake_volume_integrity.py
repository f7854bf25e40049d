"""NIfTI and NRRD files are read to their end and their geometry is believed only where they state one."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from dicom_files import head_voxels
from hypothesis import given, settings
from hypothesis import strategies as st
from test_intake_stacks import folder

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy, NotEvaluableError

HEAD = head_voxels(14, 24, 20)
AFFINE = np.diag([-3.0, -3.0, 5.0, 1.0])
AFFINE[:3, 3] = 10
DATA = HEAD.astype("<i2").tobytes()
SIZES = ["type: short", "dimension: 3", "sizes: 20 24 14", "endian: little"]
PLACE = ["space: left-posterior-superior", "space directions: (3,0,0) (0,3,0) (0,0,5)", "space origin: (1,2,3)"]


def read(path: Path) -> CTStudy:
    (source,) = find_studies(path)
    return read_study(source)


def codes(path: Path) -> list[str]:
    return [warning.code for warning in read(path).warnings]


def write_nifti(path: Path) -> Path:
    nib.save(nib.Nifti1Image(HEAD.T, AFFINE), path)
    return path


def write_nrrd(path: Path, lines: list[str], data: bytes, newline: str = "\n") -> Path:
    path.write_bytes(newline.join(["NRRD0004", *lines, "", ""]).encode() + data)
    return path


@settings(max_examples=40)
@given(place=st.floats(0.02, 0.999), bit=st.integers(0, 7), kind=st.sampled_from([".nii.gz", ".nrrd"]))
def test_no_flipped_bit_of_compressed_data_goes_unnoticed(place, bit, kind):
    with folder() as root:
        path = root / f"ct{kind}"
        if kind == ".nrrd":
            write_nrrd(path, [*SIZES, "encoding: gzip", *PLACE], gzip.compress(DATA))
            first = path.read_bytes().index(b"\n\n") + 12
        else:
            write_nifti(path)
            first = 12
        raw = bytearray(path.read_bytes())
        at = first + int(place * (len(raw) - first))
        raw[at] ^= 1 << bit
        path.write_bytes(raw)
        try:
            study = read(path)
        except NotEvaluableError as fault:
            assert fault.code in {"unreadable_file", "bad_geometry", "not_one_volume", "colour"}
            return
    np.testing.assert_array_equal(study.voxels, HEAD)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("change", [-2, -200])
def test_data_shorter_than_its_header_states_is_refused(tmp_path: Path, encoding: str, change: int):
    data = DATA[:change]
    packed = gzip.compress(data) if encoding == "gzip" else data
    with pytest.raises(NotEvaluableError) as fault:
        read(write_nrrd(tmp_path / "ct.nrrd", [*SIZES, f"encoding: {encoding}", *PLACE], packed))
    assert fault.value.code == "unreadable_file"


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_a_second_version_of_nifti_is_as_long_as_it_states(tmp_path: Path, name: str):
    nib.save(nib.Nifti2Image(HEAD.T, AFFINE), tmp_path / name)
    assert codes(tmp_path / name) == []


@pytest.mark.parametrize(("written", "named"), [("ct.nii.gz", "head.nii"), ("ct.nii", "head.nii.gz")])
def test_a_suffix_that_belies_the_content_is_named_and_the_new_name_works(tmp_path: Path, written: str, named: str):
    wrong = write_nifti(tmp_path / written).rename(tmp_path / named)
    right = "head.nii.gz" if written.endswith(".gz") else "head.nii"
    with pytest.raises(NotEvaluableError, match=f"rename it to {right.replace('.', '[.]')}" + "$"):
        read(wrong)
    np.testing.assert_array_equal(read(wrong.rename(tmp_path / right)).voxels, HEAD)


def test_data_longer_than_its_header_states_is_warned_of(tmp_path: Path):
    fewer = [*SIZES[:2], "sizes: 20 24 12", SIZES[3]]
    assert codes(write_nrrd(tmp_path / "ct.nrrd", [*fewer, "encoding: raw", *PLACE], DATA)) == ["longer_than_stated"]
    packed = gzip.compress(DATA)
    assert codes(write_nrrd(tmp_path / "ct.nrrd", [*fewer, "encoding: gzip", *PLACE], packed)) == ["longer_than_stated"]
    raw = bytearray(write_nifti(tmp_path / "ct.nii").read_bytes())
    raw[46] = 12
    (tmp_path / "ct.nii").write_bytes(raw)
    assert codes(tmp_path / "ct.nii") == ["longer_than_stated"]
    (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    assert codes(tmp_path / "ct.nii.gz") == ["longer_than_stated"]


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_an_identity_affine_is_not_believed_without_a_word(tmp_path: Path, name: str):
    nib.save(nib.Nifti1Image(HEAD.T, np.eye(4)), tmp_path / name)
    assert codes(tmp_path / name) == ["default_geometry"]
    assert codes(write_nifti(tmp_path / name)) == []


def test_a_sform_and_pixel_dimensions_that_disagree_are_named(tmp_path: Path):
    image = nib.Nifti1Image(HEAD.T, AFFINE)
    nib.save(image, tmp_path / "ct.nii")
    raw = bytearray((tmp_path / "ct.nii").read_bytes())
    raw[88:92] = np.float32(2.5).tobytes()
    (tmp_path / "ct.nii").write_bytes(raw)
    assert codes(tmp_path / "ct.nii") == ["two_spacings"]


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ([], ["default_geometry", "unknown_orientation"]),
        (PLACE[:1], ["default_geometry"]),
        (PLACE[:2], []),
        (["spacings: 3 3 5"], ["unknown_orientation"]),
    ],
)
def test_an_nrrd_without_geometry_says_so(tmp_path: Path, geometry: list[str], expected: list[str]):
    assert codes(write_nrrd(tmp_path / "ct.nrrd", [*SIZES, "encoding: raw", *geometry], DATA)) == expected


def test_a_list_axis_of_length_one_is_one_volume(tmp_path: Path):
    lines = ["type: short", "dimension: 4", "sizes: 1 20 24 14", SIZES[3], "encoding: raw", PLACE[0], PLACE[2]]
    lines += ["space directions: none (3,0,0) (0,3,0) (0,0,5)", "kinds: list domain domain domain"]
    study = read(write_nrrd(tmp_path / "ct.nrrd", lines, DATA))
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert study.spacing_mm == pytest.approx((3, 3, 5))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", ["i2", "i4", "f4", "f8"])
def test_every_number_type_and_line_end_is_read(tmp_path: Path, newline: str, kind: str):
    name = {"i2": "short", "i4": "int", "f4": "float", "f8": "double"}[kind]
    data = HEAD.astype(f"<{kind}").tobytes()
    lines = [f"type: {name}", *SIZES[1:], "encoding: raw", *PLACE]
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "ct.nrrd", lines, data, newline)).voxels, HEAD)


@pytest.mark.parametrize("name", ["ct.nhdr", "ct.nrrd"])
def test_a_detached_header_is_read_with_its_data(tmp_path: Path, name: str):
    (tmp_path / "ct.raw").write_bytes(DATA)
    write_nrrd(tmp_path / name, [*SIZES, "encoding: raw", *PLACE, "data file: ct.raw"], b"")
    np.testing.assert_array_equal(read(tmp_path).voxels, HEAD)


@pytest.mark.parametrize("data", ["../ct.raw", "/etc/hostname", "LIST", "slice%03d.raw 1 3 1", "missing.raw"])
def test_a_detached_header_reads_nothing_outside_its_folder_and_the_remedy_works(tmp_path: Path, data: str):
    (tmp_path / "ct.raw").write_bytes(DATA)
    (tmp_path / "in").mkdir()
    lines = [*SIZES, "encoding: raw", *PLACE]
    path = write_nrrd(tmp_path / "in" / "ct.nhdr", [*lines, f"data file: {data}"], b"")
    with pytest.raises(NotEvaluableError) as fault:
        read(path)
    assert fault.value.code == "detached_data"
    path.unlink()
    np.testing.assert_array_equal(read(write_nrrd(tmp_path / "in" / "ct.nrrd", lines, DATA)).voxels, HEAD)


def test_a_segmentation_beside_a_volume_is_no_study(tmp_path: Path):
    write_nifti(tmp_path / "ct.nii")
    itk.imwrite(itk.image_from_array((HEAD > 200).astype(np.uint8)), str(tmp_path / "ct.seg.nrrd"))
    assert [source.source_name for source in find_studies(tmp_path)] == ["ct.nii"]


@settings(max_examples=60)
@given(place=st.integers(0, 347), value=st.integers(0, 255))
def test_a_changed_byte_of_a_nifti_header_never_ends_the_run(place, value):
    with folder() as root:
        raw = bytearray(write_nifti(root / "ct.nii").read_bytes())
        raw[place] = value
        (root / "ct.nii").write_bytes(raw)
        try:
            read(root / "ct.nii")
        except NotEvaluableError as fault:
            assert "\n" not in str(fault)


@settings(max_examples=40)
@given(place=st.floats(0, 1), value=st.integers(32, 126))
def test_a_changed_letter_of_an_nrrd_header_never_ends_the_run(place, value):
    with folder() as root:
        raw = bytearray(write_nrrd(root / "ct.nrrd", [*SIZES, "encoding: raw", *PLACE], DATA).read_bytes())
        raw[int(place * (raw.index(b"\n\n") - 1))] = value
        (root / "ct.nrrd").write_bytes(raw)
        try:
            read(root / "ct.nrrd")
        except NotEvaluableError as fault:
            assert "\n" not in str(fault)


def test_bzip2_data_that_is_damaged_is_refused(tmp_path: Path):
    packed = bytearray(bz2.compress(DATA))
    packed[len(packed) // 2] ^= 8
    with pytest.raises(NotEvaluableError):
        read(write_nrrd(tmp_path / "ct.nrrd", [*SIZES, "encoding: bzip2", *PLACE], bytes(packed)))
