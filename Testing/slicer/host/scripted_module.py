"""``slicer.ScriptedLoadableModule`` and ``slicer.i18n``: the base classes of a scripted module, and its loading."""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import qt
import shiboken6
import slicer

from .application import Module

_log = logging.getLogger(__name__)


class ScriptedLoadableModule:
    """What the application reads of a module: its metadata lies on ``parent``."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        for name in ("categories", "dependencies", "contributors"):
            setattr(parent, name, [])
        parent.title = self.moduleName
        parent.helpText = parent.acknowledgementText = ""
        parent.hidden = False
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def runTest(self) -> None:
        """Run the module's test as its reload section does."""
        getattr(sys.modules[self.moduleName], f"{self.moduleName}Test")().runTest()

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    """The panel: a widget with a layout into which ``setup`` puts what the module shows."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent if parent is not None else qt.QWidget()
        if self.parent.layout() is None:
            self.parent.setLayout(qt.QVBoxLayout())
        self.layout = self.parent.layout()
        self.developerMode = False
        self.logic = None
        setattr(slicer.modules, type(self).__name__, self)

    def resourcePath(self, filename: str) -> str:
        return str(Path(getattr(slicer.modules, self.moduleName.lower()).path).parent / "Resources" / filename)

    def setup(self) -> None:
        """Add nothing: the reload section belongs to developers."""

    def cleanup(self) -> None:
        """Do nothing."""

    def enter(self) -> None:
        """Do nothing."""

    def exit(self) -> None:
        """Do nothing."""

    def onReload(self) -> None:
        """Load the module's file anew and put a new panel in the place of this one (``reloadScriptedModule``).

        The module's own object stays what it was, the old panel is cleaned up after the new file was read, its widgets
        are hidden but stay, and the new panel is not entered.
        """
        _executed(Path(getattr(slicer.modules, self.moduleName.lower()).path))
        for child in self.parent.findChildren(qt.QWidget, options=qt.Qt.FindChildOption.FindDirectChildrenOnly):
            child.hide()
        self.cleanup()
        while self.layout.count():
            self.layout.takeAt(0)
        getattr(sys.modules[self.moduleName], type(self).__name__)(self.parent).setup()


class ScriptedLoadableModuleLogic:
    """Logic without a panel; keeps the module's one parameter node."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """Return the singleton, which a scene that closes empties and keeps."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own tests, which the application runs too: ``runTest`` by itself, without unittest around it."""

    def delayDisplay(self, message: str, *_args: object, **_options: object) -> None:
        """Log what the application would show for a moment."""
        _log.info("%s", message)


def load_module(path: Path) -> Module:
    """Import a scripted module from its file and register it, as the application does at its start."""
    name = path.stem
    module = _executed(path)
    registered = Module(name, path=str(path))
    setattr(slicer.modules, name.lower(), registered)
    registered.instance = getattr(module, name)(types.SimpleNamespace(path=str(path), name=name))
    return registered


def _executed(path: Path) -> types.ModuleType:
    """Run a module's file as a new module."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def open_panel(name: str) -> ScriptedLoadableModuleWidget:
    """Make and set up the panel of a loaded module, and enter it."""
    panel = getattr(sys.modules[name], f"{name}Widget")(qt.QWidget())
    panel.setup()
    panel.enter()
    return panel


def close_panel(panel: ScriptedLoadableModuleWidget) -> None:
    """Leave a panel and take it down, as the application does when it ends."""
    panel.exit()
    panel.cleanup()
    panel.parent.close()
    shiboken6.delete(panel.parent)


def install_scripted_modules() -> None:
    """Make ``from slicer.ScriptedLoadableModule import *`` and ``from slicer.i18n import tr`` work."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, cls.__name__, cls)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text, _context="": text
    i18n.translate = lambda _context, text: text
    for name, part in (("ScriptedLoadableModule", module), ("i18n", i18n)):
        sys.modules[f"slicer.{name}"] = part
        setattr(slicer, name, part)


def accept_terms(bundle_root: Path) -> None:
    """Have accepted the terms of a bundle's weights before; once the module was loaded."""
    from ICHDiagnosisLib.bundle.location import weights_terms  # noqa: PLC0415 - needs the host
    from ICHDiagnosisLib.settings import ModuleSettings  # noqa: PLC0415 - needs the host

    ModuleSettings(Path()).accept_terms(weights_terms(bundle_root))
