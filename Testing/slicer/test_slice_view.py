"""Images of the slice view: the attribution map is drawn where the evidence is, and gone when the layers are hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from numpy.typing import NDArray

import sample_result_folder as sample
from host.slice_view import draw_slice_view
from ICHDiagnosisLib.result.reader import read_result
from ICHDiagnosisLib.scene.layers import toggle_layers
from ICHDiagnosisLib.scene.show_result import show_result
from ICHDiagnosisLib.scene.slice_positions import jump_to_slice
from ICHDiagnosisLib.scene.views import set_brain_window

SHAPE = (64, 64, 16)
KEY_SLICE = 5


def head_and_evidence() -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a round head with a dense spot (HU), the evidence over the spot, and the attention of its slices."""
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, length) for length in SHAPE), indexing="ij")
    radius = np.hypot(x, y)
    evidence = (255 * np.exp(-(((x - 0.4) / 0.3) ** 2) - ((y + 0.2) / 0.3) ** 2)).astype(np.uint8)
    evidence[..., :3] = 0
    head = np.where(radius < 0.8, 30, -1000) + np.where(np.hypot(x - 0.4, y + 0.2) < 0.2, 40, 0)
    return head.astype(np.int16), evidence, ((radius < 0.8) * 200).astype(np.uint8)


def tilt(degrees: float) -> slicer.vtkMRMLGridTransformNode:
    """Return a transform that is not linear and turns the volume about the left-right axis."""
    turn = vtk.vtkTransform()
    turn.RotateX(degrees)
    general = vtk.vtkGeneralTransform()
    general.Concatenate(turn)
    thin_plate = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        point = [200.0 * side - 100 for side in corner]
        source.InsertNextPoint(point)
        target.InsertNextPoint(general.TransformPoint(point))
    thin_plate.SetSourceLandmarks(source)
    thin_plate.SetTargetLandmarks(target)
    thin_plate.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    node.SetAndObserveTransformToParent(thin_plate)
    assert not node.IsLinear()
    return node


def show(folder: Path, transform: slicer.vtkMRMLTransformNode | None) -> slicer.vtkMRMLScalarVolumeNode:
    head, evidence, attention = head_and_evidence()
    affine = np.diag([-3.0, -3.0, 8.0, 1.0])
    affine[:3, 3] = (96, 96, -60)
    ct = slicer.util.addVolumeFromArray(np.ascontiguousarray(head.transpose(2, 1, 0)), affine, "CT")
    if transform is not None:
        ct.SetAndObserveTransformNodeID(transform.GetID())
    maps = {None: attention, **dict.fromkeys(sample.LABELS, evidence)}
    show_result(read_result(sample.write_folder(folder, sample.document(SHAPE), maps, affine)), ct)
    set_brain_window(ct)
    jump_to_slice(ct, KEY_SLICE)
    return ct


def voxel_of_every_pixel(ct: slicer.vtkMRMLScalarVolumeNode, size: int) -> NDArray:
    """Return, per pixel of the Red view from the top, the voxel (i, j, k) that lies under it."""
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    xy_to_ras = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())
    rows, columns = np.mgrid[size - 1 : -1 : -1, 0:size]
    world = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)], axis=-1) @ xy_to_ras.T
    to_local, matrix = vtk.vtkGeneralTransform(), vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, ct.GetParentTransformNode(), to_local)
    local = np.array([to_local.TransformPoint(point) for point in world[..., :3].reshape(-1, 3)])
    ct.GetRASToIJKMatrix(matrix)
    to_ijk = slicer.util.arrayFromVTKMatrix(matrix)
    return (local @ to_ijk[:3, :3].T + to_ijk[:3, 3]).reshape(size, size, 3)


def colourful(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.ptp(image.astype(int), axis=-1) > 40


@pytest.mark.parametrize("degrees", [0, 18.5])
def test_the_attribution_map_is_drawn_over_the_voxels_that_reach_the_threshold(tmp_path: Path, degrees: float):
    ct = show(tmp_path / "result", tilt(degrees) if degrees else None)
    image = draw_slice_view("Red", (192, 192))
    voxels = voxel_of_every_pixel(ct, 192)
    assert np.allclose(voxels[..., 2], KEY_SLICE, atol=0.02)
    x, y, _ = np.rint(voxels).astype(int).clip(0, 63).transpose(2, 0, 1)
    _, evidence, _ = head_and_evidence()
    expected = evidence[x, y, KEY_SLICE] >= 128
    inside = expected & colourful(image)
    assert inside.sum() > 0.95 * expected.sum() > 0
    # Beyond the attribution map, borders alone are in colour: of the segments and of the key slice.
    assert (colourful(image) & ~expected).sum() < 0.03 * image.shape[0] * image.shape[1]


def test_hidden_layers_leave_the_bare_ct_and_come_back_as_they_were(tmp_path: Path):
    ct = show(tmp_path / "result", None)
    after = draw_slice_view("Red", (192, 192))
    toggle_layers(ct, False)
    before = draw_slice_view("Red", (192, 192))
    assert not colourful(before).any()
    grey = before[..., 0].astype(int)
    # 30 HU and 70 HU in the brain window: 3/8 and 7/8 of the way from black to white.
    assert set(np.unique(grey // 4)) >= {0, 255 * 3 // 8 // 4, 255 * 7 // 8 // 4}
    toggle_layers(ct, True)
    assert np.array_equal(draw_slice_view("Red", (192, 192)), after)
