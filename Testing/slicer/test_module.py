"""The module's shell: what the application shows of it, what it wires together, and its test for the application."""

from __future__ import annotations

import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import qt
import slicer

import host
from host.application import Signal
from host.sample_data import install_sample_data, sources_of
from host.scripted_module import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from ICHDiagnosisLib.bundle.process import BundleProcess
from scene_cases import GEOMETRIES, a_ct

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    # Whatever other tests have loaded before is no part of this start.
    slicer.app.startupCompleted = Signal()
    host.load_module(ROOT / "ICHDiagnosis" / "ICHDiagnosis.py")
    return sys.modules["ICHDiagnosis"]


def test_the_application_knows_what_the_module_is(module):
    parent = slicer.modules.ichdiagnosis.instance.parent
    assert parent.title == "ICH Diagnosis"
    assert parent.categories == ["Neuroimaging"]
    assert parent.contributors
    assert "Research use only" in parent.helpText


def test_sample_data_are_offered_after_the_start(module):
    install_sample_data()
    slicer.app.startupCompleted.emit()
    phantom, head_ct = sources_of("ICHDiagnosis")
    assert Path(phantom.thumbnailFileName).is_file()
    assert phantom.customDownloader is module.make_phantom
    assert head_ct.sampleName == "ICH-ADAPT2"


def test_parameters_of_an_earlier_version_are_read_under_their_names_of_today(module, caplog):
    node = ScriptedLoadableModuleLogic.getParameterNode(module.ICHDiagnosisLogic())
    node.SetParameter("level", "65.0")
    node.SetParameter("heatMapLabel", "subdural")
    node.SetParameter("opacity", "0.3")
    parameters = module.ICHDiagnosisLogic().getParameterNode()
    assert (parameters.mapThreshold, parameters.opacity) == (65.0, 0.3)
    assert "parameter level is now mapThreshold" in caplog.text
    assert set(node.GetParameterNames()) >= {"mapThreshold", "opacity"}
    assert not {"level", "heatMapLabel"} & set(node.GetParameterNames())
    caplog.clear()
    assert module.ICHDiagnosisLogic().getParameterNode().mapThreshold == 65.0
    assert caplog.text == ""


def test_parameters_belong_to_the_scene_and_are_found_again(module):
    logic = module.ICHDiagnosisLogic()
    logic.getParameterNode().inputVolume = a_ct(GEOMETRIES["oblique"])
    logic.getParameterNode().mapThreshold = 70.0
    assert logic.getParameterNode().inputVolume.GetName() == "CT"
    assert module.ICHDiagnosisLogic().getParameterNode().mapThreshold == 70.0


@pytest.fixture
def reloadable(module, tmp_path, monkeypatch) -> Iterator[ScriptedLoadableModuleWidget]:
    """An entered panel; whatever is reloaded is put back, for the other tests hold the classes of before."""
    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(tmp_path / "Slicer.ini"))
    kept = {name: part for name, part in sys.modules.items() if name.partition(".")[0] == "ICHDiagnosisLib"}
    opened = host.open_panel("ICHDiagnosis")
    yield opened
    host.close_panel(slicer.modules.ICHDiagnosisWidget)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ICHDiagnosisLib"]:
        del sys.modules[name]
    sys.modules.update(kept)
    sys.modules["ICHDiagnosis"] = module


def test_the_bundle_starts_in_the_environment_from_before_the_launcher(module, monkeypatch):
    for name, value in {
        "APPLAUNCHER_LEVEL": "1",
        "APPLAUNCHER_0_PATH": "/usr/bin",
        "PATH": "/opt/Slicer/bin:/usr/bin",
        "PYTHONHOME": "/opt/Slicer/lib/Python",
    }.items():
        monkeypatch.setenv(name, value)
    given = []
    monkeypatch.setattr(module, "BundleProcess", lambda environment, *_build: given.append(environment))
    module.ICHDiagnosisLogic()
    assert given == [{"PATH": "/usr/bin"}]


