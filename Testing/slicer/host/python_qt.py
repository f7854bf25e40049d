"""The modules ``qt`` and ``ctk`` in PythonQt's manner, made of PySide6: properties are attributes, methods stay."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import types
from typing import Any

import slicer

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_log = logging.getLogger(__name__)
# The .ui's connections of MRML scenes are made by the stand-ins themselves; CTK's set of path filters is not there.
_OF_NO_CONCERN = ("propagateSizeHints", "vtkMRMLScene", "sender name:", "receiver name:", "set-type property filters")
# Python names that a property of the same name must not hide: PySide6 itself calls them, and QTimer's static method
# is what the application has too.
KEPT_METHODS = frozenset({"property", "connect", "parent", "singleShot"})


def _attributeOf(name: str) -> property:
    def read(self: QtCore.QObject) -> Any:
        return self.property(name)

    def write(self: QtCore.QObject, value: Any) -> None:
        self.setProperty(name, value)

    return property(read, write)


def properties_as_attributes(cls: type) -> None:
    """Turn the meta-object properties that a class adds to its base into Python properties, as PythonQt shows them."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in KEPT_METHODS:
            setattr(cls, name, _attributeOf(name))


class UiLoader(QtUiTools.QUiLoader):
    """Loader of ``.ui`` files that knows the stand-ins of Slicer's and CTK's widgets."""

    customWidgets: tuple[type, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        for cls in self.customWidgets:
            self.registerCustomWidget(cls)


def _messages(kind: QtCore.QtMsgType, _context: object, text: str) -> None:
    """Pass Qt's messages to logging."""
    if not any(words in text for words in _OF_NO_CONCERN):
        _log.log(logging.DEBUG if kind == QtCore.QtMsgType.QtDebugMsg else logging.WARNING, "Qt: %s", text)


def _qtModule() -> types.ModuleType:
    """Return the module ``qt``: all of Qt's classes in one namespace."""
    module = types.ModuleType("qt", "Stand-in for PythonQt's qt")
    for part in (QtCore, QtGui, QtWidgets, QtUiTools):
        for name in dir(part):
            if name.startswith("Q") or name in {"Signal", "Slot", "Property"}:
                setattr(module, name, getattr(part, name))
    module.QUiLoader = UiLoader
    return module


def _keepNone() -> None:
    """Give ``None`` so many references that it outlives the process.

    PySide6 6.12 gives one away with every call that returns None (``setVisible``, ``processEvents``), which Python
    counts before 3.12: after some ten thousand calls it would end the process.
    """
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


def install_qt() -> None:
    """Make ``import qt`` and ``import ctk`` work and start a QApplication; a second call changes nothing."""
    if "qt" in sys.modules:
        return
    _keepNone()
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["host"])
    QtCore.qInstallMessageHandler(_messages)
    # No test may find or leave settings of the user whose account it runs under.
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, slicer.app.temporaryPath
    )
    module = _qtModule()
    classes = [cls for cls in vars(module).values() if isinstance(cls, type) and issubclass(cls, QtCore.QObject)]
    for cls in classes:
        properties_as_attributes(cls)
    QtCore.QObject.name = _attributeOf("objectName")
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = QtCore.QObject.deleteLater
    sys.modules["qt"] = module

    from . import widgets  # noqa: PLC0415 - its classes build on the attributes made above

    UiLoader.customWidgets = widgets.ALL
    ctk = types.ModuleType("ctk", "Stand-in for PythonQt's ctk")
    for cls in widgets.ALL:
        setattr(ctk if cls.__name__.startswith("ctk") else slicer, cls.__name__, cls)
    sys.modules["ctk"] = ctk
    slicer.app.processEvents = application.processEvents
    slicer.app.topLevelWidgets = application.topLevelWidgets
    settings = QtCore.QSettings(f"{slicer.app.temporaryPath}/Slicer.ini", QtCore.QSettings.Format.IniFormat)
    slicer.app.settings = lambda: settings
    slicer.app.userSettings = lambda: settings
    slicer.app.slicerUserSettingsFilePath = settings.fileName()
    slicer.app.qtApplication = application
