"""Where studies come from: folders at any depth, lists, and names that do not depend on the order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.triage.sources import find_tasks, places_in_folder, tasks_of_several
from scripts.triage.tasks import Task, TriageError

DICOM = b"\0" * 128 + b"DICM"


def an_archive(root: Path) -> Path:
    for place in ("anna/ct", "berta/series 1", "berta/series 2", ".hidden"):
        (root / place).mkdir(parents=True)
        (root / place / "IM0001").write_bytes(DICOM)
    for name in ("head.nii.gz", "zipped.zip", "notes.txt", "maps.nrrd"):
        (root / name).write_bytes(b"content")
    return root


def names_of(source: Path, output: Path, depth: int = 1) -> list[str]:
    return [task.name for task in find_tasks(str(source), output, depth)]


def test_each_folder_and_volume_below_the_source_is_a_task(tmp_path: Path):
    root = an_archive(tmp_path / "archive")
    assert names_of(root, tmp_path / "out") == ["anna", "berta", "head", "maps", "zipped"]


def test_results_within_the_source_are_no_studies(tmp_path: Path):
    root = an_archive(tmp_path / "archive")
    (root / "out" / "anna").mkdir(parents=True)
    assert "out" not in names_of(root, root / "out")


def test_studies_may_lie_deeper_and_a_folder_with_images_is_never_divided(tmp_path: Path):
    root = an_archive(tmp_path / "archive" / "2026" / "11")
    names = names_of(tmp_path / "archive", tmp_path / "out", depth=3)
    assert names == ["2026_11_anna", "2026_11_berta", "2026_11_head.nii.gz"[:-7], "2026_11_maps", "2026_11_zipped"]
    assert list(places_in_folder(root / "anna" / "ct", tmp_path, depth=5)) == [root / "anna" / "ct"]


def test_a_single_file_is_a_task(tmp_path: Path):
    an_archive(tmp_path)
    assert names_of(tmp_path / "head.nii.gz", tmp_path / "out") == ["head"]


def test_names_that_agree_are_told_apart_in_the_same_way_in_any_order(tmp_path: Path):
    places = [tmp_path / side / "CT" for side in ("left", "right")]
    named = []
    for order in (places, places[::-1]):
        file = tmp_path / "studies.csv"
        file.write_text("path\n" + "\n".join(map(str, order)), encoding="utf-8")
        named.append({task.place: task.name for task in find_tasks(str(file), tmp_path / "out")})
    assert named[0] == named[1]
    assert len(set(named[0].values())) == 2


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_list_names_places_relative_to_itself_and_may_name_studies(tmp_path: Path, kind):
    rows = [{"path": "a/b", "study_id": "first"}, {"path": "/elsewhere/größer.nii.gz", "study_id": ""}]
    text = {
        "csv": "study_id,path\r\nfirst,a/b\r\n,/elsewhere/größer.nii.gz\r\n",
        "jsonl": "\n".join(json.dumps(row) for row in rows) + "\n\n",
    }[kind]
    (tmp_path / f"list.{kind}").write_text("\ufeff" + text if kind == "csv" else text, encoding="utf-8")
    tasks = find_tasks(str(tmp_path / f"list.{kind}"), tmp_path / "out")
    assert [(task.name, task.place) for task in tasks] == [
        ("first", str(tmp_path / "a" / "b")),
        ("größer", "/elsewhere/größer.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "folder\nx\n"), ("a.jsonl", "{"), ("a.jsonl", "[1]"), ("a.jsonl", '{"name": 1}'), ("a.csv", 'path\n"x')],
)
def test_what_is_no_list_is_said_in_one_line(tmp_path: Path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TriageError, match=rf"{name}: no list of studies"):
        find_tasks(str(tmp_path / name), tmp_path / "out")


def test_a_source_that_is_missing_or_empty_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(TriageError, match="nowhere: cannot be read"):
        find_tasks(str(tmp_path / "nowhere"), tmp_path / "out")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(TriageError, match="nothing: nothing in it"):
        find_tasks(str(tmp_path / "nothing"), tmp_path / "out")


def test_studies_of_one_place_have_names_that_no_other_task_has():
    place = Task("patient", "/archive/patient")
    first, second = tasks_of_several(place, ["1.2", "1.3"], ["patient", "Patient_1.3"])
    assert first == Task("patient_1.2", "/archive/patient", "1.2")
    assert second.name == "patient_1.3-1"
