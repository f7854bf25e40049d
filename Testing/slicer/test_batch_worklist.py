"""The worklist of a batch: the bundle writes the page, and the panel's table follows its order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ICHDiagnosisLib.batch.table import BatchRow
from ICHDiagnosisLib.batch.worklist import WorklistError, in_order, worklist_command, write_worklist
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.result.content import ResultError
from ICHDiagnosisLib.result.worklist import WorklistRow, read_worklist
from panel_cases import click, evaluated, negative, refused, unfold, wait
from scene_cases import a_ct, affine

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


def test_rows_without_a_result_stand_last_in_their_order():
    rows = (BatchRow("cancelled"), BatchRow("failed"))
    assert in_order(rows, [WorklistRow("study", None, "unread")]) == rows


def test_the_panel_opens_the_page_and_sorts_its_table_by_urgency(
    panel, bundle, head_ct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[Path] = []
    monkeypatch.setattr("ICHDiagnosisLib.panel.batch_section.open_with_system", opened.append)
    for name in ("second", "third"):
        a_ct(affine(), name)
    writes: list[Callable[[BundleRequest], int]] = [negative, refused, evaluated]
    bundle.write = lambda request: writes.pop(0)(request)  # noqa: PLW0108 - each call takes another
    panel.ui.inputSelector.setCurrentNode(head_ct)
    unfold(panel.ui.batchSection)
    assert not panel.ui.batchWorklistButton.visible
    click(panel.ui.batchVolumesButton)
    assert not panel.ui.batchWorklistButton.visible
    wait(lambda: not panel.running)
    table = panel.ui.batchTable
    names = [table.item(row, 0).text() for row in range(3)]
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "BundleProcess", BundleProcess)
    click(panel.ui.batchWorklistButton)
    assert [table.item(row, 0).text() for row in range(3)] == names[::-1]
    assert [path.name for path in opened] == ["worklist.html"]
    assert "Sorted by urgency" in panel.ui.batchLabel.text
    table.cellDoubleClicked.emit(0, 0)
    assert opened[-1].parents[1].name == names[2], "a row opens the report of the study that it shows"


def test_the_panel_says_why_there_is_no_worklist(panel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "BundleProcess", BundleProcess)
    panel.batch.show_worklist()
    assert "could not be written" in panel.ui.batchLabel.text
    assert panel.ui.batchWorklistButton.enabled
