"""Puts a result on the scene: maps, segments, tables, plot and provenance of one input volume.

Everything that is shown can be found again in a saved and reloaded scene: nodes carry their role and refer to the input
volume (``result_nodes``), and the text of ``result.json`` travels with them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import slicer

from ..messages import message
from ..result.content import Result
from ..result.reader import SALIENCY_KINDS
from . import result_nodes, segments, tables, views
from .layers import (
    CAVEAT,
    DEFAULT_OPACITY,
    ShownResult,
    remove_result,
    required_result,
    set_attribution_map,
    shown_result,
    toggle_layers,
)
from .lesion_segments import show_lesions
from .slice_positions import record_slice_order
from .volume_geometry import GeometryError, MapFile, VoxelMatch, match_voxels, read_map, slice_axis_of

ATTRIBUTION_COLOURS = "vtkMRMLColorTableNodeIron"

_log = logging.getLogger(__name__)


def show_result(result: Result, input_node: slicer.vtkMRMLScalarVolumeNode) -> ShownResult:
    """Show a result on the volume that it was made from; an earlier result of the same volume is replaced.

    All files are read and compared with the volume before the scene is touched.

    Parameters
    ----------
    result : Result
        As read by :func:`ICHDiagnosisLib.result.reader.read_result`.
    input_node : vtkMRMLScalarVolumeNode
        The head CT, upright, oblique, left-handed or under a transform.

    Raises
    ------
    ResultError
        If a map file cannot be read.
    GeometryError
        If the maps do not lie on the volume's voxels.
    """
    maps = _maps_on_volume(result, input_node) if result.evaluated else None
    if maps is None or _layers_shown(input_node) - _layers_of(result):
        remove_result(input_node)
    document = tables.show_provenance(result, input_node)
    if maps is not None:
        record_slice_order(document, input_node, maps.slice_axis, maps.slices_reversed)
        _record_caveat(document, maps.caveat)
        tables.show_findings(result, input_node)
        if result.stated_lesions is not None and result.stated_lesions.volumes:
            tables.show_volumes(result.stated_lesions, input_node)
        tables.show_attention(result, input_node)
        attribution_maps = {
            label: _show_attribution_map(result, input_node, label, voxels) for label, voxels in maps.gradcam.items()
        }
        if maps.saliency is not None:
            _show_saliency(result, input_node, *maps.saliency)
        _show_segmentation(result, input_node, maps, attribution_maps)
    result_nodes.gather_in_study(input_node)
    if maps is not None:
        views.show_input(input_node, maps.slice_axis)
        toggle_layers(input_node, True)
        # The lesion itself comes first; attribution waits until it is asked for.
        label = None if result.stated_lesions is not None else _leading_label(result)
        set_attribution_map(input_node, label, DEFAULT_OPACITY, segments.DEFAULT_THRESHOLD)
    return required_result(input_node)


def check_fit(result: Result, input_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Check that a result can be shown on a volume, and change nothing.

    Raises
    ------
    ResultError, GeometryError
        As :func:`show_result`.
    """
    if result.evaluated:
        _maps_on_volume(result, input_node)


@dataclass(frozen=True)
class _MapsOnVolume:
    """All maps of a result in the voxel order of the input, shape (k, j, i), and how its slices are counted."""

    attention: np.ndarray | None
    gradcam: dict[str, np.ndarray]
    saliency: tuple[str, np.ndarray] | None
    lesion_subtypes: np.ndarray | None
    slice_axis: int
    slices_reversed: bool
    caveat: str | None


def _maps_on_volume(result: Result, input_node: slicer.vtkMRMLScalarVolumeNode) -> _MapsOnVolume:
    """Read every map and bring it onto the input's voxels; nothing of the scene is changed."""
    if input_node.GetImageData() is None:
        raise GeometryError("geometry.no_voxels", volume=input_node.GetName())
    attention, gradcam, saliency, subtypes = None, {}, None, None
    files = [(result_map, result_map.file) for result_map in result.maps if result_map.kind != "feature_attention"]
    lesion_files = [(None, result.lesions.subtypes_file)] if result.lesions is not None else []
    first: tuple[MapFile, VoxelMatch] | None = None
    for result_map, name in [*files, *lesion_files]:
        map_file = read_map(result.file_path(name))
        if map_file.voxels.shape != result.study.shape:
            found = map_file.voxels.shape
            raise GeometryError("geometry.map_shape", file=name, found=found, expected=result.study.shape)
        if first is None or not np.array_equal(first[0].affine, map_file.affine):
            first = map_file, match_voxels(result.study, map_file, input_node)
        voxels = first[1].on_volume(map_file.voxels)
        if result_map is None:
            subtypes = voxels
        elif result_map.kind in SALIENCY_KINDS:
            saliency = result_map.kind, voxels
        elif result_map.label is None:
            attention = voxels
        else:
            gradcam[result_map.label] = voxels
    if first is None:
        raise GeometryError("geometry.no_maps")
    map_file, match = first
    axis = match.axes.index(slice_axis_of(result.study, map_file))
    return _MapsOnVolume(attention, gradcam, saliency, subtypes, axis, match.reverse[axis], match.caveat)


