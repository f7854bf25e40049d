"""Findings as a CSV table: what a spreadsheet reads back, what is appended, and what is refused."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import sample_result_folder as sample
from ICHDiagnosisLib.result.content import Result
from ICHDiagnosisLib.result.findings_csv import (
    LESION_COLUMNS,
    ExportError,
    append_findings,
    columns,
    exported_study,
)
from ICHDiagnosisLib.result.reader import read_result

SHAPE = (12, 16, 20)
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
def a_result(tmp_path: Path) -> Result:
    return read_result(
        sample.write_folder(tmp_path / "result", sample.document(SHAPE), sample.made_maps(SHAPE), np.eye(4))
    )


@pytest.fixture
def a_refusal(tmp_path: Path) -> Result:
    content = sample.refusal()
    content["study"].update(study_uid=None, series_uid=None)
    return read_result(sample.write_folder(tmp_path / "refusal", content, {}, np.eye(4)))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "Befunde für März.csv"


def lines_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_each_study_is_one_line_with_every_finding(a_result: Result, table: Path):
    append_findings(table, [exported_study(a_result, "Head", NOON)])
    (line,) = lines_of(table)
    assert (line["study"], line["series_uid"], line["analysed"]) == ("1.2.3", "1.2.3.4", "2026-03-01T10:00:00+00:00")
    assert (line["status"], line["reason"], line["quality_warnings"]) == ("evaluated", "", "thick_slices")
    assert line["impression"] == a_result.impression.text == "Impression of the file: any, subdural (91 %)"
    assert (line["model"], line["model_version"], line["operating_point"]) == ("ICHDiagnosis", "0.1.0", "balanced")
    assert (line["subdural_probability"], line["subdural_threshold"], line["subdural_positive"]) == (
        "0.9100",
        "0.5000",
        "1",
    )
    assert (line["intraparenchymal_positive"], line["intraparenchymal_threshold"]) == ("0", "")
    assert list(line) == columns(tuple(sample.LABELS))


def test_studies_are_appended_under_one_header(a_result: Result, a_refusal: Result, table: Path):
    append_findings(table, [exported_study(a_result, "A")])
    append_findings(table, [exported_study(a_refusal, "B"), exported_study(a_result, "C")])
    lines = lines_of(table)
    assert [line["status"] for line in lines] == ["evaluated", "not_evaluable", "evaluated"]
    assert lines[1]["reason"] == "7 slices, at least 12 needed"
    assert lines[1]["any_probability"] == lines[1]["impression"] == ""
    raw = table.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfstudy,")
    assert raw.count(b"\xef\xbb\xbf") == 1
    assert raw.count(b"study,series_uid") == 1


def test_a_study_without_an_identifier_goes_by_its_name(a_refusal: Result, table: Path):
    append_findings(table, [exported_study(a_refusal, "5: Kopf, nativ")])
    assert lines_of(table)[0]["study"] == "5: Kopf, nativ"


def test_the_time_of_an_analysis_is_that_of_its_result(a_result: Result):
    written = (a_result.folder / "result.json").stat().st_mtime
    assert exported_study(a_result, "Head").analysed.timestamp() == pytest.approx(written, abs=1e-3)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_name_becomes_a_formula(name: str, a_refusal: Result, table: Path):
    append_findings(table, [exported_study(a_refusal, name)])
    assert lines_of(table)[0]["study"] == f"'{name.strip()}"


def test_a_name_over_several_lines_stays_in_its_line(a_refusal: Result, table: Path):
    append_findings(table, [exported_study(a_refusal, 'Kopf\r\n"nativ"')])
    assert len(table.read_bytes().splitlines()) == 2
    assert lines_of(table)[0]["study"] == 'Kopf "nativ"'


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"name,age\nDoe,40\n", "other columns"),
        (b"\xff\xfe\x00", "no table"),
        (b"study", "other columns"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_and_stays(content: bytes, why: str, a_result: Result, table: Path):
    table.write_bytes(content)
    with pytest.raises(ExportError, match=why):
        append_findings(table, [exported_study(a_result, "Head")])
    assert table.read_bytes() == content


def test_a_table_that_was_cut_off_is_refused_and_stays(a_result: Result, table: Path):
    append_findings(table, [exported_study(a_result, "Head")])
    cut = table.read_bytes()[:-9]
    table.write_bytes(cut)
    with pytest.raises(ExportError, match="incomplete"):
        append_findings(table, [exported_study(a_result, "Head")])
    assert table.read_bytes() == cut


def test_a_table_of_other_labels_is_refused(a_result: Result, tmp_path: Path, table: Path):
    append_findings(table, [exported_study(a_result, "Head")])
    content = sample.refusal()
    content["model"]["labels"] = ["any"]
    other = read_result(sample.write_folder(tmp_path / "other", content, {}, np.eye(4)))
    with pytest.raises(ExportError, match="other columns"):
        append_findings(table, [exported_study(other, "Head")])
    with pytest.raises(ExportError, match="different sets of labels"):
        append_findings(tmp_path / "new.csv", [exported_study(a_result, "A"), exported_study(other, "B")])
    with pytest.raises(ExportError, match="nothing to export"):
        append_findings(table, [])


def test_a_place_that_cannot_be_written_is_stated_in_one_line(a_result: Result, tmp_path: Path):
    with pytest.raises(ExportError, match=r"findings\.csv cannot be written"):
        append_findings(tmp_path / "nowhere" / "findings.csv", [exported_study(a_result, "Head")])


def test_an_empty_file_becomes_a_table(a_result: Result, table: Path):
    table.touch()
    append_findings(table, [exported_study(a_result, "Head")])
    assert len(lines_of(table)) == 1


FIRST = [name for name in columns(tuple(sample.LABELS)) if name not in ("impression", *LESION_COLUMNS)]
SECOND = [name for name in columns(tuple(sample.LABELS)) if name not in LESION_COLUMNS]


@pytest.mark.parametrize("earlier", [FIRST, SECOND])
def test_a_table_that_an_earlier_version_began_keeps_its_columns(
    a_result: Result, table: Path, caplog, earlier: list[str]
):
    table.write_text(",".join(earlier) + "\n", encoding="utf-8-sig")
    append_findings(table, [exported_study(a_result, "Head", NOON)])
    (line,) = lines_of(table)
    assert list(line) == earlier
    assert line["any_probability"] == "0.9100"
    assert "begun by an earlier version" in caplog.text


def test_the_volume_of_a_stated_lesion_stands_in_its_columns(tmp_path: Path, table: Path, a_result: Result):
    results = []
    for name, volumes, stated in (
        ("with limits", sample.VOLUMES, True),
        ("without limits", {"total": (3.2, None, None)}, True),
        ("not stated", sample.VOLUMES, False),
    ):
        content = sample.document(SHAPE) | {"lesions": sample.lesions(volumes, stated)}
        subtypes = sample.made_subtypes(SHAPE)
        results.append(
            read_result(sample.write_folder(tmp_path / name, content, sample.made_maps(SHAPE), np.eye(4), subtypes))
        )
    append_findings(table, [exported_study(result, "Head", NOON) for result in [*results, a_result]])
    found = [[line[name] for name in LESION_COLUMNS] for line in lines_of(table)]
    assert found == [["31.40", "20.00", "44.60"], ["3.20", "", ""], ["", "", ""], ["", "", ""]]
