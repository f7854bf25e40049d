"""How a run ends and what it logs on the way: exit status, one line for a user's mistake, progress, settings."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from scripts import exit_status
from scripts.exit_status import install_handlers, one_line
from scripts.inferer import StudyInferer
from scripts.intake.study import IntakeError, NotEvaluableError
from scripts.networks.drct import DrCT1
from scripts.networks.vgg16 import VGG16Features
from scripts.operating_points import thresholds
from scripts.output.folder import OutputError
from scripts.precision import choose_precision
from scripts.progress import Progress
from scripts.settings import SettingError, usable_device
from scripts.weights import WeightsError

torch.set_num_threads(1)


class Evaluator:
    """Stands in for the engine: evaluates and refuses as many studies as it is told, then does something."""

    def __init__(
        self, evaluated: int = 1, refused: int = 0, failed: int = 0, then: Callable[[], None] = lambda: None
    ) -> None:
        self.diagnoses, self.refusals, self.failures = ["study"] * evaluated, ["refusal"] * refused, ["study"] * failed
        self.run = then


@pytest.fixture
def handlers() -> None:
    install_handlers()


def uncaught(function: Callable[[], object]) -> int | str | None:
    """Do what Python does with an exception that leaves the main module: hand it to the hook."""
    try:
        function()
    except BaseException as error:
        uncaught_error = error
    else:
        pytest.fail("nothing was raised")
    return ends_with(lambda: sys.excepthook(type(uncaught_error), uncaught_error, uncaught_error.__traceback__))


def ends_with(function: Callable[[], object]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        function()
    return caught.value.code


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(("refused", "status"), [(0, 0), (1, 3)])
def test_a_run_ends_with_3_where_a_study_was_refused_and_with_0_otherwise(refused: int, status: int):
    assert ends_with(lambda: exit_status.run(Evaluator(refused=refused))) == status


@pytest.mark.parametrize("refused", [0, 1])
def test_a_run_ends_with_1_where_a_study_failed(refused: int, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    assert ends_with(lambda: exit_status.run(Evaluator(refused=refused, failed=2))) == 1
    assert f"1 studies evaluated, {refused} not evaluable, 2 failed" in caplog.text


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (3, 3), (130, 130), ("a text", 1)])
def test_a_run_that_ended_itself_keeps_its_status(code: object, status: int):
    assert exit_status.ending_of(SystemExit(code)) == status


EXPECTED = [
    IntakeError("empty_folder", name="head"),
    NotEvaluableError("unreadable_file", name="head.nii"),
    WeightsError("weights.no_sha256", file="models/model.pt"),
    OutputError("not_a_result", folder="head"),
    SettingError("settings.device", device="toaster", fault="unknown"),
]


@pytest.mark.parametrize("error", EXPECTED)
@pytest.mark.usefixtures("handlers")
def test_an_expected_error_is_one_line_and_status_1(error: Exception, caplog: pytest.LogCaptureFixture):
    assert uncaught(raising(error)) == 1
    assert [record.getMessage() for record in caplog.records] == [str(error)]
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info is None


@pytest.mark.parametrize("error", EXPECTED)
def test_an_expected_error_is_found_behind_what_monai_wraps_around_it(error: Exception):
    engine = {"_target_": "Compose", "transforms": "@wrong"}
    parser = ConfigParser({"raising": raising(error), "wrong": "$@raising()", "engine": engine})
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("engine")
    assert one_line(caught.value) == str(error)


@pytest.mark.usefixtures("handlers")
def test_a_full_gpu_says_what_to_do(caplog: pytest.LogCaptureFixture):
    assert uncaught(raising(torch.cuda.OutOfMemoryError("2 GiB"))) == 1
    assert "--device cpu" in caplog.text


@pytest.mark.usefixtures("handlers")
def test_an_error_that_nobody_foresaw_keeps_its_traceback(capsys: pytest.CaptureFixture[str]):
    assert uncaught(raising(ZeroDivisionError("by nothing"))) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels(number: signal.Signals, caplog: pytest.LogCaptureFixture):
    cancelled = Evaluator(evaluated=2, then=lambda: os.kill(os.getpid(), number))
    assert ends_with(lambda: exit_status.run(cancelled)) == 130
    assert "cancelled after 2 studies" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("handlers")
def test_a_signal_cancels_what_comes_before_the_run(number: signal.Signals, caplog: pytest.LogCaptureFixture):
    assert uncaught(lambda: os.kill(os.getpid(), number)) == 130
    assert [(record.levelname, record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("WARNING", "cancelled", None)
    ]


def test_handlers_may_be_installed_from_another_thread_which_cannot_take_signals():
    thread = threading.Thread(target=install_handlers)
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


def test_progress_is_a_line_per_step_over_all_studies(capsys: pytest.CaptureFixture[str]):
    progress = Progress(studies=2)
    for percents in ((0, 50), (0.4, 99.6)):
        progress.begin_study()
        for percent in percents:
            progress.report("slices", percent)
        progress.finish_study()
    assert capsys.readouterr().out.splitlines() == [
        "PROGRESS 0/200 slices",
        "PROGRESS 50/200 slices",
        "PROGRESS 100/200 done",
        "PROGRESS 100/200 slices",
        "PROGRESS 200/200 slices",
        "PROGRESS 200/200 done",
    ]


def test_each_stage_of_each_study_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("scripts.progress.time.perf_counter", lambda: now)
    progress = Progress(studies=2)
    for offset, stage in ((0.0, "reading"), (2.0, "slices"), (3.0, "slices"), (5.5, "maps")):
        now = 100.0 + offset
        if stage == "reading":
            progress.begin_study()
        progress.report(stage, 10 * offset)
    now = 106.0
    assert progress.times() == pytest.approx({"reading": 2.0, "slices": 3.5, "maps": 0.5})
    now = 110.0
    assert progress.times()["maps"] == pytest.approx(4.5)
    progress.begin_study()
    assert progress.times() == {}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    points = {"balanced": {"any": 0.4, "subdural": 0.25}, "sensitive": {"any": 0.1}}
    (tmp_path / "configs" / "operating_points.json").write_text(json.dumps(points), encoding="utf-8")
    return tmp_path


def test_thresholds_follow_the_order_of_the_labels(bundle: Path):
    assert thresholds(bundle, "balanced", ("subdural", "any")) == (0.25, 0.4)


def test_a_threshold_that_nobody_chose_is_none(bundle: Path):
    points = bundle / "configs" / "operating_points.json"
    points.write_text(json.dumps({"balanced": {"any": 0.4, "subdural": None}}), encoding="utf-8")
    assert thresholds(bundle, "balanced", ("subdural", "any")) == (None, 0.4)


def test_an_unknown_operating_point_names_the_known_ones(bundle: Path):
    with pytest.raises(SettingError, match="'strict'; choose one of balanced, sensitive"):
        thresholds(bundle, "strict", ("any",))


def test_an_operating_point_without_a_label_is_refused(bundle: Path):
    with pytest.raises(SettingError, match="'sensitive' has no threshold for subdural"):
        thresholds(bundle, "sensitive", ("any", "subdural"))


@pytest.mark.parametrize("name", ["cuda:99", "toaster"])
def test_a_device_that_is_not_there_is_refused_with_the_remedy(name: str):
    with pytest.raises(SettingError, match="--device cpu") as caught:
        usable_device(name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_processor_can_always_be_used():
    assert usable_device("cpu") == usable_device(torch.device("cpu")) == torch.device("cpu")


def test_an_unknown_precision_or_method_is_refused_by_name():
    with pytest.raises(SettingError, match="'half'"):
        choose_precision(torch.device("cpu"), "half")
    with pytest.raises(SettingError, match="'lime'"):
        StudyInferer(method="lime")({}, DrCT1(VGG16Features(), slices=2))


def test_what_a_run_installs_in_a_test_is_taken_back_before_the_next(tmp_path):
    """Else its hook ends the process of the tests at the first exception in a callback, and nobody learns why."""
    (tmp_path / "test_two.py").write_text(
        "import signal, sys\n"
        "def test_one():\n"
        "    sys.excepthook = lambda *_: sys.exit(1)\n"
        "    signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "def test_next():\n"
        "    assert sys.excepthook is sys.__excepthook__\n"
        "    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n",
        encoding="utf-8",
    )
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
