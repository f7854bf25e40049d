"""``slicer.parameterNodeWrapper``: typed fields kept in a parameter node, so that they are saved with the scene."""

from __future__ import annotations

import enum
import json
import pathlib
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer

WIDGET_PROPERTY = "SlicerParameterName"


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
class Default:
    """Annotation: the value of a field that was never set."""

    value: Any


@dataclass(frozen=True)
class _Field:
    """One field: how it is checked and kept."""

    name: str
    type: Any
    validators: tuple[Any, ...]
    default: Any

    @property
    def holdsNode(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode) -> Any:
        if self.holdsNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if not text:
            return self.default
        if isinstance(self.type, type) and issubclass(self.type, enum.Enum):
            return self.type[json.loads(text)]
        if isinstance(self.type, type) and issubclass(self.type, pathlib.PurePath):
            return self.type(json.loads(text))
        return json.loads(text)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, value: Any) -> None:
        if self.holdsNode:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        for validator in self.validators:
            validator.validate(value)
        if isinstance(value, enum.Enum):
            value = value.name
        elif isinstance(value, pathlib.PurePath):
            value = str(value)
        node.SetParameter(self.name, json.dumps(value))


def _fieldsOf(cls: type) -> dict[str, _Field]:
    fields = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        extras = list(getattr(hint, "__metadata__", ()))
        kind = typing.get_args(hint)[0] if extras else hint
        optional = [part for part in typing.get_args(kind) if part is not type(None)]
        if typing.get_origin(kind) in (types.UnionType, typing.Union) and len(optional) == 1:
            kind = optional[0]
        defaults = [extra.value for extra in extras if isinstance(extra, Default)]
        default = vars(cls).get(name, defaults[0] if defaults else _emptyValue(kind))
        validators = tuple(extra for extra in extras if hasattr(extra, "validate"))
        fields[name] = _Field(name, kind, validators, default)
    return fields


def _emptyValue(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return kind() if kind in (int, float, str, bool, list, dict, pathlib.Path) else None


def _accessor(field: _Field) -> property:
    return property(
        lambda self: field.read(self.parameterNode), lambda self, value: field.write(self.parameterNode, value)
    )


def parameterNodeWrapper(cls: type) -> type:
    """Turn a class of annotated fields into a view on a parameter node."""
    fields = _fieldsOf(cls)

    def __init__(self: Any, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._connections = {}

    cls.__init__ = __init__
    cls.AddObserver = lambda self, *args: self.parameterNode.AddObserver(*args)
    cls.RemoveObserver = lambda self, *args: self.parameterNode.RemoveObserver(*args)
    cls.connectGui = _connectGui
    cls.disconnectGui = _disconnectGui
    cls.allParameters = fields
    for name, field in fields.items():
        setattr(cls, name, _accessor(field))
    return cls


def _accessors(widget: qt.QWidget, field: _Field) -> tuple[Any, Callable[[], Any], Callable[[Any], None]]:
    """Return the change signal, the reader and the writer of one kind of widget."""
    if hasattr(widget, "currentNodeChanged"):
        return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    if hasattr(widget, "currentPathChanged"):
        convert = field.type if issubclass(field.type, pathlib.PurePath) else str
        return (
            widget.currentPathChanged,
            lambda: convert(widget.currentPath),
            lambda path: widget.setCurrentPath(str(path)),
        )
    if isinstance(widget, qt.QAbstractButton):
        return widget.toggled, lambda: widget.checked, widget.setChecked
    if isinstance(widget, qt.QComboBox):
        return _comboBoxAccessors(widget, field)
    if isinstance(widget, qt.QLineEdit):
        return widget.textChanged, lambda: widget.text, widget.setText
    if hasattr(widget, "valueChanged"):
        return widget.valueChanged, lambda: field.type(widget.value), widget.setValue
    raise TypeError(f"a {type(widget).__name__} cannot show the parameter {field.name}")


def _comboBoxAccessors(widget: qt.QComboBox, field: _Field) -> tuple[Any, Callable[[], Any], Callable[[Any], None]]:
    """A combo box shows an enumeration, or the choices of a text, in the order of their declaration."""
    if isinstance(field.type, type) and issubclass(field.type, enum.Enum):
        choices = list(field.type)
        texts = [getattr(choice, "label", lambda choice=choice: choice.name)() for choice in choices]
    else:
        choices = [choice for rule in field.validators if isinstance(rule, Choice) for choice in rule.choices]
        texts = [str(choice) for choice in choices]
    if not widget.count:
        widget.addItems(texts)
    return (
        widget.currentIndexChanged,
        lambda: choices[widget.currentIndex],
        lambda value: widget.setCurrentIndex(choices.index(value)),
    )


def _connectGui(self: Any, root: qt.QWidget) -> int:
    """Tie every widget below ``root`` that names a parameter to it, both ways; return a tag for ``disconnectGui``."""
    undo = []
    for widget in root.findChildren(qt.QWidget):
        name = widget.property(WIDGET_PROPERTY)
        if name:
            undo.append(_tie(self, widget, self.allParameters[name]))
    tag = len(self._connections) + 1
    self._connections[tag] = undo
    return tag


def _tie(self: Any, widget: qt.QWidget, field: _Field) -> Callable[[], None]:
    changed, read, write = _accessors(widget, field)

    def toNode(*_: object) -> None:
        if read() != getattr(self, field.name):
            setattr(self, field.name, read())

    def toWidget(*_: object) -> None:
        value = getattr(self, field.name)
        if value is not None and read() != value:
            write(value)

    toWidget()
    toNode()
    changed.connect(toNode)
    node = self.parameterNode
    observer = node.AddObserver("ModifiedEvent", toWidget)
    widget.destroyed.connect(lambda: node.RemoveObserver(observer))

    def undo() -> None:
        changed.disconnect(toNode)
        node.RemoveObserver(observer)

    return undo


def _disconnectGui(self: Any, tag: int) -> None:
    for undo in self._connections.pop(tag, []):
        undo()


def install_parameter_node_wrapper() -> None:
    """Make ``from slicer.parameterNodeWrapper import parameterNodeWrapper`` work."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for part in (parameterNodeWrapper, WithinRange, Choice, Default):
        setattr(module, part.__name__, part)
    sys.modules["slicer.parameterNodeWrapper"] = module
    slicer.parameterNodeWrapper = module
