"""The sections of the panel around the result: export, history, many at once."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import slicer
from PySide6.QtGui import QImage

from history_cases import begin_as_version_1
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.panel import history_section, result_export
from ICHDiagnosisLib.scene.layers import remove_result, shown_result
from ICHDiagnosisLib.scene.study_volume import place_of
from ICHDiagnosisLib.scene.volume_input import write_stored_voxels
from panel_cases import applied, click, click_row, refused, unfold, wait
from scene_cases import a_ct, affine


@pytest.fixture
def opened_by_system(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What a browser or a file manager would have been given."""
    paths: list[Path] = []
    for module in (result_export, history_section):
        monkeypatch.setattr(module, "open_with_system", paths.append)
    monkeypatch.setattr("ICHDiagnosisLib.panel.batch_section.open_with_system", paths.append)
    return paths


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


# --- export


def test_report_and_folder_are_opened_from_the_result(panel, head_ct, opened_by_system, tmp_path: Path):
    applied(panel, head_ct)
    click(panel.ui.reportButton)
    click(panel.ui.folderButton)
    report, folder = opened_by_system
    assert report == folder / "report.html"
    assert report.is_file()
    assert folder.is_relative_to(tmp_path / "results")


def test_findings_grow_a_table_line_by_line(panel, head_ct, tmp_path: Path):
    applied(panel, head_ct)
    table = tmp_path / "findings.csv"
    for _ in range(2):
        click(panel.ui.tableButton)
        panel.export.dialog.selectFile(str(table))
        panel.export.dialog.accept()
        wait(lambda: panel.ui.exportLabel.text == "Added to findings.csv.")
        panel.export.refresh()
    assert [line["subdural_positive"] for line in lines_of(table)] == ["1", "1"]
    table.write_text("something else\n", encoding="utf-8")
    panel.export.save_table(table)
    assert panel.ui.exportLabel.text == "findings.csv has other columns: choose another file."


def test_an_image_of_the_view_states_what_it_is(panel, head_ct, tmp_path: Path):
    applied(panel, head_ct)
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetDimensions(160, 120, 1)
    panel.export.save_view_image(tmp_path / "slice.png")
    image = QImage(str(tmp_path / "slice.png"))
    assert image.width() == 160
    assert 120 < image.height() < 160
    caption = [image.pixelColor(x, y).value() for x in range(160) for y in range(121, image.height())]
    assert max(caption) > 150
    panel.export.save_view_image(tmp_path / "nowhere" / "slice.png")
    assert panel.ui.exportLabel.text == "slice.png cannot be written."


# --- history


def test_past_analyses_are_searched_opened_again_and_forgotten(panel, head_ct, opened_by_system):
    applied(panel, head_ct)
    ui = panel.ui
    unfold(ui.historySection)
    assert ui.historyTable.rowCount == 1
    assert ui.historyTable.item(0, 2).text() == "Impression of the file: any, subdural (91 %)"
    ui.historySearch.setText("epidural")
    assert ui.historyTable.rowCount == 0
    ui.historySearch.setText("subdural")
    remove_result(head_ct)
    panel.refresh(anew=True)
    click_row(ui.historyTable, 0)
    head_ct.SetName("1.2.3")  # a volume without series UID is known again by the name under which it was recorded
    click(ui.historyOpenButton)
    assert shown_result(head_ct) is not None
    assert ui.impressionLabel.visible
    assert "make sure that it is the same study" in ui.warningLabel.text
    slicer.mrmlScene.RemoveNode(head_ct)
    click_row(ui.historyTable, 0)
    click(ui.historyOpenButton)
    assert [path.name for path in opened_by_system] == ["report.html"]
    assert ui.historyLabel.text.startswith("The CT of 1.2.3 is not loaded, and it is not known where it lies")
    click(ui.historyDeleteButton)
    assert ui.historyTable.rowCount == 0
    assert not ui.historyDeleteButton.enabled


def test_what_an_earlier_version_recorded_is_listed_with_the_count_of_its_findings(panel, tmp_path: Path):
    begin_as_version_1(tmp_path / "settings", "from before")
    unfold(panel.ui.historySection)
    assert panel.ui.historyTable.item(0, 1).text() == "from before"
    expected = "Result of an earlier version: 1 finding at or above its threshold"
    assert panel.ui.historyTable.item(0, 2).text() == expected


