"""A result on the real MRML: each map on its voxels, whole after saving, replaced without touching what is not ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import sample_result_folder as sample
import slicer_host

slicer_host.install()

from ICHDiagnosisLib import own_nodes, scene, segments, tables, views, volume_geometry  # noqa: E402 - after its host
from ICHDiagnosisLib.result import ResultError, read_result  # noqa: E402

SHAPE = (12, 16, 20)
"""Of the map files: columns, rows, slices."""
SPACING = (0.5, 0.6, 5.0)


@pytest.fixture(autouse=True)
def an_empty_scene() -> Iterator[None]:
    slicer_host.emptyScene()
    yield
    slicer_host.emptyScene()


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


def a_result(folder: Path, file_affine: NDArray, maps=None, **content):
    maps = sample.made_maps(SHAPE) if maps is None else maps
    return read_result(sample.write_folder(folder, sample.document(SHAPE, **content), maps, file_affine))


@pytest.fixture
def ct() -> slicer.vtkMRMLScalarVolumeNode:
    return a_ct(GEOMETRIES["oblique"])


@pytest.fixture
def result(tmp_path: Path):
    return a_result(tmp_path / "result", GEOMETRIES["oblique"])


def voxels_of(node: slicer.vtkMRMLScalarVolumeNode) -> NDArray[np.uint8]:
    """Return a volume's voxels in the order of the map files: column, row, slice."""
    return slicer.util.arrayFromVolume(node).transpose(2, 1, 0)


def mask_of(ct, segment_id: str) -> NDArray[np.bool_]:
    node = scene.shownResult(ct).segmentationNode
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, ct).transpose(2, 1, 0) > 0


def voxels_by_place(node, ijk_to_ras: NDArray, values: NDArray | None = None) -> NDArray:
    """Return a volume's voxels in the order of a geometry: 3D Slicer turns left-handed stacks round on reading."""
    values = voxels_of(node) if values is None else values
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    matrix = np.linalg.inv(volume_geometry.ijkToRAS(node)) @ ijk_to_ras
    found = np.rint(indices @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)
    return values[tuple(np.moveaxis(found, -1, 0))]


def world_of(node, voxel) -> NDArray:
    """Say through MRML alone where a voxel lies in the world."""
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


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_map_lands_on_the_voxels_it_was_made_from(name: str, tmp_path: Path):
    ct, maps = a_ct(GEOMETRIES[name]), sample.made_maps(SHAPE)
    shown = scene.showResult(a_result(tmp_path / "result", GEOMETRIES[name], maps), ct)
    for label, node in shown.heatMapNodes.items():
        assert np.array_equal(voxels_of(node), maps[label])
        assert np.allclose(volume_geometry.ijkToRAS(node), GEOMETRIES[name])
        assert np.array_equal(mask_of(ct, segments.gradCAMSegmentID(label)), maps[label] >= 128)
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
    slicer_host.emptyScene()
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
    maps = dict.fromkeys([None, *sample.LABELS], stored)
    folder = tmp_path_factory.mktemp("axes") / "result"
    scene.showResult(read_result(sample.write_folder(folder, content, maps, truth @ to_file)), ct)
    heat_map = scene.shownResult(ct).heatMapNodes["subdural"]
    assert [tuple(found) for found in np.argwhere(voxels_of(heat_map))] == [voxel]
    assert np.allclose(world_of(heat_map, voxel), truth[:3] @ [*voxel, 1], atol=1e-3)
    count = SHAPE[2]
    expected = count - 1 - voxel[2] if flips[slice_axis] else voxel[2]
    assert scene.sliceToVolume(ct, expected) == (2, voxel[2])


