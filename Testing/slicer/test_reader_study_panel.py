"""A synthetic participant reads both sittings in the panel: what is shown, timed, saved, and kept out of sight."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6.QtCore import QPoint, QSettings, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QTableWidget, QWidget

import sample_result_folder as sample
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.panel import reader_study_section
from ICHDiagnosisLib.reader_study.journal import read_entries
from ICHDiagnosisLib.reader_study.protocol import Sitting
from ICHDiagnosisLib.reader_study.session import Phase
from ICHDiagnosisLib.scene import result_nodes, views
from ICHDiagnosisLib.scene.layers import shown_result
from ICHDiagnosisLib.scene.volume_input import write_stored_voxels
from panel_cases import an_open_panel, click, refused, unfold, wait
from scene_cases import SHAPE, a_ct, affine

TRUTH = {"a subdural": "0,0,0,0,1", "b nothing": "0,0,0,0,0", "c both": "0,1,0,0,1"}
FOUND = {"001": ("subdural",), "002": (), "003": ("intraparenchymal",)}
"""What the participant ticks of each case."""


@pytest.fixture(autouse=True)
def no_gap_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests themselves stand still for long, that is no sleep of the computer."""
    monkeypatch.setattr("ICHDiagnosisLib.reader_study.stopwatch.LONGEST_GAP", 3600.0)


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three heads whose names tell what they show, with the reference standard beside them."""
    folder = tmp_path / "heads"
    folder.mkdir()
    volume = a_ct(affine())
    written = write_stored_voxels(volume, folder / f"{next(iter(TRUTH))}.nrrd")
    for name in list(TRUTH)[1:]:
        shutil.copy(written, folder / f"{name}.nrrd")
    slicer.mrmlScene.RemoveNode(volume)
    lines = ["study,epidural,intraparenchymal,intraventricular,subarachnoid,subdural"]
    lines += [f"{name},{labels}" for name, labels in TRUTH.items()]
    (tmp_path / "truth.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def opened_by_system(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []
    monkeypatch.setattr(reader_study_section, "open_with_system", paths.append)
    return paths


@pytest.fixture
def study(panel: Any, cases: Path, tmp_path: Path) -> Any:
    """The section of the panel, with a reader study just made."""
    section = panel.reader_study
    unfold(section.ui.readerStudySection)
    section.ui.studyFolderEdit.setCurrentPath(str(tmp_path / "study"))
    section.ui.casesFolderEdit.setCurrentPath(str(cases))
    section.ui.truthFileEdit.setCurrentPath(str(tmp_path / "truth.csv"))
    click(section.ui.createStudyButton)
    assert section.ui.studyLabel.text == "Reader study with 3 studies made."
    section.ui.participantEdit.setText("r01")
    return section


def write_results(folder: Path, names: tuple[str, ...] = tuple(TRUTH)) -> None:
    """Leave results as a run from the terminal does: a folder per study, named after its file."""
    for name in names:
        sample.write_folder(folder / name, sample.document(SHAPE), sample.made_maps(SHAPE), affine())


def tick(box: Any) -> None:
    """Press the box itself: the place beside its text is not part of it."""
    assert box.visible
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height // 2))


def read_study(section: Any, confidence: int = 2) -> str:
    """Press the buttons that a participant presses for one study; return its case."""
    ui = section.ui
    click(ui.nextStudyButton)
    assert section.sitting.session.phase is Phase.READING
    case = section.sitting.session.case
    for label in FOUND[case]:
        tick(getattr(ui, f"finding{label.capitalize()}Box"))
    click(ui.finishButton)
    click(getattr(ui, f"confidence{confidence}Button"))
    return case


def read_sitting(section: Any, button: Any, confidence: int = 2) -> None:
    click(button)
    while section.sitting.is_open:
        read_study(section, confidence)


def seen(root: QWidget) -> str:
    """Return every text that can be seen in a window."""
    labels = [child.text for child in root.findChildren(QWidget) if child.visible and hasattr(child, "text")]
    tables = [table for table in root.findChildren(QTableWidget) if table.visible]
    cells = [
        table.item(row, column).text()
        for table in tables
        for row in range(table.rowCount)
        for column in range(table.columnCount)
        if table.item(row, column) is not None
    ]
    texts = [text() if callable(text) else str(text) for text in labels] + cells
    return "\n".join(texts).replace("\N{NO-BREAK SPACE}", " ")


def shown_volumes() -> set[str]:
    """Return the names of the volumes that the slice views show."""
    composites = list(views.composite_nodes())
    ids = {c.GetBackgroundVolumeID() for c in composites} | {c.GetForegroundVolumeID() for c in composites}
    nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in ids if identifier]
    return {node.GetName() for node in nodes}


def journal(tmp_path: Path, sitting: Sitting = Sitting.WITHOUT_AI) -> list[dict]:
    return list(read_entries(tmp_path / "study" / "readers" / "R01" / f"{sitting.value}.jsonl"))


def test_a_participant_reads_both_sittings_and_the_evaluation_opens(panel, study, tmp_path: Path, opened_by_system):
    results = tmp_path / "results of the terminal"
    write_results(results)
    study.ui.resultsFolderEdit.setCurrentPath(str(results))
    read_sitting(study, study.ui.beginWithoutButton, 1)
    assert "R01 has read all 3 studies without AI" in study.ui.studyLabel.text
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    click(study.ui.beginWithButton)
    assert "The wash-out lasts until" in study.ui.studyLabel.text
    assert not study.sitting.is_open
    study.ui.overrideReasonEdit.setText("a test")
    click(study.ui.beginWithButton)
    seen_with_ai = []
    while study.sitting.is_open:
        click(study.ui.nextStudyButton)
        seen_with_ai.append(seen(panel.widget))
        assert shown_result(study.sitting.node) is not None
        click(study.ui.finishButton)
        assert not panel.ui.resultSection.visible, "nobody reads on while the time stands"
        click(study.ui.confidence3Button)
    assert all("Impression of the file: any, subdural (91 %)" in text for text in seen_with_ai)
    assert not result_nodes.own_nodes()
    assert panel.ui.applyButton.visible
    click(study.ui.evaluateButton)
    (page,) = opened_by_system
    text = page.read_text(encoding="utf-8").replace("&nbsp;", " ")
    assert "Few studies: 3 read in both sittings" in text
    assert "AI alone" in text
    assert "R01 began the sitting with AI before the wash-out was over. Stated reason: a test" in text
    first, second = (study._store.record("R01", sitting) for sitting in Sitting)
    assert {reading.case: reading.labels - {"any"} for reading in first.readings} == {
        case: set(labels) for case, labels in FOUND.items()
    }
    assert [reading.confidence for reading in first.readings + second.readings] == [1, 1, 1, 3, 3, 3]
    assert second.override_reason == "a test"


def test_nothing_of_the_ai_can_be_seen_in_the_sitting_without_it(panel, study, head_ct, tmp_path: Path, monkeypatch):
    # An analysis of before is in history and panel, and results of every case lie ready.
    panel.ui.inputSelector.setCurrentNode(head_ct)
    click(panel.ui.applyButton)
    wait(lambda: not panel.running)
    unfold(panel.ui.historySection)
    unfold(panel.ui.batchSection)
    write_results(tmp_path / "study" / "ai_results")
    click(study.ui.beginWithoutButton)
    assert study.ui.studyLabel.text.startswith("Save and close the scene first")
    slicer.mrmlScene.Clear(False)
    panel.set_parameters(panel.logic.getParameterNode())

    def never(*_arguments: object) -> None:
        raise AssertionError("a result was read")

    for place in ("reader_study.ai_results.read_result", "panel.history_section.read_result", "logic.read_result"):
        monkeypatch.setattr(f"ICHDiagnosisLib.{place}", never)
    click(study.ui.beginWithoutButton)
    names = set()
    while study.sitting.is_open:
        click(study.ui.nextStudyButton)
        names |= shown_volumes()
        text = seen(panel.widget)
        visible = {child.name for child in panel.widget.children() if child.isWidgetType() and child.visible}
        assert visible == {"researchLabel", "sittingFrame"}
        assert "mpression" not in text
        assert "91 %" not in text
        assert not any(name in text for name in TRUTH), "names of files tell what is to be found"
        assert not result_nodes.own_nodes()
        nodes = [slicer.mrmlScene.GetNthNode(i) for i in range(slicer.mrmlScene.GetNumberOfNodes())]
        stored = [node.GetFileName() for node in nodes if node.IsA("vtkMRMLStorageNode")]
        assert not any(stored)
        panel.refresh(anew=True)
        panel.enter()
        assert not panel.ui.applyButton.visible
        click(study.ui.finishButton)
        assert shown_volumes() == set()
        click(study.ui.confidence1Button)
    assert names == {"Study 1", "Study 2", "Study 3"}


def test_time_stands_still_while_the_window_is_not_in_front(opened, study, tmp_path: Path):
    click(study.ui.beginWithoutButton)
    click(study.ui.nextStudyButton)
    window = opened.parent.window()
    assert QApplication.activeWindow() is not None
    other = QLabel("another window of the application, as a view on a second screen")
    other.show()
    other.activateWindow()
    wait(lambda: QApplication.activeWindow() is other)
    assert study.sitting.session.phase is Phase.READING
    other.close()
    window.hide()
    wait(lambda: study.sitting.session.phase is Phase.PAUSED)
    assert shown_volumes() == set()
    assert journal(tmp_path)[-1]["reason"] == "window"
    window.show()
    window.activateWindow()
    wait(lambda: study.sitting.session.phase is Phase.READING)
    assert shown_volumes() == {"Study 1"}
    click(study.ui.pauseButton)
    assert study.ui.readingLabel.text == "Paused: the time stands still."
    for in_front in (False, True):
        study.sitting._on_foreground(in_front)
    assert study.sitting.session.phase is Phase.PAUSED, "what the reader has paused goes on when the reader says so"
    click(study.ui.pauseButton)
    assert study.sitting.session.phase is Phase.READING
    assert [e["event"] for e in journal(tmp_path) if e["event"] in ("paused", "resumed")] == ["paused", "resumed"] * 2


def test_the_time_so_far_is_written_every_second(study, tmp_path: Path):
    click(study.ui.beginWithoutButton)
    click(study.ui.nextStudyButton)
    wait(lambda: sum(entry["event"] == "time" for entry in journal(tmp_path)) >= 2)
    assert journal(tmp_path)[-1]["seconds"] > 0


def test_after_a_crash_the_module_goes_on_at_the_same_study(panel, study, tmp_path, monkeypatch, bundle, cases):
    click(study.ui.beginWithoutButton)
    first = read_study(study)
    click(study.ui.nextStudyButton)
    case = study.sitting.session.case
    tick(study.ui.findingEpiduralBox)
    wait(lambda: journal(tmp_path)[-1]["event"] == "time")
    before = journal(tmp_path)[-1]["seconds"]
    # The application is gone without a word: nothing of its objects is asked to write anything.
    study.sitting._timer.stop()
    study.sitting.session = None
    QSettings().clear()
    again = tmp_path / "after the crash"
    again.mkdir()
    with an_open_panel(again, monkeypatch, bundle) as module_widget:
        section = module_widget.panel.reader_study
        unfold(section.ui.readerStudySection)
        section.ui.studyFolderEdit.setCurrentPath(str(tmp_path / "study"))
        section.ui.participantEdit.setText("R01")
        assert "R01: 1 of 3 studies read without AI" in section.ui.studyLabel.text
        click(section.ui.beginWithoutButton)
        session = section.sitting.session
        assert (session.case, session.position, session.seconds) == (case, 2, before)
        assert case != first
        assert session.labels == {"any", "epidural"}
        assert section.ui.findingEpiduralBox.checked
        assert not section.ui.findingsFrame.enabled
        assert shown_volumes() == set()
        click(section.ui.pauseButton)
        assert shown_volumes() == {"Study 2"}
        click(section.ui.finishButton)
        click(section.ui.confidence0Button)
        read_study(section)
        assert "has read all 3 studies" in section.ui.studyLabel.text


@pytest.mark.parametrize("leave", ["button", "module", "scene"])
def test_a_sitting_that_is_left_is_interrupted_and_the_panel_is_whole_again(panel, study, tmp_path: Path, leave: str):
    click(study.ui.beginWithoutButton)
    click(study.ui.nextStudyButton)
    {"button": study.ui.leaveButton.click, "module": panel.exit, "scene": lambda: slicer.mrmlScene.Clear(False)}[
        leave
    ]()
    assert not study.sitting.is_open
    assert journal(tmp_path)[-1]["reason"] == "left"
    assert panel.ui.applyButton.visible
    assert not study.ui.sittingFrame.visible
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")


def test_a_study_without_a_result_is_named_before_the_sitting_with_ai_begins(study, tmp_path: Path):
    read_sitting(study, study.ui.beginWithoutButton)
    study.ui.overrideReasonEdit.setText("a test")
    results = tmp_path / "study" / "ai_results"
    write_results(results, ("a subdural", "b nothing"))
    click(study.ui.beginWithButton)
    assert study.ui.studyLabel.text.startswith("Case 003 (c both.nrrd) has no result")
    sample.write_folder(results / "c both", sample.refusal(), {}, affine())
    click(study.ui.beginWithButton)
    assert "Case 003 (c both.nrrd) could not be evaluated (7 slices, at least 12 needed)" in study.ui.studyLabel.text
    shutil.rmtree(results / "c both")
    sample.write_folder(results / "c both", sample.document(SHAPE), sample.made_maps(SHAPE), affine((30, 0, 0)))
    click(study.ui.beginWithButton)
    assert study.ui.studyLabel.text.startswith("The result of case 003 (c both.nrrd) does not lie on its voxels")
    (results / "c both" / "result.json").write_text("{", encoding="utf-8")
    click(study.ui.beginWithButton)
    assert study.ui.studyLabel.text.startswith("The result of case 003 (c both.nrrd) cannot be used")
    shutil.copytree(results / "a subdural", results / "deeper" / "a subdural")
    click(study.ui.beginWithButton)
    assert study.ui.studyLabel.text.startswith("Case 001 (a subdural.nrrd) has 2 results")
    assert not (tmp_path / "study" / "readers" / "R01" / "with_ai.jsonl").exists()
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")


def test_a_study_that_cannot_be_loaded_is_named_before_the_sitting_begins(study, cases: Path, tmp_path: Path):
    (cases / "b nothing.nrrd").write_bytes(b"no volume")
    click(study.ui.beginWithoutButton)
    assert study.ui.studyLabel.text.startswith("Case 002 (b nothing.nrrd) cannot be loaded")
    (cases / "b nothing.nrrd").unlink()
    (cases / "b nothing.nrrd").mkdir()
    click(study.ui.beginWithoutButton)
    assert "the folder holds no DICOM files" in study.ui.studyLabel.text
    assert not (tmp_path / "study" / "readers").exists()


def test_a_study_that_vanishes_in_the_middle_interrupts_the_sitting(study, cases: Path, panel):
    click(study.ui.beginWithoutButton)
    for path in cases.iterdir():
        path.unlink()
    click(study.ui.nextStudyButton)
    assert "cannot be loaded" in study.ui.studyLabel.text
    assert not study.sitting.is_open
    assert panel.ui.applyButton.visible


def test_results_are_computed_beforehand_without_showing_what_they_find(
    panel, study, bundle, tmp_path: Path, opened_by_system
):
    write = bundle.write
    progress = []

    def one_then_the_rest(request: BundleRequest) -> int:
        progress.append(study.ui.studyLabel.text)
        return write(request)

    bundle.write = one_then_the_rest
    write_results(tmp_path / "study" / "ai_results", ("a subdural",))
    click(study.ui.computeResultsButton)
    assert not study.ui.beginWithoutButton.enabled
    wait(lambda: not panel.running)
    assert [request.dataset_dir.name for request in bundle.requests] == ["b nothing.nrrd", "c both.nrrd"]
    assert progress == ["Computing results: 0 of 2 studies", "Computing results: 1 of 2 studies"]
    assert study.ui.studyLabel.text == "Every study has its result."
    assert not panel.ui.batchTable.visible
    unfold(panel.ui.historySection)
    assert panel.ui.historyTable.rowCount == 0
    assert panel.ui.logEdit.toPlainText() == ""
    click(study.ui.computeResultsButton)
    assert len(bundle.requests) == 2
    read_sitting(study, study.ui.beginWithoutButton)
    study.ui.overrideReasonEdit.setText("a test")
    read_sitting(study, study.ui.beginWithButton)
    click(study.ui.evaluateButton)
    assert opened_by_system


@pytest.mark.parametrize(("write", "reason"), [(refused, "Every study has"), (lambda request: 1, "3 studies have no")])
def test_what_computing_could_not_do_is_stated(panel, study, bundle, write: Callable, reason: str):
    bundle.write = write
    click(study.ui.computeResultsButton)
    wait(lambda: not panel.running)
    assert study.ui.studyLabel.text.startswith(reason)


def test_computing_can_be_cancelled(panel, study, bundle):
    bundle.hold_at = "slices"
    click(study.ui.computeResultsButton)
    wait(lambda: bundle.running)
    click(study.ui.studyCancelButton)
    wait(lambda: not panel.running)
    assert study.ui.studyLabel.text == "3 studies have no result: case-001: The analysis was cancelled."


def test_checking_the_studies_can_be_cancelled(study, monkeypatch):
    monkeypatch.setattr(slicer.app, "processEvents", study.ui.studyCancelButton.click)
    click(study.ui.beginWithoutButton)
    assert study.ui.studyLabel.text == "Cancelled."
    assert not study.sitting.is_open


def test_what_is_wrong_with_a_new_study_or_a_participant_is_stated(panel, cases: Path, tmp_path: Path):
    section = panel.reader_study
    ui = section.ui
    unfold(ui.readerStudySection)
    assert not ui.newStudyFrame.visible
    ui.studyFolderEdit.setCurrentPath(str(tmp_path / "study"))
    click(ui.createStudyButton)
    assert ui.studyLabel.text == "There are no studies to read."
    ui.casesFolderEdit.setCurrentPath(str(tmp_path / "nowhere"))
    click(ui.createStudyButton)
    assert ui.studyLabel.text == "No such file or directory"
    ui.casesFolderEdit.setCurrentPath(str(cases))
    (tmp_path / "truth.csv").write_text("study\n", encoding="utf-8")
    ui.truthFileEdit.setCurrentPath(str(tmp_path / "truth.csv"))
    click(ui.createStudyButton)
    assert ui.studyLabel.text.startswith("truth.csv lacks columns")
    ui.truthFileEdit.setCurrentPath("")
    click(ui.createStudyButton)
    ui.participantEdit.setText("Anna Müller")
    click(ui.beginWithoutButton)
    assert "Never a name" in ui.studyLabel.text
    click(ui.evaluateButton)
    assert "nothing to evaluate" in ui.studyLabel.text
    (tmp_path / "study" / "protocol.json").write_text("{", encoding="utf-8")
    section.refresh()
    assert "is damaged" in ui.studyLabel.text


def test_no_sitting_begins_while_an_analysis_runs_and_the_study_is_remembered(panel, study, bundle, head_ct):
    panel.ui.inputSelector.setCurrentNode(head_ct)
    bundle.hold_at = "slices"
    click(panel.ui.applyButton)
    assert not study.ui.beginWithoutButton.enabled
    study.begin_without_ai()
    assert study.ui.studyLabel.text == "Wait until the analysis has ended."
    click(panel.ui.applyButton)
    wait(lambda: not panel.running)
    assert panel.logic.settings.reader_study_folder == study._store.folder
