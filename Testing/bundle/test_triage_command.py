"""The command around a triage: what is wrong with it in one line, what it reports, and what it leaves behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worklist_cases import write_results

from scripts.messages import message
from scripts.triage import __main__ as command
from scripts.triage.__main__ import Reporter, main, own_partials, summary
from scripts.triage.tasks import Tally


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--source", "nowhere"], "nowhere: cannot be read"),
        (["--source", "https://me:secret@pacs/dicom-web"], message("triage.password")),
        (["--source", ".", "--set", "operating_point"], "give KEY=VALUE"),
        (["--source", ".", "--set", "device=$print(1)"], "give KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_started(tmp_path: Path, caplog, more, text):
    assert main([*more, "--output", str(tmp_path / "out")]) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert text in caplog.text


def test_an_output_that_is_a_file_is_said_in_one_line(tmp_path: Path, caplog):
    (tmp_path / "out").write_text("", encoding="utf-8")
    assert main(["--source", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "the output folder cannot be used" in caplog.text


def test_without_ray_it_names_the_package_and_the_way_without(tmp_path: Path, monkeypatch):
    (tmp_path / "head.nii.gz").write_bytes(b"")
    environment = os.environ | {"PYTHONPATH": str(Path(command.__file__).parents[2])}
    code = (
        "import sys; sys.modules['ray'] = None; from scripts.triage.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["--source", str(tmp_path), "--output", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert message("triage.no_ray") in run.stderr
    assert "Traceback" not in run.stderr


def test_ctrl_c_at_any_time_is_a_cancel(tmp_path: Path, monkeypatch, caplog):
    def cancelled(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "triage", cancelled)
    assert main(["--source", ".", "--output", str(tmp_path)]) == 130
    assert message("triage.cancelled") in caplog.text


def test_half_written_folders_of_runs_that_are_over_are_removed_and_those_of_others_stay(tmp_path: Path):
    parent = tmp_path / ".triage" / "partial"
    host = command.socket.gethostname()
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    folders = {
        "ended": parent / f"{host}-{int(ended.stdout)}",
        "running": parent / f"{host}-{os.getppid()}",
        "elsewhere": parent / "another-machine-7",
        "elsewhere long ago": parent / "another-machine-8",
    }
    for folder in folders.values():
        (folder / "half").mkdir(parents=True)
    os.utime(folders["elsewhere long ago"], (1, 1))
    with own_partials(tmp_path) as own:
        (own / "half").mkdir()
        assert {name for name, folder in folders.items() if folder.exists()} == {"running", "elsewhere"}
    assert not own.exists()


def test_progress_is_printed_once_for_each_change_and_the_worklist_follows(tmp_path: Path, capsys, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    write_results(tmp_path)
    now = time.monotonic()
    monkeypatch.setattr(command.time, "monotonic", lambda: now)
    report = Reporter(tmp_path)
    tally = Tally(4)
    report(tally)
    report(tally)
    tally.evaluated = 1
    report(tally)
    assert capsys.readouterr().out == "PROGRESS 0/400 reading\nPROGRESS 100/400 reading\n"
    assert len(caplog.records) == 1
    assert not (tmp_path / "worklist.html").exists()
    now += 3600
    report(tally)
    assert (tmp_path / "worklist.html").exists()
    assert len(caplog.records) == 2


def test_the_pace_counts_what_was_read_and_not_what_was_there_before():
    tally = Tally(total=100, evaluated=30, not_evaluable=5, failed=1, before=26)
    assert summary(tally, 60.0) == (
        "30 evaluated, 5 not evaluable, 1 failed of 100 (26 of them before); 600 an hour, about 6 min to go"
    )
    assert "an hour" not in summary(Tally(total=5), 60.0)
