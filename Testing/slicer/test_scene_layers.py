"""Segments, attribution map and slice views: what is shown of a result, at which threshold, and what is put back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st

import host
import sample_result_folder as sample
from ICHDiagnosisLib.scene import segments, views
from ICHDiagnosisLib.scene.layers import set_attribution_map, set_threshold, shown_result, toggle_layers
from ICHDiagnosisLib.scene.show_result import ATTRIBUTION_COLOURS, show_result
from ICHDiagnosisLib.scene.slice_positions import jump_to_finding
from ICHDiagnosisLib.scene.views import set_brain_window
from scene_cases import (
    GEOMETRIES,
    SHAPE,
    a_ct,
    a_result,
    affine,
    mask_of,
    plane_of,
)


def test_segments_carry_their_colour_name_and_terminology(ct, result):
    node = show_result(result, ct).segmentation_node
    segment = node.GetSegmentation().GetSegment(segments.gradcam_segment_id("subdural"))
    assert segment.GetName() == "Grad-CAM subdural >= 50 %: evidence, not a lesion mask"
    assert np.allclose(np.multiply(segment.GetColor(), 255), (120, 190, 60))
    key_slices = node.GetSegmentation().GetSegment(segments.KEY_SLICES_ID)
    assert key_slices.GetName() == "Slice attention: key slices"
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    found = (
        entry.GetCategoryObject(),
        entry.GetTypeObject(),
        entry.GetRegionObject(),
        entry.GetRegionModifierObject(),
    )
    assert [(c.GetCodingSchemeDesignator(), c.GetCodeValue()) for c in found] == [
        ("SCT", "49755003"),
        ("SCT", "50960005"),
        ("SCT", "18545000"),
        ("SCT", "260521003"),
    ]
    assert logic.DeserializeTerminologyEntry(key_slices.GetTerminology(), entry)
    assert (entry.GetTypeObject().GetCodeMeaning(), entry.GetRegionObject().GetCodeMeaning()) == ("Of Interest", "Head")


def test_a_code_whose_meaning_holds_separators_cannot_break_the_terminology():
    code = segments.Code("SCT", "1", "a~b^c")
    assert segments.terminology_entry(code, code, code).count("~") == 6


def test_negative_findings_are_there_but_hidden(ct, result):
    shown = show_result(result, ct)
    display = shown.segmentation_node.GetDisplayNode()
    visible = {label: display.GetSegmentVisibility(segments.gradcam_segment_id(label)) for label in sample.LABELS}
    assert visible == {"any": True, "intraparenchymal": False, "subdural": True}
    assert display.GetSegmentVisibility(segments.KEY_SLICES_ID)
    assert shown.attribution_label == "subdural"


def test_a_negative_study_shows_no_attribution_map_and_no_segment(ct, tmp_path: Path):
    shown = show_result(a_result(tmp_path / "negative", GEOMETRIES["oblique"], positive=()), ct)
    display = shown.segmentation_node.GetDisplayNode()
    identifiers = [segments.KEY_SLICES_ID, *map(segments.gradcam_segment_id, sample.LABELS)]
    assert not any(display.GetSegmentVisibility(identifier) for identifier in identifiers)
    assert all(not composite.GetForegroundVolumeID() for composite in views.composite_nodes())
    set_attribution_map(ct, "subdural", 0.5, 50)
    assert all(composite.GetForegroundVolumeID() for composite in views.composite_nodes())


def test_nothing_is_ever_shown_in_three_dimensions_or_as_a_fraction(ct, result):
    node = show_result(result, ct).segmentation_node
    set_threshold(ct, 20)
    assert not node.GetDisplayNode().GetVisibility3D()
    names = node.GetSegmentation().GetContainedRepresentationNames
    contained: list[str] = []
    names(contained)
    assert contained == [segments.BINARY_LABELMAP]


@given(threshold=st.floats(min_value=0.1, max_value=100))
@settings(max_examples=15)
def test_a_new_threshold_segments_anew_what_reaches_it(threshold: float, tmp_path_factory: pytest.TempPathFactory):
    host.empty_scene()
    ct, maps = a_ct(affine()), sample.made_maps(SHAPE)
    shown = show_result(a_result(tmp_path_factory.mktemp("threshold") / "result", affine(), maps), ct)
    set_threshold(ct, threshold)
    for label in sample.LABELS:
        truth = (maps[label] >= threshold / 100 * 255) & (maps[label] > 0)
        assert np.array_equal(mask_of(ct, segments.gradcam_segment_id(label)), truth)
        display = shown.attribution_maps[label].GetDisplayNode()
        assert display.GetApplyThreshold()
        assert np.array_equal(maps[label] >= display.GetLowerThreshold(), truth)
    assert shown_result(ct).threshold == pytest.approx(threshold, rel=1e-5)
    name = shown.segmentation_node.GetSegmentation().GetSegment(segments.gradcam_segment_id("subdural")).GetName()
    assert f">= {threshold:g} %" in name


@pytest.mark.parametrize("threshold", [0, -5, 100.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(ct, result, threshold: float):
    show_result(result, ct)
    with pytest.raises(ValueError, match="above 0 %"):
        set_threshold(ct, threshold)


def test_the_attribution_map_is_the_foreground_of_the_views_at_its_opacity(ct, result):
    shown = show_result(result, ct)
    set_attribution_map(ct, "any", 0.3, 60)
    for composite in views.composite_nodes():
        assert composite.GetBackgroundVolumeID() == ct.GetID()
        assert composite.GetForegroundVolumeID() == shown.attribution_maps["any"].GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    display = shown.attribution_maps["any"].GetDisplayNode()
    assert display.GetColorNodeID() == ATTRIBUTION_COLOURS
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 255)
    assert display.GetLowerThreshold() == 153
    with pytest.raises(KeyError):
        set_attribution_map(ct, "fracture", 0.5, 50)
    with pytest.raises(ValueError, match="opacity"):
        set_attribution_map(ct, "any", 1.5, 50)


def test_layers_can_be_hidden_and_brought_back_with_the_users_own_foreground_between(ct, result):
    users = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="user's")
    for composite in views.composite_nodes():
        composite.SetForegroundVolumeID(users.GetID())
        composite.SetForegroundOpacity(0.25)
    shown = show_result(result, ct)
    toggle_layers(ct, False)
    assert not shown_result(ct).layers_visible
    assert not shown.segmentation_node.GetDisplayNode().GetVisibility()
    for composite in views.composite_nodes():
        assert (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()) == (users.GetID(), 0.25)
    set_attribution_map(ct, "any", 0.7, 50)
    assert all(composite.GetForegroundVolumeID() == users.GetID() for composite in views.composite_nodes())
    toggle_layers(ct, True)
    assert shown.segmentation_node.GetDisplayNode().GetVisibility()
    for composite in views.composite_nodes():
        assert composite.GetForegroundVolumeID() == shown.attribution_maps["any"].GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.7)


def test_a_finding_is_found_on_the_key_slice_where_its_evidence_is_strongest(ct, tmp_path: Path):
    maps = {label: np.zeros(SHAPE, np.uint8) for label in (None, *sample.LABELS)}
    maps["subdural"][4, 9, 5] = 200
    maps["subdural"][4:8, 9, 12] = 255
    show_result(a_result(tmp_path / "result", GEOMETRIES["oblique"], maps), ct)
    assert jump_to_finding(ct, "subdural") == 5
    plane = plane_of("Red")
    assert (GEOMETRIES["oblique"][:3] @ [4, 9, 5, 1] - plane[:3, 3]) @ plane[:3, 2] == pytest.approx(0, abs=1e-6)
    assert jump_to_finding(ct, "any") in sample.KEY_SLICES
    with pytest.raises(KeyError):
        jump_to_finding(ct, "fracture")


def test_the_brain_window_is_centre_40_width_80(ct):
    set_brain_window(ct)
    display = ct.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (80, 40, False)
