"""A volume's stored voxels as a file, bit for bit and axis for axis."""

from __future__ import annotations

from pathlib import Path

import slicer


class VolumeNotWritableError(RuntimeError):
    """The voxels could not be written; the message is one line for a person."""


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
        raise VolumeNotWritableError(f"The voxels of {volume_node.GetName()!r} could not be written")
    return path
