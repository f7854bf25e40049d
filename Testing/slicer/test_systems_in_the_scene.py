"""What published systems find in pixels, on the scene: lesions of no subtype, and where a reader would look."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sample_result_folder as sample
from ICHDiagnosisLib.result.content import Result, ResultError
from ICHDiagnosisLib.result.reader import parse_result, read_result
from ICHDiagnosisLib.scene import result_nodes, views, volume_geometry
from ICHDiagnosisLib.scene.layers import remove_result, shown_result
from ICHDiagnosisLib.scene.lesion_segments import lesion_segment_id
from ICHDiagnosisLib.scene.result_nodes import node_of
from ICHDiagnosisLib.scene.show_result import show_result
from panel_cases import applied, click_row, evaluated, stands_on, with_lesions, with_lesions_of_no_subtype
from scene_cases import GEOMETRIES, SHAPE, a_ct, a_result, a_result_with_lesions, mask_of, voxels_of

UNSPECIFIED = lesion_segment_id("unspecified")
KINDS = {
    "saliency_masks": "learned from readers' masks in place of gaze",
    "saliency_gaze": "learned from recorded gaze",
    "saliency": "is not stated",
}


def lesions_of_no_subtype(folder: Path, geometry: np.ndarray) -> Result:
    content = sample.document(SHAPE) | {"lesions": sample.lesions_of_no_subtype()}
    subtypes = np.where(sample.made_subtypes(SHAPE) > 0, np.uint8(sample.UNSPECIFIED), np.uint8(0))
    return read_result(sample.write_folder(folder, content, sample.made_maps(SHAPE), geometry, subtypes))


def saliency() -> np.ndarray:
    return np.random.default_rng(11).integers(0, 256, SHAPE, dtype=np.uint8)


def with_saliency(folder: Path, geometry: np.ndarray, kind: str = "saliency_masks") -> Result:
    content = sample.document(SHAPE)
    content["maps"].append({"kind": kind, "label": None, "file": "saliency.nii.gz", "scale": 30.0})
    maps = sample.made_maps(SHAPE) | {kind: saliency()}
    return read_result(sample.write_folder(folder, content, maps, geometry))


@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_a_lesion_of_no_subtype_is_one_segment_on_the_voxels_of_the_ct(name: str, tmp_path: Path):
    ct = a_ct(GEOMETRIES[name])
    shown = show_result(lesions_of_no_subtype(tmp_path / "lesions", GEOMETRIES[name]), ct)
    assert np.array_equal(mask_of(ct, UNSPECIFIED), sample.made_subtypes(SHAPE) > 0)
    segment = shown.segmentation_node.GetSegmentation().GetSegment(UNSPECIFIED)
    assert segment.GetName() == "Lesion: any type, by the network"
    assert shown.segmentation_node.GetDisplayNode().GetSegmentVisibility(UNSPECIFIED)


def test_without_a_volume_there_is_no_table_of_volumes_on_the_scene(tmp_path: Path):
    ct = a_ct(GEOMETRIES["oblique"])
    show_result(a_result_with_lesions(tmp_path / "lesions", GEOMETRIES["oblique"]), ct)
    assert node_of(ct, result_nodes.LESION_VOLUMES) is not None
    show_result(lesions_of_no_subtype(tmp_path / "other", GEOMETRIES["oblique"]), ct)
    assert node_of(ct, result_nodes.LESION_VOLUMES) is None
    identifiers = shown_result(ct).segmentation_node.GetSegmentation().GetSegmentIDs()
    assert [each for each in identifiers if "Lesion" in each] == [UNSPECIFIED]


def test_the_panel_has_a_row_that_leads_to_the_lesion_and_says_why_no_volume_is_stated(panel, bundle, head_ct):
    bundle.write = with_lesions_of_no_subtype
    applied(panel, head_ct)
    table = panel.ui.volumesTable
    assert table.visible
    assert table.rowCount == 1
    assert [table.item(0, column).text() for column in range(3)] == ["Lesion, any type", "not stated", ""]
    assert table.item(0, 0).toolTip().startswith(sample.REASON)
    assert stands_on(7)
    panel.result.navigation.go_to_first_key_slice()
    assert not stands_on(7)
    click_row(table, 0)
    assert stands_on(7)
    bundle.write = with_lesions
    applied(panel, head_ct)
    assert table.rowCount == 3
    bundle.write = evaluated
    applied(panel, head_ct)
    assert not table.visible


@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_saliency_is_a_volume_on_the_voxels_of_the_ct_that_no_view_shows_by_itself(name: str, tmp_path: Path):
    ct = a_ct(GEOMETRIES[name])
    show_result(with_saliency(tmp_path / "saliency", GEOMETRIES[name]), ct)
    node = node_of(ct, result_nodes.SALIENCY)
    assert np.array_equal(voxels_of(node), saliency())
    assert np.allclose(volume_geometry.ijk_to_ras(node), volume_geometry.ijk_to_ras(ct))
    assert node.GetName() == "CT: predicted saliency"
    assert all(each.GetForegroundVolumeID() != node.GetID() for each in views.composite_nodes())


@pytest.mark.parametrize("kind", list(KINDS))
def test_saliency_says_what_it_is_and_that_it_is_no_evidence(kind: str, tmp_path: Path):
    ct = a_ct(GEOMETRIES["oblique"])
    show_result(with_saliency(tmp_path / "saliency", GEOMETRIES["oblique"], kind), ct)
    description = node_of(ct, result_nodes.SALIENCY).GetDescription()
    assert KINDS[kind] in description
    assert "No evidence of haemorrhage" in description
    assert "Research use only" in description


def test_saliency_goes_with_its_result(tmp_path: Path):
    ct = a_ct(GEOMETRIES["oblique"])
    show_result(with_saliency(tmp_path / "saliency", GEOMETRIES["oblique"]), ct)
    show_result(a_result(tmp_path / "plain", GEOMETRIES["oblique"]), ct)
    assert node_of(ct, result_nodes.SALIENCY) is None
    show_result(with_saliency(tmp_path / "again", GEOMETRIES["oblique"]), ct)
    remove_result(ct)
    assert node_of(ct, result_nodes.SALIENCY) is None


def test_the_reason_must_be_a_text():
    content = sample.document(SHAPE) | {"lesions": sample.lesions_of_no_subtype() | {"volumes_left_out": 3}}
    with pytest.raises(ResultError, match="volumes_left_out"):
        parse_result(json.dumps(content))
    content["lesions"]["volumes_left_out"] = sample.REASON
    assert parse_result(json.dumps(content)).lesions.volumes_left_out == sample.REASON
