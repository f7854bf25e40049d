"""The panel, used like a user does: choose a CT, press Apply, watch, read, and step through the evidence."""

from __future__ import annotations

import numpy as np
import pytest

import sample_result_folder as sample
from ICHDiagnosisLib.messages import message
from ICHDiagnosisLib.panel.attention_plot import OUTPUT_COLOUR, OUTPUT_ROW, spans
from ICHDiagnosisLib.scene import segments, views
from ICHDiagnosisLib.scene.layers import remove_result, shown_result
from ICHDiagnosisLib.scene.slice_positions import jump_to_slice
from panel_cases import (
    applied,
    click,
    click_bar,
    click_row,
    foreground,
    negative,
    of_version_1,
    press,
    stands_on,
    unfold,
    wait,
    with_lesions,
    with_slice_labels,
)
from scene_cases import SHAPE, a_ct, affine, mask_of

# --- before Apply


def test_the_research_notice_is_there_before_anything_else(panel):
    assert panel.ui.researchLabel.visible
    assert panel.ui.researchLabel.text.startswith("Research use only")
    assert not panel.ui.resultSection.visible


def test_apply_states_what_is_missing_and_is_free_when_nothing_is(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip.startswith("Choose a head CT")
    assert panel.ui.hintLabel.text == panel.ui.applyButton.toolTip
    panel.ui.inputSelector.setCurrentNode(a_ct(affine()))
    assert panel.ui.applyButton.enabled
    assert not panel.ui.hintLabel.visible
    panel.ui.outputFolderEdit.setCurrentPath("")
    assert panel.ui.applyButton.toolTip == "Choose a folder for the results, with its whole path."


def test_the_volume_on_the_screen_is_chosen_when_the_module_is_opened(opened, head_ct):
    opened.exit()
    other = a_ct(affine(), "other")
    for composite in views.composite_nodes():
        composite.SetBackgroundVolumeID(other.GetID())
    opened.enter()
    assert opened.panel.ui.inputSelector.currentNode() is other


def test_the_panel_states_where_the_voxels_come_from(panel, head_ct):
    panel.ui.inputSelector.setCurrentNode(head_ct)
    assert panel.ui.sourceLabel.text.startswith("Not from DICOM")
    from_dicom = a_ct(affine(), "from DICOM")
    from_dicom.SetAttribute("DICOM.instanceUIDs", " ".join(f"1.2.{k}" for k in range(SHAPE[2])))
    panel.ui.inputSelector.setCurrentNode(from_dicom)
    assert panel.ui.sourceLabel.text.startswith("From DICOM, but its original files were not found")
    unfold(panel.ui.optionsSection)
    click(panel.ui.originalFilesBox)
    assert panel.ui.sourceLabel.text.endswith("as chosen under Options.")


# --- the walk


def test_apply_becomes_cancel_and_progress_names_its_stages(panel, bundle, head_ct):
    seen: list[tuple[str, int]] = []
    panel.ui.progressBar.valueChanged.connect(lambda value: seen.append((panel.ui.statusLabel.text, value)))
    bundle.hold_at = "explanation"
    panel.ui.inputSelector.setCurrentNode(head_ct)
    click(panel.ui.applyButton)
    assert panel.ui.applyButton.text == "Cancel"
    wait(lambda: panel.ui.statusLabel.text == "Computing the explanation")
    assert panel.ui.progressBar.visible
    assert panel.ui.progressBar.value == 50
    assert "INFO slices" in panel.ui.logEdit.plainText
    bundle.hold_at = None
    wait(lambda: not panel.running)
    assert [value for _, value in seen if value > 0] == [25, 50, 75, 100]
    assert panel.ui.applyButton.text == "Apply"
    assert not panel.ui.progressBar.visible
    assert not panel.ui.statusLabel.visible


def test_the_impression_is_that_of_the_result_and_the_table_has_its_bars(panel, head_ct):
    applied(panel, head_ct)
    ui = panel.ui
    assert ui.impressionLabel.text == "Impression of the file: any, subdural (91\N{NO-BREAK SPACE}%)"
    assert ui.cautionLabel.text == "Caution of the file: an estimate."
    assert ui.warningLabel.text == "⚠ Slices of 5 mm"
    rows = [[ui.findingsTable.item(row, column).text() for column in (0, 2, 3, 4)] for row in range(3)]
    assert rows == [
        ["Any intracranial", "91 %", "50 %", "positive"],
        ["Intraparenchymal", "12 %", "50 %*", "negative"],
        ["Subdural", "91 %", "50 %", "positive"],
    ]
    hints = [ui.findingsTable.item(row, 3).toolTip() for row in range(3)]
    assert [message("finding.default_threshold") in hint for hint in hints] == [False, True, False]
    assert not ui.findingsTable.cellWidget(0, 1).pixmap.isNull()
    assert ui.provenanceLabel.text == "ICHDiagnosis 0.1.0 · DrCT2 · operating point balanced · cpu · 1.5 s"


def test_the_views_go_to_the_leading_key_slice_in_a_brain_window_with_the_attribution_map_on(panel, head_ct):
    applied(panel, head_ct)
    assert panel.result.navigation.current in sample.KEY_SLICES
    assert stands_on(panel.result.navigation.current)
    assert (head_ct.GetDisplayNode().GetWindow(), head_ct.GetDisplayNode().GetLevel()) == (80, 40)
    assert foreground() == shown_result(head_ct).attribution_maps["subdural"].GetID()
    assert panel.ui.attributionBox.currentText == "Subdural"


def test_a_click_on_a_finding_leads_to_its_key_slice(panel, head_ct):
    applied(panel, head_ct)
    head_ct.GetDisplayNode().SetWindowLevel(2000, 500)
    jump_to_slice(head_ct, 15)
    click_row(panel.ui.findingsTable, 0)
    shown = shown_result(head_ct)
    assert shown.attribution_label == "any"
    assert foreground() == shown.attribution_maps["any"].GetID()
    assert panel.result.navigation.current in sample.KEY_SLICES
    assert stands_on(panel.result.navigation.current)
    assert head_ct.GetDisplayNode().GetWindow() == 80


def test_the_map_of_a_negative_finding_is_shown_only_when_asked_for(panel, head_ct):
    applied(panel, head_ct)
    ui = panel.ui
    offered = [ui.attributionBox.itemText(index) for index in range(ui.attributionBox.count)]
    assert offered == ["None", "Any intracranial", "Subdural"]
    click_row(ui.findingsTable, 1)
    assert foreground() is None
    assert stands_on(panel.result.navigation.current)
    click(ui.negativeMapsBox)
    assert ui.attributionBox.count == 4
    click_row(ui.findingsTable, 1)
    assert foreground() == shown_result(head_ct).attribution_maps["intraparenchymal"].GetID()
    click(ui.negativeMapsBox)
    assert foreground() is None
    assert (ui.attributionBox.count, ui.attributionBox.currentIndex) == (3, 0)


def test_the_choice_of_negative_maps_is_saved_with_the_scene(panel, head_ct):
    applied(panel, head_ct)
    assert not panel.parameters().negativeMaps
    click(panel.ui.negativeMapsBox)
    assert panel.parameters().negativeMaps


# --- lesions


def test_the_views_go_to_the_lesion_and_the_table_states_its_volume(panel, bundle, head_ct):
    bundle.write = with_lesions
    applied(panel, head_ct)
    assert panel.result.navigation.current == 7
    assert stands_on(7)
    assert foreground() is None
    assert head_ct.GetDisplayNode().GetWindow() == 80
    table = panel.ui.volumesTable
    assert table.visible
    rows = [[table.item(row, column).text() for column in range(3)] for row in range(3)]
    assert rows == [
        ["Lesion, total", "31 ml", "20 to 45 ml"],
        ["Lesion, extra-axial", "28 ml", "19 to 41 ml"],
        ["Lesion, parenchymal", "3.2 ml", "not measured"],
    ]
    assert table.horizontalHeaderItem(2).text() == "90 % between"


def test_a_click_on_a_volume_leads_to_its_lesion(panel, bundle, head_ct):
    bundle.write = with_lesions
    applied(panel, head_ct)
    click_row(panel.ui.volumesTable, 2)
    assert panel.result.navigation.current == 11
    assert stands_on(11)
    click_row(panel.ui.volumesTable, 0)
    assert stands_on(7)


def test_a_click_on_a_finding_leads_to_its_lesion_and_to_its_map_once_that_was_chosen(panel, bundle, head_ct):
    bundle.write = with_lesions
    applied(panel, head_ct)
    jump_to_slice(head_ct, 15)
    click_row(panel.ui.findingsTable, 2)
    assert stands_on(7)
    assert foreground() is None
    panel.ui.attributionBox.setCurrentIndex(2)
    assert foreground() == shown_result(head_ct).attribution_maps["subdural"].GetID()
    click_row(panel.ui.findingsTable, 2)
    assert panel.result.navigation.current in sample.KEY_SLICES


def test_a_result_without_lesions_has_no_table_of_volumes(panel, bundle, head_ct):
    bundle.write = with_lesions
    applied(panel, head_ct)
    bundle.write = negative
    applied(panel, head_ct)
    assert not panel.ui.volumesTable.visible


def test_a_click_on_a_probability_bar_counts_as_one_on_its_row(panel, head_ct):
    applied(panel, head_ct)
    click_row(panel.ui.findingsTable, 0, column=1)
    assert shown_result(head_ct).attribution_label == "any"


def test_key_slices_are_stepped_through_by_buttons_and_by_keys(panel, head_ct):
    applied(panel, head_ct)
    first, second = sorted(sample.KEY_SLICES)
    panel.result.navigation.go_to(0)
    assert panel.ui.sliceLabel.text == "Slice 1"
    click(panel.ui.nextButton)
    assert panel.ui.sliceLabel.text == f"Slice {first + 1} · 1 of 2 key slices, in scan order"
    assert stands_on(first)
    press(panel, "N")
    assert stands_on(second)
    press(panel, "N")
    assert stands_on(first)
    press(panel, "P")
    assert stands_on(second)
    click(panel.ui.previousButton)
    assert stands_on(first)


def test_a_click_on_a_bar_leads_to_its_slice(panel, head_ct):
    applied(panel, head_ct)
    click_bar(panel.ui.attentionPlot, 0.97)
    assert panel.result.navigation.current == SHAPE[2] - 1
    assert stands_on(SHAPE[2] - 1)
    click_bar(panel.ui.attentionPlot, 0.5)
    assert stands_on(panel.result.navigation.current)
    assert panel.result.navigation.current in (9, 10)


def test_a_row_below_the_attention_shows_the_network_s_output_for_each_slice(panel, bundle, head_ct):
    applied(panel, head_ct)
    assert panel.ui.plotTitle.text == message("plot.hint")
    assert heights_of_outputs(panel) == [0] * SHAPE[2]
    bundle.write = with_slice_labels
    applied(panel, head_ct)
    assert panel.ui.plotTitle.text == message("plot.hint_with_outputs")
    heights = heights_of_outputs(panel)
    assert heights.index(max(heights)) == sample.SURE_SLICE
    assert max(heights) == pytest.approx(0.9 * OUTPUT_ROW, abs=1)
    assert heights[sample.UNREAD_SLICE] == 0
    plot = panel.result.navigation.plot
    bars = spans(panel.ui.attentionPlot.width, SHAPE[2])
    hints = [plot.hint(bars[index].begin) for index in (sample.UNREAD_SLICE, sample.SURE_SLICE)]
    assert ["90 %, no finding by itself" in hint for hint in hints] == [False, True]
    assert hints[1].startswith(f"Slice {sample.SURE_SLICE + 1}: ")


def heights_of_outputs(panel) -> list[int]:
    """Return how many pixels of each slice's bar are painted in the colour of the slice classifier's values."""
    image = panel.ui.attentionPlot.pixmap.toImage()
    ratio = image.devicePixelRatio()
    bars = spans(panel.ui.attentionPlot.width, SHAPE[2])
    columns = [round((bar.begin + bar.painted // 2) * ratio) for bar in bars]
    painted = [
        [image.pixelColor(column, row).getRgb()[:3] == OUTPUT_COLOUR for row in range(image.height())]
        for column in columns
    ]
    return [round(sum(rows) / ratio) for rows in painted]


def test_a_new_threshold_colours_and_segments_anew_at_once(panel, head_ct):
    applied(panel, head_ct)
    panel.ui.thresholdSlider.setValue(80)
    truth = sample.made_maps(SHAPE)["subdural"] >= 204
    assert np.array_equal(mask_of(head_ct, segments.gradcam_segment_id("subdural")), truth)
    assert shown_result(head_ct).attribution_maps["subdural"].GetDisplayNode().GetLowerThreshold() == 204
    panel.ui.opacitySlider.setValue(20)
    assert next(views.composite_nodes()).GetForegroundOpacity() == pytest.approx(0.2)


def test_threshold_and_opacity_are_kept_for_the_next_result(panel, head_ct):
    applied(panel, head_ct)
    panel.ui.thresholdSlider.setValue(70)
    panel.ui.opacitySlider.setValue(30)
    applied(panel, head_ct)
    shown = shown_result(head_ct)
    assert (shown.threshold, shown.opacity) == (70, pytest.approx(0.3))
    assert panel.ui.thresholdSlider.value == 70


def test_one_key_hides_and_shows_all_layers(panel, head_ct):
    applied(panel, head_ct)
    press(panel, "H")
    assert foreground() is None
    assert not shown_result(head_ct).segmentation_node.GetDisplayNode().GetVisibility()
    assert not panel.ui.layersButton.checked
    press(panel, "H")
    assert foreground() is not None
    click(panel.ui.layersButton)
    assert foreground() is None


def test_the_attribution_map_can_be_taken_off_and_another_one_chosen(panel, head_ct):
    applied(panel, head_ct)
    panel.ui.attributionBox.setCurrentIndex(0)
    assert foreground() is None
    panel.ui.attributionBox.setCurrentIndex(1)
    assert shown_result(head_ct).attribution_label == "any"


def test_attribution_maps_are_not_offered_as_head_cts(panel, head_ct):
    applied(panel, head_ct)
    offered = [panel.ui.inputSelector.itemText(index) for index in range(panel.ui.inputSelector.count)]
    assert offered == ["None", "CT"]


def test_a_negative_study_is_not_called_healthy(panel, bundle, head_ct):
    bundle.write = negative
    applied(panel, head_ct)
    assert panel.ui.impressionLabel.text == "Impression of the file: nothing found"
    assert panel.ui.cautionLabel.text == "Caution of the file: small bleeds can be missed."
    assert foreground() is None
    assert stands_on(min(sample.KEY_SLICES, key=sample.KEY_SLICES.get))


def test_a_result_of_an_earlier_version_is_shown_with_the_count_of_its_findings(panel, bundle, head_ct):
    bundle.write = of_version_1
    applied(panel, head_ct)
    text = "Result of an earlier version: 2 findings at or above their threshold"
    assert panel.ui.impressionLabel.text == text
    assert panel.ui.findingsTable.item(2, 4).text() == "positive"
    unfold(panel.ui.historySection)
    assert panel.ui.historyTable.item(0, 2).text() == text
    assert panel.ui.provenanceLabel.text.endswith("· 1.5 s")


def test_nodes_removed_by_hand_do_no_harm(panel, head_ct):
    applied(panel, head_ct)
    remove_result(head_ct)
    click_row(panel.ui.findingsTable, 1)
    press(panel, "N")
    press(panel, "H")
    panel.ui.thresholdSlider.setValue(10)
    assert shown_result(head_ct) is None
