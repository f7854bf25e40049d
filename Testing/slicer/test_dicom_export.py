"""A shown result is exported as DICOM by the bundle's process, and goes into the DICOM database where that is asked."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer

from ICHDiagnosisLib.analysis import CannotStartError, PackagesMissingError
from ICHDiagnosisLib.bundle.dicom_process import DicomProcess
from ICHDiagnosisLib.bundle.process import AlreadyRunningError
from ICHDiagnosisLib.dicom_export import DicomExport, ExportEnding, import_into_database, missing_for_dicom
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement
from ICHDiagnosisLib.scene.volume_input import INSTANCE_UIDS
from panel_cases import applied, click, wait

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "monai_bundle"
PATIENCE_S = 300.0
# In a process of its own, as in the application: this one has not loaded torch.
MAKE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from dicom_output_cases import SHAPE, a_crescent, a_result, read_back, write_series
from scripts.phantom import Grid
folder = Path(sys.argv[3])
_, study = read_back(write_series(folder / "series", Grid(SHAPE, (2.0, 2.0, 5.0))))
a_result(folder / "results", a_crescent(study))
"""


class Database:
    """The part of Slicer's DICOM database that knows where files are."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files

    def fileForInstance(self, uid: str) -> str:  # noqa: N802 - Slicer's name
        return str(self.files.get(uid, ""))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, "-c", MAKE, str(BUNDLE), str(ROOT / "Testing" / "bundle"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def database(made: Path) -> Database:
    files = sorted((made / "series").iterdir())
    return Database({str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in files})


@pytest.fixture
def result(made: Path) -> Path:
    (folder,) = (made / "results").iterdir()
    return folder


@pytest.fixture
def loaded(database: Database) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume that the application would have loaded of those files."""
    node = slicer.util.addVolumeFromArray(np.zeros((12, 40, 44), dtype=np.int16))
    node.SetAttribute(INSTANCE_UIDS, " ".join(database.files))
    return node


def an_export(database: Database | None, imported: Callable[[Path], None] = lambda _: None, missing=()) -> DicomExport:
    return DicomExport(DicomProcess(Path(sys.executable), BUNDLE), database, lambda: tuple(missing), imported)


def ended(export: DicomExport) -> ExportEnding:
    endings: list[ExportEnding] = []

    def poll() -> bool:
        endings.extend(each for each in [export.poll()] if each is not None)
        return bool(endings)

    wait(poll, PATIENCE_S)
    assert not export.running
    return endings[0]


def test_the_objects_of_a_result_are_written_and_imported(loaded, database, result: Path, tmp_path: Path):
    imported: list[Path] = []
    export = an_export(database, imported.append)
    folder = export.start(loaded, result, tmp_path, into_database=True)
    assert export.running
    with pytest.raises(CannotStartError):
        export.start(loaded, result, tmp_path)
    ending = ended(export)
    assert (ending.folder, imported) == (folder, [folder])
    written = sorted(path.name for path in folder.iterdir())
    assert {"findings.dcm", "key_slices.dcm", "lesions.dcm", "report.dcm"} <= set(written)
    assert ending.text == f"{len(written)} DICOM objects written into {folder} and added to the DICOM database."
    study = {str(pydicom.dcmread(path).StudyInstanceUID) for path in folder.iterdir()}
    assert study == {str(pydicom.dcmread(next(iter(database.files.values()))).StudyInstanceUID)}


def test_what_the_bundle_refuses_is_shown_and_nothing_is_left(loaded, database, tmp_path: Path):
    export = an_export(database)
    (tmp_path / "no result").mkdir()
    folder = export.start(loaded, tmp_path / "no result", tmp_path)
    ending = ended(export)
    assert ending.folder is None
    assert ending.text == "No DICOM objects: no result: no result of this version; run the analysis again"
    assert not folder.exists()


def test_an_export_that_is_closed_is_over(loaded, database, result: Path, tmp_path: Path):
    export = an_export(database)
    folder = export.start(loaded, result, tmp_path)
    export.close()
    assert not export.running
    assert not folder.exists()


def test_a_process_runs_one_export_at_a_time(result: Path, made: Path, tmp_path: Path):
    process = DicomProcess(Path(sys.executable), BUNDLE)
    process.start(result, made / "series", tmp_path / "objects")
    with pytest.raises(AlreadyRunningError):
        process.start(result, made / "series", tmp_path / "objects")
    process.close()


