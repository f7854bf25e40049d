"""The original DICOM files of a volume, handed to the bundle under names that say nothing of the patient."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

import slicer

INSTANCE_UIDS = "DICOM.instanceUIDs"
"""Attribute in which the DICOM module keeps the SOP Instance UIDs (0008,0018) of a volume that it loaded."""


class FileDatabase(Protocol):
    """The part of Slicer's DICOM database that is used."""

    def fileForInstance(self, sop_instance_uid: str) -> str:  # noqa: N802 - Slicer's name
        """Return the path of an instance's file, or an empty text."""


def is_from_dicom(volume_node: slicer.vtkMRMLVolumeNode) -> bool:
    """Tell whether a volume was loaded from DICOM."""
    return bool(_instance_uids(volume_node))


def original_files(volume_node: slicer.vtkMRMLVolumeNode, database: FileDatabase | None) -> list[Path]:
    """Find the DICOM files that a volume was loaded from.

    Parameters
    ----------
    volume_node : vtkMRMLVolumeNode
        The volume.
    database : FileDatabase or None
        Knows the files; None where there is no database.

    Returns
    -------
    list of Path
        One per instance; empty unless all are there and as many as the volume has slices (or one, of many frames): a
        volume that was cropped or resampled is no longer what its files hold.
    """
    uids = _instance_uids(volume_node)
    if database is None or not uids or volume_node.GetImageData() is None:
        return []
    if len(uids) not in (1, *volume_node.GetImageData().GetDimensions()):
        return []
    found = [database.fileForInstance(uid) for uid in uids]
    files = [Path(name) for name in found if name]
    return files if len(files) == len(uids) and all(file.is_file() for file in files) else []


def link_original_files(volume_node: slicer.vtkMRMLVolumeNode, folder: Path, database: FileDatabase | None) -> bool:
    """Put the original files of a volume into an empty folder, numbered; return whether there were any.

    Files are linked where the file system allows it, else copied.

    Raises
    ------
    OSError
        If a file can be neither linked nor copied.
    """
    files = original_files(volume_node, database)
    for number, file in enumerate(files, start=1):
        place = folder / f"{number:05d}.dcm"
        try:
            os.link(file, place)
        except OSError:
            # Another disk, a file system without links, or somebody else's file.
            shutil.copyfile(file, place)
    return bool(files)


def _instance_uids(volume_node: slicer.vtkMRMLVolumeNode) -> list[str]:
    return (volume_node.GetAttribute(INSTANCE_UIDS) or "").split()
