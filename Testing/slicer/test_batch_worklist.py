"""The worklist of a folder of results, which the bundle writes; the panel's table: ``test_worklist_section.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ICHDiagnosisLib.batch.worklist import WorklistError, worklist_command, write_worklist
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.result.content import ResultError
from ICHDiagnosisLib.result.worklist import read_worklist
from panel_cases import evaluated, negative, refused

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


def write_three(results: Path) -> None:
    for name, write in (("a", negative), ("b", refused), ("c", evaluated)):
        write(BundleRequest(sys.executable, BUNDLE, results, results / name))


def test_the_bundle_writes_the_worklist_of_results_in_folders_of_their_own(tmp_path: Path):
    write_three(tmp_path)
    polls: list[int] = []
    process = BundleProcess(build=worklist_command)
    page = write_worklist(process, Path(sys.executable), BUNDLE, tmp_path, lambda: polls.append(1))
    assert page == tmp_path / "worklist.html"
    assert page.is_file()
    assert polls
    rows = read_worklist(tmp_path)
    assert [row.folder for row in rows] == [tmp_path / name / "study" for name in ("c", "b", "a")]
    assert [row.urgency for row in rows] == ["likely", "unread", "negative"]
    assert not (tmp_path / "run.log").exists()


def test_a_worklist_that_cannot_be_written_is_said_in_one_line(tmp_path: Path):
    process = BundleProcess(build=worklist_command)
    with pytest.raises(WorklistError, match="is no folder"):
        write_worklist(process, Path(sys.executable), BUNDLE, tmp_path / "nowhere", lambda: None)


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"schema": "another/1"}', '{"schema": "ich-diagnosis-worklist/1"}']
)
def test_what_is_no_worklist_is_refused(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "worklist.json").write_text(content, encoding="utf-8")
    with pytest.raises(ResultError, match="no worklist"):
        read_worklist(tmp_path)
