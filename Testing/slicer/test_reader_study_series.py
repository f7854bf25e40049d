"""DICOM folders with several series in a reader study, and the report of a result during a sitting with AI."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import slicer
from pydicom.uid import generate_uid

import sample_result_folder as sample
from ICHDiagnosisLib.batch.studies import StudyOnDisk
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.panel import sitting_report
from ICHDiagnosisLib.reader_study.ai_results import ResultsMissingError, results_of
from ICHDiagnosisLib.reader_study.blinded_report import ReportMissingError, write_blinded_report
from ICHDiagnosisLib.reader_study.protocol import Case, Sitting, create_protocol
from ICHDiagnosisLib.reader_study.session import Phase
from ICHDiagnosisLib.reader_study.truth import read_series_names
from ICHDiagnosisLib.scene.case_volume import CaseNotLoadedError, load_case
from ICHDiagnosisLib.scene.volume_geometry import ijk_to_ras
from ICHDiagnosisLib.series_choice import SeriesChoiceError, choice_command, choose_series, series_of_cases
from logic_cases import a_phantom
from panel_cases import click, unfold, wait
from scene_cases import SHAPE, affine
from scripts.phantom.writing import write_dicom_series
from study_panel_cases import TRUTH, journal, read_sitting, write_results

pytest_plugins = ("study_panel_cases",)
BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture(scope="module")
def two_series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with one study of two series, and their UIDs by description."""
    folder = tmp_path_factory.mktemp("heads") / "two series"
    uids = {"Head 5 mm": "", "Bone": generate_uid(entropy_srcs=["bone"])}
    for file in write_dicom_series(a_phantom(0.0, 32), folder):
        header = pydicom.dcmread(file)
        header.SeriesDescription, header.SeriesNumber = "Head 5 mm", 2
        uids["Head 5 mm"] = str(header.SeriesInstanceUID)
        header.save_as(file)
        header.SeriesDescription, header.SeriesNumber, header.ConvolutionKernel = "Bone", 3, "H70h"
        header.SeriesInstanceUID, header.SOPInstanceUID = uids["Bone"], generate_uid()
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.save_as(file.with_name(f"bone_{file.name}"))
    return folder, uids


def never(path: Path) -> str:
    raise AssertionError(f"the intake was asked about {path}")


def ask_the_intake(path: Path) -> str:
    return choose_series(BundleProcess(build=choice_command), Path(sys.executable), BUNDLE, path, lambda: None)


def test_the_series_that_an_analysis_would_read_is_read_and_said(two_series, tmp_path: Path):
    folder, uids = two_series
    chosen, lines = series_of_cases([folder, tmp_path / "a.nrrd"], {}, ask_the_intake)
    assert chosen == {folder: uids["Head 5 mm"]}
    (line,) = lines
    assert line.startswith("two series holds 2 CT series; read is the one that an analysis would read: series 2")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SeriesChoiceError, match="No series of empty can be read"):
        ask_the_intake(empty)


@pytest.mark.parametrize("name", ["bone", "3"])
def test_the_list_may_name_the_series_by_description_or_number(two_series, tmp_path: Path, name: str):
    folder, uids = two_series
    table = tmp_path / "truth.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["study", "series"], [folder.name, name], ["other", ""]])
    named = read_series_names(table)
    assert named == {folder.name: name}
    chosen, lines = series_of_cases([folder], named, never)
    assert chosen == {folder: uids["Bone"]}
    assert lines == ()
    with pytest.raises(SeriesChoiceError, match=r"not hold exactly one series 'CTA'. There are: .*'Bone', 20 images"):
        series_of_cases([folder], {folder.name: "CTA"}, never)


def test_the_chosen_series_is_what_is_loaded_computed_and_compared_with(two_series, tmp_path: Path):
    folder, uids = two_series
    protocol = create_protocol(tmp_path / "study", [folder], None, series={folder: uids["Bone"]})
    (case,) = protocol.cases
    assert case.series == uids["Bone"]
    node = load_case(case.path, "Study 1", "001", case.series)
    assert node.GetImageData().GetDimensions() == (32, 32, 20)
    assert node.GetStorageNode() is None
    with pytest.raises(CaseNotLoadedError, match="2 CT series"):
        load_case(case.path, "Study 1", "001")
    (tmp_path / "input").mkdir()
    read = StudyOnDisk(folder, series=case.series).write(tmp_path / "input")
    assert {str(pydicom.dcmread(file).SeriesInstanceUID) for file in read.iterdir()} == {uids["Bone"]}
    assert StudyOnDisk(folder, series=case.series).cache_key() != StudyOnDisk(folder).cache_key()
    sample.write_folder(tmp_path / "results" / "case-001", sample.document(SHAPE), sample.made_maps(SHAPE), affine())
    with pytest.raises(ResultsMissingError, match="is of another series"):
        results_of((case,), tmp_path / "results")
    other = Case(case.identifier, case.path, None, "1.2.3.4")
    assert list(results_of((other,), tmp_path / "results")) == ["001"]


