"""Two time points of one patient: what has changed, by how much, with which limits; and views that scroll together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

import sample_result_folder as sample
from ICHDiagnosisLib.panel import history_section
from ICHDiagnosisLib.result.comparison import FindingChange, VolumeChange, compare
from ICHDiagnosisLib.result.content import Result
from ICHDiagnosisLib.result.lesions import LesionVolume
from ICHDiagnosisLib.result.reader import parse_result, read_result
from ICHDiagnosisLib.scene.layers import shown_result
from ICHDiagnosisLib.scene.show_result import show_result
from ICHDiagnosisLib.scene.side_by_side import VIEWS, SideBySide, head_top
from ICHDiagnosisLib.scene.volume_input import write_stored_voxels
from panel_cases import click, click_row, unfold
from scene_cases import SHAPE, a_ct, a_result_with_lesions, affine, plane_of

EARLIER, LATER = affine(), affine((4, 0, 0), origin=(40.0, -30.0, 80.0))


def a_head(matrix: np.ndarray, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Return a CT whose two uppermost slices are air."""
    node = a_ct(matrix, name)
    voxels = slicer.util.arrayFromVolume(node)
    voxels[-2:] = -1000
    slicer.util.arrayFromVolumeModified(node)
    return node


def volume_result(folder: Path, ml: float, low: float | None, high: float | None, positive=sample.POSITIVE) -> Result:
    volumes = {"total": (ml, low, high), "extra_axial": (ml, low, high)}
    document = sample.document(SHAPE, positive=positive) | {"lesions": sample.lesions(volumes, bool(positive))}
    subtypes = sample.made_subtypes(SHAPE)
    return read_result(sample.write_folder(folder, document, sample.made_maps(SHAPE), affine(), subtypes))


# What has changed


@pytest.mark.parametrize(
    ("later", "change"),
    [
        ((60.0, 50.0, 70.0), VolumeChange.LARGER),
        ((10.0, 5.0, 19.0), VolumeChange.SMALLER),
        ((44.0, 39.0, 50.0), VolumeChange.WITHIN_LIMITS),
        ((60.0, None, None), VolumeChange.NO_LIMITS),
    ],
)
def test_a_volume_has_changed_only_where_the_limits_do_not_overlap(tmp_path: Path, later: tuple, change: VolumeChange):
    comparison = compare(volume_result(tmp_path / "1", 30.0, 20.0, 40.0), volume_result(tmp_path / "2", *later))
    total, outside = comparison.volumes
    assert (total.group, outside.group, outside.name) == ("total", "extra_axial", "extra-axial")
    assert total.change is change
    assert total.difference_ml == pytest.approx(later[0] - 30.0)


def test_a_lesion_that_is_stated_once_is_not_compared(tmp_path: Path):
    comparison = compare(
        volume_result(tmp_path / "1", 30.0, 20.0, 40.0), volume_result(tmp_path / "2", 1.0, 0.1, 2.0, positive=())
    )
    assert {volume.change for volume in comparison.volumes} == {VolumeChange.NOT_STATED}
    assert comparison.volumes[0].difference_ml is None


def test_findings_are_new_gone_or_the_same():
    earlier = parse_result(_document(("any", "subdural")))
    later = parse_result(_document(("any", "intraparenchymal")))
    changes = {finding.name: finding.change for finding in compare(earlier, later).findings}
    assert changes == {
        "Any intracranial": FindingChange.BOTH,
        "Intraparenchymal": FindingChange.NEW,
        "Subdural": FindingChange.GONE,
    }
    (_, _, nothing) = compare(parse_result(_document(())), parse_result(_document(()))).findings
    assert nothing.change is FindingChange.NEITHER
    assert compare(earlier, later).volumes == ()


def test_what_only_one_result_knows_is_not_compared_and_other_models_are_told():
    earlier, later = parse_result(_document(())), parse_result(_document(()))
    later = replace(later, findings=later.findings[:2], operating_point="high_sensitivity")
    comparison = compare(earlier, later)
    assert [finding.change for finding in comparison.findings][-1] is FindingChange.NOT_KNOWN
    assert not comparison.same_model
    assert compare(earlier, earlier).same_model


