"""Two volumes side by side, each with the contour of its lesion, in two slice views that scroll together.

Slicer's own link gives both views the same place in the world, which two scans of a patient do not share. Here the
views keep the distance that they had when they were linked. Scans are not registered: they are brought to the same
distance from the top of the head, no more.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from . import layers, views
from .lesion_segments import lesion_voxels
from .slice_positions import slice_to_volume
from .volume_geometry import middle_of_slice

VIEWS = ("Red", "Yellow")
"""The two slice views of the layout, from left to right."""
HEAD_HU = -300
"""What is denser is head, table or tubes."""
_LEAST_HEAD = 0.02


class SideBySide:
    """Shows two volumes that have results, until it is closed.

    Parameters
    ----------
    earlier, later : vtkMRMLScalarVolumeNode
        Shown on the left and on the right.

    Attributes
    ----------
    aligned : bool
        Whether the top of the head was found in both.
    """

    def __init__(self, earlier: slicer.vtkMRMLScalarVolumeNode, later: slicer.vtkMRMLScalarVolumeNode) -> None:
        self._nodes = (earlier, later)
        self._linked, self._following = True, False
        self._observers: list[int] = []
        manager = slicer.app.layoutManager()
        self._layout_before = manager.layout
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        self._slices = [manager.sliceWidget(name).mrmlSliceNode() for name in VIEWS]
        self._views_before = [_state_of(name) for name in VIEWS]
        for node, name in zip(self._nodes, VIEWS, strict=True):
            self._show(node, name)
        tops = [head_top(node) for node in self._nodes]
        self.aligned = None not in tops
        self._place(tops)
        self._offsets = self._read_offsets()
        for index, slice_node in enumerate(self._slices):
            follow = self._follower(index)
            self._observers.append(slice_node.AddObserver(vtk.vtkCommand.ModifiedEvent, follow))

    @property
    def linked(self) -> bool:
        """Whether one view follows the other."""
        return self._linked

    @linked.setter
    def linked(self, linked: bool) -> None:
        self._linked = linked
        self._offsets = self._read_offsets()

    def jump(self, view: int, mm: float) -> None:
        """Bring one view to a place along its own slices (mm); the other one follows."""
        self._slices[view].SetSliceOffset(mm)

    def close(self) -> None:
        """Stop linking, show lesions in every view again, and bring back the layout of before."""
        for slice_node, tag in zip(self._slices, self._observers, strict=True):
            slice_node.RemoveObserver(tag)
        for node in self._nodes:
            shown = layers.shown_result(node) if slicer.mrmlScene.IsNodePresent(node) else None
            if shown is not None and shown.segmentation_node is not None:
                shown.segmentation_node.GetDisplayNode().RemoveAllViewNodeIDs()
        for name, state in zip(VIEWS, self._views_before, strict=True):
            _restore(name, state)
        slicer.app.layoutManager().setLayout(self._layout_before)

    def _show(self, node: slicer.vtkMRMLScalarVolumeNode, name: str) -> None:
        """Show one volume with its lesion in one view, in the plane of its original slices."""
        widget = slicer.app.layoutManager().sliceWidget(name)
        slice_node = widget.mrmlSliceNode()
        composite = widget.sliceLogic().GetSliceCompositeNode()
        composite.SetLinkedControl(False)
        composite.SetBackgroundVolumeID(node.GetID())
        composite.SetForegroundVolumeID(None)
        axis, _place = slice_to_volume(node, 0)
        matrix = slicer.util.vtkMatrixFromArray(views.world_axes(node, axis))
        slice_node.SetOrientation("Axial")
        slice_node.RotateToAxes(matrix, axis)
        widget.sliceLogic().FitSliceToBackground()
        views.set_brain_window(node)
        shown = layers.required_result(node)
        if shown.segmentation_node is not None:
            display = shown.segmentation_node.GetDisplayNode()
            display.SetVisibility(True)
            display.RemoveAllViewNodeIDs()
            display.AddViewNodeID(slice_node.GetID())

    def _place(self, tops: list[float | None]) -> None:
        """Put the left view where it shows most of the lesion, the right one as far below the top of its head."""
        for node, slice_node in zip(self._nodes, self._slices, strict=True):
            slice_node.SetSliceOffset(_offset(slice_node, views.voxel_to_world(node, _reading_place(node))))
        if tops[0] is not None and tops[1] is not None:
            below = tops[0] - _height(self._slices[0], self._slices[0].GetSliceOffset())
            self._slices[1].SetSliceOffset(_offset_at_height(self._slices[1], tops[1] - below))

    def _follower(self, index: int) -> object:
        def follow(*_event: object) -> None:
            if not self._linked or self._following:
                return
            moved = self._slices[index].GetSliceOffset() - self._offsets[index]
            if abs(moved) < 1e-6:
                return
            self._following = True
            try:
                other = self._slices[1 - index]
                same_way = 1.0 if _normal(self._slices[index]) @ _normal(other) > 0 else -1.0
                other.SetSliceOffset(self._offsets[1 - index] + same_way * moved)
            finally:
                self._following = False
            self._offsets = self._read_offsets()

        return follow

    def _read_offsets(self) -> list[float]:
        return [slice_node.GetSliceOffset() for slice_node in self._slices]


ViewState = tuple[str | None, str | None, np.ndarray]
"""Background, foreground, and plane (4 x 4, view to world) of a slice view."""


def _state_of(name: str) -> ViewState:
    widget = slicer.app.layoutManager().sliceWidget(name)
    composite = widget.sliceLogic().GetSliceCompositeNode()
    plane = slicer.util.arrayFromVTKMatrix(widget.mrmlSliceNode().GetSliceToRAS())
    return composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), plane


def _restore(name: str, state: ViewState) -> None:
    """Bring back what a view showed, where that is still there."""
    widget = slicer.app.layoutManager().sliceWidget(name)
    composite = widget.sliceLogic().GetSliceCompositeNode()
    background, foreground = (
        identifier if identifier and slicer.mrmlScene.GetNodeByID(identifier) else None for identifier in state[:2]
    )
    composite.SetBackgroundVolumeID(background)
    composite.SetForegroundVolumeID(foreground)
    widget.mrmlSliceNode().GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(state[2]))
    widget.mrmlSliceNode().UpdateMatrices()


def head_top(volume_node: slicer.vtkMRMLScalarVolumeNode) -> float | None:
    """Return the height (world S, mm) of the uppermost slice that holds head; None where the scan begins in the head.

    A slice holds head where at least 2 % of its voxels are denser than -300 HU.
    """
    axis, _place = slice_to_volume(volume_node, 0)
    voxels = slicer.util.arrayFromVolume(volume_node)
    others = tuple(other for other in range(3) if other != 2 - axis)
    holds_head = (voxels > HEAD_HU).mean(axis=others) >= _LEAST_HEAD
    places = np.flatnonzero(holds_head)
    if not places.size:
        return None
    last = len(holds_head) - 1
    ends = [views.voxel_to_world(volume_node, middle_of_slice(volume_node, axis, place)) for place in (0, last)]
    upwards = ends[1][2] > ends[0][2]
    top = int(places[-1] if upwards else places[0])
    if top == (last if upwards else 0):
        return None
    return float(views.voxel_to_world(volume_node, middle_of_slice(volume_node, axis, top))[2])


def _reading_place(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float, float]:
    """Return the voxel (i, j, k) in the middle of the slice that shows most of the lesion, else of the middle slice."""
    axis, _place = slice_to_volume(node, 0)
    shown = layers.required_result(node)
    lesions = shown.result.stated_lesions
    if lesions is not None and shown.segmentation_node is not None:
        groups = tuple(group.key for group in lesions.groups)
        mask = lesion_voxels(shown.segmentation_node, node, groups)
        if mask is not None:
            areas = mask.sum(axis=tuple(other for other in range(3) if other != 2 - axis))
            return middle_of_slice(node, axis, int(areas.argmax()))
    return middle_of_slice(node, axis, node.GetImageData().GetDimensions()[axis] // 2)


def _normal(slice_node: slicer.vtkMRMLSliceNode) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 2]


def _offset(slice_node: slicer.vtkMRMLSliceNode, place: np.ndarray) -> float:
    return float(_normal(slice_node) @ place)


def _height(slice_node: slicer.vtkMRMLSliceNode, offset: float) -> float:
    """Return the height (world S, mm) of a slice in the middle of the view."""
    origin = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, 3]
    normal = _normal(slice_node)
    return float((origin + (offset - normal @ origin) * normal)[2])


def _offset_at_height(slice_node: slicer.vtkMRMLSliceNode, height: float) -> float:
    """Return the offset (mm) at which the middle of the view lies at a height (world S, mm)."""
    offset = slice_node.GetSliceOffset()
    rise = float(_normal(slice_node)[2])
    return offset if abs(rise) < 0.1 else offset + (height - _height(slice_node, offset)) / rise
