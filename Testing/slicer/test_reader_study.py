"""The reader study's core: what is read in which order, what a sitting records, and what it refuses."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ICHDiagnosisLib.reader_study.journal import Journal, JournalError, read_entries
from ICHDiagnosisLib.reader_study.protocol import (
    ProtocolError,
    Sitting,
    create_protocol,
    read_protocol,
    shuffled,
    stem,
    with_any,
)
from ICHDiagnosisLib.reader_study.record import JOURNAL_SCHEMA, record_of
from ICHDiagnosisLib.reader_study.session import COMPUTER, READER, WINDOW, Phase, SittingSession
from ICHDiagnosisLib.reader_study.store import SittingError, StudyStore
from ICHDiagnosisLib.reader_study.truth import read_truth
from reader_study_cases import LATER, Clock, a_study, opened, read_all, read_one


def journal_of(store: StudyStore, sitting: Sitting = Sitting.WITHOUT_AI) -> Path:
    return store.folder / "readers" / "R01" / f"{sitting.value}.jsonl"


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


# A sitting


def test_a_sitting_goes_through_every_study_in_the_recorded_order(tmp_path: Path):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    read = []
    while session.phase is not Phase.COMPLETE:
        read.append(session.case)
        assert session.position == len(read)
        read_one(session, clock, 7, frozenset({"subdural"}), 2)
    assert (session.case, session.position) == ("", 4)
    record = store.record("R01", Sitting.WITHOUT_AI)
    assert tuple(read) == record.order == shuffled(["001", "002", "003", "004"], record.seed)
    assert [reading.seconds for reading in record.readings] == [7.0] * 4
    assert {reading.labels for reading in record.readings} == {frozenset({"any", "subdural"})}
    assert record.ended is not None


def test_the_two_sittings_have_orders_of_their_own(tmp_path: Path):
    store = a_study(tmp_path, count=20)
    read_all(store, "R01", Sitting.WITHOUT_AI, 0.8, 20, 1)
    first = store.record("R01", Sitting.WITHOUT_AI)
    second = opened(store, sitting=Sitting.WITH_AI).record
    other = opened(store, participant="R02").record
    assert len({first.seed, second.seed, other.seed}) == 3
    assert len({first.order, second.order, other.order}) == 3
    assert sorted(first.order) == sorted(second.order) == sorted(other.order)


def test_ticks_imply_each_other_as_haemorrhages_do(tmp_path: Path):
    session = opened(a_study(tmp_path), clock=Clock())
    session.begin_study()
    assert session.tick("epidural", True) == {"any", "epidural"}
    assert session.tick("epidural", False) == {"any"}
    session.tick("subdural", True)
    assert session.tick("any", False) == frozenset()
    assert session.tick("any", True) == {"any"}
    with pytest.raises(ValueError, match="no label"):
        session.tick("fracture", True)


def test_time_stands_still_while_it_is_paused_whoever_paused_it(tmp_path: Path):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    session.begin_study()
    clock.now += 5
    session.pause(READER)
    session.pause(WINDOW)
    clock.now += 9
    session.count()
    session.resume()
    session.resume()
    clock.now += 2
    session.pause(WINDOW)
    clock.now += 9
    session.resume()
    clock.now += 1
    session.stop()
    session.rate(3)
    session.pause(READER)
    (reading,) = store.record("R01", Sitting.WITHOUT_AI).readings
    assert (reading.seconds, reading.pauses) == (8.0, 2)


def test_a_computer_that_slept_adds_no_time_and_pauses(tmp_path: Path):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    session.begin_study()
    clock.now += 3
    session.count()
    clock.now += 3600
    session.count()
    assert (session.phase, session.seconds) == (Phase.PAUSED, 3.0)
    entry = read_entries(journal_of(store))[-1]
    assert (entry["event"], entry["reason"], entry["gap"]) == ("paused", COMPUTER, 3600.0)


def test_confidence_comes_after_the_time_has_stopped_and_findings_stay(tmp_path: Path):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    with pytest.raises(ValueError, match="'show'"):
        session.tick("any", True)
    session.begin_study()
    with pytest.raises(ValueError, match="'reading'"):
        session.rate(2)
    clock.now += 4
    session.stop()
    clock.now += 60
    with pytest.raises(ValueError, match="'confidence'"):
        session.tick("any", True)
    with pytest.raises(ValueError, match="no confidence 4"):
        session.rate(4)
    session.rate(0)
    assert store.record("R01", Sitting.WITHOUT_AI).readings[0].seconds == 4.0


@pytest.mark.parametrize("where", ["reading", "paused", "confidence", "between"])
def test_a_sitting_whose_objects_are_gone_goes_on_where_it_was(tmp_path: Path, where: str):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    read_one(session, clock, 5, frozenset(), 1)
    if where != "between":
        session.begin_study()
        session.tick("subdural", True)
        clock.now += 6
        session.count()
    if where == "paused":
        session.pause(READER)
    if where == "confidence":
        session.stop()
    case = session.case
    del session
    again = opened(StudyStore(store.folder), clock=Clock())
    expected = {"confidence": Phase.CONFIDENCE, "between": Phase.SHOW}.get(where, Phase.PAUSED)
    assert (again.phase, again.case, again.position) == (expected, case, 2)
    if where != "between":
        assert (again.seconds, again.labels) == (6.0, {"any", "subdural"})
        assert again.record.readings[1].pauses == (0 if where == "confidence" else 1)
    if where in ("reading", "paused"):
        again.resume()
        again.stop()
        again.rate(2)
        assert again.record.readings[1].seconds == pytest.approx(6.0, abs=0.5)


def test_a_sitting_that_is_left_is_paused_and_written_no_more(tmp_path: Path):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    session.begin_study()
    clock.now += 2
    session.leave()
    assert read_entries(journal_of(store))[-1]["reason"] == "left"
    assert opened(store, clock=Clock()).seconds == 2.0


def test_a_crash_before_the_first_line_leaves_a_sitting_that_was_never_begun(tmp_path: Path):
    store = a_study(tmp_path)
    journal_of(store).parent.mkdir(parents=True)
    journal_of(store).touch()
    assert store.record("R01", Sitting.WITHOUT_AI) is None
    assert opened(store).phase is Phase.SHOW


# What is refused


@pytest.mark.parametrize("name", ["", "Anna", "Anna Müller", "r01", "../R01", "01", "R01/", "R12345"])
def test_a_participant_is_a_pseudonym_with_a_number(tmp_path: Path, name: str):
    with pytest.raises(SittingError, match="Never a name"):
        a_study(tmp_path).open_sitting(name, Sitting.WITHOUT_AI)
    assert not (tmp_path / "study" / "readers").exists()


def test_the_sitting_with_ai_waits_for_the_other_and_for_the_wash_out(tmp_path: Path):
    store = a_study(tmp_path, weeks=3)
    with pytest.raises(SittingError, match="has not completed the sitting without AI"):
        opened(store, sitting=Sitting.WITH_AI)
    read_all(store, "R01", Sitting.WITHOUT_AI, 0.8, 20, 1)
    last = datetime.now().astimezone().date()
    washout = store.washout("R01", last + timedelta(weeks=3, days=-1))
    assert (washout.earliest, washout.over) == (last + timedelta(weeks=3), False)
    with pytest.raises(SittingError, match=f"until {washout.earliest}"):
        store.open_sitting("R01", Sitting.WITH_AI, "   ", washout.earliest - timedelta(days=1))
    assert store.record("R01", Sitting.WITH_AI) is None
    record = store.open_sitting("R01", Sitting.WITH_AI, " leaves the hospital ").record
    assert record.override_reason == "leaves the hospital"
    assert store.check_sitting("R01", Sitting.WITH_AI) == "", "once begun, it goes on without asking"


def test_a_reason_is_not_recorded_where_none_was_needed(tmp_path: Path):
    store = a_study(tmp_path)
    read_all(store, "R01", Sitting.WITHOUT_AI, 0.8, 20, 1)
    assert store.open_sitting("R01", Sitting.WITH_AI, "no need", LATER).record.override_reason == ""


def test_a_complete_sitting_is_not_read_again(tmp_path: Path):
    store = a_study(tmp_path)
    read_all(store, "R01", Sitting.WITHOUT_AI, 0.8, 20, 1)
    with pytest.raises(SittingError, match="has completed the sitting without AI"):
        opened(store)
    assert store.participants == ("R01",)


def test_a_journal_of_another_reader_study_is_refused(tmp_path: Path):
    one, other = a_study(tmp_path / "one"), a_study(tmp_path / "other", count=5)
    opened(one).leave()
    (one.folder / "readers").rename(other.folder / "readers")
    with pytest.raises(SittingError, match="another version of this reader study"):
        other.record("R01", Sitting.WITHOUT_AI)
    with pytest.raises(SittingError, match="another version of this reader study"):
        opened(other)


HEAD = {
    "number": 1,
    "event": "sitting",
    "schema": JOURNAL_SCHEMA,
    "participant": "R01",
    "sitting": "without_ai",
    "protocol_sha256": "",
    "seed": 1,
    "order": ["001", "002"],
    "override_reason": "",
    "at": datetime(2026, 5, 1, tzinfo=UTC).isoformat(),
}
SHOWN = {"event": "shown", "case": "001"}


@pytest.mark.parametrize(
    "steps",
    [
        [{"event": "shown", "case": "002"}],
        [SHOWN, SHOWN],
        [SHOWN, {"event": "time", "case": "002", "seconds": 1}],
        [SHOWN, {"event": "time", "case": "001", "seconds": 9}, {"event": "time", "case": "001", "seconds": 8}],
        [SHOWN, {"event": "rated", "case": "001", "confidence": 1}],
        [SHOWN, {"event": "stopped", "case": "001", "seconds": 1}, {"event": "rated", "case": "001", "confidence": 7}],
        [SHOWN, {"event": "stopped", "case": "001", "seconds": 1}, {"event": "time", "case": "001", "seconds": 2}],
        [SHOWN, {"event": "ticked", "case": "001", "labels": ["headache"]}],
        [SHOWN, {"event": "sung", "case": "001"}],
        [{"event": "time", "case": "001", "seconds": 1}],
        [SHOWN, {"event": "time", "case": "001"}],
    ],
)
def test_a_journal_that_contradicts_itself_is_refused(steps: list[dict]):
    with pytest.raises(JournalError, match=f"line {len(steps) + 1}, does not follow"):
        record_of([HEAD, *steps], Path("without_ai.jsonl"))


def test_a_journal_of_another_kind_or_without_a_time_zone_is_refused():
    with pytest.raises(JournalError, match="no journal of a sitting"):
        record_of([{"number": 1, "event": "other"}], Path("a.jsonl"))
    with pytest.raises(JournalError, match="line 1"):
        record_of([HEAD | {"at": "2026-05-01T10:00:00"}], Path("a.jsonl"))


def test_a_step_that_cannot_be_written_has_not_happened(tmp_path: Path):
    store, clock = a_study(tmp_path), Clock()
    session = opened(store, clock=clock)
    session.begin_study()
    other = Journal(journal_of(store))
    other.add("time", case=session.case, seconds=0.0)
    with pytest.raises(JournalError):
        session.tick("any", True)
    assert session.labels == frozenset()
    assert isinstance(session, SittingSession)
    assert date.today() <= LATER
