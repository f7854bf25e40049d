"""The bundle and its family end when asked to, and never outlive what started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ICHDiagnosisLib.bundle import interpreter
from ICHDiagnosisLib.bundle.exit_status import Ending, Remedy
from process_cases import MODULE_FOLDER, bundle_pid, follow, outcome_of, processes_in, supervisor_pid, wait_until


@pytest.mark.parametrize("stage", [0, 1, 2, 3, 4])
def test_cancel_in_any_stage_leaves_no_process(a_process, a_request, a_bundle, stage):
    a_process.start(a_request("hang", stage=str(stage)))
    if stage:
        follow(a_process, until=lambda update: update.progress is not None and update.progress.done == stage)
    a_process.cancel()
    # It does not wait: the end is reported by a later poll.
    assert a_process.running
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.CANCELLED
    assert processes_in(a_bundle) == []


def test_cancel_reaches_grandchildren_that_ignore_sigterm_or_left_the_session(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    wait_until(lambda: len(processes_in(a_bundle)) == 5)
    a_process.cancel()
    follow(a_process)
    assert processes_in(a_bundle) == []


def test_cancel_of_a_stopped_bundle_works(a_process, a_request, a_bundle):
    a_process.start(a_request("hang", stage="1"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(bundle_pid(a_bundle), signal.SIGSTOP)
    a_process.cancel()
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert processes_in(a_bundle) == []


def test_cancel_takes_over_from_a_supervisor_that_does_not_answer(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(supervisor_pid(a_bundle), signal.SIGSTOP)
    a_process.cancel()
    follow(a_process)
    assert processes_in(a_bundle) == []


def test_close_waits_until_everything_has_ended(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    a_process.close()
    assert not a_process.running
    assert processes_in(a_bundle) == []


def test_a_child_that_the_bundle_leaves_behind_is_ended(a_process, a_request, a_bundle):
    outcome, _ = outcome_of(a_process, a_request("leave_a_child"))
    assert outcome.ending is Ending.EVALUATED
    assert processes_in(a_bundle) == []


@pytest.fixture
def behind_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the launcher give no answer about its interpreter, so that it stays in between."""
    monkeypatch.setattr(interpreter, "_ask", lambda _python, _environment: None)


@pytest.mark.usefixtures("behind_a_launcher")
def test_behind_a_launcher_a_run_ends_with_the_bundles_status(a_process, a_request):
    outcome, _ = outcome_of(a_process, a_request("refuse"))
    assert outcome.exit_status == 3


@pytest.mark.usefixtures("behind_a_launcher")
def test_behind_a_launcher_cancel_leaves_no_process(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    a_process.cancel()
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.CANCELLED
    assert processes_in(a_bundle) == []


@pytest.mark.usefixtures("behind_a_launcher")
def test_behind_a_launcher_a_kill_or_crash_is_still_recognised(a_process, a_request):
    outcome, lines = outcome_of(a_process, a_request("crash", signal=str(int(signal.SIGKILL))))
    assert outcome.exit_status == 1
    assert "exit abnormally - Report the problem" in lines[-1]
    assert outcome.message == "The analysis crashed, or the system ended it for lack of memory."
    assert outcome.remedy is Remedy.RUN_ON_CPU


def test_a_killed_bundle_is_explained_as_memory_or_kill(a_process, a_request, a_bundle):
    a_process.start(a_request("hang", stage="2"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(bundle_pid(a_bundle), signal.SIGKILL)
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert (update.outcome.exit_status, update.outcome.remedy) == (137, Remedy.FREE_MEMORY)
    assert "out of memory, or killed" in update.outcome.message


def test_a_killed_supervisor_takes_the_family_with_it(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(supervisor_pid(a_bundle), signal.SIGKILL)
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert update.outcome.ending is Ending.FAILED
    assert processes_in(a_bundle) == []


def test_a_crash_of_the_bundle_is_named(a_process, a_request):
    outcome, _ = outcome_of(a_process, a_request("crash", signal=str(int(signal.SIGSEGV))))
    assert outcome.message == "The analysis crashed (status 139)."


def test_the_bundle_and_its_family_end_when_the_application_is_killed(a_request, a_bundle, tmp_path):
    request = a_request("hang_with_family")
    application = f"""
import sys, time
sys.path.insert(0, {str(MODULE_FOLDER)!r})
from pathlib import Path
from ICHDiagnosisLib.bundle.process import BundleProcess, BundleRequest
process = BundleProcess()
process.start(BundleRequest({str(request.python)!r}, Path({str(request.bundle_root)!r}),
                            Path({str(request.dataset_dir)!r}), Path({str(request.output_dir)!r}),
                            overrides={dict(request.overrides)!r}))
while True:
    if process.poll().progress:
        print("running", flush=True)
        break
    time.sleep(0.01)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", application], stdout=subprocess.PIPE, cwd=tmp_path, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "running\n"
    wait_until(lambda: len(processes_in(a_bundle)) == 5)
    parent.kill()
    wait_until(lambda: processes_in(a_bundle) == [])
    parent.communicate()