def test_a_tilted_gantry_is_loaded_as_its_files_state_it(tmp_path: Path):
    files = write_dicom_series(a_phantom(15.0, 32), tmp_path / "tilted")
    places = [np.array(pydicom.dcmread(file).ImagePositionPatient, dtype=float) for file in files[:2]]
    node = load_case(tmp_path / "tilted", "Study 1", "001")
    assert np.abs(ijk_to_ras(node)[:3, 2]) == pytest.approx(np.abs(places[1] - places[0]), abs=1e-3)


def test_the_panel_says_which_series_it_has_chosen(panel, two_series, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "BundleProcess", BundleProcess)
    cases = tmp_path / "cases"
    shutil.copytree(two_series[0], cases / "a head")
    section = panel.reader_study
    unfold(section.ui.readerStudySection)
    section.ui.studyFolderEdit.setCurrentPath(str(tmp_path / "study"))
    section.ui.casesFolderEdit.setCurrentPath(str(cases))
    click(section.ui.createStudyButton)
    assert "a head holds 2 CT series" in section.ui.studyLabel.text
    assert section._store.protocol.cases[0].series == two_series[1]["Head 5 mm"]


# The report


def test_a_blinded_report_names_neither_study_nor_file_and_keeps_its_numbers(tmp_path: Path):
    report = tmp_path / "report.html"
    report.write_text(
        "<title>ICH: 12</title><style>b { color: 12 }</style><b>12</b><p>12 slices of c &amp; both.nrrd, 12 ml</p>"
        '<p>c &amp; both.nrrd</p><img alt="12">',
        encoding="utf-8",
    )
    folder = tmp_path / "copy"
    folder.mkdir()
    copy = write_blinded_report(report, ("12", "c & both.nrrd", ""), "Study 3", folder)
    assert copy.read_text("utf-8") == (
        "<title>Study 3</title><style>b { color: 12 }</style><b>Study 3</b><p>12 slices of Study 3, 12 ml</p>"
        '<p>Study 3</p><img alt="12">'
    )
    with pytest.raises(ReportMissingError, match="cannot be shown"):
        write_blinded_report(tmp_path / "none.html", (), "Study 3", tmp_path)


@pytest.fixture
def opened_reports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was given."""
    texts: list[str] = []
    monkeypatch.setattr(sitting_report, "open_with_system", lambda path: texts.append(path.read_text("utf-8")))
    return texts


def begin_with_ai(study: Any, results: Path) -> None:
    write_results(results)
    for name in TRUTH:
        (results / name / "report.html").write_text(f"<h1>{name}</h1><p>91 % on slice 3</p>", encoding="utf-8")
    study.ui.resultsFolderEdit.setCurrentPath(str(results))
    read_sitting(study, study.ui.beginWithoutButton, 1)
    study.ui.overrideReasonEdit.setText("a test")
    click(study.ui.beginWithButton)
    click(study.ui.nextStudyButton)


def test_the_report_is_read_while_the_time_runs_and_only_with_ai(study, tmp_path: Path, opened_reports):
    click(study.ui.beginWithoutButton)
    click(study.ui.nextStudyButton)
    assert not study.ui.sittingReportButton.visible
    study.sitting._report.open()
    assert opened_reports == []
    click(study.ui.finishButton)
    click(study.ui.confidence1Button)
    study.sitting.leave()
    begin_with_ai(study, tmp_path / "results")
    sitting = study.sitting
    click(study.ui.sittingReportButton)
    assert opened_reports == [f"<h1>Study {sitting.session.position}</h1><p>91 % on slice 3</p>"]
    phases = []
    for in_front in (False, True, False, True):
        sitting._on_foreground(in_front)
        phases.append(sitting.session.phase)
    # The browser with the report; back; another window, which is none of the report; back.
    assert phases == [Phase.READING, Phase.READING, Phase.PAUSED, Phase.READING]
    assert [entry["event"] for entry in journal(tmp_path, Sitting.WITH_AI)].count("report") == 1
    click(study.ui.sittingReportButton)
    for _ in range(sitting_report.COUNTS_TO_LEAVE):
        sitting._report.count(True)
    sitting._on_foreground(False)
    assert sitting.session.phase is Phase.PAUSED, "a browser that did not come to the front is waited for no longer"
    sitting._on_foreground(True)
    assert sitting.session.record.current.reports == 2
    click(study.ui.finishButton)
    assert not study.ui.sittingReportButton.visible
    assert study._store.record("R01", Sitting.WITH_AI).current.reports == 2


def test_a_report_that_is_gone_is_said_and_the_sitting_goes_on(study, tmp_path: Path, opened_reports):
    begin_with_ai(study, tmp_path / "results")
    for report in (tmp_path / "results").rglob("report.html"):
        report.unlink()
    click(study.ui.sittingReportButton)
    assert "report.html" in study.ui.readingLabel.text
    assert study.sitting.is_open
    assert opened_reports == []
    wait(lambda: study.sitting.session.phase is Phase.READING)
    assert slicer.mrmlScene.IsNodePresent(study.sitting.node)
