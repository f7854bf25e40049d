"""Every map lies on the voxels it was made from, in every geometry, and is refused on any other volume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import host
import sample_result_folder as sample
from ICHDiagnosisLib.result.content import Result, ResultError
from ICHDiagnosisLib.result.reader import parse_result, read_result
from ICHDiagnosisLib.scene import segments, volume_geometry
from ICHDiagnosisLib.scene.layers import shown_result
from ICHDiagnosisLib.scene.show_result import show_result
from ICHDiagnosisLib.scene.slice_positions import jump_to_slice, slice_to_volume
from ICHDiagnosisLib.scene.volume_geometry import GeometryError
from scene_cases import (
    GEOMETRIES,
    SHAPE,
    SPACING,
    a_ct,
    a_result,
    affine,
    gantry_tilt,
    mask_of,
    node_ids,
    plane_of,
    voxels_of,
    world_of,
)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_map_lands_on_the_voxels_it_was_made_from(name: str, tmp_path: Path):
    ct, maps = a_ct(GEOMETRIES[name]), sample.made_maps(SHAPE)
    shown = show_result(a_result(tmp_path / "result", GEOMETRIES[name], maps), ct)
    for label, node in shown.attribution_maps.items():
        assert np.array_equal(voxels_of(node), maps[label])
        assert np.allclose(volume_geometry.ijk_to_ras(node), GEOMETRIES[name])
        assert np.array_equal(mask_of(ct, segments.gradcam_segment_id(label)), maps[label] >= 128)
    key = np.isin(np.arange(SHAPE[2]), list(sample.KEY_SLICES))
    assert np.array_equal(mask_of(ct, segments.KEY_SLICES_ID), (maps[None] > 0) & key)


@settings(max_examples=25)
@given(
    axes=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    angles=st.tuples(*[st.floats(-80, 80)] * 3),
    voxel=st.tuples(*[st.integers(0, length - 1) for length in SHAPE]),
)
def test_a_marked_voxel_keeps_its_place_however_the_map_file_orders_its_axes(
    axes: list[int], flips: tuple[bool, ...], angles, voxel, tmp_path_factory: pytest.TempPathFactory
):
    host.empty_scene()
    truth = affine(angles, flips=(-1, 1, 1))
    ct = a_ct(truth)
    marked = np.zeros(SHAPE, np.uint8)
    marked[voxel] = 255
    # The file's own axes: permuted, then turned round where asked; its affine follows.
    to_file = np.zeros((4, 4))
    to_file[3, 3] = 1
    stored = marked.transpose(axes)
    for file_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        to_file[axis, file_axis] = -1 if flip else 1
        to_file[axis, 3] = SHAPE[axis] - 1 if flip else 0
        stored = np.flip(stored, file_axis) if flip else stored
    slice_axis = axes.index(2)
    content = sample.document(stored.shape, slice_axis=slice_axis)
    maps = {None: np.full_like(stored, 9), **dict.fromkeys(sample.LABELS, stored)}
    folder = tmp_path_factory.mktemp("axes") / "result"
    show_result(read_result(sample.write_folder(folder, content, maps, truth @ to_file)), ct)
    attribution_map = shown_result(ct).attribution_maps["subdural"]
    assert [tuple(found) for found in np.argwhere(voxels_of(attribution_map))] == [voxel]
    assert np.allclose(world_of(attribution_map, voxel), truth[:3] @ [*voxel, 1], atol=1e-3)
    count = SHAPE[2]
    expected = count - 1 - voxel[2] if flips[slice_axis] else voxel[2]
    assert slice_to_volume(ct, expected) == (2, voxel[2])
    key = {count - 1 - index if flips[slice_axis] else index for index in sample.KEY_SLICES}
    assert set(np.flatnonzero(mask_of(ct, segments.KEY_SLICES_ID).all(axis=(0, 1)))) == key


@pytest.mark.parametrize("shear", [1.67, -1.67])
def test_maps_with_the_true_shear_of_a_tilted_gantry_lie_on_a_volume_under_its_grid_transform(shear, tmp_path: Path):
    upright = affine(origin=(3.0, 4.8, 0.0))
    tilted = affine(origin=(3.0, 4.8, 0.0), shear=shear)
    ct, maps = a_ct(upright), sample.made_maps(SHAPE)
    transform = gantry_tilt(shear / SPACING[2])
    ct.SetAndObserveTransformNodeID(transform.GetID())
    shown = show_result(a_result(tmp_path / "result", tilted, maps), ct)
    attribution_map = shown.attribution_maps["subdural"]
    assert np.array_equal(voxels_of(attribution_map), maps["subdural"])
    assert shown.caveat is None
    for node in (*shown.attribution_maps.values(), shown.segmentation_node):
        assert node.GetTransformNodeID() == transform.GetID()
    for voxel in ((0, 0, 0), (11, 15, 19), (5, 7, 11)):
        assert np.allclose(world_of(attribution_map, voxel), tilted[:3] @ [*voxel, 1], atol=1e-3)
    place = jump_to_slice(ct, 11)
    assert np.allclose(place, tilted[:3] @ [5.5, 7.5, 11, 1], atol=1e-3)
    plane = plane_of("Red")
    assert np.allclose(np.abs(plane[:3, 2]), [0, 0, 1], atol=1e-6)
    assert (place - plane[:3, 3]) @ plane[:3, 2] == pytest.approx(0, abs=1e-6)


def test_maps_of_the_stored_voxels_lie_on_a_volume_under_a_transform_too(tmp_path: Path):
    ct = a_ct(GEOMETRIES["oblique"])
    ct.SetAndObserveTransformNodeID(gantry_tilt(0.3).GetID())
    maps = sample.made_maps(SHAPE)
    shown = show_result(a_result(tmp_path / "result", GEOMETRIES["oblique"], maps), ct)
    assert np.array_equal(voxels_of(shown.attribution_maps["any"]), maps["any"])
    assert np.array_equal(mask_of(ct, segments.gradcam_segment_id("any")), maps["any"] >= 128)


def test_a_series_shown_without_its_gantry_tilt_still_gets_its_maps_and_a_warning(tmp_path: Path):
    upright, tilted = affine(), affine(shear=1.67)
    ct, maps = a_ct(upright), sample.made_maps(SHAPE)
    result = a_result(tmp_path / "result", tilted, maps)
    with pytest.raises(GeometryError, match="voxels off 'CT'"):
        show_result(result, ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemUID(hierarchy.GetItemByDataNode(ct), "DICOM", result.study.series_uid)
    shown = show_result(result, ct)
    assert "without its gantry tilt" in shown.caveat
    assert np.array_equal(voxels_of(shown.attribution_maps["any"]), maps["any"])


@pytest.mark.parametrize(
    "wrong",
    [
        affine((12, -7, 25), origin=(40.0, -30.0, 12.6)),
        affine((12, -7, 26)),
        affine((12, -7, 25), flips=(-1.02, -1, 1)),
    ],
    ids=["shifted by 0.6 mm", "turned by a degree", "scaled by 2 %"],
)
def test_maps_of_another_volume_are_refused_and_nothing_is_changed(ct, tmp_path: Path, wrong: NDArray):
    before = node_ids()
    with pytest.raises(GeometryError, match="belongs to another volume"):
        show_result(a_result(tmp_path / "other", wrong), ct)
    assert node_ids() == before


def test_maps_of_another_shape_are_refused(result):
    small = slicer.util.addVolumeFromArray(np.zeros((20, 16, 13), np.int16), GEOMETRIES["oblique"], "small")
    with pytest.raises(GeometryError, match="12 x 16 x 20 voxels, 'small' has 13 x 16 x 20"):
        show_result(result, small)


@pytest.mark.parametrize(("orientation", "axis"), [("LPS", 2), ("LSP", 1), ("SPL", 0)])
def test_slices_are_counted_along_the_axis_that_the_study_names_where_lengths_do_not_tell(orientation: str, axis: int):
    study = parse_result(json.dumps(sample.document((8, 8, 8), orientation=orientation))).study
    cube = volume_geometry.MapFile(np.zeros((8, 8, 8), np.uint8), affine((10, 5, -8)))
    assert volume_geometry.slice_axis_of(study, cube) == axis


def test_a_volume_without_voxels_is_refused(result):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(GeometryError, match="holds no voxels"):
        show_result(result, empty)


def test_a_failed_re_run_leaves_the_result_of_before(ct, result):
    show_result(result, ct)
    before = node_ids()
    path = result.folder / "gradcam_subdural.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ResultError, match="damaged"):
        show_result(result, ct)
    assert node_ids() == before


def test_a_map_of_another_shape_than_in_its_result_is_refused(ct, tmp_path: Path):
    maps = {**sample.made_maps(SHAPE), "any": np.zeros((12, 16, 19), np.uint8)}
    with pytest.raises(GeometryError, match=r"gradcam_any\.nii\.gz' is of shape"):
        show_result(a_result(tmp_path / "result", GEOMETRIES["oblique"], maps), ct)


def test_a_file_that_is_no_map_is_refused(ct, result):
    (result.folder / "attention.nii.gz").write_bytes(b"garbage" * 100)
    with pytest.raises(ResultError, match="no NIfTI"):
        show_result(result, ct)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_views_jump_to_the_original_slice_and_one_lies_in_its_plane(name: str, tmp_path: Path):
    truth = GEOMETRIES[name]
    ct = a_ct(truth)
    show_result(a_result(tmp_path / "result", truth), ct)
    place = jump_to_slice(ct, 5)
    assert np.allclose(place, truth[:3] @ [5.5, 7.5, 5, 1])
    normal = np.cross(truth[:3, 0], truth[:3, 1]) / (SPACING[0] * SPACING[1])
    planes = [plane_of(view) for view in slicer.app.layoutManager().sliceViewNames()]
    in_plane = [plane for plane in planes if abs(plane[:3, 2] @ normal) > 0.999999]
    assert in_plane
    assert [(place - plane[:3, 3]) @ plane[:3, 2] for plane in in_plane] == pytest.approx([0] * len(in_plane), abs=1e-6)


@pytest.mark.parametrize("index", [-1, SHAPE[2]])
def test_there_is_no_jump_to_a_slice_that_is_not_there(ct, result, index: int):
    show_result(result, ct)
    with pytest.raises(IndexError):
        jump_to_slice(ct, index)


def test_every_view_turns_to_an_axis_of_an_oblique_volume_of_its_own(ct, result: Result):
    show_result(result, ct)
    axes = GEOMETRIES["oblique"][:3, :3] / SPACING
    turned = [np.abs(axes.T @ plane_of(view)[:3, 2]) for view in slicer.app.layoutManager().sliceViewNames()]
    assert np.allclose(np.sort(turned, axis=1), [[0, 0, 1]] * 3, atol=1e-6)
    assert sorted(int(np.argmax(along)) for along in turned) == [0, 1, 2]
