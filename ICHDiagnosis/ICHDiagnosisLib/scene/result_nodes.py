"""Which nodes of the scene are ours, for which input volume, and in which role; nothing else is ever changed."""

from __future__ import annotations

import slicer

ROLE = "ICHDiagnosis.Role"
LABEL = "ICHDiagnosis.Label"
INPUT = "ICHDiagnosis.Input"
"""Name of the node reference to the input volume; references, unlike attributes, follow a node whose ID changes."""

GRADCAM = "GradCAM"
SEGMENTATION = "Segmentation"
FINDINGS = "Findings"
ATTENTION = "Attention"
KEY_SLICES = "KeySlices"
ATTENTION_SERIES = "AttentionSeries"
KEY_SLICE_SERIES = "KeySliceSeries"
CHART = "Chart"
PROVENANCE = "Provenance"
DOCUMENT = "Document"


def ownNodes(inputNode: slicer.vtkMRMLVolumeNode, role: str | None = None) -> list[slicer.vtkMRMLNode]:
    """Return our nodes that belong to an input volume, of one role or of all."""
    found = []
    for index in range(slicer.mrmlScene.GetNumberOfNodes()):
        node = slicer.mrmlScene.GetNthNode(index)
        itsRole = node.GetAttribute(ROLE)
        if itsRole and role in (None, itsRole) and node.GetNodeReferenceID(INPUT) == inputNode.GetID():
            found.append(node)
    return found


def ownNode(inputNode: slicer.vtkMRMLVolumeNode, role: str, label: str = "") -> slicer.vtkMRMLNode | None:
    """Return our node of one role (and label) for an input volume, or None."""
    for node in ownNodes(inputNode, role):
        if (node.GetAttribute(LABEL) or "") == label:
            return node
    return None


def provideNode(
    className: str, inputNode: slicer.vtkMRMLVolumeNode, role: str, name: str, label: str = ""
) -> slicer.vtkMRMLNode:
    """Return our node of this role, made where there is none yet: a re-run keeps IDs, views and references."""
    node = ownNode(inputNode, role, label)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(className)
        node.SetAttribute(ROLE, role)
        if label:
            node.SetAttribute(LABEL, label)
        node.SetNodeReferenceID(INPUT, inputNode.GetID())
    node.SetName(name)
    return node


def removeNode(node: slicer.vtkMRMLNode) -> None:
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


def gatherInStudy(inputNode: slicer.vtkMRMLVolumeNode) -> None:
    """Put our nodes into one folder beside the input volume, within its study, in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    inputItem = hierarchy.GetItemByDataNode(inputNode)
    parent = hierarchy.GetItemParent(inputItem) if inputItem else hierarchy.GetSceneItemID()
    folder = studyFolder(inputNode)
    if not folder:
        folder = hierarchy.CreateFolderItem(parent, f"ICHDiagnosis: {inputNode.GetName()}")
        hierarchy.SetItemAttribute(folder, ROLE, "Folder")
    for node in ownNodes(inputNode):
        if not node.GetHideFromEditors():
            item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
            hierarchy.SetItemParent(item, folder)


def studyFolder(inputNode: slicer.vtkMRMLVolumeNode) -> int:
    """Return the subject hierarchy item of our folder, found through any node of ours that lies in it, else 0."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in ownNodes(inputNode):
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        if folder and hierarchy.GetItemAttribute(folder, ROLE) == "Folder":
            return folder
    return 0


def removeFolderIfEmpty(folder: int) -> None:
    """Remove our folder from the subject hierarchy unless the user has put something into it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if folder and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)
