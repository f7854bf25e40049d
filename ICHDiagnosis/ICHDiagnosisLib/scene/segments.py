"""The segmentation: lesions, key slices and thresholded Grad-CAM as binary segments on the input's voxels.

Binary labelmaps only: a fractional labelmap loses its voxels when it is saved alone. No surface is ever made here.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..messages import message
from ..result.content import Finding
from ..result.lesions import Code
from . import result_nodes

THRESHOLD_PERCENT = "ICHDiagnosis.ThresholdPercent"
DEFAULT_THRESHOLD = 50.0
KEY_SLICES_ID = "ICHDiagnosis_KeySlices"
KEY_SLICES_COLOUR = (255, 214, 10)
BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"

ALTERED_STRUCTURE = Code("SCT", "49755003", "Morphologically Abnormal Structure")
_SPATIAL_CONCEPT = Code("SCT", "309825002", "Spatial and Relational Concept")
_OF_INTEREST = Code("DCM", "113000", "Of Interest")
_HEAD = Code("SCT", "69536005", "Head")

_log = logging.getLogger(__name__)


def gradcam_segment_id(label: str) -> str:
    """Return the segment ID of one label's Grad-CAM."""
    return f"ICHDiagnosis_GradCAM_{label}"


def gradcam_segment_name(label: str, threshold: float) -> str:
    """Return the name of a Grad-CAM segment, which states what it is not."""
    return message("segment.gradcam", label=label.replace("_", " "), threshold=threshold)


def terminology_entry(category: Code, kind: Code, region: Code, region_modifier: Code | None = None) -> str:
    """Serialise codes as Slicer's terminologies module does: context, category, type, modifier, region, modifier."""
    contexts = ("Segmentation category and type - DICOM master list", "Anatomic codes - DICOM master list")
    what, where = (category, kind, None), (region, region_modifier)
    return "~".join((contexts[0], *map(_serialised, what), contexts[1], *map(_serialised, where)))


def _serialised(code: Code | None) -> str:
    parts = ("", "", "") if code is None else (code.scheme, code.value, code.meaning)
    return "^".join(_without_separators(text) for text in parts)


def _without_separators(text: str) -> str:
    return text.replace("~", " ").replace("^", " ")


def finding_terminology(finding: Finding) -> str:
    """Return the terminology of a finding's segment: a haemorrhage (or other finding) in its region."""
    return terminology_entry(ALTERED_STRUCTURE, finding.finding, finding.region, finding.region_modifier)


def key_slices_terminology() -> str:
    """Return the terminology of the key slices: a part of the head that is of interest (DICOM CID 7010), no lesion."""
    return terminology_entry(_SPATIAL_CONCEPT, _OF_INTEREST, _HEAD)


