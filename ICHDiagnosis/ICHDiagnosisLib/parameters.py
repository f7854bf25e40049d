"""What the user chose, kept in one parameter node and saved with the scene; see ``settings`` for what is not."""

import enum
import logging
import sys
from collections.abc import Callable
from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from .messages import message
from .scene.layers import DEFAULT_OPACITY
from .scene.segments import DEFAULT_THRESHOLD

_EARLIER_NAMES = {"level": "mapThreshold"}
# Folder and history are settings of this computer: a scene that brings them shall not pass them on.
_NO_LONGER_KEPT = ("heatMapLabel", "outputFolder", "keepHistory")

_log = logging.getLogger(__name__)


class DeviceChoice(enum.Enum):
    """Where the network runs."""

    AUTOMATIC = "automatic"
    GPU = "gpu"
    CPU = "cpu"

    def label(self) -> str:
        """Return the text for the user."""
        if self is DeviceChoice.AUTOMATIC:
            return message("device.automatic")
        return message("device.gpu") if self is DeviceChoice.GPU else message("device.cpu")

    @property
    def torch_device(self) -> str | None:
        """Name of the device as torch has it; None lets the bundle choose."""
        if self is DeviceChoice.GPU:
            return "mps" if sys.platform == "darwin" else "cuda"
        return "cpu" if self is DeviceChoice.CPU else None


class ExplanationMethod(enum.Enum):
    """How attribution maps are computed; the value is the bundle's name for it."""

    GRADCAM = "gradcam"
    GRADCAM_PLUS_PLUS = "gradcam++"
    SLICE_GRADCAM = "slice_gradcam"

    def label(self) -> str:
        """Return the text for the user."""
        if self is ExplanationMethod.SLICE_GRADCAM:
            return message("method.slice_gradcam")
        if self is ExplanationMethod.GRADCAM_PLUS_PLUS:
            return message("method.gradcam_plus_plus")
        return message("method.gradcam")


@parameterNodeWrapper
class Parameters:
    """The parameters of the module.

    Attributes
    ----------
    inputVolume : vtkMRMLScalarVolumeNode
        The head CT.
    device : DeviceChoice
        Where the network runs.
    operatingPoint : str
        Name of an operating point (:func:`ICHDiagnosisLib.bundle.location.operating_points` lists them).
    explanationMethod : ExplanationMethod
        How attribution maps are computed.
    useOriginalFiles : bool
        Whether a volume from DICOM is read from its original files where these can be found.
    mapThreshold : float
        Threshold of attribution map and segments, percent of a map's scale.
    opacity : float
        Opacity of the attribution map, 0..1.
    system : str
        Name of the system that reads (:func:`ICHDiagnosisLib.bundle.systems.installed_systems` lists them); empty for
        the shipped one.
    negativeMaps : bool
        Whether attribution maps of negative findings are offered too.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    device: DeviceChoice = DeviceChoice.AUTOMATIC
    operatingPoint: str = "balanced"
    explanationMethod: ExplanationMethod = ExplanationMethod.SLICE_GRADCAM
    useOriginalFiles: bool = True
    mapThreshold: Annotated[float, WithinRange(1, 100)] = DEFAULT_THRESHOLD
    opacity: Annotated[float, WithinRange(0, 1)] = DEFAULT_OPACITY
    negativeMaps: bool = False
    system: str = ""


def forget_unreadable_parameters(node: slicer.vtkMRMLScriptedModuleNode) -> None:
    """Take values that the wrapper could not read out of a scene, with a warning: defaults take their place."""
    for name, is_readable in _READABLE.items():
        value = node.GetParameter(name)
        if value and not is_readable(value):
            _log.warning("parameter %s cannot be read as %r: its default is taken", name, value)
            node.UnsetParameter(name)


def _is_percent(value: str) -> bool:
    return _is_number(value) and 1 <= float(value) <= 100


def _is_fraction(value: str) -> bool:
    return _is_number(value) and 0 <= float(value) <= 1


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


# An enumeration is kept by the name of its member (slicer.parameterNodeWrapper, EnumSerializer).
_READABLE: dict[str, Callable[[str], bool]] = {
    "device": DeviceChoice.__members__.__contains__,
    "explanationMethod": ExplanationMethod.__members__.__contains__,
    "mapThreshold": _is_percent,
    "opacity": _is_fraction,
}


def rename_earlier_parameters(node: slicer.vtkMRMLScriptedModuleNode) -> None:
    """Give parameters of a scene that an earlier version saved the names of today, with a warning."""
    for earlier, name in _EARLIER_NAMES.items():
        value = node.GetParameter(earlier)
        if value:
            _log.warning("parameter %s is now %s: the next version will not read the earlier name", earlier, name)
            node.SetParameter(name, value)
            node.UnsetParameter(earlier)
    for earlier in _NO_LONGER_KEPT:
        node.UnsetParameter(earlier)
