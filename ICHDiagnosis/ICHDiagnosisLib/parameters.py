"""What the person chose, kept in one parameter node and saved with the scene."""

import enum
import pathlib
import sys
from typing import Annotated

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from .scene.layers import DEFAULT_OPACITY
from .scene.segments import DEFAULT_THRESHOLD

NOT_CHOSEN = pathlib.Path()
"""Value of a folder that was never chosen; a parameter node cannot hold None for it."""


class DeviceChoice(enum.Enum):
    """Where the network runs."""

    AUTOMATIC = "automatic"
    GPU = "gpu"
    CPU = "cpu"

    def label(self) -> str:
        """Return the text for the person at the screen."""
        if self is DeviceChoice.AUTOMATIC:
            return _("Automatic")
        return _("Graphics card (GPU)") if self is DeviceChoice.GPU else _("Processor (CPU)")

    @property
    def torch_device(self) -> str | None:
        """Name of the device as torch has it; None lets the bundle choose."""
        if self is DeviceChoice.GPU:
            return "mps" if sys.platform == "darwin" else "cuda"
        return "cpu" if self is DeviceChoice.CPU else None


class ExplanationMethod(enum.Enum):
    """How heat maps are computed; the value is the bundle's name for it."""

    GRADCAM = "gradcam"
    GRADCAM_PLUS_PLUS = "gradcam++"
    SLICE_GRADCAM = "slice_gradcam"

    def label(self) -> str:
        """Return the text for the person at the screen."""
        if self is ExplanationMethod.SLICE_GRADCAM:
            return _("Grad-CAM of single slices")
        return _("Grad-CAM") if self is ExplanationMethod.GRADCAM else _("Grad-CAM++")


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
        How heat maps are computed.
    useOriginalFiles : bool
        Whether a volume from DICOM is read from its original files where these can be found.
    outputFolder : pathlib.Path
        Folder for result folders; ``NOT_CHOSEN`` until somebody chose one.
    keepHistory : bool
        Whether analyses are recorded in the history.
    attribution_label : str
        Key of the finding whose heat map is shown; empty for none.
    level : float
        Level of heat map and segments, percent of a map's scale.
    opacity : float
        Opacity of the heat map, 0..1.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    device: DeviceChoice = DeviceChoice.AUTOMATIC
    operatingPoint: str = "balanced"
    explanationMethod: ExplanationMethod = ExplanationMethod.GRADCAM
    useOriginalFiles: bool = True
    outputFolder: pathlib.Path = NOT_CHOSEN
    keepHistory: bool = True
    attribution_label: str = ""
    level: Annotated[float, WithinRange(1, 100)] = DEFAULT_THRESHOLD
    opacity: Annotated[float, WithinRange(0, 1)] = DEFAULT_OPACITY