def _document(positive: tuple[str, ...]) -> str:
    import json  # noqa: PLC0415 - for this alone

    return json.dumps(sample.document(SHAPE, positive=positive))


# Two views


@pytest.fixture
def two_heads(tmp_path: Path) -> tuple[Any, Any]:
    """Two scans of a head with results, at other places of the scanner's table and at another angle."""
    nodes = []
    for number, (matrix, name) in enumerate(((EARLIER, "first"), (LATER, "second"))):
        node = a_head(matrix, name)
        show_result(a_result_with_lesions(tmp_path / f"{number}", matrix), node)
        nodes.append(node)
    return nodes[0], nodes[1]


def test_each_view_shows_its_volume_and_its_lesion_alone(two_heads):
    before = slicer.app.layoutManager().layout
    plane = plane_of("Yellow")
    side_by_side = SideBySide(*two_heads)
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    for node, name in zip(two_heads, VIEWS, strict=True):
        widget = slicer.app.layoutManager().sliceWidget(name)
        assert widget.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
        display = shown_result(node).segmentation_node.GetDisplayNode()
        assert list(display.GetViewNodeIDs()) == [widget.mrmlSliceNode().GetID()]
    normals = [plane_of(name)[:3, 2] for name in VIEWS]
    for normal, matrix in zip(normals, (EARLIER, LATER), strict=True):
        across = matrix[:3, 2] / np.linalg.norm(matrix[:3, 2])
        assert abs(normal @ across) == pytest.approx(1, abs=1e-6), "each is cut along its own slices"
    side_by_side.close()
    assert slicer.app.layoutManager().layout == before
    assert plane_of("Yellow") == pytest.approx(plane)
    assert not list(shown_result(two_heads[0]).segmentation_node.GetDisplayNode().GetViewNodeIDs())


def test_views_begin_at_the_lesion_as_far_below_the_top_of_each_head(two_heads):
    side_by_side = SideBySide(*two_heads)
    assert side_by_side.aligned
    heights = [plane_of(name)[2, 3] for name in VIEWS]
    tops = [head_top(node) for node in two_heads]
    assert tops[1] - tops[0] > 50
    middle = EARLIER @ [5.5, 7.5, 7, 1]
    assert abs((middle[:3] - plane_of("Red")[:3, 3]) @ plane_of("Red")[:3, 2]) < 0.01, "where the lesion is largest"
    assert tops[0] - heights[0] == pytest.approx(tops[1] - heights[1], abs=1.0)
    side_by_side.close()


def test_views_scroll_together_and_keep_the_distance_at_which_they_were_linked(two_heads):
    side_by_side = SideBySide(*two_heads)
    offsets = [node.GetSliceOffset() for node in side_by_side._slices]
    side_by_side.jump(0, offsets[0] + 10)
    assert side_by_side._slices[1].GetSliceOffset() == pytest.approx(offsets[1] + 10)
    side_by_side.jump(1, offsets[1])
    assert side_by_side._slices[0].GetSliceOffset() == pytest.approx(offsets[0])
    side_by_side.linked = False
    side_by_side.jump(1, offsets[1] + 5)
    assert side_by_side._slices[0].GetSliceOffset() == pytest.approx(offsets[0])
    side_by_side.linked = True
    side_by_side.jump(0, offsets[0] - 5)
    assert side_by_side._slices[1].GetSliceOffset() == pytest.approx(offsets[1])
    side_by_side.close()
    side_by_side._slices[0].SetSliceOffset(0)
    assert side_by_side._slices[1].GetSliceOffset() != pytest.approx(0, abs=1)


