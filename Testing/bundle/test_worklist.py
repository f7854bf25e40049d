"""The worklist: its order by urgency, what it lists, and the table and file beside the page."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worklist_cases import HOSTILE_REASON, an_entry, write_results

from scripts.messages import message
from scripts.worklist import page
from scripts.worklist.__main__ import main
from scripts.worklist.entries import THUMBNAIL_FILE, collect
from scripts.worklist.failures import forget_failure, read_failures, write_failure
from scripts.worklist.page import WORKLIST_SCHEMA, worklist_rows, worklist_table, write_worklist
from scripts.worklist.urgency import Urgency, by_urgency, urgency_of

ORDER = ["subdural", "likely without volume", "=seven slices", "killed three workers", "größer & negative"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    write_results(root)
    write_worklist(root)
    return root


def test_the_thumbnail_has_one_name():
    from scripts.output import thumbnail  # noqa: PLC0415

    assert thumbnail.THUMBNAIL_FILE == THUMBNAIL_FILE


def test_real_results_are_listed_by_urgency_and_none_is_left_out(results: Path):
    rows = json.loads((results / "worklist.json").read_text(encoding="utf-8"))["rows"]
    assert [row["study_id"] for row in rows] == ORDER
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["urgency"] for row in rows] == ["likely", "likely", "unread", "unread", "negative"]
    assert [row["folder"] for row in rows] == [*ORDER[:3], None, ORDER[4]]
    assert [row["thumbnail"] for row in rows] == [True, True, False, False, True]
    assert rows[0]["volume_ml"] > 0
    assert rows[1]["volume_ml"] is None
    assert rows[0]["probability"] == 0.93
    assert "7 slices" in rows[2]["text"]
    assert rows[3]["text"] == HOSTILE_REASON


def test_the_file_states_what_it_is_and_its_rule(results: Path):
    document = json.loads((results / "worklist.json").read_text(encoding="utf-8"))
    assert document["schema"] == WORKLIST_SCHEMA
    assert document["notice"] == message("report.notice")
    assert document["rule"] == message("worklist.rule")


def test_the_table_holds_every_line_and_no_formula(results: Path):
    text = (results / "worklist.csv").read_bytes().decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["study_id"] for row in table] == [name.replace("=", "'=") for name in ORDER]
    assert table[0]["report"] == "subdural/report.html"
    assert table[3]["report"] == ""
    assert table[3]["impression"] == HOSTILE_REASON


@pytest.mark.parametrize(
    ("entry", "urgency"),
    [
        (an_entry(), Urgency.LIKELY),
        (an_entry(impression="haemorrhage_likely_no_type"), Urgency.LIKELY),
        (an_entry(impression="haemorrhage_possible", certainty="borderline"), Urgency.POSSIBLE),
        (an_entry(impression="haemorrhage_possible", certainty="positive"), Urgency.POSSIBLE),
        (an_entry(impression="contradictory", certainty="borderline"), Urgency.POSSIBLE),
        (an_entry(impression="close_to_threshold", certainty="borderline"), Urgency.POSSIBLE),
        (an_entry(impression="other_findings"), Urgency.OTHER),
        (an_entry(impression="no_haemorrhage", certainty="negative"), Urgency.NEGATIVE),
        (an_entry(status="not_evaluable", impression="", certainty=""), Urgency.UNREAD),
        (an_entry(status="failed", impression="", certainty=""), Urgency.UNREAD),
    ],
)
def test_the_group_follows_from_the_impression(entry, urgency):
    assert urgency_of(entry) is urgency


def test_within_a_group_volume_counts_before_probability_and_names_decide_last():
    small, large = an_entry(1, volume_ml=2.0, probability=0.99), an_entry(2, volume_ml=40.0, probability=0.6)
    unmeasured, weak, twin = an_entry(3, probability=0.98), an_entry(4, probability=0.7), an_entry(5, probability=0.7)
    assert by_urgency([twin, weak, unmeasured, small, large]) == [large, small, unmeasured, weak, twin]


@given(st.permutations([an_entry(number, status=status) for number in range(4) for status in ("evaluated", "failed")]))
def test_the_order_does_not_depend_on_the_order_in_which_studies_were_found(entries):
    ids = [(entry.status, entry.study_id) for entry in by_urgency(entries)]
    assert ids == [(status, f"study-{number:05d}") for status, numbers in _expected() for number in numbers]


def _expected() -> list[tuple[str, list[int]]]:
    return [("evaluated", [3, 2, 1, 0]), ("failed", [3, 2, 1, 0])]


def test_results_one_folder_deeper_are_listed_and_unfinished_ones_are_not(tmp_path: Path):
    write_results(tmp_path / "entry of a batch")
    (tmp_path / "entry of a batch" / ".half.partial").mkdir()
    (tmp_path / "entry of a batch" / ".half.partial" / "result.json").write_text("{}", encoding="utf-8")
    folders = {entry.folder for entry in collect(tmp_path)}
    assert folders == {f"entry of a batch/{name}" for name in ORDER if name != "killed three workers"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "another/1"}', '{"schema": "ich-diagnosis-result/2"}'])
def test_a_folder_that_holds_no_result_is_passed_over_with_a_warning(tmp_path, caplog, content):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "result.json").write_text(content, encoding="utf-8")
    assert not list(collect(tmp_path))
    assert "study holds no result" in caplog.text


def test_a_study_that_has_a_result_now_is_not_listed_as_failed(tmp_path: Path):
    write_results(tmp_path)
    write_failure(tmp_path, "subdural", "killed three workers")
    assert [entry.status for entry in collect(tmp_path) if entry.study_id == "subdural"] == ["evaluated"]
    forget_failure(tmp_path, "subdural")
    forget_failure(tmp_path, "never noted")
    assert set(read_failures(tmp_path)) == {"killed three workers"}


def test_a_damaged_note_hides_no_other(tmp_path: Path):
    write_failure(tmp_path, "one", "why")
    (tmp_path / ".triage" / "failed" / "damaged.json").write_text("{", encoding="utf-8")
    assert read_failures(tmp_path) == {"one": "why"}


def test_a_vocabulary_without_any_is_sorted_by_its_most_probable_type(tmp_path: Path):
    write_results(tmp_path)
    file = tmp_path / "subdural" / "result.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["findings"] = [finding for finding in document["findings"] if finding["key"] != "any"]
    file.write_text(json.dumps(document), encoding="utf-8")
    assert {entry.study_id: entry.probability for entry in collect(tmp_path)}["subdural"] == 0.87


def test_more_lines_than_a_page_holds_go_on_in_further_pages(tmp_path: Path, monkeypatch):
    write_results(tmp_path)
    monkeypatch.setattr(page, "ROWS_OF_A_PAGE", 2)
    write_worklist(tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*.html")) == [
        "worklist.html",
        "worklist_2.html",
        "worklist_3.html",
    ]
    assert 'href="worklist_3.html"' in (tmp_path / "worklist.html").read_text(encoding="utf-8")
    assert "größer" in (tmp_path / "worklist_3.html").read_text(encoding="utf-8")
    monkeypatch.setattr(page, "ROWS_OF_A_PAGE", 100)
    write_worklist(tmp_path)
    assert [file.name for file in tmp_path.glob("*.html")] == ["worklist.html"]


def test_an_empty_folder_has_an_empty_worklist(tmp_path: Path):
    assert write_worklist(tmp_path) == []
    assert worklist_table(worklist_rows([])).count("\r\n") == 1


def test_the_command_writes_the_worklist_and_names_its_page(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO)
    write_results(tmp_path)
    assert main(["--results", str(tmp_path)]) == 0
    assert str(tmp_path / "worklist.html") in caplog.text


@pytest.mark.parametrize("fault", ["no_folder", "language", "not_written"])
def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path, caplog, fault):
    arguments = {"no_folder": [str(tmp_path / "nowhere")], "language": [str(tmp_path), "--language", "xx"]}
    if fault == "not_written":
        (tmp_path / "worklist.html").mkdir()
    given = arguments.get(fault, [str(tmp_path)])
    assert main(["--results", *given]) == 1
    assert len(caplog.records) == 1
    assert not list(tmp_path.glob(".*.partial"))
