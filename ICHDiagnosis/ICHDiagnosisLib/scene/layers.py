"""What a panel does with a result that is on the scene, freshly shown or reloaded: level, heat map, slices, layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from ..result.reader import Result, parse_result
from . import result_nodes as own_nodes
from . import segments, views
from .volume_geometry import ijkToRAS, middleOfSlice

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

    provenanceNode: slicer.vtkMRMLTextNode
    documentNode: slicer.vtkMRMLTextNode
    segmentationNode: slicer.vtkMRMLSegmentationNode | None
    heatMapNodes: dict[str, slicer.vtkMRMLScalarVolumeNode]
    findingsNode: slicer.vtkMRMLTableNode | None
    chartNode: slicer.vtkMRMLPlotChartNode | None

    @property
    def result(self) -> Result:
        """The result itself, restored from the text that the scene carries; it has no folder."""
        return parse_result(self.documentNode.GetText())

    @property
    def caveat(self) -> str | None:
        """What a reader must know about the volume's own geometry, else None."""
        return self.documentNode.GetAttribute(CAVEAT)

    @property
    def level(self) -> float:
        """Level of segments and heat map, in percent of a map's scale."""
        return float(self.documentNode.GetAttribute(segments.LEVEL_PERCENT) or segments.DEFAULT_LEVEL)

    @property
    def heatMapLabel(self) -> str | None:
        """Label whose heat map is chosen, visible or not."""
        return self.documentNode.GetAttribute(_HEAT_MAP)

    @property
    def opacity(self) -> float:
        """Opacity of the heat map, 0..1."""
        return float(self.documentNode.GetAttribute(_OPACITY) or DEFAULT_OPACITY)

    @property
    def layersVisible(self) -> bool:
        """Whether heat map and segments are shown (the state "after") or hidden (the state "before")."""
        return self.documentNode.GetAttribute(_HIDDEN) is None


def shownResult(inputNode: slicer.vtkMRMLVolumeNode) -> ShownResult | None:
    """Return the result that the scene holds of a volume, or None."""
    nodes: dict[str, slicer.vtkMRMLNode] = {}
    heatMaps = {}
    for node in own_nodes.ownNodes(inputNode):
        role = node.GetAttribute(own_nodes.ROLE)
        if role == own_nodes.GRADCAM:
            heatMaps[node.GetAttribute(own_nodes.LABEL)] = node
        else:
            nodes[role] = node
    if own_nodes.PROVENANCE not in nodes or own_nodes.DOCUMENT not in nodes:
        return None
    return ShownResult(
        provenanceNode=nodes[own_nodes.PROVENANCE],
        documentNode=nodes[own_nodes.DOCUMENT],
        segmentationNode=nodes.get(own_nodes.SEGMENTATION),
        heatMapNodes=heatMaps,
        findingsNode=nodes.get(own_nodes.FINDINGS),
        chartNode=nodes.get(own_nodes.CHART),
    )


def inputsWithResult() -> list[slicer.vtkMRMLVolumeNode]:
    """Return the volumes that have a result on the scene, for a panel that meets a reloaded scene."""
    documents = slicer.util.getNodesByClass("vtkMRMLTextNode")
    ours = [node for node in documents if node.GetAttribute(own_nodes.ROLE) == own_nodes.DOCUMENT]
    inputs = [node.GetNodeReference(own_nodes.INPUT) for node in ours]
    return [node for node in inputs if node is not None]


def _required(inputNode: slicer.vtkMRMLVolumeNode) -> ShownResult:
    shown = shownResult(inputNode)
    if shown is None:
        raise ValueError(f"the scene holds no result of {inputNode.GetName()!r}")
    return shown


def setHeatMap(inputNode: slicer.vtkMRMLVolumeNode, label: str | None, opacity: float, level: float) -> None:
    """Choose the label, opacity (0..1) and level (percent) of the heat map; None shows no heat map.

    The level is a threshold of the heat map and of the segments alike: what is coloured is what is outlined.

    Raises
    ------
    KeyError
        If there is no heat map of that label.
    ValueError
        If the opacity or the level is out of range, or the scene holds no result of the volume.
    """
    shown = _required(inputNode)
    if not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must lie in 0..1, not {opacity:g}")
    if label is not None and label not in shown.heatMapNodes:
        raise KeyError(label)
    setLevel(inputNode, level)
    document = shown.documentNode
    if label is None:
        document.RemoveAttribute(_HEAT_MAP)
    else:
        document.SetAttribute(_HEAT_MAP, label)
    document.SetAttribute(_OPACITY, f"{opacity:g}")
    _updateForeground(inputNode)