@pytest.mark.parametrize("shear", [1.67, -1.67])
def test_maps_with_the_true_shear_of_a_tilted_gantry_lie_on_a_volume_under_its_grid_transform(shear, tmp_path: Path):
    upright = affine(origin=(3.0, 4.8, 0.0))
    tilted = affine(origin=(3.0, 4.8, 0.0), shear=shear)
    ct, maps = a_ct(upright), sample.made_maps(SHAPE)
    transform = gantry_tilt(shear / SPACING[2])
    ct.SetAndObserveTransformNodeID(transform.GetID())
    shown = scene.showResult(a_result(tmp_path / "result", tilted, maps), ct)
    heat_map = shown.heatMapNodes["subdural"]
    assert np.array_equal(voxels_of(heat_map), maps["subdural"])
    assert shown.caveat is None
    for node in (*shown.heatMapNodes.values(), shown.segmentationNode):
        assert node.GetTransformNodeID() == transform.GetID()
    for voxel in ((0, 0, 0), (11, 15, 19), (5, 7, 11)):
        assert np.allclose(world_of(heat_map, voxel), tilted[:3] @ [*voxel, 1], atol=1e-3)
    place = scene.jumpToSlice(ct, 11)
    assert np.allclose(place, tilted[:3] @ [5.5, 7.5, 11, 1], atol=1e-3)
    plane = plane_of("Red")
    assert np.allclose(np.abs(plane[:3, 2]), [0, 0, 1], atol=1e-6)
    assert (place - plane[:3, 3]) @ plane[:3, 2] == pytest.approx(0, abs=1e-6)


def test_maps_of_the_stored_slices_lie_on_a_volume_under_a_transform_too(tmp_path: Path):
    ct = a_ct(GEOMETRIES["oblique"])
    ct.SetAndObserveTransformNodeID(gantry_tilt(0.3).GetID())
    maps = sample.made_maps(SHAPE)
    shown = scene.showResult(a_result(tmp_path / "result", GEOMETRIES["oblique"], maps), ct)
    assert np.array_equal(voxels_of(shown.heatMapNodes["any"]), maps["any"])
    assert np.array_equal(mask_of(ct, segments.gradCAMSegmentID("any")), maps["any"] >= 128)


