"""The files of a reader study: protocol, reference standard and journal, and what is refused of them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from ICHDiagnosisLib.reader_study.journal import Journal, JournalError, read_entries
from ICHDiagnosisLib.reader_study.protocol import (
    ProtocolError,
    create_protocol,
    read_protocol,
    shuffled,
    stem,
    with_any,
)
from ICHDiagnosisLib.reader_study.truth import read_truth
from reader_study_cases import a_study

# Protocol and reference standard


def test_a_protocol_comes_back_as_it_was_made_and_can_be_moved_with_its_cases(tmp_path: Path):
    store = a_study(tmp_path / "here")
    assert [case.identifier for case in store.protocol.cases] == ["001", "002", "003", "004"]
    assert store.protocol.case("002").truth == {"any", "intraparenchymal", "intraventricular"}
    (tmp_path / "here").rename(tmp_path / "there")
    moved = read_protocol(tmp_path / "there" / "study")
    assert all(case.path.is_file() for case in moved.cases)
    with pytest.raises(KeyError):
        moved.case("005")


def test_a_second_protocol_in_the_same_folder_or_one_without_cases_is_refused(tmp_path: Path):
    store = a_study(tmp_path)
    with pytest.raises(ProtocolError, match="holds a reader study already"):
        create_protocol(store.folder, [tmp_path / "a.nrrd"], None)
    with pytest.raises(ProtocolError, match="no studies"):
        create_protocol(tmp_path / "other", [], None)
    with pytest.raises(ProtocolError, match="0 to 52 weeks"):
        create_protocol(tmp_path / "other", [tmp_path / "a.nrrd"], None, 53)
    with pytest.raises(ProtocolError, match=r"no line for b\.nrrd"):
        create_protocol(tmp_path / "other", [tmp_path / "b.nrrd"], {"a": frozenset()})
    (tmp_path / "file").touch()
    with pytest.raises(ProtocolError, match="cannot be written"):
        create_protocol(tmp_path / "file", [tmp_path / "b.nrrd"], None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "ich-reader-study/9"}, "version 'ich-reader-study/9'"),
        ({"cases": []}, "damaged"),
        ({"cases": [{"id": "1", "path": "a", "truth": ["headache"]}]}, "unknown labels: headache"),
        ({"washout_weeks": "soon"}, "damaged"),
    ],
)
def test_a_protocol_that_was_changed_is_a_named_error(tmp_path: Path, change: dict, reason: str):
    file = a_study(tmp_path).folder / "protocol.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ProtocolError, match=reason):
        read_protocol(file.parent)
    file.unlink()
    with pytest.raises(ProtocolError, match="holds no reader study"):
        read_protocol(file.parent)


def test_the_reference_standard_is_read_from_a_table(tmp_path: Path):
    table = tmp_path / "truth.csv"
    table.write_text(
        "\ufeffstudy,epidural,intraparenchymal,intraventricular,subarachnoid,subdural,any,scanner\n"
        "head 1,0,1,no,0,yes,1,A\nhead 2,0,0,0,0,0,1,B\nhead 3,0,0,0,0,0,0,B\n",
        encoding="utf-8",
    )
    truth = read_truth(table)
    assert truth == {"head 1": {"any", "intraparenchymal", "subdural"}, "head 2": {"any"}, "head 3": frozenset()}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,0,0,0,0,maybe,0", "line 2: subdural must be 0 or 1, not 'maybe'"),
        ("a,0,0,0,0,1,0", "line 2: a subtype is present"),
        ("a,0,0,0,0,1,1\na,0,0,0,0,0,0", "line 3: a study is named twice"),
        (",0,0,0,0,1,1", "line 2: a study is named twice or not at all"),
        ("a,0", "line 2"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_with_its_line(tmp_path: Path, line: str, reason: str):
    table = tmp_path / "truth.csv"
    header = "study,epidural,intraparenchymal,intraventricular,subarachnoid,subdural,any"
    table.write_text(f"{header}\n{line}\n", encoding="utf-8")
    with pytest.raises(ProtocolError, match=reason):
        read_truth(table)


def test_a_table_without_a_column_or_that_is_not_there_is_refused(tmp_path: Path):
    (tmp_path / "truth.csv").write_text("study,subdural\na,1\n", encoding="utf-8")
    with pytest.raises(ProtocolError, match="lacks columns: epidural, intraparenchymal"):
        read_truth(tmp_path / "truth.csv")
    with pytest.raises(ProtocolError, match="cannot be read"):
        read_truth(tmp_path / "nowhere.csv")


def test_a_subtype_is_a_haemorrhage_and_nothing_is_none():
    assert with_any({"subdural"}) == {"any", "subdural"}
    assert with_any(()) == frozenset()
    assert [stem(Path(name)) for name in ("a.nii.gz", "b.NRRD", "c")] == ["a", "b", "c"]


def test_orders_are_drawn_evenly_and_come_back_with_their_seed():
    orders = Counter(shuffled(["1", "2", "3"], seed) for seed in range(600))
    assert len(orders) == 6
    assert min(orders.values()) > 60
    assert shuffled(["3", "1", "2"], 7) == shuffled(["1", "2", "3"], 7)


# Journal


def test_every_step_is_on_the_disk_before_the_next_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    journal = Journal(tmp_path / "a.jsonl")
    synced.clear()
    for number in range(3):
        journal.add("time", seconds=number)
        assert synced[-1] == (tmp_path / "a.jsonl").stat().st_size
    assert [entry["seconds"] for entry in read_entries(tmp_path / "a.jsonl")] == [0, 1, 2]


def test_half_a_line_at_the_end_is_cut_off_and_the_journal_goes_on(tmp_path: Path, caplog):
    path = tmp_path / "a.jsonl"
    journal = Journal(path)
    journal.add("first")
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number": 2, "event": "ti')
    assert len(read_entries(path)) == 1
    again = Journal(path)
    assert "unfinished" in caplog.text
    assert path.read_bytes() == whole
    again.add("second")
    assert [entry["event"] for entry in read_entries(path)] == ["first", "second"]


@pytest.mark.parametrize("damage", [b"not json\n", b"[]\n", b'{"number": 3, "event": "x"}\n', b'{"number": 2}\n'])
def test_a_damaged_line_is_an_error_and_nothing_is_changed(tmp_path: Path, damage: bytes):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"number": 1, "event": "first"}\n' + damage)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="line 2, is damaged"):
        Journal(path)
    assert path.read_bytes() == before


def test_what_another_program_has_written_is_noticed(tmp_path: Path):
    one, other = Journal(tmp_path / "a.jsonl"), Journal(tmp_path / "a.jsonl")
    one.add("first")
    with pytest.raises(JournalError, match="open twice"):
        other.add("first")
    assert len(read_entries(tmp_path / "a.jsonl")) == 1


def test_a_full_disk_is_an_error_and_the_journal_stays_whole(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.add("first")
    file = journal._file

    class Full:
        def __getattr__(self, name: str):
            return getattr(file, name)

        def write(self, line: bytes) -> int:
            return file.write(line[:7])

    journal._file = Full()  # type: ignore[assignment]
    with pytest.raises(JournalError, match="did not count: the disk is full"):
        journal.add("second")
    journal._file = file
    assert journal.add("third")["number"] == 2
    assert [entry["event"] for entry in read_entries(tmp_path / "a.jsonl")] == ["first", "third"]


def test_a_journal_in_an_impossible_place_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "file" / "a.jsonl")
    with pytest.raises(JournalError, match="cannot be read"):
        read_entries(tmp_path / "nowhere.jsonl")