def setLevel(inputNode: slicer.vtkMRMLVolumeNode, percent: float) -> None:
    """Segment every Grad-CAM anew at a level in percent of its scale, and hide the heat maps below it.

    Raises
    ------
    ValueError
        If the level is not above 0 and at most 100, or the scene holds no result of the volume.
    """
    shown = _required(inputNode)
    lowest = segments.lowestValue(percent)
    for node in shown.heatMapNodes.values():
        display = node.GetDisplayNode()
        modifying = display.StartModify()
        display.SetThreshold(lowest, 255)
        display.SetApplyThreshold(True)
        display.EndModify(modifying)
    if shown.segmentationNode is not None and percent != segments.currentLevel(shown.segmentationNode):
        segments.segmentGradCAM(shown.segmentationNode, shown.heatMapNodes, percent, inputNode)
    shown.documentNode.SetAttribute(segments.LEVEL_PERCENT, f"{percent:g}")


def toggleLayers(inputNode: slicer.vtkMRMLVolumeNode, visible: bool) -> None:
    """Show ("after") or hide ("before") heat map and segments; what the user had as foreground comes back."""
    shown = _required(inputNode)
    if visible:
        shown.documentNode.RemoveAttribute(_HIDDEN)
    else:
        shown.documentNode.SetAttribute(_HIDDEN, "1")
    if shown.segmentationNode is not None:
        shown.segmentationNode.GetDisplayNode().SetVisibility(visible)
    _updateForeground(inputNode)


def _updateForeground(inputNode: slicer.vtkMRMLVolumeNode) -> None:
    shown = _required(inputNode)
    heatMap = shown.heatMapNodes.get(shown.heatMapLabel or "") if shown.layersVisible else None
    views.showForeground(inputNode, heatMap, shown.opacity)


def sliceToVolume(inputNode: slicer.vtkMRMLVolumeNode, index: int) -> tuple[int, int]:
    """Return the volume's axis (0: i, 1: j, 2: k) along which slices are counted, and a stored slice's place on it.

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    document = _required(inputNode).documentNode
    axis = int(document.GetAttribute(SLICE_AXIS))
    count = inputNode.GetImageData().GetDimensions()[axis]
    if not 0 <= index < count:
        raise IndexError(f"there is no stored slice {index}; the volume has {count}")
    middle = [float(mm) for mm in document.GetAttribute(FIRST_SLICE).split()]
    firstSlice = (np.linalg.inv(ijkToRAS(inputNode)) @ [*middle, 1.0])[axis]
    return axis, index if firstSlice < (count - 1) / 2 else count - 1 - index


def jumpToSlice(inputNode: slicer.vtkMRMLVolumeNode, index: int) -> np.ndarray:
    """Bring the slice views to the middle of a stored slice; return that place in world RAS, mm.

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    axis, place = sliceToVolume(inputNode, index)
    return views.jumpToVoxel(inputNode, middleOfSlice(inputNode, axis, place))


def jumpToFinding(inputNode: slicer.vtkMRMLVolumeNode, label: str) -> int:
    """Bring the slice views to the strongest evidence of a label on its key slice; return the stored slice.

    Its key slice is the one of the key slices on which the label's Grad-CAM sums to most.

    Raises
    ------
    KeyError
        If there is no heat map of that label.
    """
    shown = _required(inputNode)
    voxels = slicer.util.arrayFromVolume(shown.heatMapNodes[label])
    result = shown.result
    candidates = [s.index for s in result.key_slices] or [s.index for s in result.slices]
    axis, _ = sliceToVolume(inputNode, candidates[0])
    sums = voxels.sum(axis=tuple(other for other in range(3) if other != 2 - axis), dtype=np.int64)
    index = max(candidates, key=lambda candidate: sums[sliceToVolume(inputNode, candidate)[1]])
    place = sliceToVolume(inputNode, index)[1]
    onSlice = np.take(voxels, [place], axis=2 - axis)
    if onSlice.any():
        voxel = [int(found) for found in np.unravel_index(int(onSlice.argmax()), onSlice.shape)]
        voxel[2 - axis] = place
        views.jumpToVoxel(inputNode, (voxel[2], voxel[1], voxel[0]))
    else:
        jumpToSlice(inputNode, index)
    return index


def removeResult(inputNode: slicer.vtkMRMLVolumeNode) -> None:
    """Take a result off the scene, and leave everything that the user made or had shown."""
    views.restoreForegroundsOf(own_nodes.ownNodes(inputNode, own_nodes.GRADCAM))
    folder = own_nodes.studyFolder(inputNode)
    for node in own_nodes.ownNodes(inputNode):
        if node.GetAttribute(own_nodes.ROLE) != own_nodes.SEGMENTATION or segments.removeOwnSegments(node):
            own_nodes.removeNode(node)
        else:
            own_nodes.disown(node)
    own_nodes.removeFolderIfEmpty(folder)
