"""The interpreter behind PythonSlicer is found, and what ends it is recognised as if no launcher were there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.launcher import write_launcher
from ICHDiagnosisLib.bundle import interpreter
from ICHDiagnosisLib.bundle.exit_status import Ending, Remedy, explain_ending
from ICHDiagnosisLib.bundle.interpreter import Interpreter, real_interpreter
from process_cases import outcome_of


def output_of(found: Interpreter, program: str) -> str:
    command = [str(found.python), "-c", program]
    return subprocess.run(command, env=found.environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_launcher_of_the_tests_hides_a_signal_as_the_real_one_does(python_slicer):
    kill = [str(python_slicer), "-c", "import os; os.kill(os.getpid(), 9)"]
    ended = subprocess.run(kill, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"error: [{python_slicer.parent / 'python-real'}] exit abnormally - Report the problem.\n"


def test_the_interpreter_behind_the_launcher_runs_with_the_launchers_environment(python_slicer):
    found = real_interpreter(python_slicer, {"PATH": os.environ["PATH"], "PYTHONHOME": "/of/another/python"})
    assert found.python == python_slicer.parent / "python-real"
    assert output_of(found, "import sys; print(sys.prefix)") == sys.base_prefix
    assert output_of(found, "import os; print(os.environ['APPLAUNCHER_LEVEL'])") == "1"


def test_a_python_without_a_launcher_is_itself():
    assert real_interpreter(Path(sys.executable), os.environ).python == Path(sys.executable)


def test_the_launcher_is_asked_once(tmp_path):
    launcher = write_launcher(tmp_path)
    first = real_interpreter(launcher, os.environ)
    launcher.unlink()
    assert real_interpreter(launcher, os.environ) == first


def test_a_launcher_that_does_not_answer_is_used_as_it_is(tmp_path, monkeypatch):
    silent = tmp_path / "PythonSlicer"
    silent.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    silent.chmod(0o700)
    assert real_interpreter(silent, os.environ).python == silent
    silent.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    monkeypatch.setattr(interpreter, "_SECONDS", 0.2)
    assert real_interpreter(silent, os.environ).python == silent


@pytest.mark.parametrize(("signal", "remedy"), [("9", Remedy.FREE_MEMORY), ("11", Remedy.RUN_ON_CPU)])
def test_a_signal_that_ends_the_bundle_reaches_the_module(a_process, a_request, signal, remedy):
    outcome, _ = outcome_of(a_process, a_request("crash", signal=signal))
    assert (outcome.exit_status, outcome.remedy) == (128 + int(signal), remedy)


@pytest.mark.parametrize(
    ("status", "lines", "remedy"),
    [
        (1, ["MemoryError", "error: [/opt/python-real] exit abnormally - Report the problem."], Remedy.FREE_MEMORY),
        (1, ["error: [C:/S/python-real.exe] exit abnormally - Report the problem."], Remedy.RUN_ON_CPU),
        (-10, [], Remedy.RUN_ON_CPU),
        (0xC00000FD, [], Remedy.RUN_ON_CPU),
        (0xC0000135, [], Remedy.CHECK_INSTALLATION),
    ],
)
def test_what_the_launcher_or_windows_reports_gets_its_remedy(status, lines, remedy):
    outcome = explain_ending(status, lines)
    assert (outcome.ending, outcome.remedy) == (Ending.FAILED, remedy)
    assert "Report the problem" not in outcome.message
