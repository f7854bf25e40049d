"""Files that are damaged, foreign, irregular or oddly packed are counted and named; no search ends with them."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import Series, head_voxels, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian
from test_intake_stacks import folder

from scripts.intake import discovery
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy, IntakeError, NotEvaluableError

HEAD = head_voxels(24, 40, 40, (5.0, 5.0))
SMALL = Series(HEAD, pixel_spacing=(5.0, 5.0))
NAMES = [f"IM{index:04d}" for index in range(24)]


@pytest.fixture(autouse=True)
def no_search_hangs() -> Iterator[None]:
    """End a test that waits for a pipe; no result depends on how long anything takes."""

    def hang(*_: object) -> None:
        raise AssertionError("the search waits for ever")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def read(path: Path) -> CTStudy:
    (source,) = find_studies(path)
    return read_study(source)


def refusal(path: Path) -> str:
    with pytest.raises(IntakeError) as fault:
        read(path)
    return str(fault.value)


def codes(study: CTStudy) -> list[str]:
    return [warning.code for warning in study.warnings]


def without_preamble(path: Path, implicit: bool = False) -> None:
    """Rewrite a file as a bare data set, as raw archives of scanners hold it."""
    dataset = pydicom.dcmread(path)
    syntax = ImplicitVRLittleEndian if implicit else dataset.file_meta.TransferSyntaxUID
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.save_as(path, enforce_file_format=False, implicit_vr=syntax.is_implicit_VR, little_endian=True)


@settings(max_examples=8)
@given(which=st.sets(st.integers(0, 23), min_size=1), implicit=st.booleans())
def test_slices_without_preamble_are_read_like_the_others(which, implicit):
    with folder() as place:
        paths = write_series(place, SMALL, names=NAMES)
        for index in which:
            without_preamble(paths[index], implicit)
        study = read(place)
    np.testing.assert_array_equal(study.voxels, HEAD)
    (warning,) = study.warnings
    assert warning.code == "no_transfer_syntax"
    assert warning.values["slices"] == len(which)


def test_compressed_pixels_without_a_transfer_syntax_are_refused_by_its_tag_and_the_remedy_works(tmp_path: Path):
    paths = write_series(tmp_path / "head", SMALL)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
        raw = path.read_bytes()
        at = raw.index(b"\x02\x00\x10\x00UI")
        length = struct.unpack_from("<H", raw, at + 6)[0]
        path.write_bytes(raw[: at + 6] + struct.pack("<H", length) + b"\0" * length + raw[at + 8 + length :])
    assert refusal(tmp_path / "head") == (
        "head: 2_000.dcm: names no transfer syntax (0002,0010) and its pixels are compressed; "
        "export the study again, uncompressed"
    )
    write_series(tmp_path / "head", SMALL)
    assert codes(read(tmp_path / "head")) == []


def test_an_unknown_transfer_syntax_is_named(tmp_path: Path):
    for path in write_series(tmp_path / "head", SMALL):
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0", 1))
    assert "its transfer syntax 1.2.840.10008.1.9.1 (0002,0010) is unknown; export" in refusal(tmp_path / "head")


@settings(max_examples=10)
@given(lost=st.sets(st.integers(0, 23), min_size=1, max_size=8), kind=st.sampled_from(["zeros", "text", "empty"]))
def test_files_with_a_slice_s_name_that_are_no_dicom_are_counted_and_named(lost, kind):
    content = {"zeros": bytes(4000), "text": b"not found " * 400, "empty": b""}[kind]
    with folder() as place:
        paths = write_series(place, SMALL, names=NAMES)
        for index in lost:
            paths[index].write_bytes(content)
        study = read(place)
    assert len(study.voxels) == 24 - len(lost)
    (warning,) = (warning for warning in study.warnings if warning.code == "unreadable_files")
    assert NAMES[min(lost)] in str(warning)
    assert len(lost) == 1 or str(warning).startswith(f"{len(lost)} files beside the slices")


@pytest.mark.parametrize("suffix", [".gz", ".part", ".crdownload"])
def test_slices_that_are_compressed_or_half_copied_are_counted_and_named(tmp_path: Path, suffix: str):
    for path in write_series(tmp_path, SMALL)[20:]:
        path.with_name(path.name + suffix).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (tmp_path / f"notes.txt{suffix}").write_bytes(b"of the technician")
    (warning,) = (warning for warning in read(tmp_path).warnings if warning.code == "unreadable_files")
    assert str(warning).startswith(f"4 files beside the slices, 2_020.dcm{suffix} and others")


def test_a_link_to_nothing_is_warned_of_and_refuses_no_study(tmp_path: Path):
    write_series(tmp_path, SMALL)
    (tmp_path / "2_024.dcm").symlink_to(tmp_path / "nowhere")
    study = read(tmp_path)
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert codes(study) == ["unreadable_files"]


def test_what_is_no_dicom_refuses_no_study(tmp_path: Path):
    write_series(tmp_path / "cd" / "DICOM", SMALL)
    (tmp_path / "cd" / "DICOM" / "readme.dcm").write_bytes(b"MZ not a slice")
    (tmp_path / "cd" / "autorun.inf").write_bytes(b"[autorun]")
    with zipfile.ZipFile(tmp_path / "cd" / "viewer.zip", "w") as archive:
        archive.writestr("viewer.exe", b"MZ")
    study = read(tmp_path)
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert [str(warning) for warning in study.warnings] == [
        "readme.dcm beside the slices is no DICOM: a slice may be missing"
    ]


@pytest.mark.parametrize("irregular", ["pipe", "socket", "link to a pipe", "link to a device"])
def test_only_regular_files_are_opened(tmp_path: Path, irregular: str):
    write_series(tmp_path / "head", SMALL)
    place = tmp_path / "head" / "9_000.dcm"
    if irregular == "socket":
        import socket  # noqa: PLC0415 (of one case)

        os.chdir(tmp_path / "head")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("9_000.dcm")
    elif irregular == "link to a device":
        place.symlink_to("/dev/zero")
    else:
        pipe = place if irregular == "pipe" else tmp_path / "pipe"
        os.mkfifo(pipe)
        if pipe != place:
            place.symlink_to(pipe)
    np.testing.assert_array_equal(read(tmp_path / "head").voxels, HEAD)
    with pytest.raises(IntakeError, match="no CT study inside"):
        find_studies(place)


def pack(archive: Path, files: list[Path], name: str = "{}") -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in files:
            target.write(path, name.format(path.name))


def test_a_zip_from_windows_or_a_mac_is_read(tmp_path: Path):
    pack(tmp_path / "head.zip", write_series(tmp_path / "head", SMALL), "study\\{}")
    with zipfile.ZipFile(tmp_path / "head.zip", "a") as archive:
        archive.writestr("__MACOSX/study/._2_000.dcm", b"\0\5\x16\7")
        archive.writestr("Thumbs.db", b"x")
    study = read(tmp_path / "head.zip")
    np.testing.assert_array_equal(study.voxels, HEAD)
    assert study.warnings == ()


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (97, "method 97")])
def test_a_packing_method_that_is_not_read_is_named_and_unpacking_helps(tmp_path: Path, method: int, name: str):
    pack(tmp_path / "head.zip", write_series(tmp_path / "head", SMALL))
    raw = bytearray((tmp_path / "head.zip").read_bytes())
    for mark, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = raw.find(mark)
        while at >= 0:
            struct.pack_into("<H", raw, at + offset, method)
            at = raw.find(mark, at + 4)
    (tmp_path / "head.zip").write_bytes(raw)
    assert refusal(tmp_path / "head.zip") == (
        f"head.zip: packed by {name}, which cannot be unpacked here; unpack it and give its folder"
    )
    assert len(read(tmp_path / "head").voxels) == 24


def test_a_zip_in_a_zip_is_named_and_unpacking_helps(tmp_path: Path):
    pack(tmp_path / "inner.zip", write_series(tmp_path / "head", SMALL))
    pack(tmp_path / "outer.zip", [tmp_path / "inner.zip"])
    assert refusal(tmp_path / "outer.zip") == (
        "outer.zip: holds inner.zip instead of images; unpack it and give the folder"
    )
    with zipfile.ZipFile(tmp_path / "outer.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert len(read(tmp_path / "unpacked").voxels) == 24


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".7z", ".rar"])
def test_an_archive_of_another_kind_is_named(tmp_path: Path, suffix: str):
    (tmp_path / f"head{suffix}").write_bytes(b"an archive")
    expected = f"head{suffix}: an archive of this kind is not opened; unpack it and give its folder"
    assert refusal(tmp_path / f"head{suffix}") == expected
    assert refusal(tmp_path) == expected


@settings(max_examples=15)
@given(seed=st.integers(0, 9999))
def test_a_flipped_byte_in_one_header_is_read_refused_or_warned_of(seed):
    generator = random.Random(seed)
    with folder() as place:
        paths = write_series(place, SMALL)
        path = paths[generator.randrange(24)]
        raw = bytearray(path.read_bytes())
        raw[generator.randrange(132, len(raw) - 3200)] = generator.randrange(256)
        path.write_bytes(raw)
        for source in find_studies(place):
            try:
                study = read_study(source)
            except NotEvaluableError:
                continue
            assert study.warnings or np.array_equal(study.voxels, HEAD)


def test_an_error_that_nobody_foresaw_refuses_one_study_and_the_next_is_read(tmp_path: Path, monkeypatch, caplog):
    write_series(tmp_path / "a", Series(HEAD))
    write_series(tmp_path / "b", Series(HEAD))
    whole = discovery.read_dicom_study

    def fail(headers, name, limits):
        if name == "a":
            raise ZeroDivisionError("secret\nsecond line")
        return whole(headers, name, limits)

    monkeypatch.setattr(discovery, "read_dicom_study", fail)
    first, second = find_studies(tmp_path)
    with pytest.raises(NotEvaluableError) as fault:
        read_study(first)
    assert fault.value.code == "unforeseen_error"
    assert str(fault.value) == "a: could not be read: ZeroDivisionError: secret second line; the log has the details"
    assert "Traceback" in caplog.text
    assert len(read_study(second).voxels) == 24


def test_a_study_uid_per_image_is_still_one_study(tmp_path: Path):
    shutil.rmtree(tmp_path / "head", ignore_errors=True)
    write_series(
        tmp_path / "head", SMALL, lambda _, dataset: setattr(dataset, "StudyInstanceUID", pydicom.uid.generate_uid())
    )
    np.testing.assert_array_equal(read(tmp_path / "head").voxels, HEAD)


def test_an_unknown_value_representation_in_one_header_refuses_the_study_by_name(tmp_path: Path):
    first, *_ = write_series(tmp_path, SMALL)
    raw = first.read_bytes()
    assert b"\x08\x00\x16\x00UI" in raw
    first.write_bytes(raw.replace(b"\x08\x00\x16\x00UI", b"\x08\x00\x16\x00VI", 1))
    (source,) = find_studies(tmp_path)
    assert source.fault is not None
    assert source.fault.code == "damaged_file"
