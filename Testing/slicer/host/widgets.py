"""Stand-ins of the Slicer and CTK widgets that a panel's ``.ui`` file names."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from PySide6.QtCore import Property, QChildEvent, QPoint, QSettings, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QSlider, QToolButton, QWidget

MOST_PIXELS = 16777215
"""Qt's largest size of a widget (QWIDGETSIZE_MAX)."""


class qMRMLWidget(QWidget):
    """Root of a panel: hands the scene to every widget below it that wants one."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: slicer.vtkMRMLScene | None = None

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self._scene = scene
        for child in self.findChildren(QWidget):
            if hasattr(child, "setMRMLScene"):
                child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene


def _removeObservers(observers: list[tuple[slicer.vtkMRMLScene, int]]) -> None:
    while observers:
        scene, tag = observers.pop()
        scene.RemoveObserver(tag)


class qMRMLSortFilterProxyModel:
    """What a node selector leaves out."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._hiddenNodeIDs: list[str] = []

    def _getHiddenNodeIDs(self) -> list[str]:
        return self._hiddenNodeIDs

    def _setHiddenNodeIDs(self, identifiers: list[str]) -> None:
        self._hiddenNodeIDs = list(identifiers)
        self._changed()

    hiddenNodeIDs = property(_getHiddenNodeIDs, _setHiddenNodeIDs)