def test_a_history_that_is_switched_off_stays_empty(panel, head_ct):
    unfold(panel.ui.historySection)
    click(panel.ui.keepHistoryBox)
    applied(panel, head_ct)
    assert panel.ui.historyTable.rowCount == 0


def test_a_past_study_is_loaded_from_its_file_and_said_to_be_gone_where_it_is(panel, opened_by_system, tmp_path: Path):
    file = tmp_path / "Muster 1.nrrd"
    made = a_ct(affine())
    write_stored_voxels(made, file)
    slicer.mrmlScene.RemoveNode(made)
    applied(panel, slicer.util.loadVolume(str(file), {"name": "CT"}))
    unfold(panel.ui.historySection)
    slicer.mrmlScene.Clear(False)
    panel.set_parameters(panel.logic.getParameterNode())
    panel.ui.historySearch.setText("1.2.3")
    click_row(panel.ui.historyTable, 0)
    click(panel.ui.historyOpenButton)
    node = panel.parameters().inputVolume
    assert shown_result(node) is not None
    assert place_of(node) == file
    assert panel.ui.impressionLabel.visible
    assert "same study" not in panel.ui.warningLabel.text, "it is that very file"
    assert not opened_by_system
    slicer.mrmlScene.RemoveNode(node)
    file.rename(tmp_path / "elsewhere.nrrd")
    click_row(panel.ui.historyTable, 0)
    click(panel.ui.historyOpenButton)
    assert panel.ui.historyLabel.text.startswith(f"The CT of 1.2.3 is no longer at {file}")
    assert [path.name for path in opened_by_system] == ["report.html"]


# --- many at once


def test_all_loaded_volumes_are_read_one_after_the_other(panel, bundle, head_ct, opened_by_system, tmp_path: Path):
    a_ct(affine(), "second")
    writes = iter((bundle.write, refused))

    def write(request: BundleRequest) -> int:
        return next(writes)(request)

    bundle.write = write
    panel.ui.inputSelector.setCurrentNode(head_ct)
    unfold(panel.ui.batchSection)
    click(panel.ui.batchVolumesButton)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.batchCancelButton.visible
    wait(lambda: not panel.running)
    table = panel.ui.batchTable
    rows = [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]
    assert rows == [
        ["CT", "Evaluated", "Impression of the file: any, subdural (91 %)"],
        ["second", "Not evaluable", "7 slices, at least 12 needed"],
    ]
    assert panel.ui.impressionLabel.visible, "the chosen volume shows its result"
    table.cellDoubleClicked.emit(0, 0)
    assert [path.name for path in opened_by_system] == ["report.html"]
    panel.batch.save_table(tmp_path / "all.csv")
    assert [line["status"] for line in lines_of(tmp_path / "all.csv")] == ["evaluated", "not_evaluable"]
    assert panel.ui.applyButton.enabled


def test_a_batch_can_be_cancelled_and_an_empty_folder_is_refused(panel, bundle, head_ct, tmp_path: Path):
    unfold(panel.ui.batchSection)
    assert not panel.ui.batchFolderButton.enabled
    (tmp_path / "studies").mkdir()
    panel.ui.batchFolderEdit.setCurrentPath(str(tmp_path / "studies"))
    click(panel.ui.batchFolderButton)
    assert panel.ui.batchLabel.text == "There are no studies to analyse."
    panel.ui.batchFolderEdit.setCurrentPath("")
    assert not panel.ui.batchFolderButton.enabled
    panel.ui.batchFolderEdit.setCurrentPath(str(tmp_path / "studies"))
    bundle.hold_at = "slices"
    (tmp_path / "studies" / "a.nii.gz").write_bytes(b"")
    (tmp_path / "studies" / "b.nii.gz").write_bytes(b"")
    click(panel.ui.batchFolderButton)
    wait(lambda: bundle.running)
    click(panel.ui.batchCancelButton)
    wait(lambda: not panel.running)
    assert [panel.ui.batchTable.item(row, 1).text() for row in (0, 1)] == ["Cancelled", "Cancelled"]


def test_the_result_of_another_volume_is_not_shown_again_on_this_one(panel, head_ct, opened_by_system):
    applied(panel, head_ct)
    slicer.mrmlScene.RemoveNode(head_ct)
    other = a_ct(affine(), "somebody else")
    unfold(panel.ui.historySection)
    click_row(panel.ui.historyTable, 0)
    click(panel.ui.historyOpenButton)
    assert shown_result(other) is None
    assert len(opened_by_system) == 1
