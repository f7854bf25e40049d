"""A worker of the bundle reads one study after the other, and no study depends on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.bundle.exit_status import Ending, Outcome, Remedy
from ICHDiagnosisLib.bundle.process import AlreadyRunningError
from ICHDiagnosisLib.bundle.resident_bundle import ResidentBundle
from ICHDiagnosisLib.bundle.worker_process import WorkerSettings
from process_cases import (
    MODULE_FOLDER,
    follow,
    outcome_of,
    processes_in,
    supervisor_pid,
    wait_until,
    with_worker,
    workers_in,
)


@pytest.fixture
def a_bundle(a_bundle: Path) -> Path:
    return with_worker(a_bundle)


@pytest.fixture
def resident() -> Iterator[ResidentBundle]:
    runner = ResidentBundle()
    yield runner
    runner.close()
    runner.end_worker()


def process_that_read(request: BundleRequest) -> int:
    result = request.output_dir / "study 1" / "result.json"
    return int(json.loads(result.read_text(encoding="utf-8"))["process"])


def in_another_folder(request: BundleRequest, number: int) -> BundleRequest:
    return replace(request, output_dir=request.output_dir / str(number))


def read(runner: ResidentBundle, request: BundleRequest) -> tuple[Outcome, int]:
    outcome, lines = outcome_of(runner, request)
    assert outcome.ending is Ending.EVALUATED, lines
    return outcome, process_that_read(request)


def is_at_stage_one(runner: ResidentBundle) -> None:
    follow(runner, until=lambda update: update.progress is not None and update.progress.done == 1)


def test_two_studies_are_read_by_one_process_each_with_its_own_log(resident, a_request, a_bundle):
    requests = [in_another_folder(a_request("evaluate"), number) for number in (1, 2)]
    read_by = []
    for request in requests:
        resident.start(request)
        update, lines = follow(resident)
        assert update.outcome is not None
        assert (update.outcome.ending, update.progress.done) == (Ending.EVALUATED, 4)
        assert [line.split(":")[0] for line in lines] == [
            "INFO reading the study",
            "INFO running the network",
            "INFO explaining",
            "INFO writing results",
        ]
        read_by.append(process_that_read(request))
        log = request.log_file.read_text(encoding="utf-8").splitlines()
        assert (len(log), sum(line.startswith("PROGRESS") for line in log)) == (8, 4)
    assert read_by[0] == read_by[1]
    assert workers_in(a_bundle) == [read_by[0]]


def test_a_worker_that_was_warmed_up_reads_the_study(resident, a_request, a_bundle):
    resident.warm_up(a_request("evaluate"))
    before: list[int] = []

    def one_worker() -> bool:
        # A process that is just being started looks like the one that starts it for a moment.
        before[:] = workers_in(a_bundle)
        return len(before) == 1

    wait_until(one_worker)
    assert not resident.running
    assert not a_request("evaluate").output_dir.exists()
    _, process = read(resident, a_request("evaluate"))
    assert [process] == before


@pytest.mark.parametrize(
    ("behaviour", "values", "ending", "text"),
    [
        ("refuse", {}, Ending.SOME_NOT_EVALUABLE, "not every study"),
        ("fail", {"message": "ERROR settings: no such operating point"}, Ending.FAILED, "no such operating point"),
    ],
)
def test_a_study_that_ends_otherwise_ends_as_ever_and_the_next_is_read(
    resident, a_request, a_bundle, behaviour, values, ending, text
):
    _, first = read(resident, in_another_folder(a_request("evaluate"), 1))
    outcome, _ = outcome_of(resident, in_another_folder(a_request(behaviour, **values), 2))
    assert outcome.ending is ending
    assert text in outcome.message
    _, last = read(resident, in_another_folder(a_request("evaluate"), 3))
    assert first == last


def test_a_study_that_crashes_gets_its_named_error_and_the_next_is_read(resident, a_request):
    read(resident, in_another_folder(a_request("evaluate"), 1))
    request = in_another_folder(a_request("crash", signal=str(int(signal.SIGSEGV))), 2)
    outcome, _ = outcome_of(resident, request)
    assert (outcome.exit_status, outcome.remedy) == (139, Remedy.RUN_ON_CPU)
    read(resident, in_another_folder(a_request("evaluate"), 3))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_study_whose_worker_is_killed_is_read_by_another_process(resident, a_request, a_bundle, number):
    request = a_request("hang_in_a_worker")
    resident.start(request)
    is_at_stage_one(resident)
    (worker,) = workers_in(a_bundle)
    os.kill(worker, number)
    update, _ = follow(resident)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.EVALUATED
    assert process_that_read(request) != worker
    assert worker not in workers_in(a_bundle)
    assert sorted(path.name for path in request.output_dir.iterdir()) == ["run.log", "study 1"]


def test_a_study_whose_supervisor_is_killed_is_read_by_another_process(resident, a_request, a_bundle):
    request = a_request("hang_in_a_worker")
    resident.start(request)
    is_at_stage_one(resident)
    os.kill(supervisor_pid(a_bundle), signal.SIGKILL)
    update, _ = follow(resident)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.EVALUATED


def test_an_idle_worker_that_is_killed_costs_nothing(resident, a_request, a_bundle):
    _, first = read(resident, in_another_folder(a_request("evaluate"), 1))
    os.kill(first, signal.SIGKILL)
    _, second = read(resident, in_another_folder(a_request("evaluate"), 2))
    assert first != second
    wait_until(lambda: first not in workers_in(a_bundle))


def test_after_two_lost_workers_each_study_has_a_process_of_its_own(resident, a_request, a_bundle):
    for number in (1, 2):
        request = in_another_folder(a_request("crash", signal=str(int(signal.SIGKILL))), number)
        outcome, _ = outcome_of(resident, request)
        assert outcome.remedy is Remedy.FREE_MEMORY
    read(resident, in_another_folder(a_request("evaluate"), 3))
    assert workers_in(a_bundle) == []
    resident.warm_up(a_request("evaluate"))
    assert not resident.warm


def test_a_worker_that_cannot_run_leaves_the_study_to_a_process_of_its_own(resident, a_request, a_bundle):
    (a_bundle / "scripts" / "resident_worker.py").unlink()
    read(resident, a_request("evaluate"))


def test_cancel_ends_the_study_with_its_family_and_another_worker_waits(resident, a_request, a_bundle):
    resident.start(a_request("hang_with_family"))
    follow(resident, until=lambda update: update.progress is not None)
    (worker,) = workers_in(a_bundle)
    resident.cancel()
    assert resident.running
    update, _ = follow(resident)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.CANCELLED
    assert not resident.running
    assert worker not in processes_in(a_bundle)
    wait_until(lambda: workers_in(a_bundle))
    _, process = read(resident, a_request("evaluate"))
    assert process != worker


def test_close_ends_a_study_and_leaves_no_process(resident, a_request, a_bundle):
    resident.start(a_request("hang_with_family"))
    follow(resident, until=lambda update: update.progress is not None)
    resident.close()
    assert not resident.running
    assert processes_in(a_bundle) == []


def test_close_leaves_an_idle_worker_and_end_worker_ends_it(resident, a_request, a_bundle):
    _, process = read(resident, a_request("evaluate"))
    resident.close()
    assert workers_in(a_bundle) == [process]
    resident.end_worker()
    assert processes_in(a_bundle) == []


@pytest.mark.parametrize(
    "settings", [WorkerSettings(idle_minutes=0.0), WorkerSettings(least_memory_mb=1e9)], ids=["idle", "memory"]
)
def test_a_worker_ends_when_it_is_idle_or_memory_is_short_and_the_next_study_is_read(a_request, a_bundle, settings):
    runner = ResidentBundle(settings=lambda: settings)
    request = in_another_folder(a_request("evaluate"), 1)
    runner.start(request)
    update, _ = follow(runner)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.EVALUATED
    wait_until(lambda: not runner.warm)
    assert processes_in(a_bundle) == []
    read(runner, in_another_folder(a_request("evaluate"), 2))
    runner.end_worker()


def test_switched_off_each_study_has_a_process_of_its_own_and_a_worker_that_runs_is_ended(a_request, a_bundle):
    chosen: list[WorkerSettings | None] = [WorkerSettings()]
    runner = ResidentBundle(settings=lambda: chosen[-1])
    read(runner, in_another_folder(a_request("evaluate"), 1))
    assert runner.warm
    chosen.append(None)
    _, second = read(runner, in_another_folder(a_request("evaluate"), 2))
    assert processes_in(a_bundle) == []
    _, third = read(runner, in_another_folder(a_request("evaluate"), 3))
    assert second != third
    runner.warm_up(a_request("evaluate"))
    assert processes_in(a_bundle) == []


def test_a_second_start_while_a_study_is_read_is_refused(resident, a_request):
    resident.start(a_request("hang", stage="1"))
    with pytest.raises(AlreadyRunningError):
        resident.start(a_request("evaluate"))


def test_what_the_worker_prints_without_a_line_end_does_not_hide_the_reply(resident, a_request):
    outcome, lines = outcome_of(resident, a_request("talk_garbage"))
    assert outcome.ending is Ending.EVALUATED, lines[-5:]


def test_the_worker_ends_when_the_application_is_killed(a_request, a_bundle, tmp_path):
    request = a_request("evaluate")
    application = f"""
