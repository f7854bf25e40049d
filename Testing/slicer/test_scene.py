"""A result among the nodes of a scene: findable, whole after saving, replaced without touching what is not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer

import host
import sample_result_folder as sample
from ICHDiagnosisLib.result.reader import read_result
from ICHDiagnosisLib.scene import result_nodes, segments, tables, views
from ICHDiagnosisLib.scene import show_result as scene
from scene_cases import (
    GEOMETRIES,
    SHAPE,
    a_ct,
    a_result,
    gantry_tilt,
    mask_of,
    node_ids,
    voxels_by_place,
    voxels_of,
)


def test_everything_lies_in_one_folder_of_the_inputs_study(ct, result):
    scene.show_result(result, ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(ct))
    nodes = [node for node in result_nodes.nodes_of(ct) if not node.GetHideFromEditors()]
    assert len(nodes) == 3 + 1 + 3 + 2 + 1 + 1
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        assert hierarchy.GetItemAncestorAtLevel(item, "Study") == study
        assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "ICHDiagnosis: CT"


def test_the_findings_table_says_what_the_result_says(ct, result):
    table = scene.show_result(result, ct).findings_node
    rows = [[table.GetCellText(row, column) for column in range(4)] for row in range(table.GetNumberOfRows())]
    assert rows[2][0] == "Subdural haemorrhage"
    assert rows[2][3] == "yes"
    assert rows[1][3] == "no"
    assert slicer.util.arrayFromTableColumn(table, "Probability").tolist() == [0.91, 0.12, 0.91]


def test_the_plot_shows_attention_over_slices_with_the_key_slices_marked(ct, result):
    chart = scene.show_result(result, ct).chart_node
    attention, key_slices = (chart.GetNthPlotSeriesNode(index) for index in range(2))
    values = slicer.util.arrayFromTableColumn(attention.GetTableNode(), attention.GetYColumnName())
    assert values.sum() == pytest.approx(100)
    marked = slicer.util.arrayFromTableColumn(key_slices.GetTableNode(), tables.SLICE_COLUMN)
    assert marked.tolist() == [3, 5]
    heights = slicer.util.arrayFromTableColumn(key_slices.GetTableNode(), tables.ATTENTION_COLUMN)
    assert heights.tolist() == pytest.approx(values[marked].tolist())


def test_the_provenance_says_which_model_spoke_and_that_it_is_research(ct, result):
    text = scene.show_result(result, ct).provenance_node.GetText()
    expected = ("Research use only", "ICHDiagnosis 0.1.0", "DrCT2", "a" * 64, "cpu", "threshold 0.500", "balanced")
    assert [phrase for phrase in expected if phrase not in text] == []


def test_a_refused_study_shows_its_reason_and_takes_an_earlier_result_away(ct, result, tmp_path: Path):
    scene.show_result(result, ct)
    refused = read_result(sample.write_folder(tmp_path / "refused", sample.refusal(), {}, np.eye(4)))
    shown = scene.show_result(refused, ct)
    assert "Not evaluable: 7 slices, at least 12 needed" in shown.provenance_node.GetText()
    assert (shown.segmentation_node, shown.attribution_maps, shown.findings_node, shown.chart_node) == (
        None,
        {},
        None,
        None,
    )
    assert len(result_nodes.nodes_of(ct)) == 2


def test_a_re_run_replaces_its_own_nodes_and_keeps_their_places(ct, result, tmp_path: Path):
    scene.show_result(result, ct)
    before = node_ids()
    maps = sample.made_maps(SHAPE)
    maps["subdural"] = maps["subdural"][::-1].copy()
    again = scene.show_result(a_result(tmp_path / "again", GEOMETRIES["oblique"], maps, positive=("any",)), ct)
    assert node_ids() == before
    assert np.array_equal(voxels_of(again.attribution_maps["subdural"]), maps["subdural"])
    assert np.array_equal(mask_of(ct, segments.gradcam_segment_id("subdural")), maps["subdural"] >= 128)
    assert not again.segmentation_node.GetDisplayNode().GetSegmentVisibility(segments.gradcam_segment_id("subdural"))
    assert again.findings_node.GetCellText(2, 3) == "no"


def test_a_re_run_with_fewer_maps_leaves_none_of_the_old_ones(ct, result, tmp_path: Path):
    scene.show_result(result, ct)
    content = sample.document(SHAPE)
    content["maps"] = content["maps"][:2]
    folder = sample.write_folder(tmp_path / "fewer", content, sample.made_maps(SHAPE), GEOMETRIES["oblique"])
    shown = scene.show_result(read_result(folder), ct)
    assert list(shown.attribution_maps) == ["any"]
    assert shown.segmentation_node.GetSegmentation().GetNumberOfSegments() == 2


def test_what_the_user_made_survives_a_re_run_and_a_removal(ct, result):
    users = slicer.util.addVolumeFromArray(np.ones((4, 4, 4)), name="CT: Grad-CAM any")
    own_segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    kept = node_ids()
    shown = scene.show_result(result, ct)
    drawn = shown.segmentation_node.GetSegmentation().AddEmptySegment("drawn", "drawn by hand")
    scene.show_result(result, ct)
    assert shown.segmentation_node.GetSegmentation().GetSegment(drawn) is not None
    segmentation_id = shown.segmentation_node.GetID()
    scene.remove_result(ct)
    assert scene.shown_result(ct) is None
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
    scene.show_result(result, ct)
    scene.remove_result(ct)
    assert node_ids() == before
    assert hierarchy.GetNumberOfItems() == items
    assert all(not composite.GetForegroundVolumeID() for composite in views.composite_nodes())


def test_two_volumes_keep_their_results_apart(ct, result, tmp_path: Path):
    other = a_ct(GEOMETRIES["axial LPS"], "other")
    scene.show_result(result, ct)
    scene.show_result(a_result(tmp_path / "other", GEOMETRIES["axial LPS"]), other)
    assert scene.inputs_with_result() == [ct, other]
    scene.remove_result(ct)
    assert scene.inputs_with_result() == [other]
    assert len(scene.shown_result(other).attribution_maps) == 3


@pytest.mark.parametrize("name", ["left-handed oblique", "sheared"])
def test_everything_survives_saving_and_reloading_the_scene(name: str, tmp_path: Path):
    ct, maps = a_ct(GEOMETRIES[name]), sample.made_maps(SHAPE)
    ct.SetAndObserveTransformNodeID(gantry_tilt(0.2).GetID())
    scene.show_result(a_result(tmp_path / "result", GEOMETRIES[name], maps), ct)
    scene.set_attribution_map(ct, "any", 0.4, 30)
    bundle = tmp_path / "säved scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(bundle))
    host.empty_scene()
    assert slicer.mrmlScene.ReadFromMRB(str(bundle), True)
    [ct] = scene.inputs_with_result()
    shown = scene.shown_result(ct)
    assert (shown.attribution_label, shown.opacity, shown.level, shown.layers_visible) == ("any", 0.4, 30, True)
    for label, node in shown.attribution_maps.items():
        assert np.array_equal(voxels_by_place(node, GEOMETRIES[name]), maps[label])
        mask = mask_of(ct, segments.gradcam_segment_id(label))
        assert np.array_equal(voxels_by_place(ct, GEOMETRIES[name], mask), maps[label] >= 0.3 * 255)
        assert node.GetTransformNodeID() == ct.GetTransformNodeID() is not None
        assert node.GetDisplayNode().GetLowerThreshold() == 77
    segment = shown.segmentation_node.GetSegmentation().GetSegment(segments.gradcam_segment_id("subdural"))
    assert segment.GetTerminology() == segments.finding_terminology(shown.result.finding("subdural"))
    assert not shown.segmentation_node.GetDisplayNode().GetSegmentVisibility(
        segments.gradcam_segment_id("intraparenchymal")
    )
    assert shown.result.study.quality[0].name == "thick_slices"
    assert "Research use only" in shown.provenance_node.GetText()
    attention = shown.chart_node.GetNthPlotSeriesNode(0)
    values = slicer.util.arrayFromTableColumn(attention.GetTableNode(), attention.GetYColumnName())
    assert values.sum() == pytest.approx(100, abs=1e-3)
    assert {composite.GetForegroundVolumeID() for composite in views.composite_nodes()} == {
        shown.attribution_maps["any"].GetID()
    }
    scene.set_threshold(ct, 80)
    mask = mask_of(ct, segments.gradcam_segment_id("subdural"))
    assert np.array_equal(voxels_by_place(ct, GEOMETRIES[name], mask), maps["subdural"] >= 0.8 * 255)
    tilt = np.eye(4)
    tilt[1, 2] = 0.2
    assert np.allclose(scene.jump_to_slice(ct, 5), (tilt @ GEOMETRIES[name] @ [5.5, 7.5, 5, 1])[:3], atol=1e-3)
    before = node_ids()
    scene.show_result(a_result(tmp_path / "again", GEOMETRIES[name], maps), ct)
    assert node_ids() == before


def test_a_volume_without_a_result_says_so(ct):
    assert scene.shown_result(ct) is None
    with pytest.raises(ValueError, match="holds no result of 'CT'"):
        scene.set_threshold(ct, 50)