def _layers_shown(input_node: slicer.vtkMRMLScalarVolumeNode) -> set[str]:
    shown = shown_result(input_node)
    return set() if shown is None else _layers_of(shown.result)


def _layers_of(result: Result) -> set[str]:
    """Name what a result shows: labels with an attribution map, saliency, lesions, and what is stated of them."""
    labels = {result_map.label for result_map in result.maps if result_map.label is not None}
    others = {kind for kind in SALIENCY_KINDS if kind in {result_map.kind for result_map in result.maps}}
    others |= {"lesions"} if result.lesions is not None else set()
    if result.stated_lesions is not None:
        others |= {"stated lesions"} | ({"volumes"} if result.stated_lesions.volumes else set())
    return labels | others


def _record_caveat(document: slicer.vtkMRMLTextNode, caveat: str | None) -> None:
    if caveat is None:
        document.RemoveAttribute(CAVEAT)
    else:
        document.SetAttribute(CAVEAT, caveat)
        _log.warning("%s", caveat)


def _show_attribution_map(
    result: Result, input_node: slicer.vtkMRMLScalarVolumeNode, label: str, voxels: np.ndarray
) -> slicer.vtkMRMLScalarVolumeNode:
    name = message("node.gradcam", name=input_node.GetName(), label=label.replace("_", " "))
    node = result_nodes.provide_node("vtkMRMLScalarVolumeNode", input_node, result_nodes.GRADCAM, name, label)
    description = message("node.gradcam_description", finding=result.finding(label).name)
    return _filled(node, result, input_node, description, voxels)


def _show_saliency(
    result: Result, input_node: slicer.vtkMRMLScalarVolumeNode, kind: str, voxels: np.ndarray
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put predicted saliency on the scene, for whoever chooses it as foreground; no view shows it by itself."""
    name = message("node.saliency", name=input_node.GetName())
    node = result_nodes.provide_node("vtkMRMLScalarVolumeNode", input_node, result_nodes.SALIENCY, name)
    descriptions = {
        "saliency": message("node.saliency_description"),
        "saliency_masks": message("node.saliency_masks_description"),
        "saliency_gaze": message("node.saliency_gaze_description"),
    }
    return _filled(node, result, input_node, descriptions[kind], voxels)


def _filled(
    node: slicer.vtkMRMLScalarVolumeNode,
    result: Result,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    description: str,
    voxels: np.ndarray,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Give a map's node its voxels on the input's, its description and its colours."""
    node.CopyOrientation(input_node)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    node.SetDescription(f"{description} {result.model.notice}")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(ATTRIBUTION_COLOURS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 255)
    display.SetAutoThreshold(False)
    return node


def _show_segmentation(
    result: Result,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    maps: _MapsOnVolume,
    attribution_maps: dict[str, slicer.vtkMRMLScalarVolumeNode],
) -> None:
    node = segments.provide_segmentation(input_node)
    modifying = node.StartModify()
    stated = result.stated_lesions is not None
    if result.lesions is not None and maps.lesion_subtypes is not None:
        show_lesions(node, input_node, result.lesions, result.model.labels, maps.lesion_subtypes)
    if maps.attention is not None:
        segment = segments.set_segment(
            node,
            segments.KEY_SLICES_ID,
            message("segment.key_slices"),
            segments.KEY_SLICES_COLOUR,
            segments.key_slices_terminology(),
        )
        mask = (maps.attention > 0) & _on_key_slices(result, maps)
        segments.set_segment_voxels(segment, mask, input_node)
        segments.style_segment(node, segments.KEY_SLICES_ID, bool(result.positive_findings) and not stated)
    for label in maps.gradcam:
        finding, identifier = result.finding(label), segments.gradcam_segment_id(label)
        name = segments.gradcam_segment_name(label, segments.DEFAULT_THRESHOLD)
        segments.set_segment(node, identifier, name, finding.colour, segments.finding_terminology(finding))
        segments.style_segment(node, identifier, finding.positive and not stated)
    segments.segment_gradcam(node, attribution_maps, segments.DEFAULT_THRESHOLD, input_node)
    node.GetDisplayNode().SetVisibility(True)
    node.EndModify(modifying)


def _on_key_slices(result: Result, maps: _MapsOnVolume) -> np.ndarray:
    """Return a mask that broadcasts over (k, j, i): True on key slices."""
    key = np.array([s.key_rank is not None for s in result.slices])
    if maps.slices_reversed:
        key = key[::-1]
    shape = [1, 1, 1]
    shape[2 - maps.slice_axis] = key.size
    return key.reshape(shape)


def _leading_label(result: Result) -> str | None:
    """Return the label whose attribution map is shown first: the most probable positive one, a type before ``any``."""
    with_map = {result_map.label for result_map in result.maps}
    positive = [finding for finding in result.positive_findings if finding.key in with_map]
    if not positive:
        return None
    return max(positive, key=lambda finding: (finding.key != "any", finding.probability)).key
