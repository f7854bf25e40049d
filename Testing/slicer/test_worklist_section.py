"""A row of the worklist opens its study in the application: the CT is loaded, its result laid on it and shown."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import slicer

import sample_result_folder as sample
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.result.reader import read_result
from ICHDiagnosisLib.scene import result_nodes
from ICHDiagnosisLib.scene.layers import shown_result
from ICHDiagnosisLib.scene.study_volume import StudyNotLoadedError, load_database_series, load_study_volume
from ICHDiagnosisLib.scene.volume_geometry import ijk_to_ras
from ICHDiagnosisLib.scene.volume_input import write_stored_voxels
from logic_cases import Database, a_phantom
from panel_cases import click, click_row, unfold, wait
from scene_cases import SHAPE, a_ct, affine
from scripts.phantom.writing import write_dicom_series
from scripts.triage.records import note_place
from scripts.triage.tasks import Task

SIDE = 32


@pytest.fixture
def opened_by_system(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []
    monkeypatch.setattr("ICHDiagnosisLib.panel.worklist_section.open_with_system", paths.append)
    return paths


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A phantom as a DICOM series, upright."""
    return write_dicom_series(a_phantom(0.0, SIDE), tmp_path_factory.mktemp("archive") / "patient 1")


def a_dicom_result(folder: Path, files: list[Path]) -> Path:
    """Write a result of a DICOM series, with maps on the voxels of its files."""
    headers = sorted((pydicom.dcmread(file) for file in files), key=lambda each: float(each.ImagePositionPatient[2]))
    places = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    shape = (SIDE, SIDE, len(headers))
    document = sample.document(shape)
    document["study"] |= {"series_uid": str(headers[0].SeriesInstanceUID), "source_format": "dicom"}
    for one, header in zip(document["slices"], headers, strict=True):
        one["sop_instance_uid"] = str(header.SOPInstanceUID)
    row_mm, column_mm = map(float, headers[0].PixelSpacing)
    column, row = np.reshape(np.array(headers[0].ImageOrientationPatient, dtype=float), (2, 3))
    lps = np.eye(4)
    lps[:3] = np.column_stack([column * column_mm, row * row_mm, places[1] - places[0], places[0]])
    return sample.write_folder(folder, document, sample.made_maps(shape), np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)


def a_volume_result(folder: Path, source: str, positive: tuple[str, ...] = sample.POSITIVE) -> Path:
    document = sample.document(SHAPE, positive=positive)
    document["study"] |= {"series_uid": None, "study_uid": None, "source_name": source}
    return sample.write_folder(folder, document, sample.made_maps(SHAPE), affine())


def a_volume_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = a_ct(affine())
    write_stored_voxels(volume, path)
    slicer.mrmlScene.RemoveNode(volume)
    return path


@pytest.fixture
def triage(tmp_path: Path, series: list[Path]) -> Path:
    """The output of a triage: a DICOM study, a volume file, and one that was not read."""
    output = tmp_path / "triage"
    archive = tmp_path / "archive"
    shutil.copytree(series[0].parent, archive / "patient 1")
    a_volume_file(archive / "head.nrrd")
    a_dicom_result(output / "patient 1", series)
    a_volume_result(output / "head", "head.nrrd", positive=())
    note_place(Task("patient 1", str(archive / "patient 1")), output)
    note_place(Task("head", str(archive / "head.nrrd")), output)
    return output