def test_a_series_shown_without_its_gantry_tilt_still_gets_its_maps_and_a_warning(tmp_path: Path):
    upright, tilted = affine(), affine(shear=1.67)
    ct, maps = a_ct(upright), sample.made_maps(SHAPE)
    result = a_result(tmp_path / "result", tilted, maps)
    with pytest.raises(scene.GeometryError, match="voxels off 'CT'"):
        scene.showResult(result, ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemUID(hierarchy.GetItemByDataNode(ct), "DICOM", result.study.series_uid)
    shown = scene.showResult(result, ct)
    assert "without its gantry tilt" in shown.caveat
    assert np.array_equal(voxels_of(shown.heatMapNodes["any"]), maps["any"])


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
    with pytest.raises(scene.GeometryError, match="belongs to another volume"):
        scene.showResult(a_result(tmp_path / "other", wrong), ct)
    assert node_ids() == before


def test_maps_of_another_shape_are_refused(result):
    small = slicer.util.addVolumeFromArray(np.zeros((20, 16, 13), np.int16), GEOMETRIES["oblique"], "small")
    with pytest.raises(scene.GeometryError, match="12 x 16 x 20 voxels, 'small' has 13 x 16 x 20"):
        scene.showResult(result, small)


def test_a_volume_without_voxels_is_refused(result):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(scene.GeometryError, match="holds no voxels"):
        scene.showResult(result, empty)


def test_a_failed_re_run_leaves_the_result_of_before(ct, result):
    scene.showResult(result, ct)
    before = node_ids()
    path = result.folder / "gradcam_subdural.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ResultError, match="damaged"):
        scene.showResult(result, ct)
    assert node_ids() == before


def test_a_map_of_another_shape_than_its_result_says_is_refused(ct, tmp_path: Path):
    maps = {**sample.made_maps(SHAPE), "any": np.zeros((12, 16, 19), np.uint8)}
    with pytest.raises(scene.GeometryError, match=r"gradcam_any\.nii\.gz' is of shape"):
        scene.showResult(a_result(tmp_path / "result", GEOMETRIES["oblique"], maps), ct)


def test_a_file_that_is_no_map_is_refused(ct, result):
    (result.folder / "attention.nii.gz").write_bytes(b"garbage" * 100)
    with pytest.raises(ResultError, match="no NIfTI"):
        scene.showResult(result, ct)


def test_segments_carry_their_colour_name_and_terminology(ct, result):
    node = scene.showResult(result, ct).segmentationNode
    segment = node.GetSegmentation().GetSegment(segments.gradCAMSegmentID("subdural"))
    assert segment.GetName() == "Grad-CAM subdural >= 50 %: evidence, not an outline"
    assert np.allclose(np.multiply(segment.GetColor(), 255), (120, 190, 60))
    key_slices = node.GetSegmentation().GetSegment(segments.KEY_SLICES_ID)
    assert key_slices.GetName() == "Slice attention: key slices"
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    found = (entry.GetCategoryObject(), entry.GetTypeObject(), entry.GetRegionObject())
    assert [(c.GetCodingSchemeDesignator(), c.GetCodeValue()) for c in found] == [
        ("SCT", "49755003"),
        ("SCT", "50960005"),
        ("SCT", "54214006"),
    ]
    assert logic.DeserializeTerminologyEntry(key_slices.GetTerminology(), entry)
    assert (entry.GetTypeObject().GetCodeMeaning(), entry.GetRegionObject().GetCodeMeaning()) == ("Of Interest", "Head")


def test_a_code_whose_meaning_holds_separators_cannot_break_the_terminology():
    code = segments.Code("SCT", "1", "a~b^c")
    assert segments.terminologyEntry(code, code, code).count("~") == 6


def test_negative_findings_are_there_but_hidden(ct, result):
    shown = scene.showResult(result, ct)
    display = shown.segmentationNode.GetDisplayNode()
    visible = {label: display.GetSegmentVisibility(segments.gradCAMSegmentID(label)) for label in sample.LABELS}
    assert visible == {"any": True, "intraparenchymal": False, "subdural": True}
    assert display.GetSegmentVisibility(segments.KEY_SLICES_ID)
    assert shown.heatMapLabel == "subdural"


def test_a_negative_study_shows_no_heat_map_and_no_segment(ct, tmp_path: Path):
    shown = scene.showResult(a_result(tmp_path / "negative", GEOMETRIES["oblique"], positive=()), ct)
    display = shown.segmentationNode.GetDisplayNode()
    identifiers = [segments.KEY_SLICES_ID, *map(segments.gradCAMSegmentID, sample.LABELS)]
    assert not any(display.GetSegmentVisibility(identifier) for identifier in identifiers)
    assert all(not composite.GetForegroundVolumeID() for composite in views.compositeNodes())
    scene.setHeatMap(ct, "subdural", 0.5, 50)
    assert all(composite.GetForegroundVolumeID() for composite in views.compositeNodes())


def test_nothing_is_ever_shown_in_three_dimensions_or_as_a_fraction(ct, result):
    node = scene.showResult(result, ct).segmentationNode
    scene.setLevel(ct, 20)
    assert not node.GetDisplayNode().GetVisibility3D()
    names = node.GetSegmentation().GetContainedRepresentationNames
    contained: list[str] = []
    names(contained)
    assert contained == [segments.BINARY_LABELMAP]


@given(level=st.floats(min_value=0.1, max_value=100))
@settings(max_examples=15)
def test_a_new_level_segments_anew_what_reaches_it(level: float, tmp_path_factory: pytest.TempPathFactory):
    slicer_host.emptyScene()
    ct, maps = a_ct(affine()), sample.made_maps(SHAPE)
    shown = scene.showResult(a_result(tmp_path_factory.mktemp("level") / "result", affine(), maps), ct)
    scene.setLevel(ct, level)
    for label in sample.LABELS:
        truth = (maps[label] >= level / 100 * 255) & (maps[label] > 0)
        assert np.array_equal(mask_of(ct, segments.gradCAMSegmentID(label)), truth)
        display = shown.heatMapNodes[label].GetDisplayNode()
        assert display.GetApplyThreshold()
        assert np.array_equal(maps[label] >= display.GetLowerThreshold(), truth)
    assert scene.shownResult(ct).level == pytest.approx(level, rel=1e-5)
    name = shown.segmentationNode.GetSegmentation().GetSegment(segments.gradCAMSegmentID("subdural")).GetName()
    assert f">= {level:g} %" in name


@pytest.mark.parametrize("level", [0, -5, 100.1, float("nan")])
def test_a_level_out_of_range_is_refused(ct, result, level: float):
    scene.showResult(result, ct)
    with pytest.raises(ValueError, match="above 0 %"):
        scene.setLevel(ct, level)


def test_the_heat_map_is_the_foreground_of_the_views_at_its_opacity(ct, result):
    shown = scene.showResult(result, ct)
    scene.setHeatMap(ct, "any", 0.3, 60)
    for composite in views.compositeNodes():
        assert composite.GetBackgroundVolumeID() == ct.GetID()
        assert composite.GetForegroundVolumeID() == shown.heatMapNodes["any"].GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    display = shown.heatMapNodes["any"].GetDisplayNode()
    assert display.GetColorNodeID() == scene.HEAT_COLOURS
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 255)
    assert display.GetLowerThreshold() == 153
    with pytest.raises(KeyError):
        scene.setHeatMap(ct, "fracture", 0.5, 50)
    with pytest.raises(ValueError, match="opacity"):
        scene.setHeatMap(ct, "any", 1.5, 50)


