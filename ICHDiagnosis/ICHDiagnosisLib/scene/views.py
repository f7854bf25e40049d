"""What the slice views show: the heat map over the input, its slice, its window; the user's own layers are put back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer

from . import result_nodes as own_nodes
from .volume_geometry import ijkToRAS, toWorld

BRAIN_WINDOW = (80.0, 40.0)
"""Width and centre in HU: the window in which a reader looks for blood in the brain."""

_PREVIOUS_FOREGROUND = "ICHDiagnosis.PreviousForeground"
_PREVIOUS_OPACITY = "ICHDiagnosis.PreviousForegroundOpacity"


def compositeNodes() -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    """Return the layers of every slice view."""
    for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        yield slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")


def showForeground(
    inputNode: slicer.vtkMRMLVolumeNode, mapNode: slicer.vtkMRMLVolumeNode | None, opacity: float
) -> None:
    """Lay a heat map (or, if None, what the user had there) over the views that show the input volume."""
    for composite in compositeNodes():
        if composite.GetBackgroundVolumeID() != inputNode.GetID():
            continue
        if mapNode is None:
            _restoreForeground(composite)
            continue
        if not _showsOurs(composite):
            composite.SetNodeReferenceID(_PREVIOUS_FOREGROUND, composite.GetForegroundVolumeID())
            composite.SetAttribute(_PREVIOUS_OPACITY, str(composite.GetForegroundOpacity()))
        composite.SetForegroundVolumeID(mapNode.GetID())
        composite.SetForegroundOpacity(opacity)


def restoreForegroundsOf(mapNodes: list[slicer.vtkMRMLVolumeNode]) -> None:
    """Take heat maps out of every view that shows one of them."""
    identifiers = {node.GetID() for node in mapNodes}
    for composite in compositeNodes():
        if composite.GetForegroundVolumeID() in identifiers:
            _restoreForeground(composite)


def _showsOurs(composite: slicer.vtkMRMLSliceCompositeNode) -> bool:
    foreground = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    return foreground is not None and foreground.GetAttribute(own_nodes.ROLE) == own_nodes.GRADCAM


def _restoreForeground(composite: slicer.vtkMRMLSliceCompositeNode) -> None:
    if not _showsOurs(composite):
        return
    composite.SetForegroundVolumeID(composite.GetNodeReferenceID(_PREVIOUS_FOREGROUND))
    composite.SetForegroundOpacity(float(composite.GetAttribute(_PREVIOUS_OPACITY) or 0.0))
    composite.SetNodeReferenceID(_PREVIOUS_FOREGROUND, None)
    composite.RemoveAttribute(_PREVIOUS_OPACITY)


def showInput(inputNode: slicer.vtkMRMLVolumeNode, sliceAxis: int) -> None:
    """Show the input volume in every slice view, one of them in the plane of its stored slices.

    Without the rotation an oblique or tilted slice would be cut by the view, and a key slice could not be stood on.
    ``RotateSliceToLowestVolumeAxes`` turns nothing where the parent transform is not linear, as that of a tilted
    gantry is, so the views are turned to the axes that the volume has in the world.
    """
    for composite in compositeNodes():
        composite.SetBackgroundVolumeID(inputNode.GetID())
    axes = worldAxes(inputNode, sliceAxis)
    matrix = slicer.util.vtkMatrixFromArray(axes)
    sliceNodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    for sliceNode in sliceNodes:
        sliceNode.RotateToAxes(matrix)
    # Views that the user has turned may all have chosen other axes.
    if sliceNodes:
        max(sliceNodes, key=lambda node: abs(_normal(node) @ axes[:3, sliceAxis])).RotateToAxes(matrix, sliceAxis)
    logics = slicer.app.applicationLogic().GetSliceLogics()
    for index in range(logics.GetNumberOfItems() if logics else 0):
        logics.GetItemAsObject(index).FitSliceToBackground()


def worldAxes(inputNode: slicer.vtkMRMLVolumeNode, sliceAxis: int) -> np.ndarray:
    """Return a 4 x 4 matrix from voxel index to world RAS with perpendicular axes, the stored slices in one plane.

    It is taken at the middle of the volume. Where the stack leans, the slices keep their plane and the step from slice
    to slice is straightened: a view can show a whole slice, never a whole sheared stack.
    """
    middle = [(length - 1) / 2 for length in inputNode.GetImageData().GetDimensions()]
    points = np.array([middle, *(middle + step for step in np.eye(3))])
    local = points @ ijkToRAS(inputNode)[:3, :3].T + ijkToRAS(inputNode)[:3, 3]
    world = toWorld(inputNode, local)
    steps = (world[1:] - world[0]).T
    first, second = (axis for axis in range(3) if axis != sliceAxis)
    normal = np.cross(steps[:, first], steps[:, second])
    normal /= np.linalg.norm(normal)
    matrix = np.eye(4)
    matrix[:3, first] = steps[:, first]
    matrix[:3, second] = steps[:, second] - steps[:, first] * _share(steps[:, second], steps[:, first])
    matrix[:3, sliceAxis] = normal * (normal @ steps[:, sliceAxis])
    matrix[:3, 3] = world[0] - matrix[:3, :3] @ middle
    return matrix


def _normal(sliceNode: slicer.vtkMRMLSliceNode) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:3, 2]


def _share(vector: np.ndarray, direction: np.ndarray) -> float:
    return float(vector @ direction) / float(direction @ direction)


def setBrainWindow(inputNode: slicer.vtkMRMLVolumeNode) -> None:
    """Set the brain window (centre 40 HU, width 80 HU)."""
    display = inputNode.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(*BRAIN_WINDOW)


def jumpToVoxel(inputNode: slicer.vtkMRMLVolumeNode, voxel: tuple[float, float, float]) -> np.ndarray:
    """Bring every slice view to a voxel (i, j, k) of the input; return the place in world RAS, mm."""
    place = voxelToWorld(inputNode, voxel)
    sliceNode = slicer.vtkMRMLSliceNode
    sliceNode.JumpAllSlices(slicer.mrmlScene, *(float(mm) for mm in place), sliceNode.OffsetJumpSlice)
    return place


def voxelToWorld(inputNode: slicer.vtkMRMLVolumeNode, voxel: tuple[float, float, float]) -> np.ndarray:
    """Return where a voxel (i, j, k) lies in world RAS, mm, through the input's parent transform."""
    local = ijkToRAS(inputNode) @ np.array([*voxel, 1.0])
    return toWorld(inputNode, local[np.newaxis, :3])[0]
