"""The layers of a result that is on the scene, freshly shown or reloaded: attribution map, threshold, on and off."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from ..result.content import Result
from ..result.reader import parse_result
from . import result_nodes, segments, views

CAVEAT = "ICHDiagnosis.Caveat"

DEFAULT_OPACITY = 0.5
_ATTRIBUTION_MAP = "ICHDiagnosis.AttributionMap"
_OPACITY = "ICHDiagnosis.AttributionOpacity"
_HIDDEN = "ICHDiagnosis.LayersHidden"


@dataclass(frozen=True)
class ShownResult:
    """The nodes that show one result.

    Attributes
    ----------
    document_node : vtkMRMLTextNode
        The text of ``result.json``; its attributes hold the state of the layers.
    segmentation_node : vtkMRMLSegmentationNode or None
        Key slices and thresholded Grad-CAM; None where the study was not evaluated.
    attribution_maps : dict of str to vtkMRMLScalarVolumeNode
        One volume for each label that has a map.
    """

    document_node: slicer.vtkMRMLTextNode
    segmentation_node: slicer.vtkMRMLSegmentationNode | None
    attribution_maps: dict[str, slicer.vtkMRMLScalarVolumeNode]

    @property
    def result(self) -> Result:
        """The result itself, restored from the text that the scene carries; it has no folder."""
        return parse_result(self.document_node.GetText())

    @property
    def caveat(self) -> str | None:
        """What a reader must know about the volume's own geometry, else None."""
        return self.document_node.GetAttribute(CAVEAT)

    @property
    def threshold(self) -> float:
        """Threshold of segments and attribution map, in percent of a map's scale."""
        return float(self.document_node.GetAttribute(segments.THRESHOLD_PERCENT) or segments.DEFAULT_THRESHOLD)

    @property
    def attribution_label(self) -> str | None:
        """Label whose attribution map is chosen, visible or not."""
        return self.document_node.GetAttribute(_ATTRIBUTION_MAP)

    @property
    def opacity(self) -> float:
        """Opacity of the attribution map, 0..1."""
        return float(self.document_node.GetAttribute(_OPACITY) or DEFAULT_OPACITY)

    @property
    def layers_visible(self) -> bool:
        """Whether attribution map and segments are shown (the state "after") or hidden (the state "before")."""
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
    document, segmentation = nodes.get(result_nodes.DOCUMENT), nodes.get(result_nodes.SEGMENTATION)
    if document is None:
        return None
    for node in filter(None, (document, segmentation)):
        result_nodes.rename_earlier_attributes(node)
    return ShownResult(document, segmentation, attribution_maps)


def required_result(input_node: slicer.vtkMRMLVolumeNode) -> ShownResult:
    """Return the result that the scene holds of a volume.

    Raises
    ------
    ValueError
        If it holds none.
    """
    shown = shown_result(input_node)
    if shown is None:
        raise ValueError(f"the scene holds no result of {input_node.GetName()!r}")
    return shown


def set_attribution_map(
    input_node: slicer.vtkMRMLVolumeNode, label: str | None, opacity: float, threshold: float
) -> None:
    """Choose the label, opacity (0..1) and threshold (percent) of the attribution map; None shows no attribution map.

    Attribution map and segments have one threshold: what is coloured is what is segmented.

    Raises
    ------
    KeyError
        If there is no attribution map of that label.
    ValueError
        If the opacity or the threshold is out of range, or the scene holds no result of the volume.
    """
    shown = required_result(input_node)
    if not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must lie in 0..1, not {opacity:g}")
    if label is not None and label not in shown.attribution_maps:
        raise KeyError(label)
    set_threshold(input_node, threshold)
    document = shown.document_node
    if label is None:
        document.RemoveAttribute(_ATTRIBUTION_MAP)
    else:
        document.SetAttribute(_ATTRIBUTION_MAP, label)
    document.SetAttribute(_OPACITY, f"{opacity:g}")
    if shown.segmentation_node is not None and shown.result.stated_lesions is not None:
        _show_segment_of(shown.segmentation_node, set(shown.attribution_maps), label)
    _update_foreground(input_node)


def _show_segment_of(segmentation_node: slicer.vtkMRMLSegmentationNode, labels: set[str], chosen: str | None) -> None:
    """Beside a lesion's contour, show the segment of the chosen attribution map alone."""
    for label in labels:
        identifier = segments.gradcam_segment_id(label)
        if segmentation_node.GetSegmentation().GetSegment(identifier) is not None:
            segmentation_node.GetDisplayNode().SetSegmentVisibility(identifier, label == chosen)


def set_threshold(input_node: slicer.vtkMRMLVolumeNode, percent: float) -> None:
    """Segment every Grad-CAM anew at a threshold in percent of its scale, and hide the attribution maps below it.

    Raises
    ------
    ValueError
        If the threshold is not above 0 and at most 100, or the scene holds no result of the volume.
    """
    shown = required_result(input_node)
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
    """Show ("after") or hide ("before") attribution map and segments; what the user had as foreground comes back."""
    shown = required_result(input_node)
    if visible:
        shown.document_node.RemoveAttribute(_HIDDEN)
    else:
        shown.document_node.SetAttribute(_HIDDEN, "1")
    if shown.segmentation_node is not None:
        shown.segmentation_node.GetDisplayNode().SetVisibility(visible)
    _update_foreground(input_node)


def _update_foreground(input_node: slicer.vtkMRMLVolumeNode) -> None:
    shown = required_result(input_node)
    attribution_map = shown.attribution_maps.get(shown.attribution_label or "") if shown.layers_visible else None
    views.show_foreground(input_node, attribution_map, shown.opacity)


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
