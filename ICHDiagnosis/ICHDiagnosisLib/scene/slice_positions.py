"""Where original slices lie on the volume, and bringing the slice views to them or to a finding."""

from __future__ import annotations

import numpy as np
import slicer

from . import views
from .layers import required_result
from .lesion_segments import lesion_voxels
from .volume_geometry import ijk_to_ras, middle_of_slice

SLICE_AXIS = "ICHDiagnosis.SliceAxis"
FIRST_SLICE = "ICHDiagnosis.FirstSliceRAS"
"""Middle of the first original slice in the volume's own RAS: Slicer turns a left-handed stack round on reading."""


def record_slice_order(
    document: slicer.vtkMRMLTextNode, input_node: slicer.vtkMRMLVolumeNode, axis: int, is_reversed: bool
) -> None:
    """Keep how original slices are counted on the volume, so that a reloaded scene can still jump to them."""
    document.SetAttribute(SLICE_AXIS, str(axis))
    last = input_node.GetImageData().GetDimensions()[axis] - 1
    voxel = middle_of_slice(input_node, axis, last if is_reversed else 0)
    middle = ijk_to_ras(input_node) @ [*voxel, 1.0]
    document.SetAttribute(FIRST_SLICE, " ".join(f"{mm:.6f}" for mm in middle[:3]))


def slice_to_volume(input_node: slicer.vtkMRMLVolumeNode, index: int) -> tuple[int, int]:
    """Return the volume's axis (0: i, 1: j, 2: k) along which slices are counted, and an original slice's place on it.

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    document = required_result(input_node).document_node
    axis = int(document.GetAttribute(SLICE_AXIS))
    count = input_node.GetImageData().GetDimensions()[axis]
    if not 0 <= index < count:
        raise IndexError(f"there is no original slice {index}; the volume has {count}")
    middle = [float(mm) for mm in document.GetAttribute(FIRST_SLICE).split()]
    first_slice = (np.linalg.inv(ijk_to_ras(input_node)) @ [*middle, 1.0])[axis]
    return axis, index if first_slice < (count - 1) / 2 else count - 1 - index


def jump_to_slice(input_node: slicer.vtkMRMLVolumeNode, index: int) -> np.ndarray:
    """Bring the slice views to the middle of an original slice; return that place in world RAS, mm, shape (3,).

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    axis, place = slice_to_volume(input_node, index)
    return views.jump_to_voxel(input_node, middle_of_slice(input_node, axis, place))


def jump_to_finding(input_node: slicer.vtkMRMLVolumeNode, label: str) -> int:
    """Bring the slice views to the strongest evidence of a label on its key slice; return the original slice.

    Its key slice is the one of the key slices on which the label's Grad-CAM sums to most.

    Raises
    ------
    KeyError
        If there is no attribution map of that label.
    """
    shown = required_result(input_node)
    voxels = slicer.util.arrayFromVolume(shown.attribution_maps[label])
    result = shown.result
    candidates = [s.index for s in result.key_slices] or [s.index for s in result.slices]
    axis = slice_to_volume(input_node, candidates[0])[0]
    sums = voxels.sum(axis=tuple(other for other in range(3) if other != 2 - axis), dtype=np.int64)
    index = max(candidates, key=lambda candidate: sums[slice_to_volume(input_node, candidate)[1]])
    place = slice_to_volume(input_node, index)[1]
    on_slice = np.take(voxels, [place], axis=2 - axis)
    if on_slice.any():
        voxel = [int(found) for found in np.unravel_index(int(on_slice.argmax()), on_slice.shape)]
        voxel[2 - axis] = place
        views.jump_to_voxel(input_node, (voxel[2], voxel[1], voxel[0]))
    else:
        jump_to_slice(input_node, index)
    return index


def jump_to_lesion(input_node: slicer.vtkMRMLVolumeNode, groups: tuple[str, ...]) -> int | None:
    """Bring the slice views to the lesion of some compartments, on the slice where it is largest.

    Parameters
    ----------
    input_node : vtkMRMLVolumeNode
        The CT.
    groups : tuple of str
        Keys of compartments.

    Returns
    -------
    int or None
        The original slice; None, and the views stay, where the scene holds no such lesion.
    """
    shown = required_result(input_node)
    mask = None if shown.segmentation_node is None else lesion_voxels(shown.segmentation_node, input_node, groups)
    if mask is None:
        return None
    indices = [original.index for original in shown.result.slices]
    axis = slice_to_volume(input_node, indices[0])[0]
    areas = mask.sum(axis=tuple(other for other in range(3) if other != 2 - axis))
    index = max(indices, key=lambda candidate: areas[slice_to_volume(input_node, candidate)[1]])
    place = slice_to_volume(input_node, index)[1]
    voxels = np.argwhere(np.take(mask, [place], axis=2 - axis))
    voxels[:, 2 - axis] = place
    nearest = np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()
    k, j, i = (int(found) for found in voxels[nearest])
    views.jump_to_voxel(input_node, (i, j, k))
    return index
