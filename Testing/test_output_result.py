"""result.json keeps its schema, and a result folder that exists is whole."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from ICHDiagnosisLib.result.reader import read_result
from sample_diagnosis import a_diagnosis, a_marked_map, a_refusal, a_study, an_affine
from scripts.diagnosis import Diagnosis, EvidenceMap
from scripts.intake.study import Provenance, QualityWarning
from scripts.labels import RSNA
from scripts.output import result
from scripts.output.folder import OutputError, OutputFolderError
from scripts.output.result import refusal_document, result_document, write_refusal_folder, write_result_folder

SCHEMA = json.loads((Path(__file__).parents[1] / "monai_bundle" / "docs" / "result.schema.json").read_text())


def with_wrong_map(diagnosis: Diagnosis) -> Diagnosis:
    """Only the last map is faulty, so that the fault comes when files are already there."""
    wrong = EvidenceMap("gradcam", RSNA[-1], np.zeros((13, 64, 64), np.uint8), 1.0)
    return replace(diagnosis, maps=(*diagnosis.maps[:-1], wrong))


def test_an_evaluated_study_keeps_the_schema():
    document = result_document(a_diagnosis(a_study(warnings=(QualityWarning("gap", "One slice is missing."),))))
    jsonschema.validate(document, SCHEMA)
    assert document["status"] == "evaluated"
    assert [finding["key"] for finding in document["findings"]] == [label.key for label in RSNA]
    assert [finding["positive"] for finding in document["findings"]] == [True, False, True, False, False, True]
    assert len(document["slices"]) == document["study"]["slices"] == 12
    assert sorted(entry["key_rank"] for entry in document["slices"] if entry["key_rank"]) == [1, 2, 3, 4, 5]
    assert document["study"]["quality"] == [{"name": "gap", "message": "One slice is missing."}]
    assert "Research use only" in document["model"]["notice"]


@pytest.mark.parametrize("study", [None, a_study()])
def test_a_refusal_keeps_the_schema(study):
    document = refusal_document(a_refusal(study))
    jsonschema.validate(document, SCHEMA)
    assert document["reason"] == {"code": "too_few_slices", "message": "7 slices, at least 12 needed"}
    assert document["study"]["slices"] == (12 if study else None)


def test_the_shape_is_that_of_the_map_files():
    document = result_document(a_diagnosis(a_study((12, 20, 30), file_axes=(2, 0, 1))))
    assert document["study"]["shape"] == [20, 12, 30]


def test_no_folder_above_the_study_is_written():
    provenance = Provenance(source_name="/home/someone/Doe^Jane/CT 1", source_format="dicom")
    assert result_document(a_diagnosis(a_study(provenance=provenance)))["study"]["source_name"] == "CT 1"


@pytest.mark.parametrize("probability", [math.nan, math.inf, 1.5, -0.1])
def test_a_probability_that_is_none_is_refused(probability):
    diagnosis = a_diagnosis()
    broken = (replace(diagnosis.findings[0], probability=probability), *diagnosis.findings[1:])
    with pytest.raises(OutputError, match=r"findings\[0\]\.probability") as caught:
        result_document(replace(diagnosis, findings=broken))
    assert "\n" not in str(caught.value)


def test_two_maps_of_one_label_are_refused_because_they_share_a_file():
    diagnosis = a_diagnosis()
    with pytest.raises(OutputError, match=r"share the file gradcam_subdural\.nii\.gz"):
        result_document(replace(diagnosis, maps=(*diagnosis.maps, a_marked_map(diagnosis.study, (0, 0, 0)))))


def test_slices_that_are_not_the_study_s_are_refused():
    diagnosis = a_diagnosis()
    with pytest.raises(OutputError, match="11 slices described, 12 stored"):
        result_document(replace(diagnosis, slices=diagnosis.slices[:-1]))


def test_the_folder_holds_what_result_json_names(tmp_path: Path):
    folder = write_result_folder(a_diagnosis(), tmp_path / "new" / "output")
    assert folder == tmp_path / "new" / "output" / "study-1"
    document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, SCHEMA)
    named = {entry["file"] for entry in document["maps"]} | {"result.json", "report.html"}
    assert {path.name for path in folder.iterdir()} == named
    assert len(named) == 9
    assert [path.name for path in folder.parent.iterdir()] == ["study-1"]


def test_the_slicer_half_reads_what_the_bundle_writes(tmp_path: Path):
    diagnosis = a_diagnosis(a_study(warnings=(QualityWarning("gap", "One slice is missing."),)))
    read = read_result(write_result_folder(diagnosis, tmp_path))
    assert [finding.probability for finding in read.findings] == [entry.probability for entry in diagnosis.findings]
    assert all(finding.threshold_chosen for finding in read.findings)
    assert [entry.attention for entry in read.slices] == [entry.attention for entry in diagnosis.slices]
    assert not read_result(write_refusal_folder(a_refusal(), tmp_path)).findings


def test_the_slicer_half_learns_which_threshold_nobody_chose(tmp_path: Path):
    diagnosis = a_diagnosis()
    first, *others = diagnosis.findings
    unchosen = replace(diagnosis, findings=(replace(first, threshold_chosen=False), *others))
    folder = write_result_folder(unchosen, tmp_path)
    assert [finding.threshold_chosen for finding in read_result(folder).findings] == [False] + [True] * len(others)
    # A result of an earlier version says nothing of it.
    document = json.loads((folder / "result.json").read_text("utf-8"))
    for finding in document["findings"]:
        del finding["threshold_chosen"]
    (folder / "result.json").write_text(json.dumps(document), "utf-8")
    assert all(finding.threshold_chosen for finding in read_result(folder).findings)


def test_the_folder_of_a_refusal_holds_no_map(tmp_path: Path):
    folder = write_refusal_folder(a_refusal(), tmp_path)
    assert {path.name for path in folder.iterdir()} == {"result.json", "report.html"}


def test_a_second_run_replaces_the_first_whole(tmp_path: Path):
    write_result_folder(a_diagnosis(), tmp_path)
    folder = write_refusal_folder(replace(a_refusal(), study_id="study-1"), tmp_path)
    assert {path.name for path in folder.iterdir()} == {"result.json", "report.html"}
    assert [path.name for path in tmp_path.iterdir()] == ["study-1"]


def test_a_fault_in_the_middle_leaves_nothing(tmp_path: Path):
    with pytest.raises(OutputError, match="does not fit"):
        write_result_folder(with_wrong_map(a_diagnosis()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_fault_in_the_middle_leaves_the_earlier_result(tmp_path: Path):
    folder = write_result_folder(a_diagnosis(), tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OutputError):
        write_result_folder(with_wrong_map(a_diagnosis()), tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["study-1"]


def test_a_user_who_interrupts_finds_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = []

    def interrupted(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.write_bytes(content))

    monkeypatch.setattr(result, "write_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_result_folder(a_diagnosis(), tmp_path)
    assert len(written) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("code", "remedy"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_a_disk_that_refuses_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code, remedy):
    def refused(_path: Path, _content: bytes) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(result, "write_file", refused)
    with pytest.raises(OutputFolderError, match=remedy) as caught:
        write_result_folder(a_diagnosis(), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_of_the_output_folder_is_named(tmp_path: Path):
    (tmp_path / "output").write_text("a file")
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        write_result_folder(a_diagnosis(), tmp_path / "output")


def test_the_input_is_never_replaced_by_its_result(tmp_path: Path):
    """An output folder set to the parent of the input gives the result the name of the CT's own folder."""
    (tmp_path / "study-1").mkdir()
    (tmp_path / "study-1" / "slice.dcm").write_bytes(b"pixels")
    with pytest.raises(OutputError, match="no result of an earlier run"):
        write_result_folder(a_diagnosis(), tmp_path)
    assert (tmp_path / "study-1" / "slice.dcm").read_bytes() == b"pixels"
    assert [path.name for path in tmp_path.iterdir()] == ["study-1"]


