"""The stand-ins for 3D Slicer: a small scripted module lives in them as it would in the application."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer

import host

MODULE = '''"""A module for the test."""
import enum
from typing import Annotated
import qt, slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *

class Device(enum.Enum):
    AUTOMATIC = "auto"
    CPU = "cpu"

@parameterNodeWrapper
class Parameters:
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    opacity: Annotated[float, WithinRange(0, 1)] = 0.5
    device: Device = Device.AUTOMATIC
    point: Annotated[str, Choice(["balanced", "sensitive"])] = "balanced"
    note: str = ""
    visible: bool = True

class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Sample")

class SampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return Parameters(super().getParameterNode())

class SampleWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        super().setup()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleLogic()
        self.parameters = self.logic.getParameterNode()
        self.tag = self.parameters.connectGui(uiWidget)

    def cleanup(self):
        # The node outlives the widgets.
        self.parameters.disconnectGui(self.tag)
'''

WIDGETS = {
    "section": ("ctkCollapsibleButton", None, '<property name="text"><string>Inputs</string></property>'),
    "selector": (
        "qMRMLNodeComboBox",
        "inputVolume",
        '<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>'
        '<property name="noneEnabled"><bool>true</bool></property>',
    ),
    "opacity": ("ctkSliderWidget", "opacity", '<property name="maximum"><double>1</double></property>'),
    "device": ("QComboBox", "device", ""),
    "point": ("QComboBox", "point", ""),
    "note": ("QLineEdit", "note", ""),
    "folder": ("ctkPathLineEdit", None, ""),
    "visible": ("QCheckBox", "visible", ""),
    "apply": ("QPushButton", None, '<property name="text"><string>Apply</string></property>'),
}


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[object]:
    host.empty_scene()
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    parameter = '<property name="SlicerParameterName" stdset="0"><string>{}</string></property>'
    items = "".join(
        f'<item><widget class="{cls}" name="{name}">{extra}{parameter.format(field) if field else ""}</widget></item>'
        for name, (cls, field, extra) in WIDGETS.items()
    )
    ui = (
        '<?xml version="1.0" encoding="UTF-8"?><ui version="4.0"><class>Sample</class>'
        f'<widget class="qMRMLWidget" name="Sample"><layout class="QVBoxLayout" name="layout">{items}</layout></widget>'
        "<connections><connection><sender>Sample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>"
        "<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"
    )
    (tmp_path / "Resources" / "UI" / "Sample.ui").write_text(ui, encoding="utf-8")
    (tmp_path / "Sample.py").write_text(MODULE, encoding="utf-8")
    host.load_module(tmp_path / "Sample.py")
    opened = host.open_panel("Sample")
    yield opened
    host.close_panel(opened)
    host.empty_scene()


def test_a_module_is_registered_with_its_title_and_its_panel(panel):
    assert slicer.modules.sample.instance.parent.title == "Sample"
    assert slicer.modules.SampleWidget is panel
    assert panel.ui.section.text == "Inputs"
    assert panel.ui.apply.text == "Apply"


def test_properties_are_attributes_and_methods_stay(panel):
    button = panel.ui.apply
    clicked = []
    button.clicked.connect(lambda: clicked.append(button.text))
    button.text = "Cancel"
    button.click()
    button.setText("Again")
    button.click()
    assert clicked == ["Cancel", "Again"]
    assert (button.name, button.className(), button.enabled) == ("apply", "QPushButton", True)


def test_the_node_selector_follows_the_scene(panel):
    selector = panel.ui.selector
    chosen = []
    selector.currentNodeChanged.connect(chosen.append)
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    assert selector.count == 2
    selector.setCurrentNode(volume)
    assert selector.currentNode() is volume
    slicer.mrmlScene.RemoveNode(volume)
    assert selector.currentNode() is None
    assert chosen == [volume, None]


def test_a_path_line_that_is_emptied_reports_that_it_is_invalid_and_no_path(panel):
    edit, signals = panel.ui.folder, []
    edit.currentPathChanged.connect(signals.append)
    edit.validInputChanged.connect(signals.append)
    for path in ("/data", "", "data"):
        edit.setCurrentPath(path)
    assert signals == ["/data", True, False, "data", True]


def test_parameters_and_widgets_follow_each_other(panel):
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    panel.ui.selector.setCurrentNode(volume)
    panel.ui.opacity.setValue(0.25)
    panel.ui.device.setCurrentIndex(1)
    panel.ui.point.setCurrentIndex(1)
    panel.ui.note.setText("nötig")
    panel.ui.visible.click()
    parameters = panel.parameters
    assert parameters.inputVolume is volume
    assert (parameters.opacity, parameters.device.name, parameters.point) == (0.25, "CPU", "sensitive")
    assert (parameters.note, parameters.visible) == ("nötig", False)
    parameters.opacity = 0.75
    parameters.device = type(parameters.device).AUTOMATIC
    parameters.inputVolume = None
    assert panel.ui.opacity.value == 0.75
    assert panel.ui.device.currentIndex == 0
    parameters.disconnectGui(panel.tag)
    panel.ui.opacity.setValue(0.1)
    assert parameters.opacity == 0.75


@pytest.mark.parametrize(("field", "value"), [("opacity", 1.5), ("point", "wild")])
def test_a_value_out_of_range_is_refused(panel, field: str, value: object):
    with pytest.raises(ValueError, match=str(value)):
        setattr(panel.parameters, field, value)


def test_parameters_survive_saving_and_reloading_the_scene(panel, tmp_path: Path):
    panel.parameters.inputVolume = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="CT")
    panel.parameters.opacity = 0.3
    panel.parameters.device = list(type(panel.parameters.device))[1]  # type: ignore[call-overload] # an enumeration
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.empty_scene()
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    again = panel.logic.getParameterNode()
    assert isinstance(again.device, enum.Enum)
    assert (again.inputVolume.GetName(), again.opacity, again.device.name) == ("CT", 0.3, "CPU")


def test_a_volume_is_loaded_from_its_file(panel, tmp_path: Path):
    volume = slicer.util.addVolumeFromArray(np.arange(8, dtype=np.int16).reshape(2, 2, 2), name="CT")
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(tmp_path / "ct.nrrd"))
    assert storage.WriteData(volume)
    loaded = slicer.util.loadVolume(tmp_path / "ct.nrrd")
    assert loaded.GetName() == "ct"
    assert loaded.GetDisplayNode().GetColorNode() is not None
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))


def test_an_exception_in_a_callback_is_a_fault_of_its_test(panel, callback_faults):
    def fails(*_: object) -> None:
        raise ValueError("in a callback")

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", fails)
    node.Modified()
    panel.ui.apply.clicked.connect(fails)
    panel.ui.apply.click()
    assert [fault.splitlines()[-1] for fault in callback_faults] == ["ValueError: in a callback"] * 2
    callback_faults.clear()


def test_no_dialogue_opens(panel):
    slicer.util.errorDisplay("something failed")
    slicer.app.processEvents()
    assert [window.className() for window in slicer.app.topLevelWidgets() if window.visible] == []


def test_none_outlives_every_call_of_qt_that_returns_it():
    for _ in range(1000):
        slicer.app.processEvents()
    assert sys.getrefcount(None) > 1_000_000