import sys, time
sys.path.insert(0, {str(MODULE_FOLDER)!r})
from pathlib import Path
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.bundle.resident_bundle import ResidentBundle
bundle = ResidentBundle()  # held: the worker ends with its last reference
bundle.warm_up(BundleRequest(Path(sys.executable), Path({str(request.bundle_root)!r}), Path(), Path()))
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", application], cwd=tmp_path)
    wait_until(lambda: workers_in(a_bundle))
    parent.kill()
    wait_until(lambda: processes_in(a_bundle) == [])
    parent.wait()


@pytest.fixture
def a_worker(a_bundle: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The worker as another program would start it, its log beside its replies."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "scripts.resident_worker", *options]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, cwd=a_bundle, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_worker_ends_when_its_input_is_closed_after_it_has_answered(a_worker, tmp_path):
    arguments = ["run", "--behaviour", "evaluate", "--dataset_dir", "a study", "--output_dir", str(tmp_path)]
    output, log = a_worker().communicate(json.dumps({"id": "a1", "arguments": arguments}) + "\n")
    assert output.splitlines()[-1] == log.splitlines()[-1] == '{"id": "a1", "status": 0}'
    assert (tmp_path / "study 1" / "result.json").is_file()


def test_a_line_that_is_no_request_is_not_repeated_in_the_log(a_worker):
    output, log = a_worker().communicate('Müller, Anna\n{"id": "1"}\n')
    assert output.splitlines() == ['{"id": "", "status": 1}'] * 2
    assert "Anna" not in log
    assert "no request" in log


def test_a_worker_asked_to_end_ends_with_130(a_worker):
    worker = a_worker()
    worker.stdin.write(json.dumps({"id": "1", "prepare": ["run"]}) + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == '{"id": "1", "status": 0}\n'
    worker.send_signal(signal.SIGINT)
    assert worker.wait() == 130
