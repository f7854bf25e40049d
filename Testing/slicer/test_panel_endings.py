"""The panel when it goes otherwise: not evaluable, cancelled, failed; and when the scene around it changes."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
import slicer

from ICHDiagnosisLib.analysis import CannotStartError
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.scene.layers import shown_result
from panel_cases import PlayedBundle, an_open_panel, applied, click, click_row, foreground, press, refused, wait
from scene_cases import a_ct, affine


def test_not_evaluable_takes_the_place_of_results(panel, bundle, head_ct):
    bundle.write = refused
    applied(panel, head_ct)
    assert panel.ui.impressionLabel.text == "Not evaluable: 7 slices, at least 12 needed"
    assert not panel.ui.evaluatedFrame.visible
    assert "nothing is known of it" in panel.ui.cautionLabel.text


def test_cancel_ends_the_analysis_and_brings_an_earlier_result_back(panel, bundle, head_ct):
    applied(panel, head_ct)
    bundle.hold_at = "slices"
    click(panel.ui.applyButton)
    assert not panel.ui.resultSection.visible
    click(panel.ui.applyButton)
    assert (panel.ui.applyButton.text, panel.ui.applyButton.enabled) == ("Cancelling…", False)
    wait(lambda: not panel.running)
    assert panel.ui.statusLabel.text == "The analysis was cancelled."
    assert panel.ui.applyButton.text == "Apply"
    assert panel.ui.applyButton.enabled
    assert "This is the result of an earlier analysis." in panel.ui.warningLabel.text


def test_a_second_analysis_cannot_begin_while_one_runs(panel, bundle, head_ct):
    bundle.hold_at = "slices"
    panel.ui.inputSelector.setCurrentNode(head_ct)
    click(panel.ui.applyButton)
    assert not panel.ui.inputSelector.enabled
    assert not panel.ui.batchVolumesButton.enabled
    with pytest.raises(CannotStartError, match="running"):
        panel.logic.start_analysis()
    assert len(bundle.requests) == 1


def test_a_full_graphics_card_offers_the_cpu(panel, bundle, head_ct):
    bundle.errors, bundle.write = ("ERROR torch.OutOfMemoryError: CUDA out of memory",), lambda _request: 1
    applied(panel, head_ct)
    assert panel.ui.statusLabel.text.startswith("The graphics card ran out of memory.")
    assert panel.ui.remedyButton.text == "Run again on the CPU"
    bundle.errors, bundle.write = (), PlayedBundle().write
    click(panel.ui.remedyButton)
    wait(lambda: not panel.running)
    assert bundle.requests[-1].device == "cpu"
    assert panel.ui.resultSection.visible
    assert not panel.ui.remedyButton.visible


def test_another_failure_offers_the_log(panel, bundle, head_ct):
    bundle.errors, bundle.write = ("ERROR something broke",), lambda _request: 1
    applied(panel, head_ct)
    assert panel.ui.logSection.collapsed
    click(panel.ui.remedyButton)
    assert not panel.ui.logSection.collapsed
    assert "something broke" in panel.ui.logEdit.plainText


# --- the scene around the panel


def children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_closing_the_scene_ends_a_child_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = "import time\nprint('PROGRESS 1/4 slices', flush=True)\ntime.sleep(600)"
    runner = BundleProcess(build=lambda _request: [sys.executable, "-c", program])
    with an_open_panel(tmp_path, monkeypatch, runner) as module_widget:
        panel = module_widget.panel
        before = children()
        panel.ui.inputSelector.setCurrentNode(a_ct(affine()))
        click(panel.ui.applyButton)
        wait(lambda: panel.ui.statusLabel.text == "Classifying every slice")
        assert children() - before
        slicer.mrmlScene.Clear(False)
        assert not children() - before
        assert not panel.running
        assert panel.ui.inputSelector.currentNode() is None
        assert not panel.ui.resultSection.visible


def test_a_reloaded_scene_shows_its_result_again(opened, tmp_path: Path, head_ct):
    panel = opened.panel
    applied(panel, head_ct)
    panel.ui.thresholdSlider.setValue(65)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert not panel.ui.resultSection.visible
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    assert panel.ui.impressionLabel.text.startswith("Impression of the file: any, subdural")
    assert panel.ui.thresholdSlider.value == 65
    click_row(panel.ui.findingsTable, 0)
    again = panel.ui.inputSelector.currentNode()
    assert shown_result(again).attribution_label == "any"
    assert not panel.ui.reportButton.enabled


def test_another_volume_shows_its_own_result_or_none(panel, head_ct):
    applied(panel, head_ct)
    panel.ui.inputSelector.setCurrentNode(a_ct(affine(), "other"))
    assert not panel.ui.resultSection.visible
    panel.ui.inputSelector.setCurrentNode(head_ct)
    assert panel.ui.resultSection.visible
    assert panel.ui.reportButton.enabled


def test_shortcuts_belong_to_the_module_only_while_it_is_open(opened, head_ct):
    applied(opened.panel, head_ct)
    opened.exit()
    press(opened.panel, "H")
    assert foreground() is not None
    opened.enter()
    press(opened.panel, "H")
    assert foreground() is None
