"""A result among the nodes of a scene: findable, whole after saving, replaced without touching what is not ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer

import host
import sample_result_folder as sample
from ICHDiagnosisLib.result.reader import read_result
from ICHDiagnosisLib.scene import result_nodes, segments, tables, views
from ICHDiagnosisLib.scene.layers import remove_result, set_attribution_map, set_threshold, shown_result
from ICHDiagnosisLib.scene.result_nodes import node_of
from ICHDiagnosisLib.scene.show_result import show_result
from ICHDiagnosisLib.scene.slice_positions import jump_to_slice
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

SHORT_NAMES = ("Any intracranial", "Intraparenchymal", "Subdural")


def test_everything_lies_in_one_folder_of_the_inputs_study(ct, result):
    show_result(result, ct)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(ct))
    nodes = [node for node in result_nodes.nodes_of(ct) if not node.GetHideFromEditors()]
    assert len(nodes) == 3 + 1 + 3 + 2 + 1 + 1
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        assert hierarchy.GetItemAncestorAtLevel(item, "Study") == study
        assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "ICHDiagnosis: CT"


def test_the_findings_table_holds_what_the_result_holds(ct, result):
    show_result(result, ct)
    table = node_of(ct, result_nodes.FINDINGS)
    rows = [[table.GetCellText(row, column) for column in range(4)] for row in range(table.GetNumberOfRows())]
    assert rows[2][0] == "Subdural haemorrhage"
    assert rows[2][3] == "yes"
    assert rows[1][3] == "no"
    assert slicer.util.arrayFromTableColumn(table, "Probability").tolist() == [0.91, 0.12, 0.91]


def test_the_plot_shows_attention_over_slices_with_the_key_slices_marked(ct, result):
    show_result(result, ct)
    chart = node_of(ct, result_nodes.CHART)
    attention, key_slices = (chart.GetNthPlotSeriesNode(index) for index in range(2))
    values = slicer.util.arrayFromTableColumn(attention.GetTableNode(), attention.GetYColumnName())
    assert values.sum() == pytest.approx(100)
    marked = slicer.util.arrayFromTableColumn(key_slices.GetTableNode(), tables.slice_column())
    assert marked.tolist() == [3, 5]
    heights = slicer.util.arrayFromTableColumn(key_slices.GetTableNode(), tables.attention_column())
    assert heights.tolist() == pytest.approx(values[marked].tolist())


def test_the_tables_of_slices_have_a_column_per_label_where_the_result_knows_them(ct, tmp_path: Path):
    content = sample.with_slice_labels(sample.document(SHAPE))
    folder = sample.write_folder(tmp_path / "labelled", content, sample.made_maps(SHAPE), GEOMETRIES["oblique"])
    show_result(read_result(folder), ct)
    table = node_of(ct, result_nodes.ATTENTION)
    column = {name: slicer.util.arrayFromTableColumn(table, f"{name} on the slice (%)") for name in SHORT_NAMES}
    assert np.nanargmax(column["Subdural"]) == sample.SURE_SLICE
    assert column["Subdural"][sample.SURE_SLICE] == pytest.approx(72)
    assert column["Any intracranial"][sample.SURE_SLICE] == pytest.approx(90)
    assert np.flatnonzero(np.isnan(column["Intraparenchymal"])).tolist() == [sample.UNREAD_SLICE]
    key_slices = node_of(ct, result_nodes.KEY_SLICES)
    overall = slicer.util.arrayFromTableColumn(key_slices, "Any intracranial on the slice (%)")
    assert overall.tolist() == pytest.approx([column["Any intracranial"][index] for index in sample.KEY_SLICES])


def test_a_result_without_labels_of_slices_takes_their_columns_away(ct, tmp_path: Path):
    contents = {"labelled": sample.with_slice_labels(sample.document(SHAPE)), "plain": sample.document(SHAPE)}
    counts = []
    for name, content in contents.items():
        folder = sample.write_folder(tmp_path / name, content, sample.made_maps(SHAPE), GEOMETRIES["oblique"])
        show_result(read_result(folder), ct)
        counts.append(node_of(ct, result_nodes.ATTENTION).GetNumberOfColumns())
    assert counts == [3 + len(sample.LABELS), 3]


def test_the_provenance_states_which_model_it_was_and_that_it_is_research(ct, result):
    show_result(result, ct)
    text = node_of(ct, result_nodes.PROVENANCE).GetText()
    model = ("Research use only", "ICHDiagnosis 0.1.0", "DrCT2", "a" * 64, "cpu", "threshold 0.500", "balanced")
    expected = (*model, "threshold 0.500 (default, none was chosen), negative", result.impression.text)
    assert [phrase for phrase in expected if phrase not in text] == []


@pytest.mark.parametrize(
    ("mirrored", "words"),
    [
        (True, "Slices read: from both sides, as they are and left and right exchanged"),
        (False, "Slices read: from one side, as they are"),
        (None, "Slices read: unknown"),
    ],
)
def test_the_provenance_states_from_how_many_sides_slices_were_read(result, mirrored: bool | None, words: str):
    assert words in tables.provenance(replace(result, mirrored_views=mirrored)).splitlines()


def test_a_refused_study_shows_its_reason_and_takes_an_earlier_result_away(ct, result, tmp_path: Path):
    show_result(result, ct)
    refused = read_result(sample.write_folder(tmp_path / "refused", sample.refusal(), {}, np.eye(4)))
    shown = show_result(refused, ct)
    assert "Not evaluable: 7 slices, at least 12 needed" in node_of(ct, result_nodes.PROVENANCE).GetText()
    assert (shown.segmentation_node, shown.attribution_maps) == (None, {})
    assert len(result_nodes.nodes_of(ct)) == 2


def test_a_re_run_replaces_its_own_nodes_and_keeps_their_places(ct, result, tmp_path: Path):
    show_result(result, ct)
    before = node_ids()
    maps = sample.made_maps(SHAPE)
    maps["subdural"] = maps["subdural"][::-1].copy()
    again = show_result(a_result(tmp_path / "again", GEOMETRIES["oblique"], maps, positive=("any",)), ct)
    assert node_ids() == before
    assert np.array_equal(voxels_of(again.attribution_maps["subdural"]), maps["subdural"])
    assert np.array_equal(mask_of(ct, segments.gradcam_segment_id("subdural")), maps["subdural"] >= 128)
    assert not again.segmentation_node.GetDisplayNode().GetSegmentVisibility(segments.gradcam_segment_id("subdural"))
    assert node_of(ct, result_nodes.FINDINGS).GetCellText(2, 3) == "no"


def test_a_re_run_with_fewer_maps_leaves_none_of_the_old_ones(ct, result, tmp_path: Path):
    show_result(result, ct)
    content = sample.document(SHAPE)
    content["maps"] = content["maps"][:2]
    folder = sample.write_folder(tmp_path / "fewer", content, sample.made_maps(SHAPE), GEOMETRIES["oblique"])
    shown = show_result(read_result(folder), ct)
    assert list(shown.attribution_maps) == ["any"]
    assert shown.segmentation_node.GetSegmentation().GetNumberOfSegments() == 2


def test_what_the_user_made_survives_a_re_run_and_a_removal(ct, result):
    users = slicer.util.addVolumeFromArray(np.ones((4, 4, 4)), name="CT: Grad-CAM any")
    own_segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    kept = node_ids()
    shown = show_result(result, ct)
    drawn = shown.segmentation_node.GetSegmentation().AddEmptySegment("drawn", "drawn by hand")
    show_result(result, ct)
    assert shown.segmentation_node.GetSegmentation().GetSegment(drawn) is not None
    segmentation_id = shown.segmentation_node.GetID()
    remove_result(ct)
    assert shown_result(ct) is None
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
    show_result(result, ct)
    remove_result(ct)
    assert node_ids() == before
    assert hierarchy.GetNumberOfItems() == items
    assert all(not composite.GetForegroundVolumeID() for composite in views.composite_nodes())


def test_two_volumes_keep_their_results_apart(ct, result, tmp_path: Path):
    other = a_ct(GEOMETRIES["axial LPS"], "other")
    show_result(result, ct)
    show_result(a_result(tmp_path / "other", GEOMETRIES["axial LPS"]), other)
    assert shown_result(ct).document_node is not shown_result(other).document_node
    remove_result(ct)
    assert shown_result(ct) is None
    assert len(shown_result(other).attribution_maps) == 3


@pytest.mark.parametrize("name", ["left-handed oblique", "sheared"])
def test_everything_survives_saving_and_reloading_the_scene(name: str, tmp_path: Path):
    ct, maps = a_ct(GEOMETRIES[name]), sample.made_maps(SHAPE)
    ct.SetAndObserveTransformNodeID(gantry_tilt(0.2).GetID())
    show_result(a_result(tmp_path / "result", GEOMETRIES[name], maps), ct)
    set_attribution_map(ct, "any", 0.4, 30)
    bundle = tmp_path / "säved scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(bundle))
    host.empty_scene()
    assert slicer.mrmlScene.ReadFromMRB(str(bundle), True)
    ct = slicer.util.getNode("CT")
    shown = shown_result(ct)
    assert (shown.attribution_label, shown.opacity, shown.threshold, shown.layers_visible) == ("any", 0.4, 30, True)
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
    assert shown.result.study.quality[0].code == "thick_slices"
    assert "Research use only" in node_of(ct, result_nodes.PROVENANCE).GetText()
    attention = node_of(ct, result_nodes.CHART).GetNthPlotSeriesNode(0)
    values = slicer.util.arrayFromTableColumn(attention.GetTableNode(), attention.GetYColumnName())
    assert values.sum() == pytest.approx(100, abs=1e-3)
    assert {composite.GetForegroundVolumeID() for composite in views.composite_nodes()} == {
        shown.attribution_maps["any"].GetID()
    }
    set_threshold(ct, 80)
    mask = mask_of(ct, segments.gradcam_segment_id("subdural"))
    assert np.array_equal(voxels_by_place(ct, GEOMETRIES[name], mask), maps["subdural"] >= 0.8 * 255)
    tilt = np.eye(4)
    tilt[1, 2] = 0.2
    assert np.allclose(jump_to_slice(ct, 5), (tilt @ GEOMETRIES[name] @ [5.5, 7.5, 5, 1])[:3], atol=1e-3)
    before = node_ids()
    show_result(a_result(tmp_path / "again", GEOMETRIES[name], maps), ct)
    assert node_ids() == before


def test_a_volume_without_a_result_is_refused(ct):
    assert shown_result(ct) is None
    with pytest.raises(ValueError, match="holds no result of 'CT'"):
        set_threshold(ct, 50)


def test_a_scene_of_an_earlier_version_keeps_its_result_and_the_state_of_its_layers(ct, tmp_path: Path, caplog):
    content = sample.of_version_1(sample.document(SHAPE))
    folder = sample.write_folder(tmp_path / "then", content, sample.made_maps(SHAPE), GEOMETRIES["oblique"])
    document = show_result(read_result(folder), ct).document_node
    segmentation = shown_result(ct).segmentation_node
    for node in (document, segmentation):
        node.RemoveAttribute("ICHDiagnosis.ThresholdPercent")
        node.SetAttribute("ICHDiagnosis.LevelPercent", "30")
    for now, then, value in (
        ("ICHDiagnosis.AttributionMap", "ICHDiagnosis.HeatMap", "any"),
        ("ICHDiagnosis.AttributionOpacity", "ICHDiagnosis.HeatMapOpacity", "0.4"),
    ):
        document.RemoveAttribute(now)
        document.SetAttribute(then, value)
    slicer.mrmlScene.WriteToMRB(str(tmp_path / "then.mrb"))
    host.empty_scene()
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "then.mrb"), True)
    ct = slicer.util.getNode("CT")
    shown = shown_result(ct)
    assert (shown.attribution_label, shown.opacity, shown.threshold) == ("any", 0.4, 30)
    assert segments.current_threshold(shown.segmentation_node) == 30
    assert shown.result.impression.text.startswith("Result of an earlier version: 2 findings")
    assert "node attribute ICHDiagnosis.HeatMap is now ICHDiagnosis.AttributionMap" in caplog.text
    caplog.clear()
    set_attribution_map(ct, None, 0.5, 60)
    assert (shown_result(ct).attribution_label, shown_result(ct).threshold) == (None, 60)
    assert "node attribute" not in caplog.text
