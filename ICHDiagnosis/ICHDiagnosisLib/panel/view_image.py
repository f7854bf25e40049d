"""An image of the slice view that shows the original slices, with a caption that states what it is. For export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import qt
import slicer
import vtk

from ..messages import MessageError, message
from ..result.content import Result, millilitres
from ..scene import views
from ..scene.layers import shown_result
from ..scene.slice_positions import slice_to_volume

_MARGIN = 4


class ViewImageError(MessageError):
    """The image cannot be made or written; the message is one line for the user."""


def acquisition_view(input_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return the name of the slice view that lies in the plane of the original slices.

    Raises
    ------
    ViewImageError
        If there is no slice view.
    """
    axis, _place = slice_to_volume(input_node, 0)
    normal = views.world_axes(input_node, axis)[:3, axis]
    layout = slicer.app.layoutManager()
    nodes = [layout.sliceWidget(name).mrmlSliceNode() for name in layout.sliceViewNames()]
    if not nodes:
        raise ViewImageError("export.no_slice_view")
    return max(nodes, key=lambda node: abs(_normal(node) @ normal)).GetLayoutName()


def save_view_image(input_node: slicer.vtkMRMLScalarVolumeNode, result: Result, path: Path) -> None:
    """Write the slice view as it is seen into a PNG file, with a caption that states what it is and is not.

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
        raise ViewImageError("export.image_not_written", name=path.name)


def caption(input_node: slicer.vtkMRMLScalarVolumeNode, result: Result) -> str:
    """State in one line what the image shows; no name of a study, for images are passed on."""
    shown = shown_result(input_node)
    parts = [f"{result.model.name} {result.model.version}"]
    lesions = result.stated_lesions
    if shown is not None and shown.layers_visible and lesions is not None and lesions.volumes:
        parts.append(message("export.caption_lesion", ml=millilitres(lesions.volumes[0].ml)))
    if shown is not None and shown.layers_visible and shown.attribution_label is not None:
        name = result.finding(shown.attribution_label).name
        parts.append(message("export.caption_map", name=name, threshold=shown.threshold))
    parts.append(message("export.caption_research"))
    return " · ".join(parts)


def _normal(slice_node: slicer.vtkMRMLSliceNode) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 2]


def _captioned(path: Path, text: str) -> bool:
    """Put a line of text below an image; return whether that was possible."""
    image = qt.QPixmap(str(path))
    if image.isNull():
        return False
    line_height = qt.QFontMetrics(qt.QApplication.font()).height() + 2 * _MARGIN
    whole = qt.QPixmap(image.width(), image.height() + line_height)
    whole.fill(qt.QColor(20, 20, 20))
    painter = qt.QPainter()
    painter.begin(whole)
    painter.drawPixmap(0, 0, image)
    painter.setPen(qt.QColor(230, 230, 230))
    painter.drawText(_MARGIN, whole.height() - 2 * _MARGIN, text)
    painter.end()
    return bool(whole.save(str(path)))
