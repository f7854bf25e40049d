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
from host.sample_data import install_sample_data, sources_of
from host.scripted_module import ScriptedLoadableModuleLogic
from ICHDiagnosisLib.analysis import CannotStartError
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.parameters import NOT_CHOSEN
from scene_cases import GEOMETRIES, a_ct

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    host.load_module(ROOT / "ICHDiagnosis" / "ICHDiagnosis.py")
    return sys.modules["ICHDiagnosis"]


@pytest.fixture(autouse=True)
def a_scene_and_settings_of_its_own(tmp_path: Path) -> Iterator[None]:
    host.empty_scene()
    qt.QSettings.setPath(qt.QSettings.NativeFormat, qt.QSettings.UserScope, str(tmp_path / "qt"))
    yield
    host.empty_scene()


def test_the_application_knows_what_the_module_is(module):
    parent = slicer.modules.ichdiagnosis.instance.parent
    assert parent.title == "ICH Diagnosis"
    assert parent.categories == ["Neuroimaging"]
    assert parent.contributors
    assert "Research use only" in parent.helpText


def test_sample_data_are_offered_after_the_start(module):
    install_sample_data()
    slicer.modules.ichdiagnosis.instance.onStartupCompleted()
    phantom, head_ct = sources_of("ICHDiagnosis")
    assert Path(phantom.thumbnailFileName).is_file()
    assert phantom.customDownloader is module.make_phantom
    assert head_ct.sampleName == "ICH-ADAPT2"


def test_a_new_scene_has_a_folder_for_results_and_the_setting_of_the_history(module):
    logic = module.ICHDiagnosisLogic()
    parameters = logic.getParameterNode()
    assert parameters.outputFolder != NOT_CHOSEN
    assert parameters.outputFolder.name == "ICHDiagnosis"
    assert parameters.keepHistory
    parameters.keepHistory = False
    with pytest.raises(CannotStartError, match="Choose a head CT"):
        logic.start_analysis()
    assert not logic.history.enabled
    host.empty_scene()
    assert not module.ICHDiagnosisLogic().getParameterNode().keepHistory


def test_parameters_of_an_earlier_version_are_read_under_their_names_of_today(module, caplog):
    node = ScriptedLoadableModuleLogic.getParameterNode(module.ICHDiagnosisLogic())
    node.SetParameter("level", "65.0")
    node.SetParameter("heatMapLabel", '"subdural"')
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


def test_reload_and_test_reads_the_library_anew(module, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(tmp_path / "Slicer.ini"))
    opened = host.open_panel("ICHDiagnosis")
    kept = {name: part for name, part in sys.modules.items() if name.partition(".")[0] == "ICHDiagnosisLib"}
    opened.onReload()
    renewed = slicer.modules.ICHDiagnosisWidget
    try:
        assert renewed is not opened
        assert renewed.panel.ui.applyButton.text == "Apply"
        assert sys.modules["ICHDiagnosisLib.panel.panel"] is not kept["ICHDiagnosisLib.panel.panel"]
        assert type(renewed.panel).__module__ == "ICHDiagnosisLib.panel.panel"
    finally:
        host.close_panel(renewed)
        # The other tests hold the classes of before.
        for name in [name for name in sys.modules if name.partition(".")[0] == "ICHDiagnosisLib"]:
            del sys.modules[name]
        sys.modules.update(kept)
        sys.modules["ICHDiagnosis"] = module


def run_that_hangs(environment: dict[str, str], build=None) -> BundleProcess:
    """Return a process whose every analysis hangs once it has begun; other commands are run as they are."""
    program = "import time\nprint('PROGRESS 1/4 slices', flush=True)\ntime.sleep(60)"
    return BundleProcess(environment, build or (lambda _request: [sys.executable, "-c", program]))


def test_the_test_for_the_application_cancels_a_run(module, monkeypatch):
    monkeypatch.setattr(module, "BundleProcess", run_that_hangs)
    result = unittest.TestResult()
    module.ICHDiagnosisTest("test_cancel_leaves_no_result").run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.failures + result.errors
