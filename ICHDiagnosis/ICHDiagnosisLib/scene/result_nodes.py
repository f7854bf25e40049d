"""Which nodes of the scene hold a result, of which input volume, in which role; nothing else is ever changed."""

from __future__ import annotations

import logging

import slicer

from ..messages import message

ROLE = "ICHDiagnosis.Role"
LABEL = "ICHDiagnosis.Label"
INPUT = "ICHDiagnosis.Input"
"""Name of the node reference to the input volume; references, unlike attributes, follow a node whose ID changes."""

GRADCAM = "GradCAM"
SALIENCY = "Saliency"
SEGMENTATION = "Segmentation"
FINDINGS = "Findings"
LESION_VOLUMES = "LesionVolumes"
ATTENTION = "Attention"
KEY_SLICES = "KeySlices"
ATTENTION_SERIES = "AttentionSeries"
KEY_SLICE_SERIES = "KeySliceSeries"
CHART = "Chart"
PROVENANCE = "Provenance"
DOCUMENT = "Document"

_EARLIER_ATTRIBUTES = {
    "ICHDiagnosis.LevelPercent": "ICHDiagnosis.ThresholdPercent",
    "ICHDiagnosis.HeatMap": "ICHDiagnosis.AttributionMap",
    "ICHDiagnosis.HeatMapOpacity": "ICHDiagnosis.AttributionOpacity",
}

_log = logging.getLogger(__name__)


def nodes_of(input_node: slicer.vtkMRMLVolumeNode, role: str | None = None) -> list[slicer.vtkMRMLNode]:
    """Return our nodes that belong to an input volume, of one role or of all."""
    identifier = input_node.GetID()
    return [
        node
        for node in own_nodes()
        if role in (None, node.GetAttribute(ROLE)) and node.GetNodeReferenceID(INPUT) == identifier
    ]


def own_nodes() -> list[slicer.vtkMRMLNode]:
    """Return all our nodes on the scene, in its order; the scene is walked only if nodes have come or gone."""
    nodes = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in _index.identifiers())
    return [node for node in nodes if node is not None and node.GetAttribute(ROLE)]


class _Index:
    """The identifiers of the nodes that have a role, as of a state of the scene's collection of nodes."""

    def __init__(self) -> None:
        self._modified_time = -1
        self._identifiers: list[str] = []

    def identifiers(self) -> list[str]:
        """Return them, found anew where the collection was changed since."""
        modified_time = slicer.mrmlScene.GetNodes().GetMTime()
        if modified_time != self._modified_time:
            self._modified_time, self._identifiers = modified_time, self._walk()
        return self._identifiers

    def forget(self) -> None:
        """Walk at the next call: a node was given a role after it had come."""
        self._modified_time = -1

    @staticmethod
    def _walk() -> list[str]:
        nodes = (slicer.mrmlScene.GetNthNode(index) for index in range(slicer.mrmlScene.GetNumberOfNodes()))
        return [node.GetID() for node in nodes if node.GetAttribute(ROLE)]


_index = _Index()


def node_of(input_node: slicer.vtkMRMLVolumeNode, role: str, label: str = "") -> slicer.vtkMRMLNode | None:
    """Return our node of one role (and label) for an input volume, or None."""
    for node in nodes_of(input_node, role):
        if (node.GetAttribute(LABEL) or "") == label:
            return node
    return None


def provide_node(
    class_name: str, input_node: slicer.vtkMRMLVolumeNode, role: str, name: str, label: str = ""
) -> slicer.vtkMRMLNode:
    """Return our node of this role, made where there is none yet: a re-run keeps IDs, views and references."""
    node = node_of(input_node, role, label)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(class_name)
        node.SetAttribute(ROLE, role)
        _index.forget()
        if label:
            node.SetAttribute(LABEL, label)
        node.SetNodeReferenceID(INPUT, input_node.GetID())
    node.SetName(name)
    return node


def remove_node(node: slicer.vtkMRMLNode) -> None:
    """Remove one of our nodes with its display and storage nodes, which the scene would otherwise keep."""
    companions = []
    if isinstance(node, slicer.vtkMRMLDisplayableNode):
        companions += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if isinstance(node, slicer.vtkMRMLStorableNode):
        companions += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    slicer.mrmlScene.RemoveNode(node)
    for companion in companions:
        if companion is not None:
            slicer.mrmlScene.RemoveNode(companion)


def disown(node: slicer.vtkMRMLNode) -> None:
    """Leave a node to the user, who has put something of their own into it."""
    node.RemoveAttribute(ROLE)
    node.SetNodeReferenceID(INPUT, None)


def gather_in_study(input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Put our nodes into one folder beside the input volume, within its study, in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    input_item = hierarchy.GetItemByDataNode(input_node)
    parent = hierarchy.GetItemParent(input_item) if input_item else hierarchy.GetSceneItemID()
    folder = study_folder(input_node)
    if not folder:
        folder = hierarchy.CreateFolderItem(parent, message("node.folder", name=input_node.GetName()))
        hierarchy.SetItemAttribute(folder, ROLE, "Folder")
    for node in nodes_of(input_node):
        if not node.GetHideFromEditors():
            item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
            hierarchy.SetItemParent(item, folder)


def study_folder(input_node: slicer.vtkMRMLVolumeNode) -> int:
    """Return the subject hierarchy item of our folder, found through any node of ours that lies in it, else 0."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in nodes_of(input_node):
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        if folder and hierarchy.GetItemAttribute(folder, ROLE) == "Folder":
            return folder
    return 0


def remove_folder_if_empty(folder: int) -> None:
    """Remove our folder from the subject hierarchy unless the user has put something into it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if folder and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)


def rename_earlier_attributes(node: slicer.vtkMRMLNode) -> None:
    """Give attributes of a scene that an earlier version saved the names of today, with a warning."""
    for earlier, name in _EARLIER_ATTRIBUTES.items():
        value = node.GetAttribute(earlier)
        if value is not None:
            _log.warning("node attribute %s is now %s: the next version will not read the earlier name", earlier, name)
            node.RemoveAttribute(earlier)
            node.SetAttribute(name, value)