def test_the_top_of_a_head_that_the_scan_does_not_hold_is_not_guessed(tmp_path: Path):
    whole, cut, air = a_head(EARLIER, "whole"), a_ct(EARLIER, "cut"), a_ct(EARLIER, "air")
    slicer.util.updateVolumeFromArray(air, np.full(SHAPE[::-1], -1000, dtype=np.int16))
    for number, node in enumerate((whole, cut, air)):
        show_result(a_result_with_lesions(tmp_path / f"{number}", EARLIER), node)
    assert head_top(whole) == pytest.approx((EARLIER @ [5.5, 7.5, SHAPE[2] - 3, 1])[2])
    assert head_top(cut) is None
    assert head_top(air) is None
    side_by_side = SideBySide(whole, cut)
    assert not side_by_side.aligned
    side_by_side.close()


# In the panel


def state_patient(node: slicer.vtkMRMLScalarVolumeNode, identifier: str, date: str) -> None:
    """Give a volume's patient and study the attributes that loading from DICOM gives them."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    patient = hierarchy.GetItemParent(study)
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", "Muster^Anna")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", identifier)
    hierarchy.SetItemAttribute(patient, "DICOM.PatientSex", "F")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientBirthDate", "19500102")
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)


@pytest.fixture
def two_past(panel: Any, tmp_path: Path) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Two volumes that are loaded and in the history; the one that was analysed first is the later study."""
    nodes = []
    for name, ml, limits in (("follow-up", 60.0, (50.0, 70.0)), ("admission", 30.0, (20.0, 40.0))):
        node = a_head(affine(), name)
        result = volume_result(tmp_path / name, ml, *limits)
        panel.history._history.record(name, "A sentence.", (), result.model.version, result.folder)
        nodes.append(node)
    unfold(panel.ui.historySection)
    return nodes


