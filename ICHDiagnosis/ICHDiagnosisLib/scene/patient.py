"""Whose study a loaded volume is, as the subject hierarchy states it after loading from DICOM. Read, never stored."""

from __future__ import annotations

from dataclasses import dataclass

import slicer


@dataclass(frozen=True)
class PatientAttributes:
    """What the volume's files state; empty texts where they do not.

    Attributes
    ----------
    name, identifier, sex, birth_date : str
        DICOM (0010,0010), (0010,0020), (0010,0040), (0010,0030).
    study_date : str
        DICOM (0008,0020), as ``YYYYMMDD``.
    """

    name: str = ""
    identifier: str = ""
    sex: str = ""
    birth_date: str = ""
    study_date: str = ""


def patient_of(volume_node: slicer.vtkMRMLVolumeNode) -> PatientAttributes:
    """Return the patient attributes of a loaded volume."""
    names = slicer.vtkMRMLSubjectHierarchyConstants
    return PatientAttributes(
        _attribute(volume_node, names.GetDICOMPatientNameAttributeName()),
        _attribute(volume_node, names.GetDICOMPatientIDAttributeName()),
        _attribute(volume_node, names.GetDICOMPatientSexAttributeName()),
        _attribute(volume_node, names.GetDICOMPatientBirthDateAttributeName()),
        _attribute(volume_node, names.GetDICOMStudyDateAttributeName()),
    )


def _attribute(volume_node: slicer.vtkMRMLVolumeNode, name: str) -> str:
    """Return an attribute of the volume's item or of the study or patient above it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, scene = hierarchy.GetItemByDataNode(volume_node), hierarchy.GetSceneItemID()
    while item and item != scene:
        value = hierarchy.GetItemAttribute(item, name)
        if value:
            return str(value).strip()
        item = hierarchy.GetItemParent(item)
    return ""
