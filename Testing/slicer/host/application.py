"""The application without its windows: one scene, the module logics and ``slicer.app``, on slicer-core's real MRML."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

SLICE_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}

LOGIC_CLASSES = {
    "colors": "vtkSlicerColorLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "volumes": "vtkSlicerVolumesLogic",
}


class Module:
    """What ``slicer.modules.<name>`` offers to a script: its logic, name and path."""

    def __init__(self, name: str, logic: Any = None, path: str = "") -> None:
        self.name = name
        self.path = path
        self._logic = logic

    def logic(self) -> Any:
        """Return the module's logic; the same object at every call, as in the application."""
        return self._logic


class IOManager:
    """The three reads that scripts ask of ``slicer.app.coreIOManager()``: a volume, a scene, a bundle."""

    def fileType(self, filename: str) -> str:
        """Name the reader that the application would choose for a file."""
        return "SceneFile" if str(filename).lower().endswith((".mrb", ".mrml")) else "VolumeFile"

    def loadNodes(self, filetype: str, properties: dict, loaded: vtk.vtkCollection, _messages: object = None) -> bool:
        """Read a file into the scene; what was read is appended to ``loaded``."""
        filename = str(properties["fileName"])
        if filetype == "SceneFile":
            return bool(slicer.mrmlScene.ReadFromMRB(filename, False))
        name = properties.get("name") or filename.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
        node = slicer.modules.volumes.logic().AddArchetypeVolume(filename, name, 0)
        if node is None:
            return False
        loaded.AddItem(node)
        return True

    def saveNodes(self, filetype: str, properties: dict, _messages: object = None) -> bool:
        """Write the scene as a bundle, or one node into a file of its own."""
        if filetype == "SceneFile":
            return bool(slicer.mrmlScene.WriteToMRB(str(properties["fileName"])))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(str(properties["fileName"]))
        node.GetStorageNode().SetFileName(str(properties["fileName"]))
        return bool(node.GetStorageNode().WriteData(node))

    def fileWriterFileType(self, node: slicer.vtkMRMLStorableNode) -> str:
        """Name the writer that the application would choose for a node."""
        return f"{node.GetNodeTagName()}File"


class Signal:
    """A signal of the application: what is connected is called when it is emitted."""

    def __init__(self) -> None:
        self._slots: list[Callable[[], None]] = []

    def connect(self, slot: Callable[[], None]) -> None:
        """Call this from now on."""
        self._slots.append(slot)

    def disconnect(self, slot: Callable[[], None]) -> None:
        """Call this no longer."""
        self._slots.remove(slot)

    def emit(self) -> None:
        """Call all that is connected."""
        for slot in list(self._slots):
            slot()


class SliceWidget:
    """One slice view without its window."""

    def __init__(self, sliceLogic: slicer.vtkMRMLSliceLogic) -> None:
        self._sliceLogic = sliceLogic

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        """Return the logic that resamples the volumes for this view."""
        return self._sliceLogic

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        """Return the node that holds the view's plane."""
        return self._sliceLogic.GetSliceNode()

    def sliceView(self) -> Any:
        """Return the view itself, drawn without a window."""
        from .slice_view import SliceView  # noqa: PLC0415 - needs a software OpenGL, which not every test does

        return SliceView(self._sliceLogic)