def test_a_link_is_not_followed_to_another_folder(tmp_path: Path):
    elsewhere = write_result_folder(a_diagnosis(), tmp_path / "elsewhere")
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "study-1").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="no result of an earlier run"):
        write_result_folder(a_diagnosis(), tmp_path / "output")
    assert (elsewhere / "result.json").is_file()


@pytest.mark.parametrize("study_id", ["", "..", "../up", "a/b", "a\\b", "a\0b"])
def test_a_study_id_that_leads_elsewhere_is_refused(tmp_path: Path, study_id):
    with pytest.raises(OutputError, match="cannot name a result folder"):
        write_result_folder(a_diagnosis(study_id=study_id), tmp_path / "output")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("study_id", ["Größe 1", "研究", "a study", "name\udce4"])
def test_names_beyond_ascii_are_written(tmp_path: Path, study_id):
    provenance = Provenance(source_name=study_id, source_format="nifti")
    folder = write_result_folder(a_diagnosis(a_study(provenance=provenance), study_id=study_id), tmp_path)
    document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert document["study"]["source_name"] == study_id


def test_a_tilted_study_says_so(tmp_path: Path):
    document = result_document(a_diagnosis(a_study(affine=an_affine(tilt_degrees=18.5))))
    assert document["study"]["tilt_degrees"] == pytest.approx(18.5, abs=1e-6)
