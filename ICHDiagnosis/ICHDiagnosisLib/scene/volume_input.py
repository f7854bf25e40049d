"""What the bundle is given to read of a volume: its original DICOM files, or its stored voxels."""

from __future__ import annotations

from pathlib import Path

import slicer

from .dicom_source import FileDatabase, linkOriginalFiles
from .volume_file import writeStoredVoxels


def writeInput(
    inputNode: slicer.vtkMRMLScalarVolumeNode, folder: Path, database: FileDatabase | None, useOriginalFiles: bool
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
    if useOriginalFiles and linkOriginalFiles(inputNode, folder, database):
        return folder
    return writeStoredVoxels(inputNode, folder / "volume.nrrd")
