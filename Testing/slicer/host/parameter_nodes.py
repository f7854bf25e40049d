"""``slicer.parameterNodeWrapper``: Slicer's own from a checkout, or a strict imitation of what 5.10 and 5.12 do.

Where the environment variable ``SLICER_SOURCE`` names a checkout of Slicer, its wrapper is used. The imitation does
what that one does to a module: parameters are plain texts, and every default is written when a wrapper is made; a
wrapper keeps the values and observes its node for as long as it lives; any change of the node writes *every* connected
widget, whether its value has changed or not; a widget's change is written to the node at once; a value that an
enumeration does not know raises ``ValueError``. In 5.10 the observer of connected widgets is never removed
(:data:`REMOVES_OBSERVER`).
"""

from __future__ import annotations

import enum
import importlib.util
import os
import pathlib
import sys
import types
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer

SOURCE_VARIABLE = "SLICER_SOURCE"
WIDGET_PROPERTY = "SlicerParameterName"
REMOVES_OBSERVER = True
"""Whether ``disconnectGui`` removes the observer, as Slicer does since 5.12."""
_CLASSES_OF_THE_WRAPPER = (
    *("ctkCheckBox", "ctkCheckablePushButton", "ctkColorPickerButton", "ctkComboBox", "ctkDirectoryButton"),
    *("ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkRangeWidget"),
    *("qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox"),
)


@dataclass(frozen=True)
class WithinRange:
    """Annotation: a number must lie within a range."""

    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        """Raise ValueError for a number outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is outside {self.minimum}..{self.maximum}")


@dataclass(frozen=True)
class Choice:
    """Annotation: a value must be one of a list."""

    choices: list

    def validate(self, value: object) -> None:
        """Raise ValueError for a value that is not offered."""
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclass(frozen=True)
class _Field:
    """One field: how it is checked, and how it is a text of the node."""

    name: str
    type: Any
    validators: tuple[Any, ...]
    default: Any

    @property
    def holdsNode(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.holdsNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if issubclass(self.type, enum.Enum):
            if text not in self.type.__members__:
                raise ValueError(f"{text!r} is no name in {self.type!r}")
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, value: Any) -> None:
        if self.holdsNode:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        expected = (int, float) if self.type is float else self.type
        if not isinstance(value, expected):
            raise TypeError(f"{self.name} must be {self.type}, not {value!r}")
        for validator in self.validators:
            validator.validate(value)
        node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


class _Value:
    """The value of a field as of the last change of the node."""

    def __init__(self, field: _Field, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.field, self.node = field, node
        if not node.HasParameter(field.name):
            field.write(node, field.default)
        self.value = field.read(node)
        self._writing = False
        itself = weakref.ref(self)
        self._tag = node.AddObserver("ModifiedEvent", lambda *_: itself()._onModified())

    def __del__(self) -> None:
        if hasattr(self, "_tag"):
            self.node.RemoveObserver(self._tag)

    def _onModified(self) -> None:
        if not self._writing:
            self.value = self.field.read(self.node)

    def write(self, value: Any) -> None:
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.field.write(self.node, value)
                self.value = self.field.read(self.node)
        finally:
            self._writing = False


def _fieldsOf(cls: type) -> dict[str, _Field]:
    fields = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        extras = list(getattr(hint, "__metadata__", ()))
        kind = typing.get_args(hint)[0] if extras else hint
        validators = tuple(extra for extra in extras if hasattr(extra, "validate"))
        fields[name] = _Field(name, kind, validators, vars(cls).get(name, _emptyValue(kind)))
    return fields


def _emptyValue(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return kind() if kind in (int, float, str, bool, pathlib.Path) else None


def _accessor(name: str) -> property:
    return property(lambda self: self._values[name].value, lambda self, value: self._values[name].write(value))


def parameterNodeWrapper(cls: type) -> type:
    """Turn a class of annotated fields into a view on a parameter node."""
    fields = _fieldsOf(cls)

    def __init__(self: Any, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._values = {name: _Value(field, parameterNode) for name, field in fields.items()}
        self._connections, self._observers = {}, {}
        self._updating = False

    cls.__init__ = __init__
    cls.StartModify = lambda self: self.parameterNode.StartModify()
    cls.EndModify = lambda self, wasModifying: self.parameterNode.EndModify(wasModifying)
    cls.AddObserver = lambda self, *args: self.parameterNode.AddObserver(*args)
    cls.RemoveObserver = lambda self, *args: self.parameterNode.RemoveObserver(*args)
    cls.connectGui = _connectGui
    cls.disconnectGui = _disconnectGui
    cls.allParameters = fields
    for name in fields:
        setattr(cls, name, _accessor(name))
    return cls


@dataclass
class _Connector:
    """A widget's change signal, its reader and its writer."""

    changed: Any
    read: Callable[[], Any]
    write: Callable[[Any], None]
    slot: Callable[..., None] | None = None


