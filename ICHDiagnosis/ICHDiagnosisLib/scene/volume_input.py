"""What the bundle is given to read of a volume: its original DICOM files, or its stored voxels bit for bit.

Original files are handed over under names that hold nothing of the patient.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import slicer

from ..messages import MessageError

INSTANCE_UIDS = "DICOM.instanceUIDs"
"""Attribute in which the DICOM module keeps the SOP Instance UIDs (0008,0018) of a volume that it loaded."""


class VolumeNotWritableError(MessageError):
    """The voxels could not be written; the message is one line for the user."""


class FileDatabase(Protocol):
    """The part of Slicer's DICOM database that is used."""

    def fileForInstance(self, sop_instance_uid: str) -> str:  # noqa: N802 - Slicer's name
        """Return the path of an instance's file, or an empty text."""

    def filesForSeries(self, series_uid: str) -> Sequence[str]:  # noqa: N802 - Slicer's name
        """Return the paths of a series' files."""


def write_input(
    input_node: slicer.vtkMRMLScalarVolumeNode, folder: Path, database: FileDatabase | None, use_original_files: bool
) -> Path:
    """Put what the bundle is to read into an empty folder; return the path for its ``dataset_dir``.

    The original DICOM files are taken where they can all be found, for their headers matter to the quality gate; else
    the volume's stored voxels are written, without any transform above it.

    Raises
    ------
    VolumeNotWritableError
        If the voxels cannot be written.
    OSError
        If the folder cannot be written.
    """
    if use_original_files and link_original_files(input_node, folder, database):
        return folder
    return write_stored_voxels(input_node, folder / "volume.nrrd")


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

    Raises
    ------
    OSError
        As :func:`link_files`.
    """
    files = original_files(volume_node, database)
    link_files(files, folder)
    return bool(files)


def link_files(files: Sequence[Path], folder: Path) -> None:
    """Put files into an empty folder, numbered: linked where the file system allows it, else copied.

    Raises
    ------
    OSError
        If a file can be neither linked nor copied.
    """
    for number, file in enumerate(files, start=1):
        place = folder / f"{number:05d}.dcm"
        try:
            os.link(file, place)
        except OSError:
            # Another disk, a file system without links, or somebody else's file.
            shutil.copyfile(file, place)


def write_stored_voxels(volume_node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> Path:
    """Write a volume as NRRD: every value, and the geometry as stored, oblique, left-handed or sheared.

    NRRD keeps axes as they are, where writing NIfTI through ITK turns them round. A transform above the volume (a
    tilted gantry is held as one) is not applied: nothing is resampled, and maps come back on these very voxels.

    Parameters
    ----------
    volume_node : vtkMRMLScalarVolumeNode
        The volume; it is not changed in any way.
    path : Path
        File to write, ending in ``.nrrd``.

    Raises
    ------
    VolumeNotWritableError
        If the file cannot be written.
    """
    # A copy outside the scene: writing the node itself would mark it as saved, and its attributes would go with it.
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.CopyOrientation(volume_node)
    copy.SetAndObserveImageData(volume_node.GetImageData())
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(False)
    if not storage.WriteData(copy) or not path.is_file():
        raise VolumeNotWritableError("volume.not_written", name=volume_node.GetName())
    return path


def _instance_uids(volume_node: slicer.vtkMRMLVolumeNode) -> list[str]:
    return (volume_node.GetAttribute(INSTANCE_UIDS) or "").split()
