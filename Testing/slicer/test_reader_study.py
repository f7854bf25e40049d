"""A sitting of a reader study: order, ticks, time and confidence, what survives a crash, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ICHDiagnosisLib.reader_study.journal import Journal, JournalError, read_entries
from ICHDiagnosisLib.reader_study.protocol import (
    Sitting,
    shuffled,
)
from ICHDiagnosisLib.reader_study.record import JOURNAL_SCHEMA, record_of
from ICHDiagnosisLib.reader_study.session import COMPUTER, READER, WINDOW, Phase, SittingSession
from ICHDiagnosisLib.reader_study.store import SittingError, StudyStore
from reader_study_cases import LATER, Clock, a_study, opened, read_all, read_one


def journal_of(store: StudyStore, sitting: Sitting = Sitting.WITHOUT_AI) -> Path:
    return store.folder / "readers" / "R01" / f"{sitting.value}.jsonl"


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