def provide_segmentation(input_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """Return our segmentation of an input volume, on its grid and under its transform."""
    name = message("node.evidence", name=input_node.GetName())
    node = result_nodes.provide_node("vtkMRMLSegmentationNode", input_node, result_nodes.SEGMENTATION, name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility3D(False)
    node.SetReferenceImageGeometryParameterFromVolumeNode(input_node)
    node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    return node


def set_segment(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    segment_id: str,
    name: str,
    colour: tuple[int, int, int],
    entry: str,
) -> slicer.vtkSegment:
    """Make a segment of ours, or name and colour it anew; its voxels are set by :func:`set_segment_voxels`."""
    segmentation = segmentation_node.GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    if segment is None:
        segment = slicer.vtkSegment()
        segment.AddRepresentation(BINARY_LABELMAP, slicer.vtkOrientedImageData())
        segmentation.AddSegment(segment, segment_id)
    segment.SetName(name)
    segment.SetColor(*(channel / 255 for channel in colour))
    segment.SetTag(result_nodes.ROLE, "Segment")
    # Older versions of Slicer have no SetTerminology and keep the same text as a tag.
    if hasattr(segment, "SetTerminology"):
        segment.SetTerminology(entry)
    else:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
    return segment


def set_segment_voxels(segment: slicer.vtkSegment, mask: np.ndarray, input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Give a segment its voxels: ``mask``, bool, shape (k, j, i) of the input volume.

    The labelmap is the segment's own, cropped to what it holds: segments overlap, and most are small.
    """
    segment.AddRepresentation(BINARY_LABELMAP, _labelmap(mask, input_node))
    segment.SetLabelValue(1)
    # A surface that the user asked for would go on showing the voxels of before.
    segment.RemoveRepresentation(CLOSED_SURFACE)


def _labelmap(mask: np.ndarray, input_node: slicer.vtkMRMLVolumeNode) -> slicer.vtkOrientedImageData:
    """Return a labelmap of the mask's bounding box on the input volume's grid."""
    labelmap = slicer.vtkOrientedImageData()
    matrix = vtk.vtkMatrix4x4()
    input_node.GetIJKToRASMatrix(matrix)
    labelmap.SetImageToWorldMatrix(matrix)
    bounds = []
    for axis in (2, 1, 0):
        occupied = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds.append((int(occupied[0]), int(occupied[-1])) if occupied.size else (0, -1))
    (i0, i1), (j0, j1), (k0, k1) = bounds
    labelmap.SetExtent(i0, i1, j0, j1, k0, k1)
    cropped = np.ascontiguousarray(mask[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1], dtype=np.uint8)
    scalars = numpy_to_vtk(cropped.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    labelmap.GetPointData().SetScalars(scalars)
    return labelmap


def current_threshold(segmentation_node: slicer.vtkMRMLSegmentationNode) -> float:
    """Return the threshold, in percent of a map's scale, that the segments stand for."""
    return float(segmentation_node.GetAttribute(THRESHOLD_PERCENT) or DEFAULT_THRESHOLD)


def lowest_value(threshold: float) -> int:
    """Return the lowest map value (1..255) to reach a threshold in percent of the scale; 0 (no evidence) never does.

    Raises
    ------
    ValueError
        If the threshold is not above 0 and at most 100.
    """
    if not 0 < threshold <= 100:
        raise ValueError(f"the threshold must be above 0 % and at most 100 %, not {threshold:g} %")
    return max(math.ceil(threshold * 255 / 100), 1)


def segment_gradcam(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    attribution_maps: dict[str, slicer.vtkMRMLScalarVolumeNode],
    threshold: float,
    input_node: slicer.vtkMRMLVolumeNode,
) -> None:
    """Segment attribution maps anew at a threshold in percent, and name the segments by it."""
    lowest = lowest_value(threshold)
    for label, attribution_map in attribution_maps.items():
        segment = segmentation_node.GetSegmentation().GetSegment(gradcam_segment_id(label))
        if segment is None:
            _log.info("the segment of %s was removed by hand; a new threshold does not bring it back", label)
            continue
        segment.SetName(gradcam_segment_name(label, threshold))
        set_segment_voxels(segment, slicer.util.arrayFromVolume(attribution_map) >= lowest, input_node)
    segmentation_node.SetAttribute(THRESHOLD_PERCENT, f"{threshold:g}")


def remove_own_segments(segmentation_node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Remove our segments; return whether nothing is left, or else the user has put segments of their own there."""
    segmentation = segmentation_node.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    for identifier in identifiers:
        if segmentation.GetSegment(identifier).HasTag(result_nodes.ROLE):
            segmentation.RemoveSegment(identifier)
    return segmentation.GetNumberOfSegments() == 0


def style_segment(segmentation_node: slicer.vtkMRMLSegmentationNode, segment_id: str, visible: bool) -> None:
    """Show or hide a segment in slice views, by its border alone, so that the CT beneath stays readable."""
    display = segmentation_node.GetDisplayNode()
    display.SetSegmentVisibility(segment_id, visible)
    display.SetSegmentVisibility3D(segment_id, False)
    display.SetSegmentOpacity2DFill(segment_id, 0.0)
    display.SetSegmentOpacity2DOutline(segment_id, 1.0)
