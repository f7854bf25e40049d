"""What the slice views show: attribution map over input, slice, window; the user's own layers are put back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer

from . import result_nodes
from .volume_geometry import ijk_to_ras, to_world

BRAIN_WINDOW = (80.0, 40.0)
"""Width and centre in HU: the window in which haemorrhage is read."""

_PREVIOUS_FOREGROUND = "ICHDiagnosis.PreviousForeground"
_PREVIOUS_OPACITY = "ICHDiagnosis.PreviousForegroundOpacity"


def composite_nodes() -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    """Return the layers of every slice view."""
    for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        yield slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")


def show_foreground(
    input_node: slicer.vtkMRMLVolumeNode, map_node: slicer.vtkMRMLVolumeNode | None, opacity: float
) -> None:
    """Lay an attribution map (or, if None, what the user had there) over the views that show the input volume."""
    for composite in composite_nodes():
        if composite.GetBackgroundVolumeID() != input_node.GetID():
            continue
        if map_node is None:
            _restore_foreground(composite)
            continue
        if not _shows_ours(composite):
            composite.SetNodeReferenceID(_PREVIOUS_FOREGROUND, composite.GetForegroundVolumeID())
            composite.SetAttribute(_PREVIOUS_OPACITY, str(composite.GetForegroundOpacity()))
        composite.SetForegroundVolumeID(map_node.GetID())
        composite.SetForegroundOpacity(opacity)


def restore_foregrounds_of(map_nodes: list[slicer.vtkMRMLVolumeNode]) -> None:
    """Take attribution maps out of every view that shows one of them."""
    identifiers = {node.GetID() for node in map_nodes}
    for composite in composite_nodes():
        if composite.GetForegroundVolumeID() in identifiers:
            _restore_foreground(composite)


def _shows_ours(composite: slicer.vtkMRMLSliceCompositeNode) -> bool:
    foreground = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    return foreground is not None and foreground.GetAttribute(result_nodes.ROLE) == result_nodes.GRADCAM


def _restore_foreground(composite: slicer.vtkMRMLSliceCompositeNode) -> None:
    if not _shows_ours(composite):
        return
    composite.SetForegroundVolumeID(composite.GetNodeReferenceID(_PREVIOUS_FOREGROUND))
    composite.SetForegroundOpacity(float(composite.GetAttribute(_PREVIOUS_OPACITY) or 0.0))
    composite.SetNodeReferenceID(_PREVIOUS_FOREGROUND, None)
    composite.RemoveAttribute(_PREVIOUS_OPACITY)


def show_input(input_node: slicer.vtkMRMLVolumeNode, slice_axis: int) -> None:
    """Show the input volume in every slice view, one of them in the plane of its original slices.

    Without the rotation an oblique or tilted slice would be cut by the view, and no view could show a whole key slice.
    ``RotateSliceToLowestVolumeAxes`` turns nothing where the parent transform is not linear, as that of a tilted
    gantry is, so the views are turned to the axes that the volume has in the world.
    """
    for composite in composite_nodes():
        composite.SetBackgroundVolumeID(input_node.GetID())
    axes = world_axes(input_node, slice_axis)
    matrix = slicer.util.vtkMatrixFromArray(axes)
    slice_nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    for slice_node in slice_nodes:
        slice_node.RotateToAxes(matrix)
    # Views that the user has turned may all have chosen other axes.
    if slice_nodes:
        max(slice_nodes, key=lambda node: abs(_normal(node) @ axes[:3, slice_axis])).RotateToAxes(matrix, slice_axis)
    logics = slicer.app.applicationLogic().GetSliceLogics()
    for index in range(logics.GetNumberOfItems() if logics else 0):
        logics.GetItemAsObject(index).FitSliceToBackground()


def world_axes(input_node: slicer.vtkMRMLVolumeNode, slice_axis: int) -> np.ndarray:
    """Return a 4 x 4 matrix from voxel index to world RAS with perpendicular axes, the original slices in one plane.

    It is taken at the middle of the volume. Where the stack leans, the slices keep their plane and the step from slice
    to slice is straightened: a view can show a whole slice, never a whole sheared stack.
    """
    middle = [(length - 1) / 2 for length in input_node.GetImageData().GetDimensions()]
    points = np.array([middle, *(middle + step for step in np.eye(3))])
    local = points @ ijk_to_ras(input_node)[:3, :3].T + ijk_to_ras(input_node)[:3, 3]
    world = to_world(input_node, local)
    steps = (world[1:] - world[0]).T
    first, second = (axis for axis in range(3) if axis != slice_axis)
    normal = np.cross(steps[:, first], steps[:, second])
    normal /= np.linalg.norm(normal)
    matrix = np.eye(4)
    matrix[:3, first] = steps[:, first]
    matrix[:3, second] = steps[:, second] - steps[:, first] * _projection(steps[:, second], steps[:, first])
    matrix[:3, slice_axis] = normal * (normal @ steps[:, slice_axis])
    matrix[:3, 3] = world[0] - matrix[:3, :3] @ middle
    return matrix


def _normal(slice_node: slicer.vtkMRMLSliceNode) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 2]


def _projection(vector: np.ndarray, direction: np.ndarray) -> float:
    return float(vector @ direction) / float(direction @ direction)


def set_brain_window(input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Set the brain window (centre 40 HU, width 80 HU)."""
    # A volume that a script has made may have none yet.
    input_node.CreateDefaultDisplayNodes()
    display = input_node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(*BRAIN_WINDOW)


def jump_to_voxel(input_node: slicer.vtkMRMLVolumeNode, voxel: tuple[float, float, float]) -> np.ndarray:
    """Bring every slice view to a voxel (i, j, k) of the input; return the place in world RAS, mm."""
    place = voxel_to_world(input_node, voxel)
    slice_node = slicer.vtkMRMLSliceNode
    slice_node.JumpAllSlices(slicer.mrmlScene, *(float(mm) for mm in place), slice_node.OffsetJumpSlice)
    return place


def voxel_to_world(input_node: slicer.vtkMRMLVolumeNode, voxel: tuple[float, float, float]) -> np.ndarray:
    """Return where a voxel (i, j, k) lies in world RAS, mm, through the input's parent transform."""
    local = ijk_to_ras(input_node) @ np.array([*voxel, 1.0])
    return to_world(input_node, local[np.newaxis, :3])[0]
