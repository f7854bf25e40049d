"""What a panel does with a result that is on the scene, freshly shown or reloaded: level, heat map, slices, layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from ..result.reader import Result, parse_result
from . import result_nodes, segments, views
from .volume_geometry import ijk_to_ras, middle_of_slice

SLICE_AXIS = "ICHDiagnosis.SliceAxis"
FIRST_SLICE = "ICHDiagnosis.FirstSliceRAS"
"""Middle of the first stored slice in the volume's own RAS: Slicer turns a left-handed stack round on reading."""
CAVEAT = "ICHDiagnosis.Caveat"

DEFAULT_OPACITY = 0.5
_HEAT_MAP = "ICHDiagnosis.HeatMap"
_OPACITY = "ICHDiagnosis.HeatMapOpacity"
_HIDDEN = "ICHDiagnosis.LayersHidden"


@dataclass(frozen=True)
class ShownResult:
    """The nodes that show one result; those of a study that was not evaluated are None."""

    provenance_node: slicer.vtkMRMLTextNode
    document_node: slicer.vtkMRMLTextNode
    segmentation_node: slicer.vtkMRMLSegmentationNode | None
    attribution_maps: dict[str, slicer.vtkMRMLScalarVolumeNode]
    findings_node: slicer.vtkMRMLTableNode | None
    chart_node: slicer.vtkMRMLPlotChartNode | None

    @property
    def result(self) -> Result:
        """The result itself, restored from the text that the scene carries; it has no folder."""
        return parse_result(self.document_node.GetText())

    @property
    def caveat(self) -> str | None:
        """What a reader must know about the volume's own geometry, else None."""
        return self.document_node.GetAttribute(CAVEAT)

    @property
    def level(self) -> float:
        """Level of segments and heat map, in percent of a map's scale."""
        return float(self.document_node.GetAttribute(segments.THRESHOLD_PERCENT) or segments.DEFAULT_THRESHOLD)

    @property
    def attribution_label(self) -> str | None:
        """Label whose heat map is chosen, visible or not."""
        return self.document_node.GetAttribute(_HEAT_MAP)

    @property
    def opacity(self) -> float:
        """Opacity of the heat map, 0..1."""
        return float(self.document_node.GetAttribute(_OPACITY) or DEFAULT_OPACITY)

    @property
    def layers_visible(self) -> bool:
        """Whether heat map and segments are shown (the state "after") or hidden (the state "before")."""
        return self.document_node.GetAttribute(_HIDDEN) is None


def shown_result(input_node: slicer.vtkMRMLVolumeNode) -> ShownResult | None:
    """Return the result that the scene holds of a volume, or None."""
    nodes: dict[str, slicer.vtkMRMLNode] = {}
    attribution_maps = {}
    for node in result_nodes.nodes_of(input_node):
        role = node.GetAttribute(result_nodes.ROLE)
        if role == result_nodes.GRADCAM:
            attribution_maps[node.GetAttribute(result_nodes.LABEL)] = node
        else:
            nodes[role] = node
    if result_nodes.PROVENANCE not in nodes or result_nodes.DOCUMENT not in nodes:
        return None
    return ShownResult(
        provenance_node=nodes[result_nodes.PROVENANCE],
        document_node=nodes[result_nodes.DOCUMENT],
        segmentation_node=nodes.get(result_nodes.SEGMENTATION),
        attribution_maps=attribution_maps,
        findings_node=nodes.get(result_nodes.FINDINGS),
        chart_node=nodes.get(result_nodes.CHART),
    )


def inputs_with_result() -> list[slicer.vtkMRMLVolumeNode]:
    """Return the volumes that have a result on the scene, for a panel that meets a reloaded scene."""
    documents = slicer.util.getNodesByClass("vtkMRMLTextNode")
    ours = [node for node in documents if node.GetAttribute(result_nodes.ROLE) == result_nodes.DOCUMENT]
    inputs = [node.GetNodeReference(result_nodes.INPUT) for node in ours]
    return [node for node in inputs if node is not None]


def _required(input_node: slicer.vtkMRMLVolumeNode) -> ShownResult:
    shown = shown_result(input_node)
    if shown is None:
        raise ValueError(f"the scene holds no result of {input_node.GetName()!r}")
    return shown


def set_attribution_map(input_node: slicer.vtkMRMLVolumeNode, label: str | None, opacity: float, level: float) -> None:
    """Choose the label, opacity (0..1) and level (percent) of the heat map; None shows no heat map.

    The level is a threshold of the heat map and of the segments alike: what is coloured is what is outlined.

    Raises
    ------
    KeyError
        If there is no heat map of that label.
    ValueError
        If the opacity or the level is out of range, or the scene holds no result of the volume.
    """
    shown = _required(input_node)
    if not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must lie in 0..1, not {opacity:g}")
    if label is not None and label not in shown.attribution_maps:
        raise KeyError(label)
    set_threshold(input_node, level)
    document = shown.document_node
    if label is None:
        document.RemoveAttribute(_HEAT_MAP)
    else:
        document.SetAttribute(_HEAT_MAP, label)
    document.SetAttribute(_OPACITY, f"{opacity:g}")
    _update_foreground(input_node)


