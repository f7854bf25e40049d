"""What the bundle prints is read strictly and kept within bounds, however it arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle.child_output import BoundedLog, LineSplitter, Progress, parse_progress
from ICHDiagnosisLib.bundle.exit_status import Ending
from process_cases import follow, outcome_of, processes_in, wait_until


def test_garbage_on_the_output_does_no_harm(a_process, a_request):
    outcome, lines = outcome_of(a_process, a_request("talk_garbage"))
    assert outcome.ending is Ending.EVALUATED
    assert max(len(line) for line in lines) < 5000
    assert "red" in lines
    assert "30%" in lines
    assert "PROGRESS 9/4 too far" in lines
    assert not any("\0" in line or "\x1b" in line for line in lines)


def test_a_flood_of_lines_keeps_the_log_bounded_with_its_beginning_and_end(a_process, a_request, a_bundle):
    request = a_request("talk_without_end")
    a_process.start(request)
    # Nobody polls until the flood is over: more lines come than are held.
    wait_until(lambda: processes_in(a_bundle) == [])
    update, lines = follow(a_process)
    assert update.outcome is not None
    assert lines[-1] == "the last line"
    log = request.log_file.read_text(encoding="utf-8")
    assert len(log) < 5_000_000
    assert log.startswith("line 0 ")
    assert log.endswith("the last line\n")
    assert "lines left out]" in log


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("PROGRESS 3/12 running the network", Progress(3, 12, "running the network")),
        ("PROGRESS 0/1 reading", Progress(0, 1, "reading")),
        ("PROGRESS 3/12", None),
        ("PROGRESS 3/0 x", None),
        ("PROGRESS 13/12 x", None),
        (" PROGRESS 3/12 x", None),
        ("progress 3/12 x", None),
        ("PROGRESS 3/12  ", None),
        ("PROGRESS ٣/12 x", None),
    ],
)
def test_progress_is_read_strictly(line, progress):
    assert parse_progress(line) == progress


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100000])
def test_lines_are_the_same_however_the_bytes_arrive(size):
    stream = (
        "äé\r\n10%\r20%\r".encode() + b"\nplain\n" + b"y" * 9000 + b"\r" + b"z" * 4000 + b"\r\n" + b"w" * 4001 + b"\n"
    )
    stream += b"\xff no utf-8\nlast"
    splitter = LineSplitter()
    lines = [line for start in range(0, len(stream), size) for line in splitter.feed(stream[start : start + size])]
    lines += splitter.finish()
    assert lines == ["äé", "20%", "plain", "z" * 4000, "w" * 4000 + " [cut]", "\ufffd no utf-8", "last"]


def test_a_log_on_a_broken_disk_is_reported_and_stops(tmp_path, caplog):
    if not Path("/dev/full").exists():
        pytest.fail("Linux has /dev/full")
    log = BoundedLog(Path("/dev/full"))
    log.write("one")
    log.write("two")
    log.close()
    assert caplog.messages == ["run.log is incomplete: No space left on device"]
