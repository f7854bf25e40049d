"""A picture of the slice view that shows the stored slices, with a line below that says what it is. For export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..result.content import Result
from ..scene import show_result as scene
from ..scene import views

_MARGIN = 4


class PictureError(RuntimeError):
    """The picture cannot be made or written; the message is one line for a person."""


def acquisitionView(inputNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return the name of the slice view that lies in the plane of the stored slices.

    Raises
    ------
    PictureError
        If there is no slice view.
    """
    axis, _place = scene.sliceToVolume(inputNode, 0)
    normal = views.worldAxes(inputNode, axis)[:3, axis]
    layout = slicer.app.layoutManager()
    nodes = [layout.sliceWidget(name).mrmlSliceNode() for name in layout.sliceViewNames()]
    if not nodes:
        raise PictureError(_("The layout has no slice view."))
    return max(nodes, key=lambda node: abs(_normal(node) @ normal)).GetLayoutName()


def savePicture(inputNode: slicer.vtkMRMLScalarVolumeNode, result: Result, path: Path) -> None:
    """Write the slice view as it is seen into a PNG file, with a line that says what it is and is not.

    Raises
    ------
    PictureError
        If there is no view, or the file cannot be written.
    """
    view = slicer.app.layoutManager().sliceWidget(acquisitionView(inputNode)).sliceView()
    view.forceRender()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(view.renderWindow())
    grabber.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
    if writer.GetErrorCode() or not _captioned(path, caption(inputNode, result)):
        raise PictureError(_("{name} cannot be written.").format(name=path.name))


def caption(inputNode: slicer.vtkMRMLScalarVolumeNode, result: Result) -> str:
    """Say in one line what the picture shows; no name of a study, for pictures travel."""
    shown = scene.shownResult(inputNode)
    parts = [f"{result.model.name} {result.model.version}"]
    if shown is not None and shown.layersVisible and shown.heatMapLabel is not None:
        name = result.finding(shown.heatMapLabel).name
        parts.append(_("Grad-CAM {name} ≥ {level:g} %: evidence, not an outline").format(name=name, level=shown.level))
    parts.append(_("research use only"))
    return " · ".join(parts)


def _normal(sliceNode: slicer.vtkMRMLSliceNode) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:3, 2]


def _captioned(path: Path, text: str) -> bool:
    """Put a line of text below a picture; return whether that was possible."""
    picture = qt.QPixmap(str(path))
    if picture.isNull():
        return False
    lineHeight = qt.QFontMetrics(qt.QApplication.font()).height() + 2 * _MARGIN
    whole = qt.QPixmap(picture.width(), picture.height() + lineHeight)
    whole.fill(qt.QColor(20, 20, 20))
    painter = qt.QPainter()
    painter.begin(whole)
    painter.drawPixmap(0, 0, picture)
    painter.setPen(qt.QColor(230, 230, 230))
    painter.drawText(_MARGIN, whole.height() - 2 * _MARGIN, text)
    painter.end()
    return bool(whole.save(str(path)))