@pytest.fixture
def worklist(panel: Any, triage: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The panel with the worklist of the triage listed."""
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "BundleProcess", BundleProcess)
    unfold(panel.ui.batchSection)
    panel.ui.worklistFolderEdit.setCurrentPath(str(triage))
    click(panel.ui.worklistButton)
    return panel


def cells(panel: Any) -> list[list[str]]:
    table = panel.ui.worklistTable
    return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]


def open_row(panel: Any, row: int) -> None:
    click_row(panel.ui.worklistTable, row)
    click(panel.ui.worklistOpenButton)


def volumes() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node.GetName() for node in nodes if not node.GetAttribute(result_nodes.ROLE)]


def test_rows_open_the_ct_and_the_result_of_their_study(worklist, opened_by_system):
    ui = worklist.ui
    assert cells(worklist) == [
        ["Haemorrhage likely", "patient 1", "Impression of the file: any, subdural (91 %)"],
        ["No finding", "head", "Impression of the file: nothing found"],
    ]
    assert "research use only" in ui.worklistLabel.text
    assert not ui.worklistOpenButton.enabled
    open_row(worklist, 0)
    assert volumes() == ["patient 1"]
    node = worklist.parameters().inputVolume
    assert node.GetName() == "patient 1"
    assert shown_result(node).attribution_maps, "layers lie on it"
    assert "subdural" in ui.impressionLabel.text
    assert ui.researchLabel.visible
    assert "without its gantry" not in ui.warningLabel.text
    ui.worklistTable.cellDoubleClicked.emit(1, 0)
    click_row(ui.worklistTable, 1)
    ui.worklistTable.cellDoubleClicked.emit(1, 0)
    assert volumes() == ["patient 1", "head"]
    assert "nothing found" in ui.impressionLabel.text
    assert "same study" not in ui.warningLabel.text
    open_row(worklist, 0)
    assert volumes() == ["patient 1", "head"], "what is loaded is not loaded twice"
    assert "subdural" in ui.impressionLabel.text
    click(ui.worklistReportButton)
    click(ui.worklistPageButton)
    click(ui.reportButton)
    assert [path.name for path in opened_by_system] == ["report.html", "worklist.html"]


def test_a_result_of_a_batch_of_this_computer_opens_from_where_its_study_lay(
    panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a_volume_file(tmp_path / "studies" / "head.nrrd")
    unfold(panel.ui.batchSection)
    panel.ui.batchFolderEdit.setCurrentPath(str(tmp_path / "studies"))
    click(panel.ui.batchFolderButton)
    wait(lambda: not panel.running)
    panel.ui.batchFolderEdit.setCurrentPath("")
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "BundleProcess", BundleProcess)
    click(panel.ui.worklistButton)
    assert [row[1] for row in cells(panel)] == ["study"]
    assert volumes() == []
    open_row(panel, 0)
    assert volumes() == ["study"]
    assert "subdural" in panel.ui.impressionLabel.text


def test_a_ct_that_is_gone_or_not_whole_is_said_in_one_line(worklist, triage, tmp_path: Path):
    archive = tmp_path / "archive"
    first = next((archive / "patient 1").iterdir())
    first.unlink()
    open_row(worklist, 0)
    label = worklist.ui.worklistLabel
    assert label.text.startswith("Of the 20 images of patient 1")
    (archive / "patient 1").rename(tmp_path / "moved")
    open_row(worklist, 0)
    assert label.text.startswith(f"The CT of patient 1 is no longer at {archive / 'patient 1'}")
    assert volumes() == []
    assert not worklist.ui.resultSection.visible
    moved = tmp_path / "new place"
    moved.mkdir()
    (archive / "head.nrrd").rename(moved / "head.nrrd")
    open_row(worklist, 1)
    assert "no longer" in label.text
    worklist.ui.batchFolderEdit.setCurrentPath(str(moved))
    open_row(worklist, 1)
    assert volumes() == ["head"], "the folder of studies is looked into as well"


def test_a_tilted_series_is_shown_tilted_with_its_maps_on_it(worklist, triage: Path, tmp_path: Path):
    shutil.rmtree(triage / "patient 1")
    tilted = write_dicom_series(a_phantom(15.0, SIDE), tmp_path / "archive" / "tilted")
    a_dicom_result(triage / "patient 1", tilted)
    note_place(Task("patient 1", str(tilted[0].parent)), triage)
    open_row(worklist, 0)
    node = worklist.parameters().inputVolume
    assert node.GetName() == "patient 1"
    assert shown_result(node).attribution_maps
    first, second = (pydicom.dcmread(file).ImagePositionPatient for file in tilted[:2])
    step = np.abs(np.array(second, dtype=float) - np.array(first, dtype=float))
    assert np.abs(ijk_to_ras(node)[:3, 2]) == pytest.approx(step, abs=1e-3), "along the table, not along the normal"
    assert "tilt" not in worklist.ui.warningLabel.text


def test_another_study_at_the_same_place_is_not_taken_for_the_one_that_was_read(worklist, tmp_path: Path):
    other = a_ct(affine(origin=(0.0, 0.0, 200.0)))
    write_stored_voxels(other, tmp_path / "archive" / "head.nrrd")
    slicer.mrmlScene.RemoveNode(other)
    open_row(worklist, 1)
    assert "belongs to another volume" in worklist.ui.worklistLabel.text
    assert volumes() == []


def test_a_study_without_a_result_or_of_an_archive_is_explained(worklist, triage: Path):
    label = worklist.ui.worklistLabel
    note_place(Task("patient 1", "https://pacs/dicom-web/studies/1.2.3"), triage)
    open_row(worklist, 0)
    assert label.text.startswith("The CT of patient 1 came from an archive")
    content = json.loads((triage / "worklist.json").read_text("utf-8"))
    content["rows"][1] |= {"folder": None, "text": "no images"}
    (triage / "worklist.json").write_text(json.dumps(content), encoding="utf-8")
    worklist.worklist._write = lambda folder: folder
    click(worklist.ui.worklistButton)
    open_row(worklist, 1)
    assert label.text == "head has no result: no images"
    worklist.worklist.block(True)
    assert not worklist.ui.worklistOpenButton.enabled
    worklist.worklist.open()
    content["rows"][1]["folder"] = "../elsewhere"
    (triage / "worklist.json").write_text(json.dumps(content), encoding="utf-8")
    click(worklist.ui.worklistButton)
    assert "has no worklist that this version reads" in label.text


def test_a_worklist_that_cannot_be_written_anew_is_listed_as_it_was(worklist, triage: Path):
    before = cells(worklist)
    worklist.worklist._write = worklist.logic.write_worklist
    shutil.move(triage / "head", triage / "gone")
    (triage / "worklist.html").unlink()
    (triage / "worklist.html").mkdir()
    click(worklist.ui.worklistButton)
    assert "could not be written" in worklist.ui.worklistLabel.text
    assert cells(worklist)[0] == before[0]


def test_a_folder_without_results_is_said(panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "BundleProcess", BundleProcess)
    panel.worklist.show()
    assert "could not be written" in panel.ui.worklistLabel.text
    assert panel.ui.worklistButton.enabled
    assert not panel.ui.worklistFrame.visible


# Where the CT comes from


def test_a_series_of_the_dicom_database_is_loaded_by_the_dicom_module(series, tmp_path: Path):
    database = Database({str(number): file for number, file in enumerate(series)})
    uid = read_result(a_dicom_result(tmp_path / "result", series)).study.series_uid
    node = a_ct(affine())
    asked: list[str] = []

    def load(series_uid: str) -> list[str]:
        asked.append(series_uid)
        return ["vtkMRMLNode of nothing", node.GetID()]

    assert load_database_series(uid, database, load) is node
    assert load_database_series("1.2.3", database, load) is None
    assert load_database_series(uid, None, load) is None
    assert asked == [uid]

    def fails(_series_uid: str) -> list[str]:
        raise OSError("DICOM module or database cannot be accessed")

    assert load_database_series(uid, database, fails) is None


def test_a_zip_is_unpacked_and_leaves_nothing_behind(series, tmp_path: Path):
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("readme.txt", "no image")
        for file in series:
            opened.write(file, f"Muster^Anna/{file.name}")
    result = read_result(a_dicom_result(tmp_path / "result", series))
    node = load_study_volume(archive, result, "study")
    assert node.GetImageData().GetDimensions() == (SIDE, SIDE, len(series))
    assert node.GetStorageNode() is None
    archive.write_bytes(b"PK no zip")
    with pytest.raises(StudyNotLoadedError, match="cannot be read"):
        load_study_volume(archive, result, "study")


def test_the_study_is_found_among_others_and_never_guessed(series, tmp_path: Path):
    shutil.copytree(series[0].parent, tmp_path / "many" / "a")
    write_dicom_series(a_phantom(15.0, SIDE), tmp_path / "many" / "b")
    a_volume_file(tmp_path / "many" / "c" / "head.nrrd")
    result = read_result(a_dicom_result(tmp_path / "result", series))
    assert load_study_volume(tmp_path / "many", result, "a").GetName() == "a"
    head = read_result(a_volume_result(tmp_path / "head", "head.nrrd"))
    assert load_study_volume(tmp_path / "many", head, "head").GetImageData().GetDimensions() == SHAPE
    other = read_result(a_volume_result(tmp_path / "other", "other.nrrd"))
    with pytest.raises(StudyNotLoadedError, match="does not hold the CT of other"):
        load_study_volume(tmp_path / "many", other, "other")
    with pytest.raises(StudyNotLoadedError, match="does not hold the CT of a"):
        load_study_volume(tmp_path / "many" / "b", result, "a")
    # Read from the voxels of a volume that had come from DICOM: the folder holds one series, which is it.
    assert load_study_volume(tmp_path / "many" / "a", other, "other").GetName() == "other"