def test_layers_can_be_hidden_and_brought_back_with_the_users_own_foreground_between(ct, result):
    users = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="user's")
    for composite in views.compositeNodes():
        composite.SetForegroundVolumeID(users.GetID())
        composite.SetForegroundOpacity(0.25)
    shown = scene.showResult(result, ct)
    scene.toggleLayers(ct, False)
    assert not scene.shownResult(ct).layersVisible
    assert not shown.segmentationNode.GetDisplayNode().GetVisibility()
    for composite in views.compositeNodes():
        assert (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()) == (users.GetID(), 0.25)
    scene.setHeatMap(ct, "any", 0.7, 50)
    assert all(composite.GetForegroundVolumeID() == users.GetID() for composite in views.compositeNodes())
    scene.toggleLayers(ct, True)
    assert shown.segmentationNode.GetDisplayNode().GetVisibility()
    for composite in views.compositeNodes():
        assert composite.GetForegroundVolumeID() == shown.heatMapNodes["any"].GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.7)


def test_everything_lies_in_one_folder_of_the_inputs_study(ct, result):
    scene.showResult(result, ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(ct))
    nodes = [node for node in own_nodes.ownNodes(ct) if not node.GetHideFromEditors()]
    assert len(nodes) == 3 + 1 + 3 + 2 + 1 + 1
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        assert hierarchy.GetItemAncestorAtLevel(item, "Study") == study
        assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "ICHDiagnosis: CT"


def test_the_findings_table_says_what_the_result_says(ct, result):
    table = scene.showResult(result, ct).findingsNode
    rows = [[table.GetCellText(row, column) for column in range(4)] for row in range(table.GetNumberOfRows())]
    assert rows[2][0] == "Subdural haemorrhage"
    assert rows[2][3] == "yes"
    assert rows[1][3] == "no"
    assert slicer.util.arrayFromTableColumn(table, "Probability").tolist() == [0.91, 0.12, 0.91]


def test_the_plot_shows_attention_over_slices_with_the_key_slices_marked(ct, result):
    chart = scene.showResult(result, ct).chartNode
    attention, key_slices = (chart.GetNthPlotSeriesNode(index) for index in range(2))
    values = slicer.util.arrayFromTableColumn(attention.GetTableNode(), attention.GetYColumnName())
    assert values.sum() == pytest.approx(100)
    marked = slicer.util.arrayFromTableColumn(key_slices.GetTableNode(), tables.SLICE_COLUMN)
    assert marked.tolist() == [3, 5]
    heights = slicer.util.arrayFromTableColumn(key_slices.GetTableNode(), tables.ATTENTION_COLUMN)
    assert heights.tolist() == pytest.approx(values[marked].tolist())


def test_the_provenance_says_which_model_spoke_and_that_it_is_research(ct, result):
    text = scene.showResult(result, ct).provenanceNode.GetText()
    expected = ("Research use only", "ICHDiagnosis 0.1.0", "DrCT2", "a" * 64, "cpu", "threshold 0.500", "balanced")
    assert [phrase for phrase in expected if phrase not in text] == []


def test_a_refused_study_shows_its_reason_and_takes_an_earlier_result_away(ct, result, tmp_path: Path):
    scene.showResult(result, ct)
    refused = read_result(sample.write_folder(tmp_path / "refused", sample.refusal(), {}, np.eye(4)))
    shown = scene.showResult(refused, ct)
    assert "Not evaluable: 7 slices, at least 12 needed" in shown.provenanceNode.GetText()
    assert (shown.segmentationNode, shown.heatMapNodes, shown.findingsNode, shown.chartNode) == (None, {}, None, None)
    assert len(own_nodes.ownNodes(ct)) == 2


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_views_jump_to_the_stored_slice_and_one_lies_in_its_plane(name: str, tmp_path: Path):
    truth = GEOMETRIES[name]
    ct = a_ct(truth)
    scene.showResult(a_result(tmp_path / "result", truth), ct)
    place = scene.jumpToSlice(ct, 5)
    assert np.allclose(place, truth[:3] @ [5.5, 7.5, 5, 1])
    normal = np.cross(truth[:3, 0], truth[:3, 1]) / (SPACING[0] * SPACING[1])
    planes = [plane_of(view) for view in slicer.app.layoutManager().sliceViewNames()]
    in_plane = [plane for plane in planes if abs(plane[:3, 2] @ normal) > 0.999999]
    assert in_plane
    assert [(place - plane[:3, 3]) @ plane[:3, 2] for plane in in_plane] == pytest.approx([0] * len(in_plane), abs=1e-6)