@pytest.mark.parametrize("known", [None, Database({})])
def test_a_volume_whose_original_files_are_gone_cannot_be_exported(loaded, known, result: Path, tmp_path: Path):
    with pytest.raises(CannotStartError, match="original DICOM files of this volume were not found"):
        an_export(known).start(loaded, result, tmp_path)


def test_packages_are_asked_for_when_they_are_first_needed(loaded, database, result: Path, tmp_path: Path):
    missing = (MissingPackage(Requirement("highdicom", "0.28"), None),)
    with pytest.raises(PackagesMissingError) as caught:
        an_export(database, missing=missing).start(loaded, result, tmp_path)
    assert caught.value.missing == missing
    assert missing_for_dicom() == ()


def test_an_interpreter_that_cannot_be_started_is_named(loaded, database, result: Path, tmp_path: Path):
    export = DicomExport(DicomProcess(tmp_path / "no python", BUNDLE), database, lambda: ())
    with pytest.raises(CannotStartError):
        export.start(loaded, result, tmp_path)


def test_a_database_that_refuses_the_objects_costs_none_of_them(loaded, database, result: Path, tmp_path: Path):
    def refuses(_: Path) -> None:
        raise RuntimeError("database is locked")

    export = an_export(database, refuses)
    folder = export.start(loaded, result, tmp_path, into_database=True)
    ending = ended(export)
    assert ending.folder == folder
    assert "the DICOM database did not take them" in ending.text


def test_the_applications_own_importer_copies_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[tuple[object, ...]] = []
    utilities = types.SimpleNamespace(
        importDicom=lambda folder, database, copyFiles: asked.append((folder, database, copyFiles))  # noqa: N803
    )
    monkeypatch.setitem(sys.modules, "DICOMLib", types.SimpleNamespace(DICOMUtils=utilities))
    monkeypatch.setattr(slicer, "dicomDatabase", "the database", raising=False)
    import_into_database(tmp_path)
    assert asked == [(str(tmp_path), "the database", True)]


# In the panel


def test_the_button_is_offered_for_a_volume_from_dicom_alone(panel, head_ct):
    applied(panel, head_ct)
    assert not panel.ui.dicomButton.enabled
    assert "read from the original files" in panel.ui.dicomButton.toolTip
    head_ct.SetAttribute(INSTANCE_UIDS, "1.2.3.4.0")
    panel.refresh(anew=True)
    assert panel.ui.dicomButton.enabled
    assert not panel.ui.dicomDatabaseBox.enabled


def test_a_folder_is_asked_for_and_a_fault_stands_below_the_button(panel, head_ct, tmp_path: Path):
    head_ct.SetAttribute(INSTANCE_UIDS, "1.2.3.4.0")
    applied(panel, head_ct)
    click(panel.ui.dicomButton)
    panel.dicom.dialog.selectFile(str(tmp_path))
    panel.dicom.dialog.accept()
    wait(lambda: "were not found" in panel.ui.exportLabel.text)
    assert not panel.dicom.exporting


def test_the_panel_follows_an_export_to_its_end(panel, head_ct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "slice.dcm").write_bytes(b"no DICOM")
    export = panel.logic.dicom_export
    monkeypatch.setattr(export, "_database", Database({"1.2.3.4.0": tmp_path / "slice.dcm"}))
    head_ct.SetAttribute(INSTANCE_UIDS, "1.2.3.4.0")
    applied(panel, head_ct)
    panel.dicom.export_into(tmp_path)
    assert panel.dicom.exporting
    assert not panel.ui.dicomButton.enabled
    wait(lambda: panel.ui.exportLabel.text.startswith("No DICOM objects: "), PATIENCE_S)
    assert panel.ui.dicomButton.enabled


def test_consent_to_install_comes_before_an_export(panel, head_ct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    missing = (MissingPackage(Requirement("highdicom", "0.28"), None),)
    monkeypatch.setattr(panel.logic.dicom_export, "_find_missing", lambda: missing)
    head_ct.SetAttribute(INSTANCE_UIDS, "1.2.3.4.0")
    applied(panel, head_ct)
    panel.dicom.export_into(tmp_path)
    assert panel.ui.consentFrame.visible
    assert "highdicom>=0.28 (not installed; about 36 MB)" in panel.ui.consentLabel.text
