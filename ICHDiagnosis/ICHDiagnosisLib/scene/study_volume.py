"""The CT of a past result, loaded again: from Slicer's DICOM database, or from where its files lie."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
import vtk

from ..messages import MessageError
from ..result.content import Result
from .dicom_series import CTSeries, ct_series, unpack_dicom
from .patient import PatientAttributes
from .volume_input import INSTANCE_UIDS, FileDatabase

LoadFromDatabase = Callable[[str], Sequence[str]]
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd")

_log = logging.getLogger(__name__)


class StudyNotLoadedError(MessageError):
    """The CT of a result cannot be loaded; the message is one line that says why and what to do."""


def load_from_database(series_uid: str) -> Sequence[str]:
    """Load a series as the DICOM module does, tilted gantry and patient included; return the IDs of its nodes."""
    from DICOMLib import DICOMUtils  # noqa: PLC0415 - part of the application

    return [str(identifier) for identifier in DICOMUtils.loadSeriesByUID([series_uid])]


def load_database_series(
    series_uid: str, database: FileDatabase | None, load: LoadFromDatabase = load_from_database
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Load a series from Slicer's DICOM database; None where it is not in it, or cannot be loaded from there.

    Parameters
    ----------
    series_uid : str
        DICOM (0020,000E).
    database : FileDatabase or None
        Slicer's.
    load : callable
        Loads a series of it.
    """
    files = [] if database is None else [Path(str(file)) for file in database.filesForSeries(series_uid)]
    if not files or not all(file.is_file() for file in files):
        return None
    try:
        nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in load(series_uid)]
    except (OSError, RuntimeError) as error:
        # The files may be had elsewhere, and a reader is told of those.
        _log.warning("a series of the DICOM database could not be loaded: %s", error)
        return None
    return next((node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")), None)


def load_study_volume(place: Path, result: Result, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load the CT that a result was made from.

    Parameters
    ----------
    place : Path
        A volume file, a DICOM folder or a zip of one, or a folder of several studies.
    result : Result
        States the series and its images, or the name of the file.
    name : str
        Of the volume, for one that is not DICOM.

    Raises
    ------
    StudyNotLoadedError
        If it is not there, or not whole.
    """
    try:
        if not place.exists():
            raise StudyNotLoadedError("open.gone", study=name, place=place)
        if result.study.series_uid is None or place.name.lower().endswith(_VOLUME_SUFFIXES):
            return _load_voxels(place, result, name)
        if place.suffix.lower() == ".zip":
            with tempfile.TemporaryDirectory(prefix="ich-study-") as folder:
                unpack_dicom(place, Path(folder))
                node = _load_of_result(Path(folder), result, name)
                # Its files are about to go: it must be saved with the scene, not searched for again.
                forget_file(node)
                return node
        return _load_of_result(place, result, name)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StudyNotLoadedError("open.unreadable", study=name, place=place, error=reason) from error


def load_series(files: Sequence[Path], name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load the images of a series in the order given, without showing them.

    Raises
    ------
    RuntimeError
        If the application cannot read them.
    """
    names = vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(str(file))
    node = slicer.modules.volumes.logic().AddArchetypeScalarVolume(str(files[0]), name, 0, names)
    if node is None:
        raise RuntimeError(files[0].name)
    return node


def forget_file(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Let a volume know nothing of the file that it came from."""
    storage = node.GetStorageNode()
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)
    node.SetAndObserveStorageNodeID(None)


def place_of(node: slicer.vtkMRMLScalarVolumeNode) -> Path | None:
    """Return the file that a volume was loaded from, the folder of a DICOM series; None where it has none."""
    storage = node.GetStorageNode()
    name = "" if storage is None else storage.GetFullNameFromFileName()
    if not name or not Path(name).is_file():
        return None
    return Path(name) if name.lower().endswith(_VOLUME_SUFFIXES) else Path(name).parent


def _load_voxels(place: Path, result: Result, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load what was read without its headers: a volume file, or a DICOM series that the scene held."""
    names = (result.study.source_name,)
    file = place if place.is_file() else next((each for each in sorted(place.rglob("*")) if each.name in names), None)
    if file is not None:
        node = slicer.util.loadVolume(str(file), {"name": name, "show": False})
        node.SetName(name)
        return node
    found = ct_series(place)
    if len(found) != 1:
        raise StudyNotLoadedError("open.not_in_folder", study=name, place=place)
    return _on_scene(found[0], found[0].instance_uids, name)


def _load_of_result(place: Path, result: Result, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load the very images that a result lists, in its order: a series may hold others beside them."""
    found = next((series for series in ct_series(place) if series.uid == result.study.series_uid), None)
    if found is None:
        raise StudyNotLoadedError("open.not_in_folder", study=name, place=place)
    wanted = [one.sop_instance_uid for one in result.slices if one.sop_instance_uid]
    there = len(found.of_instances(wanted))
    if there != len(wanted):
        raise StudyNotLoadedError("open.incomplete", study=name, place=place, found=there, count=len(wanted))
    return _on_scene(found, wanted or found.instance_uids, name)


def _on_scene(series: CTSeries, instance_uids: Sequence[str], name: str) -> slicer.vtkMRMLScalarVolumeNode:
    node = load_series(series.of_instances(instance_uids), name)
    node.SetName(name)
    node.SetAttribute(INSTANCE_UIDS, " ".join(instance_uids))
    _put_into_hierarchy(node, series)
    return node


def _put_into_hierarchy(node: slicer.vtkMRMLScalarVolumeNode, series: CTSeries) -> None:
    """Give a volume the place in the subject hierarchy that loading from DICOM gives it; names of items stay neutral.

    Comparing two studies reads patient ID and date there.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.GetItemByUID("DICOM", series.patient.identifier) if series.patient.identifier else 0
    patient = patient or hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.GetItemByUID("DICOM", series.study_uid) if series.study_uid else 0
    study = study or hierarchy.CreateStudyItem(patient, "Study")
    item = hierarchy.GetItemByDataNode(node)
    hierarchy.SetItemParent(item, study)
    hierarchy.SetItemUID(item, "DICOM", series.uid)
    hierarchy.SetItemUID(study, "DICOM", series.study_uid)
    hierarchy.SetItemUID(patient, "DICOM", series.patient.identifier)
    for name, value in _attributes(series.patient).items():
        hierarchy.SetItemAttribute(study if name == _names().GetDICOMStudyDateAttributeName() else patient, name, value)


def _attributes(patient: PatientAttributes) -> dict[str, str]:
    names = _names()
    return {
        names.GetDICOMPatientNameAttributeName(): patient.name,
        names.GetDICOMPatientIDAttributeName(): patient.identifier,
        names.GetDICOMPatientSexAttributeName(): patient.sex,
        names.GetDICOMPatientBirthDateAttributeName(): patient.birth_date,
        names.GetDICOMStudyDateAttributeName(): patient.study_date,
    }


def _names() -> Any:  # noqa: ANN401 - a class of constants
    return slicer.vtkMRMLSubjectHierarchyConstants
