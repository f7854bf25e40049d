"""The lesion as segments, one per compartment, and the way to where it is largest."""

from __future__ import annotations

import numpy as np
import slicer

from ..messages import message
from ..result.lesions import LesionGroup, Lesions
from . import segments

_CONTOUR_PIXELS = 3


def lesion_segment_id(group: str) -> str:
    """Return the segment ID of the lesion in one compartment."""
    return f"ICHDiagnosis_Lesion_{group}"


def show_lesions(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    input_node: slicer.vtkMRMLVolumeNode,
    lesions: Lesions,
    labels: tuple[str, ...],
    subtypes: np.ndarray,
) -> None:
    """Make one segment per compartment that holds blood, as a contour; shown only where the result states the lesions.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        Ours.
    input_node : vtkMRMLVolumeNode
        The CT.
    lesions : Lesions
        From the result.
    labels : tuple of str
        The model's labels; a voxel holds the place of its subtype among them.
    subtypes : ndarray of uint8, shape (k, j, i) of the input volume
        0 outside of lesions.
    """
    segmentation = segmentation_node.GetSegmentation()
    segmentation_node.GetDisplayNode().SetSliceIntersectionThickness(_CONTOUR_PIXELS)
    for group in lesions.groups:
        identifier = lesion_segment_id(group.key)
        mask = np.isin(subtypes, group.values(labels))
        if not mask.any():
            if segmentation.GetSegment(identifier) is not None:
                segmentation.RemoveSegment(identifier)
            continue
        segment = segments.set_segment(
            segmentation_node,
            identifier,
            message("segment.lesion", group=group.name),
            group.colour,
            _terminology(group),
        )
        segments.set_segment_voxels(segment, mask, input_node)
        segments.style_segment(segmentation_node, identifier, lesions.stated)


def lesion_voxels(
    segmentation_node: slicer.vtkMRMLSegmentationNode, input_node: slicer.vtkMRMLVolumeNode, groups: tuple[str, ...]
) -> np.ndarray | None:
    """Return the lesion in some compartments, bool (k, j, i) of the input; None where the scene holds none.

    Segments that the user has corrected are taken as they are now.
    """
    segmentation = segmentation_node.GetSegmentation()
    found = None
    for group in groups:
        identifier = lesion_segment_id(group)
        if segmentation.GetSegment(identifier) is None:
            continue
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, identifier, input_node) > 0
        found = mask if found is None else found | mask
    return found if found is not None and found.any() else None


def _terminology(group: LesionGroup) -> str:
    return segments.terminology_entry(segments.ALTERED_STRUCTURE, group.finding, group.region)