@pytest.mark.parametrize("index", [-1, SHAPE[2]])
def test_there_is_no_jump_to_a_slice_that_is_not_there(ct, result, index: int):
    scene.showResult(result, ct)
    with pytest.raises(IndexError):
        scene.jumpToSlice(ct, index)


def test_a_finding_is_found_on_the_key_slice_where_its_evidence_is_strongest(ct, tmp_path: Path):
    maps = {label: np.zeros(SHAPE, np.uint8) for label in (None, *sample.LABELS)}
    maps["subdural"][4, 9, 5] = 200
    maps["subdural"][4:8, 9, 12] = 255
    scene.showResult(a_result(tmp_path / "result", GEOMETRIES["oblique"], maps), ct)
    assert scene.jumpToFinding(ct, "subdural") == 5
    plane = plane_of("Red")
    assert (GEOMETRIES["oblique"][:3] @ [4, 9, 5, 1] - plane[:3, 3]) @ plane[:3, 2] == pytest.approx(0, abs=1e-6)
    assert scene.jumpToFinding(ct, "any") in sample.KEY_SLICES
    with pytest.raises(KeyError):
        scene.jumpToFinding(ct, "fracture")


def test_the_brain_window_is_centre_40_width_80(ct):
    scene.setBrainWindow(ct)
    display = ct.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (80, 40, False)


def test_a_re_run_replaces_its_own_nodes_and_keeps_their_places(ct, result, tmp_path: Path):
    scene.showResult(result, ct)
    before = node_ids()
    maps = sample.made_maps(SHAPE)
    maps["subdural"] = maps["subdural"][::-1].copy()
    again = scene.showResult(a_result(tmp_path / "again", GEOMETRIES["oblique"], maps, positive=("any",)), ct)
    assert node_ids() == before
    assert np.array_equal(voxels_of(again.heatMapNodes["subdural"]), maps["subdural"])
    assert np.array_equal(mask_of(ct, segments.gradCAMSegmentID("subdural")), maps["subdural"] >= 128)
    assert not again.segmentationNode.GetDisplayNode().GetSegmentVisibility(segments.gradCAMSegmentID("subdural"))
    assert again.findingsNode.GetCellText(2, 3) == "no"


def test_a_re_run_with_fewer_maps_leaves_none_of_the_old_ones(ct, result, tmp_path: Path):
    scene.showResult(result, ct)
    content = sample.document(SHAPE)
    content["maps"] = content["maps"][:2]
    folder = sample.write_folder(tmp_path / "fewer", content, sample.made_maps(SHAPE), GEOMETRIES["oblique"])
    shown = scene.showResult(read_result(folder), ct)
    assert list(shown.heatMapNodes) == ["any"]
    assert shown.segmentationNode.GetSegmentation().GetNumberOfSegments() == 2


def test_what_the_user_made_survives_a_re_run_and_a_removal(ct, result):
    users = slicer.util.addVolumeFromArray(np.ones((4, 4, 4)), name="CT: Grad-CAM any")
    own_segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    kept = node_ids()
    shown = scene.showResult(result, ct)
    drawn = shown.segmentationNode.GetSegmentation().AddEmptySegment("drawn", "drawn by hand")
    scene.showResult(result, ct)
    assert shown.segmentationNode.GetSegmentation().GetSegment(drawn) is not None
    segmentation_id = shown.segmentationNode.GetID()
    scene.removeResult(ct)
    assert scene.shownResult(ct) is None
    left = slicer.mrmlScene.GetNodeByID(segmentation_id)
    assert [left.GetSegmentation().GetNthSegmentID(0)] == [drawn]
    assert left.GetSegmentation().GetNumberOfSegments() == 1
    extra = {left.GetID(), left.GetDisplayNodeID()}
    assert node_ids() - extra == kept
    assert slicer.util.arrayFromVolume(users).all()
    assert own_segmentation.GetScene() is not None


