"""A result folder that exists is whole, and lies where it was asked for."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from sample_diagnosis import a_diagnosis, a_refusal, a_study

from scripts.diagnosis import AttributionMap, Diagnosis
from scripts.intake.study import Provenance
from scripts.labels import RSNA
from scripts.output import result
from scripts.output.folder import OutputError, OutputFolderError
from scripts.output.result import write_refusal_folder, write_result_folder

DOCS = Path(__file__).parents[2] / "monai_bundle" / "docs"
SCHEMA = json.loads((DOCS / "result.schema.json").read_text("utf-8"))


def with_wrong_map(diagnosis: Diagnosis) -> Diagnosis:
    """Only the last map is faulty, so that the fault comes when files are already there."""
    wrong = AttributionMap("gradcam", RSNA[-1], np.zeros((13, 64, 64), np.uint8), 1.0)
    return replace(diagnosis, maps=(*diagnosis.maps[:-1], wrong))


def test_the_folder_holds_what_result_json_names(tmp_path: Path):
    folder = write_result_folder(a_diagnosis(), tmp_path / "new" / "output")
    assert folder == tmp_path / "new" / "output" / "study-1"
    document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, SCHEMA)
    named = {entry["file"] for entry in document["maps"]} | {"result.json", "report.html", "thumbnail.jpg"}
    assert {path.name for path in folder.iterdir()} == named
    assert len(named) == 10
    assert [path.name for path in folder.parent.iterdir()] == ["study-1"]


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
    written: list[int] = []

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
