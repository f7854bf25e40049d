"""The bundle as a real child process: it runs, gets what it needs unharmed, and is followed to its end."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from dataclasses import replace

import pytest

from ICHDiagnosisLib.bundle.child_output import Progress
from ICHDiagnosisLib.bundle.command import BundleMissingError
from ICHDiagnosisLib.bundle.exit_status import Ending
from ICHDiagnosisLib.bundle.process import AlreadyRunningError, BundleProcess, ProcessStartError
from process_cases import follow, outcome_of, processes_in


def test_a_normal_run_reports_every_stage_and_ends_evaluated(a_process, a_request, a_bundle):
    request = a_request("evaluate")
    a_process.start(request)
    update, lines = follow(a_process)
    assert update.outcome is not None
    assert (update.outcome.ending, update.outcome.exit_status) == (Ending.EVALUATED, 0)
    assert update.progress == Progress(4, 4, "writing results")
    assert [line.split(":")[0] for line in lines] == [
        "INFO reading the study",
        "INFO running the network",
        "INFO explaining",
        "INFO writing results",
    ]
    assert not a_process.running
    assert processes_in(a_bundle) == []


def test_the_child_gets_spaced_and_non_ascii_paths_unharmed(a_process, a_request, a_bundle):
    request = a_request("evaluate")
    outcome_of(a_process, request)
    seen = json.loads((request.output_dir / "study 1" / "result.json").read_text(encoding="utf-8"))
    assert seen["settings"]["dataset_dir"] == str(request.dataset_dir)
    assert seen["settings"]["bundle_root"] == seen["folder"] == str(a_bundle)


def test_the_childs_environment_is_its_own(a_request, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/of/another/python")
    monkeypatch.setenv("PYTHONHOME", "/of/another/python")
    before = dict(os.environ)
    process, request = BundleProcess(), a_request("evaluate")
    outcome, lines = outcome_of(process, request)
    assert outcome.ending is Ending.EVALUATED, lines
    seen = json.loads((request.output_dir / "study 1" / "result.json").read_text(encoding="utf-8"))["environment"]
    assert (seen["PYTHONUTF8"], seen["PYTHONUNBUFFERED"]) == ("1", "1")
    # Those of PythonSlicer, and nothing of what was set before it
    assert (seen["PYTHONHOME"], seen["PYTHONPATH"]) == (sys.base_prefix, sysconfig.get_path("purelib"))
    assert dict(os.environ) == before


def test_the_log_is_kept_beside_the_results(a_process, a_request):
    request = a_request("evaluate")
    outcome_of(a_process, request)
    log = request.log_file.read_text(encoding="utf-8")
    assert "PROGRESS 4/4 writing results" in log
    assert "INFO explaining: " in log


def test_studies_that_cannot_be_evaluated_are_no_failure(a_process, a_request):
    outcome, _ = outcome_of(a_process, a_request("refuse"))
    assert (outcome.ending, outcome.exit_status) == (Ending.SOME_NOT_EVALUABLE, 3)
    assert outcome.has_results


def test_a_second_start_while_running_is_refused_and_harms_nothing(a_process, a_request):
    a_process.start(a_request("hang", stage="1"))
    with pytest.raises(AlreadyRunningError, match="wait for its end or cancel"):
        a_process.start(a_request("evaluate"))
    assert a_process.running
    a_process.close()
    outcome, _ = outcome_of(a_process, a_request("evaluate"))
    assert outcome.ending is Ending.EVALUATED


def test_a_missing_bundle_is_refused_before_anything_starts(a_process, a_request, tmp_path):
    request = a_request("evaluate")
    shutil.rmtree(request.bundle_root)
    with pytest.raises(BundleMissingError, match="Reinstall"):
        a_process.start(request)
    assert not a_process.running
    assert not request.output_dir.exists()


def test_a_missing_python_is_a_named_error(a_process, a_request, tmp_path):
    request = a_request("evaluate")
    request = replace(request, python=tmp_path / "no python")
    with pytest.raises(ProcessStartError, match="No such file"):
        a_process.start(request)
    assert not a_process.running


def test_an_output_folder_that_cannot_be_written_is_a_named_error(a_process, a_request, tmp_path):
    request = a_request("evaluate")
    (tmp_path / "a file").write_text("", encoding="utf-8")
    output = tmp_path / "a file" / "results"
    with pytest.raises(ProcessStartError, match="output folder"):
        a_process.start(replace(request, output_dir=output))