def test_removal_leaves_no_trace(ct, result):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    before, items = node_ids(), hierarchy.GetNumberOfItems()
    scene.showResult(result, ct)
    scene.removeResult(ct)
    assert node_ids() == before
    assert hierarchy.GetNumberOfItems() == items
    assert all(not composite.GetForegroundVolumeID() for composite in views.compositeNodes())


def test_two_volumes_keep_their_results_apart(ct, result, tmp_path: Path):
    other = a_ct(GEOMETRIES["axial LPS"], "other")
    scene.showResult(result, ct)
    scene.showResult(a_result(tmp_path / "other", GEOMETRIES["axial LPS"]), other)
    assert scene.inputsWithResult() == [ct, other]
    scene.removeResult(ct)
    assert scene.inputsWithResult() == [other]
    assert len(scene.shownResult(other).heatMapNodes) == 3


@pytest.mark.parametrize("name", ["left-handed oblique", "sheared"])
def test_everything_survives_saving_and_reloading_the_scene(name: str, tmp_path: Path):
    ct, maps = a_ct(GEOMETRIES[name]), sample.made_maps(SHAPE)
    ct.SetAndObserveTransformNodeID(gantry_tilt(0.2).GetID())
    scene.showResult(a_result(tmp_path / "result", GEOMETRIES[name], maps), ct)
    scene.setHeatMap(ct, "any", 0.4, 30)
    bundle = tmp_path / "säved scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(bundle))
    slicer_host.emptyScene()
    assert slicer.mrmlScene.ReadFromMRB(str(bundle), True)
    [ct] = scene.inputsWithResult()
    shown = scene.shownResult(ct)
    assert (shown.heatMapLabel, shown.opacity, shown.level, shown.layersVisible) == ("any", 0.4, 30, True)
    for label, node in shown.heatMapNodes.items():
        assert np.array_equal(voxels_by_place(node, GEOMETRIES[name]), maps[label])
        mask = mask_of(ct, segments.gradCAMSegmentID(label))
        assert np.array_equal(voxels_by_place(ct, GEOMETRIES[name], mask), maps[label] >= 0.3 * 255)
        assert node.GetTransformNodeID() == ct.GetTransformNodeID() is not None
        assert node.GetDisplayNode().GetLowerThreshold() == 77
    segment = shown.segmentationNode.GetSegmentation().GetSegment(segments.gradCAMSegmentID("subdural"))
    assert segment.GetTerminology() == segments.findingTerminology(shown.result.finding("subdural"))
    assert not shown.segmentationNode.GetDisplayNode().GetSegmentVisibility(
        segments.gradCAMSegmentID("intraparenchymal")
    )
    assert shown.result.study.quality[0].name == "thick_slices"
    assert "Research use only" in shown.provenanceNode.GetText()
    attention = shown.chartNode.GetNthPlotSeriesNode(0)
    values = slicer.util.arrayFromTableColumn(attention.GetTableNode(), attention.GetYColumnName())
    assert values.sum() == pytest.approx(100, abs=1e-3)
    assert {composite.GetForegroundVolumeID() for composite in views.compositeNodes()} == {
        shown.heatMapNodes["any"].GetID()
    }
    scene.setLevel(ct, 80)
    mask = mask_of(ct, segments.gradCAMSegmentID("subdural"))
    assert np.array_equal(voxels_by_place(ct, GEOMETRIES[name], mask), maps["subdural"] >= 0.8 * 255)
    tilt = np.eye(4)
    tilt[1, 2] = 0.2
    assert np.allclose(scene.jumpToSlice(ct, 5), (tilt @ GEOMETRIES[name] @ [5.5, 7.5, 5, 1])[:3], atol=1e-3)
    before = node_ids()
    scene.showResult(a_result(tmp_path / "again", GEOMETRIES[name], maps), ct)
    assert node_ids() == before


def test_a_volume_without_a_result_says_so(ct):
    assert scene.shownResult(ct) is None
    with pytest.raises(ValueError, match="holds no result of 'CT'"):
        scene.setLevel(ct, 50)
