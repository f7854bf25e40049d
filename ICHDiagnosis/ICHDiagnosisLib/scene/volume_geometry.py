"""Where the voxels of a map file lie on a volume of the scene, whatever order and direction the axes were stored in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..messages import MessageError, message
from ..result.content import ResultError, Study

LARGEST_OFFSET = 0.1
"""How far (in voxels, along each axis, at each corner) a map may lie from the volume and still be on its voxels."""


class GeometryError(MessageError):
    """The maps do not lie on the volume's voxels; the message is one line for the user."""


@dataclass(frozen=True)
class MapFile:
    """A map as stored.

    Attributes
    ----------
    voxels : ndarray of uint8, shape as in ``result.json``
        First index fastest on disk, as NIfTI has it.
    affine : ndarray, shape (4, 4)
        Voxel index to RAS, mm.
    """

    voxels: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class VoxelMatch:
    """Which voxel of a map belongs to which voxel of the volume.

    Attributes
    ----------
    axes : tuple of int
        For each axis of the volume (i, j, k), the axis of the map that runs along it.
    reverse : tuple of bool
        For each axis of the volume, whether the map runs against it.
    caveat : str or None
        What a reader must know about the volume's own geometry; None where there is nothing to say.
    """

    axes: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]
    caveat: str | None = None

    def on_volume(self, voxels: np.ndarray) -> np.ndarray:
        """Bring a map's voxels into the order of ``slicer.util.arrayFromVolume``: shape (k, j, i)."""
        turned = voxels.transpose(self.axes)[tuple(slice(None, None, -1 if back else 1) for back in self.reverse)]
        return np.ascontiguousarray(turned.transpose(2, 1, 0))

    def volume_to_map(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the 4 x 4 matrix from the volume's voxel indices to those of a map of this shape."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for axis, (map_axis, back) in enumerate(zip(self.axes, self.reverse, strict=True)):
            matrix[map_axis, axis] = -1 if back else 1
            matrix[map_axis, 3] = shape[map_axis] - 1 if back else 0
        return matrix


def read_map(path: Path) -> MapFile:
    """Read a map file.

    ``vtkNIFTIImageReader`` is used because Slicer's own volume reader (ITK) refuses the sheared affine of a tilted
    gantry and re-orders left-handed files.

    Raises
    ------
    ResultError
        If the file is no readable three-dimensional uint8 NIfTI with an sform.
    """
    reader = vtk.vtkNIFTIImageReader()
    if not reader.CanReadFile(str(path)):
        raise ResultError("map.no_nifti", file=path.name)
    reader.SetFileName(str(path))
    reader.Update()
    if reader.GetErrorCode():
        error = vtk.vtkErrorCode.GetStringFromErrorCode(reader.GetErrorCode())
        raise ResultError("map.damaged", file=path.name, error=error)
    image, sform = reader.GetOutput(), reader.GetSFormMatrix()
    if image.GetScalarType() != vtk.VTK_UNSIGNED_CHAR or image.GetNumberOfScalarComponents() != 1 or sform is None:
        raise ResultError("map.foreign", file=path.name)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0)
    affine = slicer.util.arrayFromVTKMatrix(sform) @ np.diag([*image.GetSpacing(), 1.0])
    if reader.GetQFac() < 0:
        # VTK turns the slices of a left-handed file round; result.json counts them as they are stored.
        voxels = voxels[:, :, ::-1]
        affine = affine @ VoxelMatch((0, 1, 2), (False, False, True)).volume_to_map(voxels.shape)
    return MapFile(voxels.copy(), affine)


