"""What belongs to the computer stays there; what belongs to the scene has one wrapper, whose widgets it writes back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import slicer
from PySide6.QtTest import QTest

import host
from host import parameter_nodes
from ICHDiagnosisLib.parameters import DeviceChoice, ExplanationMethod
from ICHDiagnosisLib.scene import result_nodes
from ICHDiagnosisLib.settings import ModuleSettings
from panel_cases import MODULE_FILE, applied
from scene_cases import a_ct, affine


@pytest.fixture(params=["5.10", "5.12"])
def any_wrapper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrapper as each Slicer has it; a checkout's own is what it is."""
    monkeypatch.setattr(parameter_nodes, "REMOVES_OBSERVER", request.param != "5.10")


def texts_of_the_scene(folder: Path) -> str:
    """Return the scene as it would go to somebody else."""
    path = folder / "scene.mrml"
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.Commit(str(path))
    return path.read_text(encoding="utf-8")


@pytest.mark.usefixtures("any_wrapper")
def test_a_history_that_is_switched_off_stays_off_when_the_scene_is_closed(opened):
    ui = opened.panel.ui
    ui.keepHistoryBox.checked = False
    for _ in range(2):
        slicer.mrmlScene.Clear(False)
        assert not ui.keepHistoryBox.checked
        assert not opened.logic.settings.keep_history
    opened.exit()
    opened.enter()
    assert not ui.keepHistoryBox.checked


def test_settings_are_not_in_a_scene_that_is_saved(opened, head_ct, tmp_path):
    opened.panel.ui.outputFolderEdit.setCurrentPath(str(tmp_path / "results of somebody"))
    opened.panel.ui.keepHistoryBox.checked = False
    saved = texts_of_the_scene(tmp_path)
    assert "mapThreshold" in saved
    assert "results of somebody" not in saved
    assert "keepHistory" not in saved
    assert ModuleSettings(Path("/documents")).output_folder == tmp_path / "results of somebody"


def test_settings_of_somebody_else_in_a_scene_are_dropped(opened, tmp_path):
    node = opened.logic.getParameterNode().parameterNode
    node.SetParameter("outputFolder", "/home/somebody else")
    node.SetParameter("keepHistory", "True")
    opened.logic.settings.keep_history = False
    slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.EndImportEvent)
    assert not opened.logic.settings.keep_history
    assert "somebody else" not in texts_of_the_scene(tmp_path)


def test_results_go_to_the_documents_until_a_folder_is_set():
    settings = ModuleSettings(Path("/documents"))
    assert settings.output_folder == Path("/documents/ICHDiagnosis")
    settings.output_folder = Path("/data/head CT")
    assert ModuleSettings(Path("/documents")).output_folder == Path("/data/head CT")
    with pytest.raises(ValueError, match="relative"):
        settings.output_folder = Path("head CT")


@pytest.mark.usefixtures("any_wrapper")
def test_a_path_can_be_typed_in_the_middle_of_another(panel, head_ct, tmp_path):
    edit = panel.ui.outputFolderEdit
    line = edit.comboBox().lineEdit()
    line.setText("/data/CT")
    line.setCursorPosition(len("/data/"))
    for text in ("h", "e", "a", "d", "/"):
        QTest.keyClicks(line, text)
        # Any parameter that changes writes every connected widget.
        panel.parameters().opacity = 0.4 if panel.parameters().opacity != 0.4 else 0.6
    assert edit.currentPath == "/data/head/CT"
    assert line.cursorPosition == len("/data/head/")
    line.setText("/data/trailing/")
    panel.parameters().opacity = 0.5
    assert edit.currentPath == "/data/trailing/"


@pytest.mark.parametrize("path", ["", ".", "results", "~/results"])
def test_a_relative_path_is_refused_and_leaves_the_folder_as_it_was(panel, head_ct, path, tmp_path):
    panel.ui.inputSelector.setCurrentNode(head_ct)
    assert panel.ui.applyButton.enabled
    panel.ui.outputFolderEdit.setCurrentPath(path)
    assert panel.ui.outputFolderEdit.currentPath == path
    assert not panel.ui.applyButton.enabled
    assert panel.ui.hintLabel.text == "Choose a folder for the results, with its whole path."
    assert not panel.ui.batchVolumesButton.enabled
    assert panel.logic.settings.output_folder == tmp_path / "results"


@pytest.mark.usefixtures("any_wrapper")
def test_visits_and_closed_scenes_make_no_change_slower(opened):
    node = opened.logic.getParameterNode().parameterNode
    writes = []

    def observers() -> int:
        """Count what a change calls: each observer of the wrapper and the panel reads or writes parameters."""
        writes.clear()
        sys.setprofile(lambda _frame, event, _argument: writes.append(event) if event == "call" else None)
        node.Modified()
        sys.setprofile(None)
        return len(writes)

    before = observers()
    wrapper = opened.logic.getParameterNode()
    for _ in range(10):
        opened.exit()
        opened.enter()
    assert opened.logic.getParameterNode() is wrapper
    assert observers() == before
    for _ in range(5):
        slicer.mrmlScene.Clear(False)
    assert observers() <= before


@pytest.mark.parametrize(
    ("name", "text"),
    [("device", "QUANTUM"), ("explanationMethod", "MIRROR"), ("opacity", "half"), ("mapThreshold", "0")],
)
def test_a_choice_that_this_version_does_not_know_keeps_the_panel_open(tmp_path, monkeypatch, name, text, caplog):
    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(tmp_path / "Slicer.ini"))
    host.load_module(MODULE_FILE)
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetSingletonTag("ICHDiagnosis")
    node.SetAttribute("ModuleName", "ICHDiagnosis")
    node.SetParameter(name, text)
    slicer.mrmlScene.AddNode(node)
    opened = host.open_panel("ICHDiagnosis")
    try:
        parameters = opened.panel.parameters()
        assert parameters.device == DeviceChoice.AUTOMATIC
        assert parameters.explanationMethod == ExplanationMethod.SLICE_GRADCAM
        assert (parameters.opacity, parameters.mapThreshold) == (0.5, 50.0)
        assert f"parameter {name} cannot be read" in caplog.text
    finally:
        host.close_panel(opened)


def test_a_slider_step_does_not_walk_the_scene(panel, head_ct, monkeypatch):
    applied(panel, head_ct)
    panel.ui.opacitySlider.value = 40
    walks = []
    walk = result_nodes._Index._walk

    def counted_walk() -> list[str]:
        walks.append(True)
        return walk()

    monkeypatch.setattr(result_nodes._Index, "_walk", staticmethod(counted_walk))
    for step in range(41, 51):
        panel.ui.opacitySlider.value = step
    assert panel.parameters().opacity == pytest.approx(0.5)
    assert walks == []
    a_ct(affine(), "another")
    panel.ui.opacitySlider.value = 60
    assert len(walks) == 1