class LayoutManager:
    """Three slice views; a layout is a remembered number, no window is arranged."""

    threeDViewCount = 0
    tableViewCount = 0
    plotViewCount = 0

    def __init__(self, sliceLogics: vtk.vtkCollection) -> None:
        self._sliceLogics = sliceLogics
        self.layout = 3

    def setLayout(self, layout: int) -> None:
        """Remember a layout's number."""
        self.layout = layout

    def layoutLogic(self) -> SimpleNamespace:
        """Offer ``GetLayoutNode()`` and nothing else."""
        return SimpleNamespace(GetLayoutNode=lambda: slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode"))

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        """Return the logics of all slice views."""
        return self._sliceLogics

    def sliceViewNames(self) -> tuple[str, ...]:
        """Name the slice views."""
        return tuple(SLICE_VIEWS)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """Return one slice view by name."""
        for index, viewName in enumerate(SLICE_VIEWS):
            if viewName == name:
                return SliceWidget(self._sliceLogics.GetItemAsObject(index))
        return None


class Application:
    """The part of ``qSlicerApplication`` that a scripted module uses."""

    applicationName = "Slicer"
    applicationVersion = "5.13.0"
    majorVersion = 5
    minorVersion = 13

    def __init__(self, logic: slicer.vtkSlicerApplicationLogic, sliceLogics: vtk.vtkCollection) -> None:
        self._logic = logic
        self._layoutManager = LayoutManager(sliceLogics)
        self._coreIOManager = IOManager()
        self._temporaryDirectory = tempfile.TemporaryDirectory(prefix="slicer-host-")
        self.temporaryPath = self._temporaryDirectory.name
        self.slicerHome = ""
        self.slicerUserSettingsFilePath = f"{self.temporaryPath}/Slicer.ini"
        self.startupCompleted = Signal()
        logic.SetTemporaryPath(self.temporaryPath)
        _allowReadingBundles(slicer.mrmlScene, self.temporaryPath)

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        """Return the real application logic of MRML."""
        return self._logic

    def coreIOManager(self) -> IOManager:
        """Return the reader and writer of files."""
        return self._coreIOManager

    def layoutManager(self) -> LayoutManager:
        """Return the arrangement of the views."""
        return self._layoutManager

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        """Return the scene."""
        return slicer.mrmlScene

    def pauseRender(self) -> None:
        """Do nothing: the stand-in draws only on request."""

    def resumeRender(self) -> None:
        """Do nothing: the stand-in draws only on request."""

    def processEvents(self) -> None:
        """Do nothing until Qt is installed (:mod:`host.python_qt` replaces this method)."""

    def startupEnvironment(self) -> SimpleNamespace:
        """Return the environment before a launcher changed it, as a ``QProcessEnvironment`` tells it.

        A launcher keeps what it found as ``APPLAUNCHER_0_<name>``; the rest is its own (``ctkAppLauncherEnvironment``).
        """
        environment = dict(os.environ)
        if "APPLAUNCHER_LEVEL" in environment:
            kept = {name: value for name, value in environment.items() if name.startswith("APPLAUNCHER_0_")}
            environment = {name.removeprefix("APPLAUNCHER_0_"): value for name, value in kept.items()}
        return SimpleNamespace(keys=lambda: list(environment), value=lambda name: environment[name])

    def testingEnabled(self) -> bool:
        """Tell slicer.util that no dialogue may open."""
        return True

    def topLevelWidgets(self) -> list:
        """Return no window: there is no main window."""
        return []


def _allowReadingBundles(scene: slicer.vtkMRMLScene, folder: str) -> None:
    """Give the scene the cache folder into which it unpacks a ``.mrb``."""
    cacheManager = slicer.vtkCacheManager()
    cacheManager.SetRemoteCacheDirectory(folder)
    dataIOManager = slicer.vtkDataIOManager()
    dataIOManager.SetCacheManager(cacheManager)
    scene.SetCacheManager(cacheManager)
    scene.SetDataIOManager(dataIOManager)


@contextmanager
def _withoutMissingResourceErrors() -> Iterator[None]:
    """Silence the logics that look for the application's share folder, which the PyPI package does not hold."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)


def _sliceLogics(applicationLogic: slicer.vtkSlicerApplicationLogic, scene: slicer.vtkMRMLScene) -> vtk.vtkCollection:
    """Make the three slice views' nodes and logics."""
    collection = vtk.vtkCollection()
    for name, orientation in SLICE_VIEWS.items():
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(scene)
        logic.AddSliceNode(name).SetOrientation(orientation)
        collection.AddItem(logic)
    return collection


IN_SUBJECT_HIERARCHY = (
    slicer.vtkMRMLDisplayableNode,
    slicer.vtkMRMLTableNode,
    slicer.vtkMRMLTextNode,
    slicer.vtkMRMLPlotChartNode,
    slicer.vtkMRMLPlotSeriesNode,
)


def _keepSubjectHierarchy(scene: slicer.vtkMRMLScene) -> None:
    """List nodes in the subject hierarchy as they come and go, which a Qt plugin does in the application."""

    def hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        shown = isinstance(node, IN_SUBJECT_HIERARCHY) and not node.GetHideFromEditors()
        if shown and not scene.IsImporting() and not hierarchy().GetItemByDataNode(node):
            hierarchy().CreateItem(hierarchy().GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def aboutToBeRemoved(_scene: vtk.vtkObject, _event: str, node: slicer.vtkMRMLNode) -> None:
        if isinstance(node, IN_SUBJECT_HIERARCHY) and not scene.IsClosing() and hierarchy().GetItemByDataNode(node):
            hierarchy().RemoveItem(hierarchy().GetItemByDataNode(node), False, False)

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, aboutToBeRemoved)


def install_scene() -> None:
    """Give ``slicer`` its scene, application and module logics; a second call changes nothing."""
    if hasattr(slicer, "app"):
        return
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace()
    applicationLogic = slicer.vtkSlicerApplicationLogic()
    with _withoutMissingResourceErrors():
        applicationLogic.SetMRMLScene(scene)
        for name, className in LOGIC_CLASSES.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLApplicationLogic(applicationLogic)
            logic.SetMRMLScene(scene)
            setattr(slicer.modules, name, Module(name, logic))
        # The volumes logic asks for it to give a loaded volume its grey levels.
        applicationLogic.SetModuleLogic("Colors", slicer.modules.colors.logic())
    sliceLogics = _sliceLogics(applicationLogic, scene)
    applicationLogic.SetSliceLogics(sliceLogics)
    scene.AddNode(slicer.vtkMRMLCrosshairNode())
    _keepSubjectHierarchy(scene)
    slicer.app = Application(applicationLogic, sliceLogics)


def empty_scene() -> None:
    """Close the scene as File > Close does; default colours stay, and views are as they first were."""
    slicer.mrmlScene.Clear(False)
    for name, orientation in SLICE_VIEWS.items():
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().SetOrientation(orientation)