def choose_both(panel: Any) -> None:
    table = panel.ui.historyTable
    click_row(table, 0)
    place = table.visualItemRect(table.item(1, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, place)


def rows_of(table: Any) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def test_two_time_points_are_compared_by_their_study_dates(panel, two_past):
    state_patient(two_past[0], "4711", "20260508")
    state_patient(two_past[1], "4711", "20260501")
    assert not panel.ui.historyCompareButton.enabled
    choose_both(panel)
    assert not panel.ui.historyOpenButton.enabled
    click(panel.ui.historyCompareButton)
    ui = panel.ui
    assert ui.comparisonTitle.text == "earlier: admission · later: follow-up"
    assert rows_of(ui.comparisonTable)[:2] == [
        ["Lesion, total", "30 ml (20 to 40)", "60 ml (50 to 70)", "+30 ml, larger"],
        ["Lesion, extra-axial", "30 ml (20 to 40)", "60 ml (50 to 70)", "+30 ml, larger"],
    ]
    assert ["Subdural", "91 %", "91 %", "positive in both"] in rows_of(ui.comparisonTable)
    assert "make sure that both are of one patient" not in ui.comparisonLabel.text
    assert not ui.patientLabel.visible, "not allowed, not shown"
    assert panel.history.comparison.views.linked
    QTest.mouseClick(ui.linkViewsBox, Qt.MouseButton.LeftButton, pos=QPoint(8, ui.linkViewsBox.height // 2))
    assert not panel.history.comparison.views.linked
    click(ui.closeComparisonButton)
    assert not ui.comparisonFrame.visible
    assert panel.history.comparison.views is None


def test_patient_attributes_are_shown_where_that_is_allowed_and_stored_nowhere(panel, two_past, tmp_path: Path):
    for node, date in zip(two_past, ("20260508", "20260501"), strict=True):
        state_patient(node, "4711", date)
    assert not panel.logic.settings.show_patient
    click_row(panel.ui.historyTable, 0)
    click(panel.ui.historyOpenButton)
    assert not panel.ui.patientLabel.visible
    panel.ui.patientAttributesBox.checked = True
    assert panel.logic.settings.show_patient
    click(panel.ui.historyOpenButton)
    assert panel.ui.patientLabel.text == (
        "Name: Muster Anna · Patient ID: 4711 · Sex: F · Born: 1950-01-02 · Study of 2026-05-01"
    )
    choose_both(panel)
    click(panel.ui.historyCompareButton)
    assert panel.ui.patientLabel.text.count("Muster") == 2
    assert "Muster" not in panel.logic.getParameterNode().parameterNode.GetParameterNamesAsCommaSeparatedList()
    assert b"Muster" not in panel.history._history.file.read_bytes()
    assert b"4711" not in panel.history._history.file.read_bytes()
    panel.ui.patientAttributesBox.checked = False
    assert not panel.ui.patientLabel.visible


def test_studies_that_are_not_loaded_are_loaded_to_be_compared(panel, two_past, tmp_path: Path):
    for number, node in enumerate(two_past):
        file = write_stored_voxels(node, tmp_path / f"{number}.nrrd")
        (past,) = panel.history._history.search(node.GetName())
        panel.history._history.record(node.GetName(), "", (), "", past.result_folder, ct_place=file)
        panel.history._history.delete(past.identifier)
        slicer.mrmlScene.RemoveNode(node)
    panel.history.refresh()
    choose_both(panel)
    click(panel.ui.historyCompareButton)
    assert panel.ui.historyLabel.text == ""
    assert panel.ui.comparisonTitle.text == "earlier: follow-up · later: admission"
    assert "Not registered: slices are aligned by the top of the head alone" in panel.ui.comparisonLabel.text
    (tmp_path / "1.nrrd").unlink()
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("admission"))
    click(panel.ui.historyCompareButton)
    assert panel.ui.historyLabel.text.startswith(f"The CT of admission is no longer at {tmp_path / '1.nrrd'}")
    assert not panel.ui.comparisonFrame.visible


def test_a_volume_without_attributes_and_a_date_that_is_none_are_told_as_they_are(panel, two_past):
    panel.ui.patientAttributesBox.checked = True
    click_row(panel.ui.historyTable, 0)
    click(panel.ui.historyOpenButton)
    assert panel.ui.patientLabel.text == "The loaded volume states no patient attributes."
    assert history_section._date("spring") == "spring"
    choose_both(panel)
    click(panel.ui.historyCompareButton)
    assert "make sure that both are of one patient" in panel.ui.comparisonLabel.text
    assert "state no date" in panel.ui.comparisonLabel.text
    assert panel.ui.comparisonTitle.text == "earlier: follow-up · later: admission", "as they were analysed"
    slicer.mrmlScene.Clear(False)
    assert not panel.ui.comparisonFrame.visible
    assert not panel.ui.patientLabel.visible


def test_what_cannot_be_compared_is_refused_with_the_reason(panel, two_past, tmp_path: Path):
    label = panel.ui.historyLabel
    state_patient(two_past[0], "4711", "20260508")
    state_patient(two_past[1], "4712", "20260501")
    choose_both(panel)
    click(panel.ui.historyCompareButton)
    assert label.text == "The two volumes state different patient IDs: they are not compared."
    assert "4711" not in label.text
    slicer.mrmlScene.RemoveNode(two_past[1])
    click(panel.ui.historyCompareButton)
    assert label.text.startswith("The CT of admission is not loaded, and it is not known where it lies")
    panel.history._history.record("follow-up", "Again.", (), "0.1.0", tmp_path / "follow-up")
    panel.history.refresh()
    panel.ui.historySearch.setText("follow-up")
    choose_both(panel)
    click(panel.ui.historyCompareButton)
    assert label.text.startswith("Both analyses are of the same volume")
    refused = sample.write_folder(tmp_path / "refused", sample.refusal(), {}, affine())
    a_head(affine(), "refused")
    panel.history._history.record("refused", "", (), "0.1.0", refused)
    panel.ui.historySearch.setText("")
    panel.history.refresh()
    choose_both(panel)
    click(panel.ui.historyCompareButton)
    assert label.text == "refused could not be evaluated: there is nothing to compare."


def test_limits_that_were_not_measured_are_told(panel, two_past, tmp_path: Path):
    volumes = (LesionVolume("total", 3.2, None, None), None)
    from ICHDiagnosisLib.panel.comparison_view import _millilitres  # noqa: PLC0415 - needs the host

    assert [_millilitres(volume) for volume in volumes] == ["3.2 ml", "none stated"]
