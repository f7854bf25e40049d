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


class ViewImageError(RuntimeError):
    """The picture cannot be made or written; the message is one line for a person."""


def acquisition_view(input_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return the name of the slice view that lies in the plane of the stored slices.

    Raises
    ------
    ViewImageError
        If there is no slice view.
    """
    axis, _place = scene.slice_to_volume(input_node, 0)
    normal = views.world_axes(input_node, axis)[:3, axis]
    layout = slicer.app.layoutManager()
    nodes = [layout.sliceWidget(name).mrmlSliceNode() for name in layout.sliceViewNames()]
    if not nodes:
        raise ViewImageError(_("The layout has no slice view."))
    return max(nodes, key=lambda node: abs(_normal(node) @ normal)).GetLayoutName()


def save_view_image(input_node: slicer.vtkMRMLScalarVolumeNode, result: Result, path: Path) -> None:
    """Write the slice view as it is seen into a PNG file, with a line that says what it is and is not.

    Raises
    ------
    ViewImageError
        If there is no view, or the file cannot be written.
    """
    view = slicer.app.layoutManager().sliceWidget(acquisition_view(input_node)).sliceView()
    view.forceRender()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(view.renderWindow())
    grabber.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
    if writer.GetErrorCode() or not _captioned(path, caption(input_node, result)):
        raise ViewImageError(_("{name} cannot be written.").format(name=path.name))


def caption(input_node: slicer.vtkMRMLScalarVolumeNode, result: Result) -> str:
    """Say in one line what the picture shows; no name of a study, for pictures travel."""
    shown = scene.shown_result(input_node)
    parts = [f"{result.model.name} {result.model.version}"]
    if shown is not None and shown.layers_visible and shown.attribution_label is not None:
        name = result.finding(shown.attribution_label).name
        parts.append(_("Grad-CAM {name} ≥ {level:g} %: evidence, not an outline").format(name=name, level=shown.level))
    parts.append(_("research use only"))
    return " · ".join(parts)


def _normal(slice_node: slicer.vtkMRMLSliceNode) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 2]


def _captioned(path: Path, text: str) -> bool:
    """Put a line of text below a picture; return whether that was possible."""
    picture = qt.QPixmap(str(path))
    if picture.isNull():
        return False
    line_height = qt.QFontMetrics(qt.QApplication.font()).height() + 2 * _MARGIN
    whole = qt.QPixmap(picture.width(), picture.height() + line_height)
    whole.fill(qt.QColor(20, 20, 20))
    painter = qt.QPainter()
    painter.begin(whole)
    painter.drawPixmap(0, 0, picture)
    painter.setPen(qt.QColor(230, 230, 230))
    painter.drawText(_MARGIN, whole.height() - 2 * _MARGIN, text)
    painter.end()
    return bool(whole.save(str(path)))
