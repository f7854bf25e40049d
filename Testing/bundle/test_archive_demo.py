"""The demo with the real network: two studies go into Orthanc, and all objects of both are in Orthanc at the end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.archive_demo import __main__ as demo
from scripts.dicom_node.identity import key_of
from scripts.dicom_node.study_queue import State, StudyQueue
from scripts.messages import ExpectedError

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


def test_two_studies_go_in_and_structured_reports_segmentations_and_printed_reports_come_back(tmp_path: Path):
    output = tmp_path / "demo"
    command = [sys.executable, "-m", "scripts.archive_demo", "--output", str(output)]
    run = subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr + (output / "node.log").read_text(encoding="utf-8")
    both = dict(re.findall(r"^In the archive, study (\w{8}): (.*)$", run.stdout, flags=re.MULTILINE))
    assert len(both) == 2
    assert all("SR (1)" in objects and "DOC (1)" in objects and "KO (1)" in objects for objects in both.values())
    assert any("SEG (1)" in objects for objects in both.values())
    # The archive's studies, the results and the worklist go by the same names.
    results = output / "state" / "results"
    assert {report.parent.name[:8] for report in results.glob("*/report.html")} == set(both)
    (worklist,) = re.findall(r"^worklist of 2 studies: (.*)$", run.stdout, flags=re.MULTILINE)
    assert Path(worklist) == results / "worklist.html"
    rows = json.loads((results / "worklist.json").read_text(encoding="utf-8"))["rows"]
    assert {row["study_id"][:8] for row in rows} == set(both)
    assert all((results / row["folder"] / "report.html").is_file() for row in rows)
    assert "PHANTOM" not in (output / "node.log").read_text(encoding="utf-8")
    # Nothing that it started is left.
    assert "stopped" in (output / "node.log").read_text(encoding="utf-8")


def test_a_folder_that_holds_other_things_is_not_emptied(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("three years", encoding="utf-8")
    with pytest.raises(ExpectedError, match="holds other things"):
        demo.main(["--output", str(tmp_path)])
    assert (tmp_path / "thesis.txt").exists()


class EndedNode:
    """A node that has ended."""

    def poll(self) -> int:
        return 1


class SilentOrthanc:
    """An Orthanc that has one study without objects, which nobody takes."""

    def get(self, path: str) -> list[str]:
        return [] if path.endswith("series") else ["study"]

    def send(self, study: str, modality: str) -> bool:
        return False


class RunningNode:
    """A node that runs."""

    def poll(self) -> None:
        return None


class FillingOrthanc:
    """An Orthanc that has the first objects of one study; every other question brings the node one step further."""

    UID = "1.2.3"

    def __init__(self, queue: StudyQueue, end: State = State.SENT) -> None:
        self.queue, self.steps = queue, iter([State.READ, State.SENDING, end])

    def get(self, path: str) -> Any:
        if path == "studies":
            if claimed := self.queue.study(key_of(self.UID)):
                self.queue.finish(claimed, next(self.steps))
            return ["study"]
        return (
            [{"MainDicomTags": {"Modality": "SR"}}]
            if path.endswith("series")
            else {"MainDicomTags": {"StudyInstanceUID": self.UID}}
        )


def test_the_first_object_of_a_study_is_not_taken_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo.time, "sleep", lambda _: None)
    queue = StudyQueue(tmp_path / "queue.sqlite")
    queue.add_image(key_of(FillingOrthanc.UID), "image", 1, 0.0)
    demo._wait_for_objects(tmp_path / "queue.sqlite", FillingOrthanc(queue), RunningNode())
    assert queue.study(key_of(FillingOrthanc.UID)).state is State.SENT
    queue.close()


def test_a_study_that_failed_ends_the_wait_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo.time, "sleep", lambda _: None)
    queue = StudyQueue(tmp_path / "queue.sqlite")
    queue.add_image(key_of(FillingOrthanc.UID), "image", 1, 0.0)
    with pytest.raises(ExpectedError, match="did not arrive"):
        demo._wait_for_objects(tmp_path / "queue.sqlite", FillingOrthanc(queue, State.FAILED), RunningNode())
    assert queue.study(key_of(FillingOrthanc.UID)).state is State.FAILED
    queue.close()


def test_a_node_that_ended_or_takes_nothing_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ExpectedError, match="did not arrive"):
        demo._wait_for_objects(tmp_path / "queue.sqlite", SilentOrthanc(), EndedNode())
    monkeypatch.setattr(demo, "_START_SECONDS", -1.0)
    with pytest.raises(ExpectedError, match="did not arrive"):
        demo._send_studies(tmp_path, SilentOrthanc())
