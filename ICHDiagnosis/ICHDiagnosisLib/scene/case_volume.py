"""One study of a reader study on the scene: loaded under a name that says nothing, hidden while time stands still."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from ..messages import MessageError, message
from . import layers, result_nodes, views
from .dicom_series import ct_series
from .study_volume import forget_file, load_series
from .volume_geometry import ijk_to_ras


class CaseNotLoadedError(MessageError):
    """The study cannot be loaded; the message is one line for the user."""


def load_case(path: Path, name: str, case: str, series: str = "") -> slicer.vtkMRMLScalarVolumeNode:
    """Load a study without showing it.

    Parameters
    ----------
    path : Path
        Volume file, or DICOM folder.
    name : str
        Name of the volume: names of files and folders may name a patient, or what is to be found.
    case : str
        Identifier of the case, for the message of an error.
    series : str
        Series Instance UID of what is loaded of a folder; empty where that holds one series.

    Raises
    ------
    CaseNotLoadedError
        If it cannot be read, or is no volume of one value per voxel.
    """
    try:
        node = _load(path, name, series)
    except (OSError, RuntimeError) as error:
        raise CaseNotLoadedError("case.not_loaded", case=case, name=path.name, error=error) from error
    node.SetName(name)
    image = node.GetImageData()
    if image is None or image.GetNumberOfScalarComponents() != 1:
        remove_case(node)
        raise CaseNotLoadedError("case.not_loaded", case=case, name=path.name, error=message("input.no_voxels"))
    forget_file(node)
    return node


def show_case(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a study as a reader begins: its own slices in the slice views, brain window, the middle slice."""
    axis = slice_axis(node)
    views.show_input(node, axis)
    views.set_brain_window(node)
    i, j, k = ((length - 1) / 2 for length in node.GetImageData().GetDimensions())
    views.jump_to_voxel(node, (i, j, k))


def hide_case(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Take a study and its result out of the slice views; slices and windows stay as they are."""
    shown = layers.shown_result(node)
    if shown is not None and shown.segmentation_node is not None:
        shown.segmentation_node.GetDisplayNode().SetVisibility(False)
    for composite in views.composite_nodes():
        composite.SetBackgroundVolumeID(None)
        composite.SetForegroundVolumeID(None)


def show_case_again(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Bring back what :func:`hide_case` took out of the views."""
    for composite in views.composite_nodes():
        composite.SetBackgroundVolumeID(node.GetID())
    shown = layers.shown_result(node)
    if shown is not None:
        layers.toggle_layers(node, shown.layers_visible)


def remove_case(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Take a study and its result off the scene."""
    if layers.shown_result(node) is not None:
        layers.remove_result(node)
    result_nodes.remove_node(node)


def scene_holds_studies() -> bool:
    """Tell whether the scene holds volumes or results, which a reader must not see."""
    return bool(slicer.util.getNodesByClass("vtkMRMLVolumeNode") or result_nodes.own_nodes())


def slice_axis(node: slicer.vtkMRMLScalarVolumeNode) -> int:
    """Return the axis (0: i, 1: j, 2: k) along which the slices were taken: the one with the largest steps, or k."""
    steps = np.linalg.norm(ijk_to_ras(node)[:3, :3], axis=0)
    return 2 if steps[2] >= 0.99 * steps.max() else int(steps.argmax())


def _load(path: Path, name: str, series: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load a volume file, or a series of a folder.

    Raises
    ------
    OSError
        If the folder holds no such series, or several and none is named.
    RuntimeError
        If the application cannot read it.
    """
    if not path.is_dir():
        return slicer.util.loadVolume(str(path), {"name": name, "show": False})
    found = [one for one in ct_series(path) if series in ("", one.uid)]
    if not found:
        raise OSError(message("case.no_files"))
    if len(found) > 1:
        raise OSError(message("case.several_series", count=len(found)))
    return load_series(found[0].files, name)
