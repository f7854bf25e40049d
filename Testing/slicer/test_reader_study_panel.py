"""A synthetic participant reads both sittings in the panel: what is shown, timed, saved, and kept out of sight."""

from __future__ import annotations

from pathlib import Path

import slicer
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication, QLabel

from ICHDiagnosisLib.reader_study.protocol import Sitting
from ICHDiagnosisLib.reader_study.session import Phase
from ICHDiagnosisLib.scene import result_nodes
from ICHDiagnosisLib.scene.layers import shown_result
from panel_cases import an_open_panel, click, unfold, wait
from study_panel_cases import FOUND, TRUTH, journal, read_sitting, read_study, seen, shown_volumes, tick, write_results

pytest_plugins = ("study_panel_cases",)


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

    for place in ("reader_study.ai_results", "panel.history_section", "study_opening", "logic"):
        monkeypatch.setattr(f"ICHDiagnosisLib.{place}.read_result", never)
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
    wait(lambda: study.sitting.session.phase is Phase.READING)
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
    wait(lambda: study.sitting.session.phase is Phase.READING)
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