def set_threshold(input_node: slicer.vtkMRMLVolumeNode, percent: float) -> None:
    """Segment every Grad-CAM anew at a level in percent of its scale, and hide the heat maps below it.

    Raises
    ------
    ValueError
        If the level is not above 0 and at most 100, or the scene holds no result of the volume.
    """
    shown = _required(input_node)
    lowest = segments.lowest_value(percent)
    for node in shown.attribution_maps.values():
        display = node.GetDisplayNode()
        modifying = display.StartModify()
        display.SetThreshold(lowest, 255)
        display.SetApplyThreshold(True)
        display.EndModify(modifying)
    if shown.segmentation_node is not None and percent != segments.current_threshold(shown.segmentation_node):
        segments.segment_gradcam(shown.segmentation_node, shown.attribution_maps, percent, input_node)
    shown.document_node.SetAttribute(segments.THRESHOLD_PERCENT, f"{percent:g}")


def toggle_layers(input_node: slicer.vtkMRMLVolumeNode, visible: bool) -> None:
    """Show ("after") or hide ("before") heat map and segments; what the user had as foreground comes back."""
    shown = _required(input_node)
    if visible:
        shown.document_node.RemoveAttribute(_HIDDEN)
    else:
        shown.document_node.SetAttribute(_HIDDEN, "1")
    if shown.segmentation_node is not None:
        shown.segmentation_node.GetDisplayNode().SetVisibility(visible)
    _update_foreground(input_node)


def _update_foreground(input_node: slicer.vtkMRMLVolumeNode) -> None:
    shown = _required(input_node)
    attribution_map = shown.attribution_maps.get(shown.attribution_label or "") if shown.layers_visible else None
    views.show_foreground(input_node, attribution_map, shown.opacity)


def slice_to_volume(input_node: slicer.vtkMRMLVolumeNode, index: int) -> tuple[int, int]:
    """Return the volume's axis (0: i, 1: j, 2: k) along which slices are counted, and a stored slice's place on it.

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    document = _required(input_node).document_node
    axis = int(document.GetAttribute(SLICE_AXIS))
    count = input_node.GetImageData().GetDimensions()[axis]
    if not 0 <= index < count:
        raise IndexError(f"there is no stored slice {index}; the volume has {count}")
    middle = [float(mm) for mm in document.GetAttribute(FIRST_SLICE).split()]
    first_slice = (np.linalg.inv(ijk_to_ras(input_node)) @ [*middle, 1.0])[axis]
    return axis, index if first_slice < (count - 1) / 2 else count - 1 - index


def jump_to_slice(input_node: slicer.vtkMRMLVolumeNode, index: int) -> np.ndarray:
    """Bring the slice views to the middle of a stored slice; return that place in world RAS, mm.

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    axis, place = slice_to_volume(input_node, index)
    return views.jump_to_voxel(input_node, middle_of_slice(input_node, axis, place))


def jump_to_finding(input_node: slicer.vtkMRMLVolumeNode, label: str) -> int:
    """Bring the slice views to the strongest evidence of a label on its key slice; return the stored slice.

    Its key slice is the one of the key slices on which the label's Grad-CAM sums to most.

    Raises
    ------
    KeyError
        If there is no heat map of that label.
    """
    shown = _required(input_node)
    voxels = slicer.util.arrayFromVolume(shown.attribution_maps[label])
    result = shown.result
    candidates = [s.index for s in result.key_slices] or [s.index for s in result.slices]
    axis, _ = slice_to_volume(input_node, candidates[0])
    sums = voxels.sum(axis=tuple(other for other in range(3) if other != 2 - axis), dtype=np.int64)
    index = max(candidates, key=lambda candidate: sums[slice_to_volume(input_node, candidate)[1]])
    place = slice_to_volume(input_node, index)[1]
    on_slice = np.take(voxels, [place], axis=2 - axis)
    if on_slice.any():
        voxel = [int(found) for found in np.unravel_index(int(on_slice.argmax()), on_slice.shape)]
        voxel[2 - axis] = place
        views.jump_to_voxel(input_node, (voxel[2], voxel[1], voxel[0]))
    else:
        jump_to_slice(input_node, index)
    return index


def remove_result(input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Take a result off the scene, and leave everything that the user made or had shown."""
    views.restore_foregrounds_of(result_nodes.nodes_of(input_node, result_nodes.GRADCAM))
    folder = result_nodes.study_folder(input_node)
    for node in result_nodes.nodes_of(input_node):
        if node.GetAttribute(result_nodes.ROLE) != result_nodes.SEGMENTATION or segments.remove_own_segments(node):
            result_nodes.remove_node(node)
        else:
            result_nodes.disown(node)
    result_nodes.remove_folder_if_empty(folder)