class qMRMLNodeComboBox(QComboBox):
    """Selector of a node of some classes; follows the scene as nodes come, go and change their names."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._noneEnabled = False
        self._scene: slicer.vtkMRMLScene | None = None
        self._observers: list[tuple[slicer.vtkMRMLScene, int]] = []
        observers = self._observers
        self.destroyed.connect(lambda: _removeObservers(observers))
        self._required: list[tuple[str, str, str | None]] = []
        self._shownID = ""
        self._proxyModel = qMRMLSortFilterProxyModel(self._refresh)
        self.currentIndexChanged.connect(self._report)

    def _getTypes(self) -> list[str]:
        return self._types

    def _setTypes(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    def _getNoneEnabled(self) -> bool:
        return self._noneEnabled

    def _setNoneEnabled(self, enabled: bool) -> None:
        self._noneEnabled = enabled
        self._refresh()

    nodeTypes = Property("QStringList", _getTypes, _setTypes)
    noneEnabled = Property(bool, _getNoneEnabled, _setNoneEnabled)

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._proxyModel

    def addAttribute(self, nodeType: str, name: str, value: str | None = None) -> None:
        """Offer nodes of a class only if they have an attribute (of that value)."""
        self._required.append((nodeType, name, value))
        self._refresh()

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        _removeObservers(self._observers)
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent):
                self._observers.append((scene, scene.AddObserver(event, lambda *_: self._refresh())))
        self._refresh()

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self.currentData or "") if self._scene is not None else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identifier: str | None) -> None:
        self.setCurrentIndex(self.findData(identifier or ""))

    def _getCurrentID(self) -> str:
        return self.currentData or ""

    currentNodeID = Property(str, _getCurrentID, setCurrentNodeID)

    def _offers(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetHideFromEditors() or node.GetClassName() not in self._types:
            return False
        if node.GetID() in self._proxyModel.hiddenNodeIDs:
            return False
        rules = [(name, value) for cls, name, value in self._required if cls == node.GetClassName()]
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name)) for name, value in rules
        )

    def _refresh(self) -> None:
        before = self.currentData or ""
        nodes = []
        if self._scene is not None:
            nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        with QSignalBlocker(self):
            self.clear()
            if self._noneEnabled:
                self.addItem("None", "")
            for node in filter(self._offers, nodes):
                self.addItem(node.GetName(), node.GetID())
            self.setCurrentIndex(max(self.findData(before), 0 if self.count else -1))
        self._report()

    def _report(self) -> None:
        if (self.currentData or "") == self._shownID:
            return
        self._shownID = self.currentData or ""
        self.currentNodeChanged.emit(self.currentNode())
        self.currentNodeIDChanged.emit(self._shownID)


class ctkCollapsibleButton(QWidget):
    """Section of a panel that folds up: a bar with an arrow and a title, and the contents below it."""

    BAR = 22
    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._collapsed = False
        self._folded: list[QWidget] = []
        self.setContentsMargins(0, self.BAR, 0, 0)
        self.setMinimumHeight(self.BAR)

    def _getText(self) -> str:
        return self._text

    def _setText(self, text: str) -> None:
        self._text = text
        self.update()

    def _getCollapsed(self) -> bool:
        return self._collapsed

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            for child in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
                self._fold(child)
        else:
            for child in self._folded:
                child.setVisible(True)
            self._folded.clear()
        self.setMaximumHeight(self.BAR if collapsed else MOST_PIXELS)
        self.contentsCollapsed.emit(collapsed)

    text = Property(str, _getText, _setText)
    collapsed = Property(bool, _getCollapsed, _setCollapsed)

    def setText(self, text: str) -> None:
        self._setText(text)

    def setCollapsed(self, collapsed: bool) -> None:
        self._setCollapsed(collapsed)

    def _fold(self, child: QWidget) -> None:
        """Hide a child that was not hidden by the panel itself."""
        if not child.isHidden():
            child.setVisible(False)
            self._folded.append(child)

    def childEvent(self, event: QChildEvent) -> None:
        # A .ui file folds the section before it fills it.
        if self._collapsed and event.polished() and isinstance(event.child(), QWidget):
            self._fold(event.child())
        super().childEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.position().y() < self.BAR:
            self._setCollapsed(not self._collapsed)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(0, 0, self.width, self.BAR - 1, self.palette.button().color().darker(108))
        painter.drawText(24, self.BAR - 7, self._text)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(self.palette.windowText())
        painter.setPen(Qt.PenStyle.NoPen)
        corners = [(9, 7), (9, 15), (15, 11)] if self._collapsed else [(7, 8), (17, 8), (12, 14)]
        painter.drawPolygon([QPoint(*corner) for corner in corners])


class ctkSliderWidget(QWidget):
    """Slider with a spin box for numbers with decimals."""

    STEPS = 1000
    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        self._slider.setRange(0, self.STEPS)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.setRange(0, 99)
        self._box.valueChanged.connect(self._onBox)
        self._slider.sliderMoved.connect(self._onSlider)

    def _onBox(self, value: float) -> None:
        low, high = self._box.property("minimum"), self._box.property("maximum")
        self._slider.setValue(round(self.STEPS * (value - low) / ((high - low) or 1)))
        self.valueChanged.emit(value)

    def _onSlider(self, place: int) -> None:
        low, high = self._box.property("minimum"), self._box.property("maximum")
        self._box.setValue(low + (high - low) * place / self.STEPS)

    def _get(name: str):
        return lambda self: self._box.property(name)

    def _set(name: str):
        return lambda self, value: self._box.setProperty(name, value)

    value = Property(float, _get("value"), _set("value"))
    minimum = Property(float, _get("minimum"), _set("minimum"))
    maximum = Property(float, _get("maximum"), _set("maximum"))
    singleStep = Property(float, _get("singleStep"), _set("singleStep"))
    decimals = Property(int, _get("decimals"), _set("decimals"))
    suffix = Property(str, _get("suffix"), _set("suffix"))

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setMinimum(self, value: float) -> None:
        self._box.setMinimum(value)

    def setMaximum(self, value: float) -> None:
        self._box.setMaximum(value)


class ctkPathLineEdit(QWidget):
    """Line with a path in an editable list of earlier ones, and a button (whose dialogue is left out).

    As in ``ctkPathLineEdit.cpp``: ``currentPathChanged`` comes with every change of the text, half-typed and relative
    paths included, but not when the line becomes empty, which its validator (``.+``) does not accept: then there is
    ``validInputChanged`` alone. A path that is set moves the cursor to the end; the history lies in the application's
    settings.
    """

    MOST_EARLIER = 5
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box, self._button = QComboBox(self), QToolButton(self)
        self._valid = False
        self._box.setEditable(True)
        self._box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._button.setText("...")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._box, 1)
        layout.addWidget(self._button)
        self.setFocusProxy(self._box)
        self._box.editTextChanged.connect(self._onText)

    def _onText(self, text: str) -> None:
        was_valid, self._valid = self._valid, bool(text)
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != was_valid:
            self.validInputChanged.emit(self._valid)

    def _getPath(self) -> str:
        return self._box.property("currentText")

    def setCurrentPath(self, path: str) -> None:
        self._box.lineEdit().setText(path)

    currentPath = Property(str, _getPath, setCurrentPath)

    def comboBox(self) -> QComboBox:
        return self._box

    def addCurrentPathToHistory(self) -> None:
        """Put the path first in the list and in the settings."""
        path = self._getPath()
        if not path:
            return
        key = f"ctkPathLineEdit/{self.objectName()}"
        earlier = [entry for entry in QSettings().value(key, []) or [] if entry != path]
        QSettings().setValue(key, [path, *earlier])
        index = self._box.findText(path)
        if index >= 0:
            self._box.removeItem(index)
        while self._box.property("count") >= self.MOST_EARLIER:
            self._box.removeItem(self._box.property("count") - 1)
        self._box.insertItem(0, path)
        self._box.setCurrentIndex(0)


ALL = (qMRMLWidget, qMRMLNodeComboBox, ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit)
