"""Volumes, results and ways to inspect the scene for the tests of the Slicer half."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

import sample_result_folder as sample
from ICHDiagnosisLib.result.content import Result
from ICHDiagnosisLib.result.reader import read_result
from ICHDiagnosisLib.scene import volume_geometry
from ICHDiagnosisLib.scene.layers import shown_result

SHAPE = (12, 16, 20)
"""Of the map files: columns, rows, slices."""
SPACING = (0.5, 0.6, 5.0)


def rotation(x: float, y: float, z: float) -> NDArray:
    transform = vtk.vtkTransform()
    for angle, axis in ((x, (1, 0, 0)), (y, (0, 1, 0)), (z, (0, 0, 1))):
        transform.RotateWXYZ(angle, axis)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix())


def affine(angles=(0.0, 0.0, 0.0), flips=(-1, -1, 1), shear=0.0, origin=(40.0, -30.0, 12.0)) -> NDArray:
    scaled = np.diag([*np.multiply(SPACING, flips), 1.0])
    scaled[1, 2] = shear
    matrix = rotation(*angles) @ scaled
    matrix[:3, 3] = origin
    return matrix


GEOMETRIES = {
    "axial LPS": affine(),
    "oblique": affine((12, -7, 25)),
    "left-handed": affine(flips=(1, -1, 1)),
    "left-handed oblique": affine((12, -7, 25), flips=(-1, 1, 1)),
    "stacked downwards": affine(flips=(-1, -1, -1)),
    "coronal": affine((90, 0, 0)),
    "sagittal oblique": affine((80, 10, 90)),
    "sheared": affine(shear=1.67),
}


def a_ct(ijk_to_ras: NDArray, name: str = "CT") -> slicer.vtkMRMLScalarVolumeNode:
    """Return a volume in a study, as one loaded from DICOM lies in the subject hierarchy."""
    generator = np.random.default_rng(3)
    node = slicer.util.addVolumeFromArray(generator.integers(-20, 90, SHAPE[::-1], dtype=np.int16), ijk_to_ras, name)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Subject")
    study = hierarchy.CreateStudyItem(subject, "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    return node


def a_result(folder: Path, file_affine: NDArray, maps=None, **content) -> Result:
    maps = sample.made_maps(SHAPE) if maps is None else maps
    return read_result(sample.write_folder(folder, sample.document(SHAPE, **content), maps, file_affine))


def a_result_with_lesions(folder: Path, file_affine: NDArray, stated: bool = True, **content) -> Result:
    document = sample.document(SHAPE, **content) | {"lesions": sample.lesions(sample.VOLUMES, stated)}
    subtypes = sample.made_subtypes(SHAPE)
    return read_result(sample.write_folder(folder, document, sample.made_maps(SHAPE), file_affine, subtypes))


def voxels_of(node: slicer.vtkMRMLScalarVolumeNode) -> NDArray[np.uint8]:
    """Return a volume's voxels in the order of the map files: column, row, slice."""
    return slicer.util.arrayFromVolume(node).transpose(2, 1, 0)


def mask_of(ct, segment_id: str) -> NDArray[np.bool_]:
    node = shown_result(ct).segmentation_node
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct).transpose(2, 1, 0) > 0


def voxels_by_place(node, ijk_to_ras: NDArray, values: NDArray | None = None) -> NDArray:
    """Return a volume's voxels in the order of a geometry: 3D Slicer turns left-handed stacks round on reading."""
    values = voxels_of(node) if values is None else values
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    matrix = np.linalg.inv(volume_geometry.ijk_to_ras(node)) @ ijk_to_ras
    found = np.rint(indices @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
    return values[tuple(np.moveaxis(found, -1, 0))]


def world_of(node, voxel) -> NDArray:
    """Return, through MRML alone, where a voxel lies in the world."""
    matrix, transform = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    node.GetIJKToRASMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, transform)
    return np.array(transform.TransformPoint(matrix.MultiplyPoint((*voxel, 1.0))[:3]))


def plane_of(view: str) -> NDArray:
    """Return a slice view's plane: its axes and normal as columns, and its middle, in world RAS."""
    return slicer.util.arrayFromVTKMatrix(slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode().GetSliceToRAS())


def node_ids() -> set[str]:
    return {slicer.mrmlScene.GetNthNode(index).GetID() for index in range(slicer.mrmlScene.GetNumberOfNodes())}


def gantry_tilt(shear: float) -> slicer.vtkMRMLGridTransformNode:
    """Return the grid transform by which 3D Slicer leans an upright stack: y moves with the slice."""
    grid = vtk.vtkImageData()
    grid.SetDimensions(3, 3, 2)
    grid.SetOrigin(-100, -100, 0)
    grid.SetSpacing(100, 100, 200)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for x, y, z in itertools.product(range(3), range(3), range(2)):
        for component, value in enumerate((0, shear * 200 * z, 0)):
            grid.SetScalarComponentFromDouble(x, y, z, component, value)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Acquisition transform")
    node.SetAndObserveTransformToParent(transform)
    return node
