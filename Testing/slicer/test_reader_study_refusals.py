"""A reader study in the panel that is left, lacks results or studies, or is set up wrongly: what is stated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import slicer

import sample_result_folder as sample
from ICHDiagnosisLib.bundle.command import BundleRequest
from panel_cases import click, refused, unfold, wait
from scene_cases import SHAPE, affine
from study_panel_cases import journal, read_sitting, write_results

pytest_plugins = ("study_panel_cases",)


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
    assert "the folder holds no CT series to be read" in study.ui.studyLabel.text
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
