"""One analysis from start to ending: its progress, what it states when something is wrong, and what it leaves."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer

from ICHDiagnosisLib import logic as logic_module
from ICHDiagnosisLib.analysis import (
    AnalysisUpdate,
    CannotStartError,
    PackagesMissingError,
    check_input,
    stage_name,
)
from ICHDiagnosisLib.bundle.child_output import Progress
from ICHDiagnosisLib.bundle.exit_status import Ending, Remedy, explain_ending
from ICHDiagnosisLib.bundle.input_folder import PREFIX
from ICHDiagnosisLib.bundle.process import BundleProcess, RunUpdate
from ICHDiagnosisLib.bundle.run import BundleRun
from ICHDiagnosisLib.history import History
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement
from logic_cases import BUNDLE, ended, left_in
from reading_runner import ReadingRunner
from scene_cases import GEOMETRIES, SHAPE, a_ct

OUT_OF_GPU_MEMORY = (1, ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",))


def test_an_analysis_runs_to_its_ending_which_is_reported_once(a_logic, settings):
    logic = a_logic(ReadingRunner())
    assert not logic.running
    assert logic.poll() == AnalysisUpdate()
    logic.start(a_ct(GEOMETRIES["oblique"]), settings)
    assert logic.running
    update = logic.poll()
    assert (update.stage, update.fraction, update.ending) == ("Classifying every slice", 0.2, None)
    assert update.lines == ("reading",)
    assert logic.poll().ending is not None
    assert not logic.running
    assert logic.poll().ending is None


def test_a_second_start_is_refused_while_one_runs(a_logic, settings):
    runner = ReadingRunner()
    logic = a_logic(runner)
    ct = a_ct(GEOMETRIES["oblique"])
    logic.start(ct, settings)
    with pytest.raises(CannotStartError, match="is running"):
        logic.start(ct, settings)
    assert len(runner.requests) == 1
    assert ended(logic).outcome.ending is Ending.EVALUATED


def test_what_is_missing_is_stated_before_anything_starts(a_logic, settings):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    colours = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colours")
    slicer.util.updateVolumeFromArray(colours, np.zeros((2, 2, 2, 3), dtype=np.uint8))
    ct = a_ct(GEOMETRIES["oblique"])
    for node, folder, code in (
        (None, settings.output_folder, "input.none"),
        (empty, settings.output_folder, "input.no_voxels"),
        (colours, settings.output_folder, "input.colours"),
        (ct, Path("results"), "input.no_folder"),
    ):
        with pytest.raises(CannotStartError) as caught:
            check_input(node, folder)
        assert caught.value.code == code
    check_input(ct, settings.output_folder)
    runner = ReadingRunner()
    with pytest.raises(CannotStartError, match="holds no voxels"):
        a_logic(runner).start(empty, settings)
    assert runner.requests == []


def test_missing_packages_are_named_and_nothing_starts(a_logic, settings, temporary):
    missing = (MissingPackage(Requirement("monai", "1.6"), None),)
    runner = ReadingRunner()
    with pytest.raises(PackagesMissingError) as caught:
        a_logic(runner, find_missing=lambda: missing).start(a_ct(GEOMETRIES["oblique"]), settings)
    assert caught.value.missing == missing
    assert runner.requests == []
    assert left_in(temporary) == []


def test_a_missing_bundle_and_a_full_disk_are_stated_in_one_line_and_leave_nothing(
    settings, temporary, tmp_path, monkeypatch
):
    ct = a_ct(GEOMETRIES["oblique"])
    run = BundleRun(BundleProcess(), Path(sys.executable), tmp_path / "nowhere", temporary)
    logic = logic_module.AnalysisLogic(run, tuple)
    with pytest.raises(CannotStartError, match="The bundle is missing"):
        logic.start(ct, settings)
    assert (logic.running, left_in(temporary)) == (False, [])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logic_module, "write_input", full)
    with pytest.raises(CannotStartError, match="could not be written for the analysis: No space left"):
        logic.start(ct, settings)
    assert (logic.running, left_in(temporary)) == (False, [])


def test_a_result_is_shown_recorded_and_kept_with_its_log(a_logic, settings, temporary, tmp_path):
    history = History(tmp_path / "settings")
    logic = a_logic(ReadingRunner(), history=history)
    logic.start(a_ct(GEOMETRIES["oblique"], "Head"), settings)
    ending = ended(logic)
    assert ending.log_file.read_text(encoding="utf-8") == "a log\n"
    assert ending.log_file.parent == ending.result.folder.parent
    assert ending.result.report.is_file()
    assert ending.shown.segmentation_node is not None
    assert ending.notices == ()
    (past,) = history.search()
    assert (past.study, past.result_folder) == ("Head", ending.result.folder)
    assert past.impression == ending.result.impression.text
    assert past.findings[0].name == "Any intracranial haemorrhage"
    assert left_in(temporary) == []


def test_what_a_crashed_application_left_is_swept_before_the_next_run(a_logic, settings, temporary):
    crashed = temporary / f"{PREFIX}crashed"
    (crashed / "input").mkdir(parents=True)
    (crashed / "in-use-by-pid").write_text("1")
    a_logic(ReadingRunner()).start(a_ct(GEOMETRIES["oblique"]), settings)
    assert not crashed.exists()
    assert len(left_in(temporary)) == 1


def test_every_stage_of_the_bundle_has_a_name_for_the_user():
    # The benchmark's own reference implementation reports stages too, but to nobody here.
    files = [path for path in (BUNDLE / "scripts").rglob("*.py") if path.parent.name != "bench"]
    sources = [path.read_text(encoding="utf-8") for path in files]
    stages = {stage for source in sources for stage in re.findall(r'\breport\("([^"]+)"', source)}
    assert {"reading", "slices", "maps"} <= stages
    assert {stage for stage in stages if stage_name(Progress(1, 2, stage)) == stage} == set()
    assert stage_name(None) == "Starting"
    assert stage_name(Progress(1, 2, "a stage of tomorrow")) == "a stage of tomorrow"


def test_two_analyses_of_one_volume_keep_both_results(a_logic, settings):
    logic = a_logic(ReadingRunner())
    ct = a_ct(GEOMETRIES["oblique"])
    folders = []
    for _run in range(2):
        logic.start(ct, settings)
        folders.append(ended(logic).result.folder)
    assert folders[0] != folders[1]
    assert all((folder / "result.json").is_file() for folder in folders)


def test_a_history_that_fails_does_not_cost_the_result(a_logic, settings, tmp_path):
    (tmp_path / "settings").write_text("a file where a folder should be")
    logic = a_logic(ReadingRunner(), history=History(tmp_path / "settings"))
    logic.start(a_ct(GEOMETRIES["oblique"]), settings)
    ending = ended(logic)
    assert ending.shown is not None
    assert "history" in ending.notices[0]


def test_a_study_that_is_not_evaluable_states_why_and_is_not_recorded(a_logic, settings, tmp_path):
    ct = a_ct(GEOMETRIES["oblique"])
    slicer.util.updateVolumeFromArray(ct, np.zeros(SHAPE[::-1], dtype=np.int16))
    history = History(tmp_path / "settings")
    logic = a_logic(ReadingRunner(), history=history)
    logic.start(ct, settings)
    ending = ended(logic)
    assert ending.outcome.ending is Ending.SOME_NOT_EVALUABLE
    assert ending.outcome.message == "Not evaluable: volume.nrrd: every voxel is 0; convert the original series again"
    assert ending.result.reason.code == "empty_volume"
    assert ending.shown is not None
    assert history.search() == ()


def test_running_out_of_graphics_memory_offers_the_cpu_and_the_second_run_works(a_logic, settings, temporary):
    runner = ReadingRunner([OUT_OF_GPU_MEMORY, (0, ())])
    logic = a_logic(runner)
    logic.start(a_ct(GEOMETRIES["oblique"]), replace(settings, device="cuda"))
    ending = ended(logic)
    assert (ending.outcome.ending, ending.outcome.remedy) == (Ending.FAILED, Remedy.RUN_ON_CPU)
    assert ending.result is None
    logic.run_again_on_cpu()
    assert ended(logic).shown is not None
    assert [request.device for request in runner.requests] == ["cuda", "cpu"]
    assert left_in(temporary) == []


def test_there_is_nothing_to_run_again_without_an_analysis_or_its_volume(a_logic, settings):
    logic = a_logic(ReadingRunner([OUT_OF_GPU_MEMORY]))
    with pytest.raises(CannotStartError, match="no analysis to run again"):
        logic.run_again_on_cpu()
    ct = a_ct(GEOMETRIES["oblique"])
    logic.start(ct, settings)
    ended(logic)
    slicer.mrmlScene.RemoveNode(ct)
    with pytest.raises(CannotStartError, match="no analysis to run again"):
        logic.run_again_on_cpu()


def test_a_volume_removed_meanwhile_costs_the_view_but_not_the_result(a_logic, settings):
    ct = a_ct(GEOMETRIES["oblique"])
    logic = a_logic(ReadingRunner(before_ending=lambda _request: slicer.mrmlScene.RemoveNode(ct)))
    logic.start(ct, settings)
    ending = ended(logic)
    assert ending.shown is None
    assert ending.result is not None
    assert "no longer in the scene" in ending.notices[0]


def test_a_result_of_another_volume_is_refused_and_the_scene_stays(a_logic, settings):
    ct = a_ct(GEOMETRIES["oblique"])

    def move(_request: object) -> None:
        ct.SetOrigin(90.0, 0.0, 0.0)

    logic = a_logic(ReadingRunner(before_ending=move))
    logic.start(ct, settings)
    ending = ended(logic)
    assert ending.outcome.ending is Ending.FAILED
    assert "belongs to another volume" in ending.outcome.message
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_a_run_that_leaves_no_result_or_half_of_one_is_a_failure(a_logic, settings):
    class Nothing(ReadingRunner):
        content: str | None = None

        def poll(self):
            output_dir = self.requests[-1].output_dir
            self._request = None
            if self.content is not None:
                (output_dir / "volume").mkdir()
                (output_dir / "volume" / "result.json").write_text(self.content)
            return RunUpdate(outcome=explain_ending(0, ()))

    runner = Nothing()
    logic = a_logic(runner)
    logic.start(a_ct(GEOMETRIES["oblique"]), settings)
    assert ended(logic).outcome.message == "The analysis wrote 0 results where one was expected."
    runner.content = "{"
    logic.start(slicer.util.getNode("CT"), settings)
    ending = ended(logic)
    assert ending.outcome.ending is Ending.FAILED
    assert "half-written" in ending.outcome.message
