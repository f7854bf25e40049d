"""Past analyses: recorded, searched, deleted, switched off, shared by several Slicers, and safe from damage."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from history_cases import begin_as_version_1
from ICHDiagnosisLib.history import FILE_NAME, MIGRATIONS, History, HistoryError, PastFinding

MODULE_FOLDER = Path(__file__).parents[2] / "ICHDiagnosis"
SUBDURAL = PastFinding("subdural haemorrhage", 0.91, True)
EPIDURAL = PastFinding("epidural haemorrhage", 0.02, False)


@pytest.fixture
def a_history(tmp_path: Path) -> History:
    return History(tmp_path / "Einstellungen für Ärzte")


def record(history: History, study: str, day: int = 1, findings: tuple[PastFinding, ...] = (SUBDURAL, EPIDURAL)):
    date = datetime(2026, 5, day, 8, 30, tzinfo=UTC)
    return history.record(study, "A sentence.", findings, "0.1.0", Path("/results") / study, date)


def test_an_analysis_comes_back_as_it_was_recorded(a_history, tmp_path):
    folder = tmp_path / "Ergebnis 1"
    folder.mkdir()
    (folder / "result.json").write_text("{}", encoding="utf-8")
    summer = timezone(timedelta(hours=2))
    identifier = a_history.record(
        "1.2.840.1",
        "Subdural haemorrhage likely",
        [SUBDURAL],
        "0.1.0",
        folder,
        datetime(2026, 5, 1, 10, 30, tzinfo=summer),
    )
    (analysis,) = a_history.search()
    assert (analysis.identifier, analysis.study, analysis.model_version) == (identifier, "1.2.840.1", "0.1.0")
    assert analysis.date == datetime(2026, 5, 1, 8, 30, tzinfo=UTC)
    assert (analysis.impression, analysis.findings) == ("Subdural haemorrhage likely", (SUBDURAL,))
    assert analysis.result_folder == folder
    assert analysis.can_be_opened


def test_a_result_folder_that_is_gone_cannot_be_opened(a_history):
    record(a_history, "CT head")
    assert not a_history.search()[0].can_be_opened


def test_the_latest_comes_first(a_history):
    for study, day in (("first", 1), ("third", 3), ("second", 2)):
        record(a_history, study, day)
    assert [analysis.study for analysis in a_history.search()] == ["third", "second", "first"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("subdural", ["B"]),
        ("epidural", []),
        ("SCHÄDEL", ["A"]),
        ("2026-05-02 schädel", ["A"]),
        ("schädel subdural", []),
        ("0.1.0", ["B", "A"]),
        ("100%", []),
        ("_", ["A"]),
        ("'; DROP TABLE analysis; --", []),
    ],
)
def test_search_finds_what_a_user_would_type(a_history, text, found):
    record(a_history, "Schädel_CT", 2, (EPIDURAL,))
    record(a_history, "1.2.3", 3)
    names = {"Schädel_CT": "A", "1.2.3": "B"}
    assert [names[analysis.study] for analysis in a_history.search(text)] == found


def test_delete_forgets_one_on_disk_as_well(a_history):
    record(a_history, "keep this")
    identifier = record(a_history, "forget this study")
    a_history.delete(identifier)
    a_history.delete(4711)
    assert [analysis.study for analysis in a_history.search()] == ["keep this"]
    assert b"forget this study" not in a_history.file.read_bytes()


def test_numbers_are_not_used_again(a_history):
    first = record(a_history, "a")
    a_history.delete(first)
    assert a_history.search() == ()
    assert record(a_history, "b") == first + 1


def test_switched_off_nothing_is_written(tmp_path):
    history = History(tmp_path / "settings", enabled=False)
    assert record(history, "1.2.3") is None
    assert history.search() == ()
    history.delete(1)
    assert not history.file.parent.exists()


def test_only_the_user_may_read_the_file(a_history):
    record(a_history, "1.2.3")
    assert stat.S_IMODE(a_history.file.stat().st_mode) == 0o600


def test_only_what_was_given_is_kept(a_history):
    record(a_history, "1.2.3")
    with sqlite3.connect(a_history.file) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(analysis)")]
    kept = ["id", "study", "date", "findings", "model_version", "result_folder", "impression", "ct_place"]
    assert columns == kept


def test_the_latest_analysis_of_a_result_folder_states_where_its_ct_lies(a_history, tmp_path):
    assert a_history.of_result(tmp_path) is None
    for place in (None, tmp_path / "ct.nrrd"):
        a_history.record("1.2.3", "A sentence.", (), "0.1.0", tmp_path, ct_place=place)
    assert a_history.of_result(tmp_path).ct_place == tmp_path / "ct.nrrd"
    assert a_history.search()[1].ct_place is None
    assert a_history.of_result(tmp_path / "other") is None


def test_a_date_without_a_time_zone_is_refused(a_history):
    with pytest.raises(ValueError, match="time zone"):
        a_history.record("1.2.3", "", [], "0.1.0", Path("r"), datetime(2026, 5, 1))


@pytest.mark.parametrize(
    "damage", [b"this is not a database, but long enough to be looked at" * 10, b"SQLite format 3\0" + b"\xff" * 4000]
)
def test_a_damaged_file_is_set_aside_with_a_notice_and_a_new_one_begun(tmp_path, damage, caplog):
    (tmp_path / FILE_NAME).write_bytes(damage)
    history = History(tmp_path)
    record(history, "after the damage")
    assert [analysis.study for analysis in history.search()] == ["after the damage"]
    (aside,) = tmp_path.glob("*damaged*")
    assert aside.read_bytes() == damage
    assert history.notice is not None
    assert aside.name in history.notice
    assert "damaged" in caplog.text


def test_a_page_that_was_overwritten_is_noticed(tmp_path):
    history = History(tmp_path)
    for number in range(200):
        record(history, f"study {number}")
    content = bytearray(history.file.read_bytes())
    content[4096:12288] = b"\xa5" * 8192
    history.file.write_bytes(content)
    again = History(tmp_path)
    assert again.search() == ()
    assert again.notice is not None


def test_an_empty_file_is_simply_used(tmp_path):
    (tmp_path / FILE_NAME).touch()
    history = History(tmp_path)
    record(history, "1.2.3")
    assert history.notice is None
    assert len(history.search()) == 1


def test_a_locked_file_is_an_error_and_is_not_taken_for_damage(a_history, monkeypatch):
    record(a_history, "1.2.3")
    monkeypatch.setattr("ICHDiagnosisLib.history._LOCK_SECONDS", 0.1)
    other = sqlite3.connect(a_history.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HistoryError, match="locked"):
        a_history.search()
    other.close()
    assert len(a_history.search()) == 1
    assert a_history.notice is None


def test_a_folder_that_cannot_be_written_is_a_named_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HistoryError, match="cannot be opened"):
        record(History(tmp_path / "file" / "settings"), "1.2.3")


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(tmp_path):
    begin_as_version_1(tmp_path, "from version 1")
    history = History(tmp_path)
    record(history, "from this version", 2)
    assert [(analysis.study, analysis.impression) for analysis in history.search()] == [
        ("from this version", "A sentence."),
        ("from version 1", ""),
    ]
    assert history.search()[1].findings == (SUBDURAL,)
    with sqlite3.connect(history.file) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    record(History(tmp_path), "from this version")
    broken = (*MIGRATIONS, "ALTER TABLE analysis ADD COLUMN note TEXT; ALTER TABLE nowhere ADD COLUMN x TEXT")
    with monkeypatch.context() as patch:
        patch.setattr("ICHDiagnosisLib.history.MIGRATIONS", broken)
        with pytest.raises(HistoryError, match="nowhere"):
            History(tmp_path).search()
    assert [analysis.study for analysis in History(tmp_path).search()] == ["from this version"]


def test_a_file_of_a_newer_version_is_left_alone(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ICHDiagnosisLib.history.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (x)"))
        record(History(tmp_path), "from the future")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(HistoryError, match="newer version"):
        History(tmp_path).search()
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_several_applications_record_at_the_same_time(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(MODULE_FOLDER)!r})
from pathlib import Path
from ICHDiagnosisLib import history
history._LOCK_SECONDS = 300.0  # a lock is not handed on in turn: on a slow disk one of them may wait for all others
for number in range(20):
    history.History(Path({str(tmp_path)!r})).record(f"{{sys.argv[1]}} {{number}}", "", [], "0.1.0", Path("r"))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("A", "B", "C")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    history = History(tmp_path)
    assert len({analysis.study for analysis in history.search()}) == 60
    assert history.notice is None


def test_an_entry_that_somebody_edited_is_named(a_history):
    identifier = record(a_history, "1.2.3")
    with sqlite3.connect(a_history.file) as connection:
        connection.execute("UPDATE analysis SET findings = '[[1]]'")
    with pytest.raises(HistoryError, match=f"Entry {identifier} of the history"):
        a_history.search()
