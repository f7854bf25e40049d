"""What the bundle is given to read of a volume: its original DICOM files, or its stored voxels."""

from __future__ import annotations

from pathlib import Path

import slicer

from .dicom_source import FileDatabase, link_original_files
from .volume_file import write_stored_voxels


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
