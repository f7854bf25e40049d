"""DICOM series as 3D Slicer shows them, and ways to follow an analysis, for the tests of the logic."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import numpy as np
import pydicom
import slicer
import vtk
from numpy.typing import NDArray

from host.waiting import wait_with_lock
from ICHDiagnosisLib.analysis import AnalysisEnding
from ICHDiagnosisLib.bundle.input_folder import PREFIX
from ICHDiagnosisLib.logic import AnalysisLogic
from ICHDiagnosisLib.scene.volume_input import INSTANCE_UIDS
from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage
from scripts.phantom.rendering import Phantom, make_phantom
from scripts.phantom.writing import write_dicom_series

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "monai_bundle"


def ended(logic: AnalysisLogic, seconds: float = 300.0) -> AnalysisEnding:
    """Follow an analysis to its end, as a timer would."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        update = logic.poll()
        if update.ending is not None:
            return update.ending
        wait_with_lock(0.02)
    raise AssertionError("the analysis did not end in time")


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(f"{PREFIX}*")]


class Database:
    """Slicer's DICOM database, as far as it is used."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files

    def fileForInstance(self, uid: str) -> str:  # noqa: N802 - Slicer's name
        return str(self.files.get(uid, ""))

    def filesForSeries(self, uid: str) -> list[str]:  # noqa: N802 - Slicer's name
        return [str(file) for file in self.files.values() if str(pydicom.dcmread(file).SeriesInstanceUID) == uid]


@functools.cache
def a_phantom(tilt: float, pixels: int) -> Phantom:
    grid = Grid((20, pixels, pixels), (236.0 / pixels, 236.0 / pixels, 7.0), tilt_degrees=tilt)
    return make_phantom(grid, [Haemorrhage("subdural", "left", 40.0)], seed=2)


def a_tilted_series(
    folder: Path, tilt: float = 15.0, pixels: int = 64
) -> tuple[slicer.vtkMRMLScalarVolumeNode, Database]:
    """Write a phantom as a tilted DICOM series, and put it on the scene."""
    return on_scene(write_dicom_series(a_phantom(tilt, pixels), folder))


def on_scene(files: list[Path]) -> tuple[slicer.vtkMRMLScalarVolumeNode, Database]:
    """Put a DICOM series on the scene as 3D Slicer's DICOM module does, read without the bundle.

    That is: an upright, regular volume with the geometry of the first slice, under a grid transform that carries every
    slice to its true place.
    """
    slices = [pydicom.dcmread(file) for file in files]
    column, row = np.reshape(np.array(slices[0].ImageOrientationPatient, dtype=float), (2, 3))
    normal = np.cross(column, row)
    slices.sort(key=lambda header: float(normal @ np.array(header.ImagePositionPatient, dtype=float)))
    places = np.array([header.ImagePositionPatient for header in slices], dtype=float)
    row_mm, column_mm = (float(mm) for mm in slices[0].PixelSpacing)
    upright = np.eye(4)
    step = normal * (normal @ (places[-1] - places[0])) / (len(places) - 1)
    upright[:3] = np.column_stack([column * column_mm, row * row_mm, step, places[0]])
    shifts = places - (places[0] + np.arange(len(places))[:, np.newaxis] * step)
    to_ras = np.diag([-1.0, -1.0, 1.0])
    upright[:3] = to_ras @ upright[:3]
    voxels = [header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept) for header in slices]
    node = slicer.util.addVolumeFromArray(np.array(voxels, dtype=np.int16), upright, "Head tilted")
    node.SetAndObserveTransformNodeID(carrying(upright, shifts @ to_ras, np.shape(voxels)).GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemUID(hierarchy.GetItemByDataNode(node), "DICOM", str(slices[0].SeriesInstanceUID))
    database = Database({str(header.SOPInstanceUID): Path(header.filename) for header in slices})
    node.SetAttribute(INSTANCE_UIDS, " ".join(database.files))
    return node, database


def carrying(upright: NDArray, shifts: NDArray, shape: tuple[int, ...]) -> slicer.vtkMRMLGridTransformNode:
    """Return the grid transform that shifts each slice (mm, RAS) of an upright stack of shape (k, j, i)."""
    ends = np.array([shape[2] - 1, shape[1] - 1, 1.0])
    spacing = np.linalg.norm(upright[:3, :3], axis=0)
    grid = vtk.vtkImageData()
    grid.SetDimensions(2, 2, shape[0])
    grid.SetOrigin(*upright[:3, 3])
    grid.SetSpacing(*(spacing * ends))
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for i, j, k in np.ndindex(2, 2, shape[0]):
        for component, millimetres in enumerate(shifts[k]):
            grid.SetScalarComponentFromDouble(i, j, k, component, millimetres)
    directions = np.eye(4)
    directions[:3, :3] = upright[:3, :3] / spacing
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Head tilted acquisition transform")
    node.SetAndObserveTransformToParent(transform)
    return node
