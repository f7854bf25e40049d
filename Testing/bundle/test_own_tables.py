"""A user's tables: what follows from what, and every fault with its row, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.datasets.own_tables import KINDS, TableError, complete, read_slices, read_studies
from scripts.labels import RSNA

KEYS = tuple(label.key for label in RSNA)


def studies(folder: Path, text: str, encoding: str = "utf-8"):
    (folder / "labels.csv").write_text(text, encoding=encoding)
    return read_studies(folder / "labels.csv", KEYS)


def slices(folder: Path, text: str):
    (folder / "slices.csv").write_text(text, encoding="utf-8")
    return read_slices(folder / "slices.csv", KEYS, ["a", "b"])


def test_an_empty_cell_is_unknown_and_the_study_is_its_own_patient(tmp_path: Path):
    rows, faults = studies(tmp_path, "study,any,subdural\na,1,\nb,1,0\n")
    assert not faults
    assert [(row.study, row.patient, dict(row.labels)) for row in rows] == [
        ("a", "a", {"any": True}),
        ("b", "b", {"any": True, "subdural": False}),
    ]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("study;any\r\na;1\r\nb;0\r\n", "utf-8"),
        ("Study, Any \na, 1\nb ,0\n,\n", "utf-8"),
        ("study,any\na,1.0\nb,0.0\n", "utf-8-sig"),
        ('"study","any"\n"a","1"\n"b","0"', "utf-8"),
    ],
    ids=["semicolons", "spaces and capitals", "numbers with a point", "quotes"],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, text: str, encoding: str):
    rows, faults = studies(tmp_path, text, encoding)
    assert not faults
    assert [(row.study, row.labels["any"]) for row in rows] == [("a", True), ("b", False)]


@given(st.dictionaries(st.sampled_from(KEYS), st.booleans()))
def test_what_is_added_never_contradicts_what_is_known(labels: dict[str, bool]):
    completed = complete(labels)
    if labels.get("any") is False and any(labels.get(kind) for kind in KINDS):
        return
    assert {key: completed[key] for key in labels} == labels
    if completed.get("any") is False:
        assert not any(completed[kind] for kind in KINDS)
    if any(completed.get(kind) for kind in KINDS):
        assert completed["any"]


def test_any_is_unknown_while_one_kind_is_and_none_is_shown():
    assert "any" not in complete(dict.fromkeys(KINDS[1:], False))
    assert complete(dict.fromkeys(KINDS, False))["any"] is False
    assert complete({KINDS[2]: True})["any"] is True


def test_an_any_of_0_denies_every_kind_of_haemorrhage_and_nothing_else():
    assert complete({"any": False}) == dict.fromkeys(("any", *KINDS), False)


def test_all_faults_are_named_at_once_with_their_rows(tmp_path: Path):
    text = "study,any,subdural\na,1,2\n,0,0\nb,yes,\na,0,0\nc,0,1\nd,1,0,1\n"
    assert studies(tmp_path, text)[1] == [
        "labels.csv, row 7: 4 cells, but 3 columns",
        "labels.csv, row 2: subdural is '2', not 0, 1 or empty",
        "labels.csv, row 3: no study named",
        "labels.csv, row 4: any is 'yes', not 0, 1 or empty",
        "labels.csv, row 5: study 'a' is in labels.csv, row 2 already",
        "labels.csv, row 6: any is 0, but subdural is 1",
    ]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ("study,any,subdual", "unknown column 'subdual'; did you mean 'subdural'?"),
        ("study,any,SDH", "unknown column 'sdh'; did you mean 'subdural'?"),
        ("study,ich", "unknown column 'ich'; did you mean 'any'?"),
        ("study,any,age", "unknown column 'age'; remove it (known: study, any,"),
        ("case,any", "no column 'study'"),
        ("study,any,any", "column 'any' comes twice"),
        ("study,patient", "no column 'any' and none of epidural"),
    ],
)
def test_a_wrong_column_is_named_with_the_remedy(tmp_path: Path, columns: str, fault: str):
    _, faults = studies(tmp_path, f"{columns}\n" + ",".join("1" for _ in columns.split(",")))
    assert any(fault in each for each in faults), faults
    assert all(each.startswith("labels.csv, row 1: ") for each in faults)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "labels.csv: cannot be read (No such file or directory)"),
        (b"", "labels.csv: is empty or no text; save the table as 'CSV UTF-8'"),
        (b"study,any\n", "labels.csv: no study is listed"),
        ("study,any\nMüller,1\n".encode("latin-1"), "labels.csv: is not UTF-8; save it as 'CSV UTF-8'"),
        (b"PK\x03\x04\x14\x00\x06\x00", "labels.csv: is empty or no text; save the table as 'CSV UTF-8'"),
    ],
    ids=["missing", "empty", "headings alone", "another encoding", "a spreadsheet's own format"],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes | None, fault: str):
    if content is not None:
        (tmp_path / "labels.csv").write_bytes(content)
    assert read_studies(tmp_path / "labels.csv", KEYS) == ([], [fault])


def test_slices_are_read_with_their_numbers(tmp_path: Path):
    rows, faults = slices(tmp_path, "study,slice,any,subdural\na,3,1,1\nb,12,1,0\n")
    assert not faults
    assert [(row.study, row.number, row.labels["subdural"]) for row in rows] == [("a", 3, True), ("b", 12, False)]


def test_all_faults_of_slices_are_named_at_once(tmp_path: Path):
    text = "study,slice,any,subdural\na,0,1,1\na,top,1,1\nc,1,1,1\na,4,1,\na,5,1,0\na,5,0,1\n"
    assert slices(tmp_path, text)[1] == [
        "slices.csv, row 2: slice '0' is no number from 1 (the lowest slice) upwards",
        "slices.csv, row 3: slice 'top' is no number from 1 (the lowest slice) upwards",
        "slices.csv, row 4: study 'c' is not in the table of studies",
        "slices.csv, row 5: subdural is empty; write 0 or 1",
        "slices.csv, row 7: slice 5 of study 'a' is in slices.csv, row 6 already",
        "slices.csv, row 7: any is 0, but subdural is 1",
    ]


def test_a_table_of_slices_without_labels_is_refused(tmp_path: Path):
    assert "no label column" in slices(tmp_path, "study,slice\na,1\n")[1][0]


def test_the_error_lists_every_fault_on_a_line_of_its_own():
    error = TableError(["labels.csv, row 2: one", "labels.csv, row 3: two"])
    assert str(error).splitlines() == ["2 faults to correct:", "  labels.csv, row 2: one", "  labels.csv, row 3: two"]