def test_reload_reads_the_library_anew_and_enters_the_new_panel(reloadable):
    before = sys.modules["ICHDiagnosisLib.panel.panel"]
    volume = a_ct(GEOMETRIES["oblique"])
    reloadable.onReload()
    renewed = slicer.modules.ICHDiagnosisWidget
    assert renewed is not reloadable
    assert sys.modules["ICHDiagnosisLib.panel.panel"] is not before
    assert renewed.panel.ui.inputSelector.currentNode() is volume
    # What only an entered panel does: it takes up the scene that comes after this one.
    slicer.mrmlScene.Clear(False)
    other = a_ct(GEOMETRIES["oblique"], "after")
    slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.EndCloseEvent)
    assert renewed.panel.parameters().inputVolume is other


def test_a_panel_that_was_reloaded_listens_to_nothing_any_more(reloadable):
    plot, parameters = reloadable.panel.ui.attentionPlot, reloadable.logic.getParameterNode()
    painted = []
    reloadable.panel.result.navigation.plot.paint = lambda: painted.append(True)
    refreshed = []
    reloadable.panel.inputs.refresh = lambda: refreshed.append(True)
    reloadable.onReload()
    painted.clear()
    refreshed.clear()
    plot.resize(plot.width + 10, plot.height)
    qt.QApplication.sendEvent(plot, qt.QResizeEvent(plot.size, plot.size))
    parameters.useOriginalFiles = not parameters.useOriginalFiles
    slicer.app.processEvents()
    assert painted == refreshed == []


def run_that_hangs(environment: dict[str, str], build=None) -> BundleProcess:
    """Return a process whose every analysis hangs once it has begun; other commands are run as they are."""
    program = "import time\nprint('PROGRESS 1/4 slices', flush=True)\ntime.sleep(600)"
    return BundleProcess(environment, build or (lambda _request: [sys.executable, "-c", program]))


@pytest.fixture
def started(module, monkeypatch) -> list:
    """The logics that the module's own test makes."""
    logics = []
    monkeypatch.setattr(module, "BundleProcess", run_that_hangs)
    monkeypatch.setattr(module, "find_missing", lambda _requirements: ())
    make = module.ICHDiagnosisLogic

    def make_and_keep() -> ScriptedLoadableModuleLogic:
        logics.append(make())
        return logics[-1]

    monkeypatch.setattr(module, "ICHDiagnosisLogic", make_and_keep)
    return logics


def test_the_test_for_the_application_cancels_a_run(module, started):
    result = unittest.TestResult()
    module.ICHDiagnosisTest("test_cancel_leaves_no_result").run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.failures + result.errors


def test_the_test_run_by_the_application_itself_leaves_nothing_behind(module, started, monkeypatch):
    settings = slicer.app.userSettings()
    before = {key: settings.value(key) for key in settings.allKeys()}
    monkeypatch.setattr(module.ICHDiagnosisTest, "test_a_phantom_is_read_and_shown", fails)
    test = module.ICHDiagnosisTest()
    with pytest.raises(AssertionError, match="on purpose"):
        test.runTest()
    assert not started[0].analysis.running
    assert not test.output_folder.exists()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    assert {key: settings.value(key) for key in settings.allKeys()} == before


def fails(test) -> None:
    """Start an analysis as the test does, and fail before its end."""
    test._started_logic()
    raise AssertionError("on purpose")


def test_the_test_is_skipped_where_packages_are_missing(module, started, monkeypatch):
    monkeypatch.setattr(module, "find_missing", lambda _requirements: ("torch",))
    result = unittest.TestResult()
    module.ICHDiagnosisTest("test_cancel_leaves_no_result").run(result)
    assert [reason for _test, reason in result.skipped] == ["Some Python packages must be installed first."]
    slicer.selfTests["ICHDiagnosis"]()
