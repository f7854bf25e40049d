"""An analysis with a real child process: cancelled, closed, and once through the bundle itself."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import slicer

from ICHDiagnosisLib import logic as logic_module
from ICHDiagnosisLib.bundle.exit_status import Ending
from ICHDiagnosisLib.bundle.location import find_bundle
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.bundle.run import BundleRun
from ICHDiagnosisLib.history import History
from ICHDiagnosisLib.scene.volume_geometry import series_uid_of
from logic_cases import a_tilted_series, ended, left_in
from process_cases import processes_in
from scene_cases import GEOMETRIES, a_ct

STAGES = (
    "Starting",
    "Reading the study",
    "Classifying every slice",
    "Classifying key slices at high resolution",
    "Computing the explanation",
    "Computing attribution maps",
    "Writing results",
    "Done",
)


def test_cancel_ends_the_child_and_leaves_neither_result_nor_input(a_bundle, settings, temporary):
    run = BundleRun(BundleProcess(), Path(sys.executable), a_bundle, temporary)
    logic = logic_module.AnalysisLogic(run, tuple)
    logic.start(a_ct(GEOMETRIES["oblique"]), replace(settings, overrides={"behaviour": "hang_with_family"}))
    while logic.poll().fraction is None:
        time.sleep(0.02)
    assert len(left_in(temporary)) == 1
    logic.cancel()
    assert logic.running
    ending = ended(logic)
    assert ending.outcome.ending is Ending.CANCELLED
    assert (ending.shown, ending.result) == (None, None)
    assert left_in(temporary) == []
    assert processes_in(a_bundle) == []


def test_close_ends_the_child_at_once_as_the_scene_or_the_application_closes(a_bundle, settings, temporary):
    run = BundleRun(BundleProcess(), Path(sys.executable), a_bundle, temporary)
    logic = logic_module.AnalysisLogic(run, tuple)
    logic.start(a_ct(GEOMETRIES["oblique"]), replace(settings, overrides={"behaviour": "hang", "stage": "1"}))
    while not processes_in(a_bundle):
        time.sleep(0.02)
    logic.close()
    assert processes_in(a_bundle) == []
    assert left_in(temporary) == []
    assert not logic.running
    logic.close()


def test_the_installed_bundle_reads_a_tilted_series_and_its_evidence_lies_on_the_volume(
    package, tmp_path, settings, temporary
):
    # A copy: a run leaves compiled files in its bundle.
    modules = shutil.copytree(package.installed, tmp_path / "modules")
    ct, database = a_tilted_series(tmp_path / "dicom", pixels=128)
    history = History(tmp_path / "settings")
    run = BundleRun(BundleProcess(), Path(sys.executable), find_bundle(modules / "ICHDiagnosis.py"), temporary)
    logic = logic_module.AnalysisLogic(run, tuple, history, database)
    # Small images: this is about the way through the bundle, not about what it finds.
    logic.start(ct, replace(settings, overrides={"image_size": "112", "high_res_size": "128"}))
    stages, ending = [], None
    while ending is None:
        update = logic.poll()
        ending = update.ending
        if ending is None:
            stages.append(update.stage)
        time.sleep(0.02)
    assert ending.outcome.ending is Ending.EVALUATED, ending.log_file.read_text(encoding="utf-8")
    assert stages[0] == "Starting"
    assert "PROGRESS" in ending.log_file.read_text(encoding="utf-8")
    # A stage may pass between two polls: it may be missed, but none comes out of order.
    assert [STAGES.index(stage) for stage in stages] == sorted(STAGES.index(stage) for stage in stages)
    assert {"reading", "slices", "key slices", "explanation", "maps"} <= set(ending.result.seconds)
    assert ending.shown.caveat is None
    assert set(ending.shown.attribution_maps) == {finding.key for finding in ending.result.findings}
    inside = slicer.util.arrayFromVolume(ct) > -200
    for attribution_map in ending.shown.attribution_maps.values():
        assert not slicer.util.arrayFromVolume(attribution_map)[:, :8].any()
        assert attribution_map.GetTransformNodeID() == ct.GetTransformNodeID()
    assert inside.any()
    assert ending.result.study.series_uid == series_uid_of(ct)
    assert ending.result.report.is_file()
    assert len(history.search()) == 1
    assert left_in(temporary) == []
