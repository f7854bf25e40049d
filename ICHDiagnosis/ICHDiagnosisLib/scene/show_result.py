"""A result on the scene: maps, segments, tables, plot and provenance of one input volume.

Everything that is shown can be found again in a saved and reloaded scene: nodes carry their role and refer to the input
volume (``own_nodes``), and the text of ``result.json`` travels with them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import slicer

from ..result.content import Result
from . import result_nodes as own_nodes
from . import segments, tables, views
from .layers import (
    CAVEAT,
    DEFAULT_OPACITY,
    FIRST_SLICE,
    SLICE_AXIS,
    ShownResult,
    inputsWithResult,
    jumpToFinding,
    jumpToSlice,
    removeResult,
    setHeatMap,
    setLevel,
    shownResult,
    sliceToVolume,
    toggleLayers,
)
from .views import setBrainWindow
from .volume_geometry import (
    GeometryError,
    MapFile,
    VoxelMatch,
    ijkToRAS,
    matchVoxels,
    middleOfSlice,
    readMap,
    sliceAxis,
)

__all__ = [
    "DEFAULT_OPACITY",
    "GeometryError",
    "ShownResult",
    "inputsWithResult",
    "jumpToFinding",
    "jumpToSlice",
    "removeResult",
    "setBrainWindow",
    "setHeatMap",
    "setLevel",
    "showResult",
    "shownResult",
    "sliceToVolume",
    "toggleLayers",
]

HEAT_COLOURS = "vtkMRMLColorTableNodeIron"

_log = logging.getLogger(__name__)


def showResult(result: Result, inputNode: slicer.vtkMRMLScalarVolumeNode) -> ShownResult:
    """Show a result on the volume that it was made from; an earlier result of the same volume is replaced.

    All files are read and compared with the volume before the scene is touched.

    Parameters
    ----------
    result : Result
        As read by :func:`ICHDiagnosisLib.result.reader.read_result`.
    inputNode : vtkMRMLScalarVolumeNode
        The head CT, upright, oblique, left-handed or under a transform.

    Raises
    ------
    ResultError
        If a map file cannot be read.
    GeometryError
        If the maps do not lie on the volume's voxels.
    """
    maps = _mapsOnVolume(result, inputNode) if result.evaluated else None
    if maps is None or _labelsShown(inputNode) - set(maps.gradCAM):
        removeResult(inputNode)
    document = tables.showProvenance(result, inputNode)
    if maps is not None:
        _recordGeometry(document, inputNode, maps)
        tables.showFindings(result, inputNode)
        tables.showAttention(result, inputNode)
        heatMaps = {
            label: _showHeatMapVolume(result, inputNode, label, voxels) for label, voxels in maps.gradCAM.items()
        }
        _showSegmentation(result, inputNode, maps, heatMaps)
    own_nodes.gatherInStudy(inputNode)
    if maps is not None:
        views.showInput(inputNode, maps.sliceAxis)
        toggleLayers(inputNode, True)
        setHeatMap(inputNode, _mostTellingLabel(result), DEFAULT_OPACITY, segments.DEFAULT_LEVEL)
    shown = shownResult(inputNode)
    if shown is None:
        raise RuntimeError("the scene did not keep the nodes of the result")
    return shown


@dataclass(frozen=True)
class _MapsOnVolume:
    """All maps of a result in the voxel order of the input, shape (k, j, i), and how its slices are counted."""

    attention: np.ndarray | None
    gradCAM: dict[str, np.ndarray]
    sliceAxis: int
    slicesReversed: bool
    caveat: str | None


def _mapsOnVolume(result: Result, inputNode: slicer.vtkMRMLScalarVolumeNode) -> _MapsOnVolume:
    """Read every map and bring it onto the input's voxels; nothing of the scene is changed."""
    if inputNode.GetImageData() is None:
        raise GeometryError(f"{inputNode.GetName()!r} holds no voxels")
    attention, gradCAM = None, {}
    first: tuple[MapFile, VoxelMatch] | None = None
    for evidence in result.maps:
        if evidence.kind == "feature_attention":
            continue
        mapFile = readMap(result.map_path(evidence))
        if mapFile.voxels.shape != result.study.shape:
            raise GeometryError(f"{evidence.file!r} is of shape {mapFile.voxels.shape}, not {result.study.shape}")
        if first is None or not np.array_equal(first[0].affine, mapFile.affine):
            first = mapFile, matchVoxels(result.study, mapFile, inputNode)
        voxels = first[1].onVolume(mapFile.voxels)
        if evidence.label is None:
            attention = voxels
        else:
            gradCAM[evidence.label] = voxels
    if first is None:
        raise GeometryError("the result has no maps")
    mapFile, match = first
    axis = match.axes.index(sliceAxis(result.study, mapFile))
    return _MapsOnVolume(attention, gradCAM, axis, match.reverse[axis], match.caveat)