def _connectorOf(widget: qt.QWidget, field: _Field) -> _Connector:
    if isinstance(widget, slicer.qMRMLNodeComboBox):
        return _Connector(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    if isinstance(widget, ctk.ctkPathLineEdit) and field.type is pathlib.Path:
        return _Connector(
            widget.currentPathChanged,
            lambda: pathlib.Path(widget.currentPath),
            lambda path: widget.setCurrentPath(str(path)),
        )
    if type(widget) is qt.QCheckBox and field.type is bool:
        return _Connector(widget.stateChanged, lambda: widget.checked, widget.setChecked)
    if type(widget) is qt.QComboBox:
        members, texts = _choicesOf(field)
        widget.clear()
        widget.addItems(texts)
        return _Connector(
            widget.currentIndexChanged,
            lambda: members[widget.currentIndex],
            lambda value: widget.setCurrentIndex(members.index(value)),
        )
    if type(widget) is qt.QLineEdit and field.type is str:
        return _Connector(widget.textChanged, lambda: widget.text, widget.setText)
    if isinstance(widget, ctk.ctkSliderWidget) and field.type is float:
        return _Connector(widget.valueChanged, lambda: widget.value, widget.setValue)
    raise RuntimeError(f"a {type(widget).__name__} cannot show the parameter {field.name}")


def _choicesOf(field: _Field) -> tuple[list[Any], list[str]]:
    """Return the values of an enumeration, or the choices of a text, and what a list shows for them."""
    if issubclass(field.type, enum.Enum):
        label = getattr(field.type, "label", lambda member: member.name)
        return list(field.type), [label(member) for member in field.type]
    choices = [choice for rule in field.validators if isinstance(rule, Choice) for choice in rule.choices]
    return choices, [str(choice) for choice in choices]


def _connectGui(self: Any, root: qt.QWidget) -> int:
    """Tie every widget below ``root`` that names a parameter to it, both ways; return a tag for ``disconnectGui``."""
    widgets = {widget.property(WIDGET_PROPERTY): widget for widget in root.findChildren(qt.QWidget)}
    connectors = {name: _connectorOf(widget, self.allParameters[name]) for name, widget in widgets.items() if name}
    tag = len(self._observers)
    self._connections[tag] = connectors
    for name, connector in connectors.items():
        connector.write(getattr(self, name))
        connector.slot = _slotOf(self, name, connector)
        connector.changed.connect(connector.slot)
    self._observers[tag] = self.AddObserver("ModifiedEvent", lambda *_: _writeAll(self))
    return tag


def _slotOf(self: Any, name: str, connector: _Connector) -> Callable[..., None]:
    def toNode(*_: object) -> None:
        with slicer.util.NodeModify(self):
            if not self._updating:
                setattr(self, name, connector.read())

    return toNode


def _writeAll(self: Any) -> None:
    if self._updating:
        return
    self._updating = True
    try:
        with slicer.util.NodeModify(self):
            for connectors in self._connections.values():
                for name, connector in connectors.items():
                    connector.write(getattr(self, name))
    finally:
        self._updating = False


def _disconnectGui(self: Any, tag: int) -> None:
    for connector in self._connections.pop(tag, {}).values():
        connector.changed.disconnect(connector.slot)
        # The slot knows its connector: without this both, and with them the values that observe the node, would wait
        # for the garbage collector.
        connector.slot = None
    if REMOVES_OBSERVER and tag in self._observers:
        self.RemoveObserver(self._observers[tag])


def _sourceOf(checkout: Path) -> types.ModuleType:
    """Import Slicer's own wrapper from a checkout."""
    for name in _CLASSES_OF_THE_WRAPPER:
        namespace = ctk if name.startswith("ctk") else slicer
        if not hasattr(namespace, name):
            setattr(namespace, name, type(name, (qt.QWidget,), {}))
    folder = checkout / "Base" / "Python" / "slicer" / "parameterNodeWrapper"
    specification = importlib.util.spec_from_file_location(
        "slicer.parameterNodeWrapper", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if specification is None or specification.loader is None:
        raise ImportError(f"{folder} holds no parameterNodeWrapper")
    module = importlib.util.module_from_spec(specification)
    sys.modules["slicer.parameterNodeWrapper"] = module
    specification.loader.exec_module(module)
    return module


def install_parameter_node_wrapper() -> None:
    """Make ``from slicer.parameterNodeWrapper import parameterNodeWrapper`` work."""
    checkout = os.environ.get(SOURCE_VARIABLE)
    if checkout:
        module = _sourceOf(Path(checkout))
    else:
        module = types.ModuleType("slicer.parameterNodeWrapper")
        for part in (parameterNodeWrapper, WithinRange, Choice):
            setattr(module, part.__name__, part)
        sys.modules["slicer.parameterNodeWrapper"] = module
    slicer.parameterNodeWrapper = module