def ijk_to_ras(volume_node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the 4 x 4 matrix from voxel index to the volume's own RAS, before any parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def middle_of_slice(volume_node: slicer.vtkMRMLVolumeNode, axis: int, place: int) -> tuple[float, float, float]:
    """Return the voxel index (i, j, k) of the middle of a slice across one axis of the volume."""
    voxel = [(length - 1) / 2 for length in volume_node.GetImageData().GetDimensions()]
    voxel[axis] = float(place)
    return voxel[0], voxel[1], voxel[2]


def to_world(volume_node: slicer.vtkMRMLVolumeNode, points: np.ndarray) -> np.ndarray:
    """Carry points, shape (n, 3), mm, from the volume's own RAS through its parent transform, linear or not."""
    parent = volume_node.GetParentTransformNode()
    if parent is None:
        return points
    transform = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(transform)
    return np.array([transform.TransformPoint(*point) for point in points])


def match_voxels(study: Study, map_file: MapFile, volume_node: slicer.vtkMRMLVolumeNode) -> VoxelMatch:
    """Find the order and direction of axes in which a map lies on the volume, voxel on voxel.

    The volume is tried as it is stored and as its parent transform places it: a map made from DICOM has the true,
    sheared place of a tilted gantry, which Slicer holds as a transform above an upright volume.

    Raises
    ------
    GeometryError
        If the map has another number of voxels, or lies elsewhere.
    """
    shape, dimensions = map_file.voxels.shape, volume_node.GetImageData().GetDimensions()
    candidates = [
        VoxelMatch((i, j, k), (back_i, back_j, back_k))
        for i, j, k in itertools.permutations(range(3))
        for back_i, back_j, back_k in itertools.product((False, True), repeat=3)
        if (shape[i], shape[j], shape[k]) == dimensions
    ]
    if not candidates:
        raise GeometryError(
            "geometry.other_shape", volume=volume_node.GetName(), maps=_times(shape), voxels=_times(dimensions)
        )
    corners = _corners(dimensions)
    stored = _carry(ijk_to_ras(volume_node), corners)
    places = (stored, to_world(volume_node, stored))
    offset, best = min(
        ((_offset(map_file, match, corners, place), match) for match in candidates for place in places),
        key=lambda pair: pair[0],
    )
    if offset <= LARGEST_OFFSET:
        return best
    if study.series_uid is not None and study.series_uid == series_uid_of(volume_node):
        for match in candidates:
            if _shares_its_first_slice(map_file, match, volume_node):
                return VoxelMatch(match.axes, match.reverse, message("geometry.without_tilt"))
    raise GeometryError("geometry.other_place", volume=volume_node.GetName(), offset=offset)


def series_uid_of(volume_node: slicer.vtkMRMLVolumeNode) -> str | None:
    """Return the Series Instance UID (0020,000E) of a volume loaded from DICOM, else None."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemUID(hierarchy.GetItemByDataNode(volume_node), "DICOM") or None


def slice_axis_of(study: Study, map_file: MapFile) -> int:
    """Return the axis of the map file along which the original slices are counted.

    Where several axes are as long as there are slices, the one that runs in the third direction of
    ``study.orientation`` is taken.

    Raises
    ------
    GeometryError
        If no axis has as many voxels as there are slices.
    """
    fitting = [axis for axis in range(3) if map_file.voxels.shape[axis] == study.slices]
    if not fitting:
        raise GeometryError("geometry.slices", maps=_times(map_file.voxels.shape), slices=study.slices)
    if len(fitting) == 1 or not study.orientation:
        return fitting[-1]
    anatomical = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}.get(study.orientation[-1], 2)
    steps = map_file.affine[:3, :3] / np.linalg.norm(map_file.affine[:3, :3], axis=0)
    return max(fitting, key=lambda axis: abs(float(steps[anatomical, axis])))


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)


def _corners(dimensions: tuple[int, ...]) -> np.ndarray:
    return np.array(list(itertools.product(*((0, length - 1) for length in dimensions))), dtype=float)


def _carry(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _offset(map_file: MapFile, match: VoxelMatch, indices: np.ndarray, place: np.ndarray) -> float:
    """Return the largest distance, in voxels, between where the map and the volume put the same voxels."""
    matrix = map_file.affine @ match.volume_to_map(map_file.voxels.shape)
    offsets = (place - _carry(matrix, indices)) @ np.linalg.inv(matrix[:3, :3]).T
    return float(np.abs(offsets).max())


def _shares_its_first_slice(map_file: MapFile, match: VoxelMatch, volume_node: slicer.vtkMRMLVolumeNode) -> bool:
    """Tell whether the volume's first slice is an end slice of the map and both stacks grow to the same side."""
    matrix = map_file.affine @ match.volume_to_map(map_file.voxels.shape)
    corners = _corners((*volume_node.GetImageData().GetDimensions()[:2], 1))
    stored = ijk_to_ras(volume_node)
    same_side = float(matrix[:3, 2] @ stored[:3, 2]) > 0
    return same_side and _offset(map_file, match, corners, _carry(stored, corners)) <= LARGEST_OFFSET