def _labelsShown(inputNode: slicer.vtkMRMLScalarVolumeNode) -> set[str]:
    shown = shownResult(inputNode)
    return set() if shown is None else set(shown.heatMapNodes)


def _recordGeometry(
    document: slicer.vtkMRMLTextNode, inputNode: slicer.vtkMRMLScalarVolumeNode, maps: _MapsOnVolume
) -> None:
    """Keep how stored slices are counted on the volume, so that a reloaded scene can still jump to them."""
    document.SetAttribute(SLICE_AXIS, str(maps.sliceAxis))
    last = inputNode.GetImageData().GetDimensions()[maps.sliceAxis] - 1
    voxel = middleOfSlice(inputNode, maps.sliceAxis, last if maps.slicesReversed else 0)
    middle = ijkToRAS(inputNode) @ [*voxel, 1.0]
    document.SetAttribute(FIRST_SLICE, " ".join(f"{mm:.6f}" for mm in middle[:3]))
    if maps.caveat is None:
        document.RemoveAttribute(CAVEAT)
    else:
        document.SetAttribute(CAVEAT, maps.caveat)
        _log.warning("%s", maps.caveat)


def _showHeatMapVolume(
    result: Result, inputNode: slicer.vtkMRMLScalarVolumeNode, label: str, voxels: np.ndarray
) -> slicer.vtkMRMLScalarVolumeNode:
    name = f"{inputNode.GetName()}: Grad-CAM {label.replace('_', ' ')}"
    node = own_nodes.provideNode("vtkMRMLScalarVolumeNode", inputNode, own_nodes.GRADCAM, name, label)
    node.CopyOrientation(inputNode)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetAndObserveTransformNodeID(inputNode.GetTransformNodeID())
    node.SetDescription(f"Grad-CAM of {result.finding(label).name}: evidence, not an outline. {result.model.notice}")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(HEAT_COLOURS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 255)
    display.SetAutoThreshold(False)
    return node


def _showSegmentation(
    result: Result,
    inputNode: slicer.vtkMRMLScalarVolumeNode,
    maps: _MapsOnVolume,
    heatMaps: dict[str, slicer.vtkMRMLScalarVolumeNode],
) -> None:
    node = segments.provideSegmentation(inputNode)
    modifying = node.StartModify()
    if maps.attention is not None:
        segment = segments.setSegment(
            node,
            segments.KEY_SLICES_ID,
            segments.KEY_SLICES_NAME,
            segments.KEY_SLICES_COLOUR,
            segments.keySlicesTerminology(),
        )
        mask = (maps.attention > 0) & _onKeySlices(result, maps)
        segments.setSegmentVoxels(segment, mask, inputNode)
        segments.styleSegment(node, segments.KEY_SLICES_ID, bool(result.positive_findings), fillOpacity=0.0)
    for label in maps.gradCAM:
        finding, identifier = result.finding(label), segments.gradCAMSegmentID(label)
        name = segments.gradCAMSegmentName(label, segments.DEFAULT_LEVEL)
        segments.setSegment(node, identifier, name, finding.colour, segments.findingTerminology(finding))
        segments.styleSegment(node, identifier, finding.positive, fillOpacity=0.0)
    segments.segmentGradCAM(node, heatMaps, segments.DEFAULT_LEVEL, inputNode)
    node.GetDisplayNode().SetVisibility(True)
    node.EndModify(modifying)


def _onKeySlices(result: Result, maps: _MapsOnVolume) -> np.ndarray:
    """Return a mask that broadcasts over (k, j, i): True on key slices."""
    key = np.array([s.key_rank is not None for s in result.slices])
    if maps.slicesReversed:
        key = key[::-1]
    shape = [1, 1, 1]
    shape[2 - maps.sliceAxis] = key.size
    return key.reshape(shape)


def _mostTellingLabel(result: Result) -> str | None:
    """Return the label whose heat map is shown first: the most probable positive one, a kind before ``any``."""
    withMap = {evidence.label for evidence in result.maps}
    positive = [finding for finding in result.positive_findings if finding.key in withMap]
    if not positive:
        return None
    return max(positive, key=lambda finding: (finding.key != "any", finding.probability)).key
