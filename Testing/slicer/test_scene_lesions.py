"""Lesions on the scene: one contour per compartment on the CT's voxels, shown before any attribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer

import host
import sample_result_folder as sample
from ICHDiagnosisLib.result.reader import read_result
from ICHDiagnosisLib.scene import result_nodes, segments, views
from ICHDiagnosisLib.scene.layers import remove_result, set_attribution_map, shown_result
from ICHDiagnosisLib.scene.lesion_segments import lesion_segment_id
from ICHDiagnosisLib.scene.result_nodes import node_of
from ICHDiagnosisLib.scene.show_result import show_result
from ICHDiagnosisLib.scene.slice_positions import jump_to_lesion
from scene_cases import GEOMETRIES, SHAPE, a_ct, a_result, a_result_with_lesions, gantry_tilt, mask_of, plane_of

PARENCHYMAL, EXTRA_AXIAL = lesion_segment_id("parenchymal"), lesion_segment_id("extra_axial")


def truth(label: str) -> np.ndarray:
    return sample.made_subtypes(SHAPE) == sample.SUBTYPES[label]


@pytest.fixture
def shown(ct, tmp_path: Path):
    return show_result(a_result_with_lesions(tmp_path / "lesions", GEOMETRIES["oblique"]), ct)


@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_each_compartment_lies_on_the_voxels_of_the_ct(name: str, tmp_path: Path):
    ct = a_ct(GEOMETRIES[name])
    show_result(a_result_with_lesions(tmp_path / "lesions", GEOMETRIES[name]), ct)
    assert np.array_equal(mask_of(ct, EXTRA_AXIAL), truth("subdural"))
    assert np.array_equal(mask_of(ct, PARENCHYMAL), truth("intraparenchymal"))


def test_lesions_are_shown_first_and_attribution_waits_until_it_is_asked_for(ct, shown):
    display = shown.segmentation_node.GetDisplayNode()
    gradcam = [segments.gradcam_segment_id(label) for label in sample.LABELS]
    assert display.GetSegmentVisibility(EXTRA_AXIAL)
    assert display.GetSegmentVisibility(PARENCHYMAL)
    assert not any(display.GetSegmentVisibility(identifier) for identifier in [segments.KEY_SLICES_ID, *gradcam])
    assert shown.attribution_label is None
    assert all(not composite.GetForegroundVolumeID() for composite in views.composite_nodes())
    set_attribution_map(ct, "subdural", 0.5, 50)
    assert [display.GetSegmentVisibility(identifier) for identifier in gradcam] == [False, False, True]
    assert display.GetSegmentVisibility(EXTRA_AXIAL)
    set_attribution_map(ct, None, 0.5, 50)
    assert not any(display.GetSegmentVisibility(identifier) for identifier in gradcam)


def test_a_lesion_is_a_contour_in_the_colour_of_its_compartment_with_its_code(shown):
    node = shown.segmentation_node
    display, segment = node.GetDisplayNode(), node.GetSegmentation().GetSegment(EXTRA_AXIAL)
    assert segment.GetName() == "Lesion: extra-axial, by the network"
    assert np.allclose(np.multiply(segment.GetColor(), 255), (150, 230, 40))
    assert (display.GetSegmentOpacity2DFill(EXTRA_AXIAL), display.GetSegmentOpacity2DOutline(EXTRA_AXIAL)) == (0, 1)
    assert display.GetSliceIntersectionThickness() == 3
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.modules.terminologies.logic().DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    found = (entry.GetCategoryObject(), entry.GetTypeObject(), entry.GetRegionObject())
    assert [code.GetCodeValue() for code in found] == ["49755003", "50960005", "1231004"]


def test_no_surface_is_made_of_a_lesion(shown):
    contained: list[str] = []
    shown.segmentation_node.GetSegmentation().GetContainedRepresentationNames(contained)
    assert contained == [segments.BINARY_LABELMAP]
    assert not shown.segmentation_node.GetDisplayNode().GetVisibility3D()


def test_volumes_stand_in_a_table_with_the_total_first(ct, shown):
    table = node_of(ct, result_nodes.LESION_VOLUMES)
    assert [table.GetCellText(row, 0) for row in range(3)] == ["Lesion, total", "extra-axial", "parenchymal"]
    for name, values in (("Volume (ml)", [31.4, 28.2, 3.2]), ("Lower limit (ml)", [20.0, 19.0, np.nan])):
        np.testing.assert_array_equal(slicer.util.arrayFromTableColumn(table, name), values)


def test_a_negative_study_hides_its_lesion_map_and_claims_no_volume(ct, tmp_path: Path):
    result = a_result_with_lesions(tmp_path / "negative", GEOMETRIES["oblique"], stated=False, positive=())
    shown = show_result(result, ct)
    display = shown.segmentation_node.GetDisplayNode()
    assert not display.GetSegmentVisibility(EXTRA_AXIAL)
    assert np.array_equal(mask_of(ct, EXTRA_AXIAL), truth("subdural"))
    assert node_of(ct, result_nodes.LESION_VOLUMES) is None


def test_the_views_go_where_a_lesion_is_largest(ct, shown):
    assert jump_to_lesion(ct, ("extra_axial",)) == 7
    plane = plane_of("Red")
    place = GEOMETRIES["oblique"][:3] @ [4, 5, 7, 1]
    assert (place - plane[:3, 3]) @ plane[:3, 2] == pytest.approx(0, abs=1e-6)
    assert jump_to_lesion(ct, ("parenchymal",)) == 11
    assert jump_to_lesion(ct, ("parenchymal", "extra_axial")) == 7
    assert jump_to_lesion(ct, ("ventricular",)) is None
    assert jump_to_lesion(ct, ()) is None


def test_a_lesion_that_the_user_has_corrected_is_taken_as_it_is_now(ct, shown):
    segment = shown.segmentation_node.GetSegmentation().GetSegment(EXTRA_AXIAL)
    mask = np.zeros(SHAPE[::-1], bool)
    mask[3, 5, 5] = True
    segments.set_segment_voxels(segment, mask, ct)
    assert jump_to_lesion(ct, ("extra_axial",)) == 3
    shown.segmentation_node.GetSegmentation().RemoveSegment(EXTRA_AXIAL)
    assert jump_to_lesion(ct, ("extra_axial",)) is None


def test_a_re_run_takes_away_what_it_does_not_find_again(ct, shown, tmp_path: Path):
    document = sample.document(SHAPE) | {"lesions": sample.lesions({"total": (3.2, None, None)})}
    subtypes = np.where(truth("intraparenchymal"), sample.made_subtypes(SHAPE), 0).astype(np.uint8)
    folder = sample.write_folder(tmp_path / "again", document, sample.made_maps(SHAPE), GEOMETRIES["oblique"], subtypes)
    again = show_result(read_result(folder), ct)
    segmentation = again.segmentation_node.GetSegmentation()
    assert segmentation.GetSegment(EXTRA_AXIAL) is None
    assert segmentation.GetSegment(PARENCHYMAL) is not None
    assert node_of(ct, result_nodes.LESION_VOLUMES).GetNumberOfRows() == 1
    show_result(a_result(tmp_path / "without", GEOMETRIES["oblique"]), ct)
    assert node_of(ct, result_nodes.LESION_VOLUMES) is None
    assert shown_result(ct).segmentation_node.GetSegmentation().GetSegment(PARENCHYMAL) is None


def test_removal_takes_lesions_along(ct, shown):
    remove_result(ct)
    assert result_nodes.nodes_of(ct) == []


@pytest.mark.parametrize("name", ["left-handed oblique", "sheared"])
def test_lesions_survive_saving_and_reloading_the_scene(name: str, tmp_path: Path):
    ct = a_ct(GEOMETRIES[name])
    ct.SetAndObserveTransformNodeID(gantry_tilt(0.2).GetID())
    show_result(a_result_with_lesions(tmp_path / "lesions", GEOMETRIES[name]), ct)
    bundle = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(bundle))
    host.empty_scene()
    assert slicer.mrmlScene.ReadFromMRB(str(bundle), True)
    reloaded = slicer.util.getNode("CT")
    assert jump_to_lesion(reloaded, ("extra_axial",)) == 7
    assert shown_result(reloaded).result.stated_lesions.volumes[0].ml == 31.4
    assert mask_of(reloaded, EXTRA_AXIAL).sum() == truth("subdural").sum()
