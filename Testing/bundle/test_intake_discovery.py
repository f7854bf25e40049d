"""Which studies a folder or file holds, and what their results are called."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import Series, head_voxels, write_series

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import NotEvaluableError
from scripts.intake.study_id import safe_name, unique_ids

SMALL = Series(head_voxels(13, 24, 20))


def another(**changes: object) -> Series:
    """Return a small series of another study."""
    return replace(Series(SMALL.voxels), **changes)


def save_nifti(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(SMALL.voxels.T, np.diag([-3.0, -3, 5, 1])), path)
    return path


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.rglob("*")):
            target.write(path, path.relative_to(folder.parent))
    return archive


def ids(folder: Path) -> list[str]:
    return [source.study_id for source in find_studies(folder)]


def test_a_dicom_folder_is_one_study_named_after_it(tmp_path: Path):
    write_series(tmp_path / "patient 7", SMALL)
    assert ids(tmp_path / "patient 7") == ["patient 7"]


def test_a_series_spread_over_nested_folders_is_one_study(tmp_path: Path):
    paths = write_series(tmp_path / "study" / "a" / "b", SMALL)
    deeper = tmp_path / "study" / "c" / "d" / "e"
    deeper.mkdir(parents=True)
    for path in paths[::2]:
        path.rename(deeper / path.name)
    (source,) = find_studies(tmp_path / "study")
    np.testing.assert_array_equal(read_study(source).voxels, SMALL.voxels)


def test_a_folder_of_studies_of_every_kind_is_sorted_out(tmp_path: Path):
    write_series(tmp_path / "one" / "DICOM" / "S1", another())
    write_series(tmp_path / "two" / "DICOM" / "S1", another())
    save_nifti(tmp_path / "three.nii.gz")
    save_nifti(tmp_path / "deep" / "er" / "four.nii")
    write_series(tmp_path / "five", another())
    zip_folder(tmp_path / "five", tmp_path / "six.zip")
    (tmp_path / "notes.txt").write_text("no study")
    (tmp_path / "empty").mkdir()
    sources = find_studies(tmp_path)
    assert [source.study_id for source in sources] == ["deep", "five", "one", "six", "three", "two"]
    for source in sources:
        np.testing.assert_array_equal(read_study(source).voxels, SMALL.voxels)


def test_two_studies_in_one_folder_are_two_with_stable_names(tmp_path: Path):
    first, second = another(study_uid="1.2.3"), another(study_uid="1.2.4", number=9)
    write_series(tmp_path / "box", first)
    write_series(tmp_path / "box", second)
    names = ids(tmp_path / "box")
    assert len(set(names)) == 2
    assert all(name.startswith("box-") and len(name) == 10 for name in names)
    assert ids(tmp_path / "box") == names
    read = {read_study(source).provenance.study_uid for source in find_studies(tmp_path / "box")}
    assert read == {"1.2.3", "1.2.4"}


def test_two_studies_of_one_patient_folder_show_both_names(tmp_path: Path):
    write_series(tmp_path / "patient" / "before", another())
    write_series(tmp_path / "patient" / "after", another())
    assert ids(tmp_path) == ["patient_after", "patient_before"]


def test_a_single_file_is_a_study(tmp_path: Path):
    assert ids(save_nifti(tmp_path / "head.nii.gz")) == ["head"]
    paths = write_series(tmp_path / "series", SMALL)
    assert ids(paths[0]) == ["2_000"]


def test_a_relative_path_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_series(tmp_path / "head", SMALL)
    monkeypatch.chdir(tmp_path / "head")
    assert ids(Path()) == ["head"]


def test_dicom_files_need_no_suffix(tmp_path: Path):
    write_series(tmp_path / "head", SMALL, names=[f"IM{index}" for index in range(13)])
    (source,) = find_studies(tmp_path / "head")
    assert len(read_study(source).voxels) == 13


@pytest.mark.parametrize("name", ["Müller Straße", "頭部 CT", "голова", "a b  c", "tête; rm -rf", "100%"])
def test_folders_with_blanks_and_letters_of_every_language_are_read(tmp_path: Path, name: str):
    write_series(tmp_path / name / "séries 1", SMALL, names=[f"köpf {index}.dcm" for index in range(13)])
    (source,) = find_studies(tmp_path / name)
    assert read_study(source).provenance.source_name == "séries 1"
    assert ids(tmp_path) == [name]
    for suffix in (".nii.gz", ".zip"):
        path = tmp_path / f"{name}{suffix}"
        save_nifti(path) if suffix == ".nii.gz" else zip_folder(tmp_path / name, path)
        (source,) = find_studies(path)
        assert source.study_id == name
        np.testing.assert_array_equal(read_study(source).voxels, SMALL.voxels)


def test_a_zip_is_read_without_unpacking_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_series(tmp_path / "head", SMALL)
    archive = zip_folder(tmp_path / "head", tmp_path / "head.zip")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    (source,) = find_studies(archive)
    np.testing.assert_array_equal(read_study(source).voxels, SMALL.voxels)
    assert sorted(tmp_path.rglob("*")) == before


def test_maps_of_an_earlier_run_are_no_studies(tmp_path: Path):
    save_nifti(tmp_path / "head.nii.gz")
    save_nifti(tmp_path / "output" / "head" / "attention.nii.gz")
    save_nifti(tmp_path / "output" / "head" / "gradcam_any.nii.gz")
    (tmp_path / "output" / "head" / "result.json").write_text("{}")
    assert ids(tmp_path) == ["head"]


def test_files_of_operating_systems_are_passed_over(tmp_path: Path):
    write_series(tmp_path / "head", SMALL)
    (tmp_path / "head" / "._2_000.dcm").write_bytes(b"Mac OS X")
    (tmp_path / "head" / ".DS_Store").write_bytes(b"Mac OS X")
    (tmp_path / "head" / "DICOMDIR").write_bytes(b"no preamble")
    (source,) = find_studies(tmp_path / "head")
    assert source.fault is None


def test_links_in_a_circle_end(tmp_path: Path):
    write_series(tmp_path / "head", SMALL)
    (tmp_path / "head" / "again").symlink_to(tmp_path / "head", target_is_directory=True)
    (source,) = find_studies(tmp_path / "head")
    assert len(source.headers) == 13


def test_one_bad_study_does_not_stop_the_others(tmp_path: Path):
    write_series(tmp_path / "good", another())
    write_series(tmp_path / "mr", another(modality="MR"))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    save_nifti(tmp_path / "cut.nii").write_bytes(b"cut")
    outcomes: dict[str, object] = {}
    for source in find_studies(tmp_path):
        try:
            outcomes[source.study_id] = len(read_study(source).voxels)
        except NotEvaluableError as fault:
            outcomes[source.study_id] = fault.code
    assert outcomes == {"broken": "unreadable_zip", "cut": "unreadable_file", "good": 13, "mr": "not_ct"}


def test_a_source_shows_no_path_and_survives_a_worker(tmp_path: Path):
    write_series(tmp_path / "head", SMALL)
    slice_path = tmp_path / "head" / "2_003.dcm"
    slice_path.write_bytes(slice_path.read_bytes()[:300])
    (source,) = find_studies(tmp_path / "head")
    assert str(source) == "head"
    assert source.fault is not None
    again = pickle.loads(pickle.dumps(source))
    assert replace(again, fault=source.fault) == source
    assert (again.fault.code, str(again.fault)) == (source.fault.code, str(source.fault))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b\\c:d", "a_b_c_d"),
        ("..", "study"),
        ("", "study"),
        (" head. ", "head"),
        (".hidden", "hidden"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("tab\there", "tab_here"),
        ("Schädel", "Schädel"),
        ("\udcff", "_"),
    ],
)
def test_names_of_result_folders_are_safe(name: str, safe: str):
    assert safe_name(name) == safe


def test_long_names_fit_any_file_system():
    assert len(safe_name("頭" * 300).encode()) <= 64


def test_names_that_differ_in_case_alone_are_kept_apart():
    names = unique_ids(["Head", "head", "other"], ["a", "b", "c"])
    assert len({name.casefold() for name in names}) == 3
    assert names[2] == "other"
    assert unique_ids(["head", "Head"], ["b", "a"]) == names[1::-1]


def test_no_pixel_is_read_to_find_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Headers alone are read, so that a folder of hundreds of files is searched in seconds."""
    write_series(tmp_path, SMALL)
    read = pydicom.dcmread
    stops = []

    def dcmread(*arguments: object, **options: object) -> object:
        stops.append(options.get("stop_before_pixels"))
        return read(*arguments, **options)

    monkeypatch.setattr(pydicom, "dcmread", dcmread)
    (source,) = find_studies(tmp_path)
    assert len(source.headers) == 13
    assert stops == [True] * 13
