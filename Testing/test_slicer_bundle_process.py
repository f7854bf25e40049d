"""The bundle as a real child process: it runs, is followed, is cancelled, and never outlives what started it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle_command import BundleMissingError, BundleRequest, build_command, child_environment
from ICHDiagnosisLib.bundle_process import AlreadyRunningError, BundleProcess, ProcessStartError, RunUpdate
from ICHDiagnosisLib.child_output import BoundedLog, LineSplitter, Progress, parse_progress
from ICHDiagnosisLib.input_folder import PREFIX, TemporaryInputFolder, sweep_stale_input_folders
from ICHDiagnosisLib.outcome import Ending, Outcome, Remedy, explain_ending
from ICHDiagnosisLib.windows_job import KILL_ON_JOB_CLOSE, ExtendedLimits, WindowsJob

STAND_IN = Path(__file__).parent / "stand_in_bundle"
MODULE_FOLDER = Path(__file__).parents[1] / "ICHDiagnosis"


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    return shutil.copytree(STAND_IN, tmp_path / "Bündel für 脑 CT")


@pytest.fixture
def a_request(a_bundle: Path, tmp_path: Path) -> Callable[..., BundleRequest]:
    study = tmp_path / "Étude n° 1 (tête)"
    study.mkdir()

    def build(behaviour: str, **settings: str) -> BundleRequest:
        overrides = {"behaviour": behaviour, **settings}
        return BundleRequest(sys.executable, a_bundle, study, tmp_path / "résultats d'un jour", overrides=overrides)

    return build


@pytest.fixture
def a_process() -> Iterator[BundleProcess]:
    process = BundleProcess()
    yield process
    process.close()


def processes_in(folder: Path) -> list[int]:
    """Find, without the code under test, who works in a folder: the stand-in and its family stay where they start."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> float:
    """Wait, and return how long it took (s)."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "nothing happened in time"
        time.sleep(0.01)
    return time.monotonic() - begin


def follow(process: BundleProcess, until: Callable[[RunUpdate], object] | None = None) -> tuple[RunUpdate, list[str]]:
    """Poll like the timer of the module, until the outcome or until a condition holds."""
    lines: list[str] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        update = process.poll()
        lines += update.lines
        if update.outcome is not None or (until is not None and until(update)):
            return update, lines
        time.sleep(0.01)
    raise AssertionError(f"no end in sight: {lines[-5:]}")


def outcome_of(process: BundleProcess, request: BundleRequest) -> tuple[Outcome, list[str]]:
    process.start(request)
    update, lines = follow(process)
    assert update.outcome is not None
    return update.outcome, lines


def bundle_pid(a_bundle: Path) -> int:
    """Find the bundle itself, not its keeper, whose command line holds the bundle's too."""
    return next(pid for pid in processes_in(a_bundle) if "process_tree.py" not in command_of(pid))


# --- a normal run


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
    assert "PYTHONPATH" not in seen
    assert "PYTHONHOME" not in seen
    assert dict(os.environ) == before


def test_the_log_is_kept_beside_the_results(a_process, a_request):
    request = a_request("evaluate")
    outcome_of(a_process, request)
    log = request.log_file.read_text(encoding="utf-8")
    assert "PROGRESS 4/4 writing results" in log
    assert "INFO explaining: " in log


def test_studies_that_cannot_be_evaluated_are_told_apart_from_failure(a_process, a_request):
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


# --- cancel


@pytest.mark.parametrize("stage", [0, 1, 2, 3, 4])
def test_cancel_in_any_stage_leaves_no_process_within_two_seconds(a_process, a_request, a_bundle, stage):
    a_process.start(a_request("hang", stage=str(stage)))
    if stage:
        follow(a_process, until=lambda update: update.progress is not None and update.progress.done == stage)
    begin = time.monotonic()
    a_process.cancel()
    assert time.monotonic() - begin < 0.2
    update, _ = follow(a_process)
    assert time.monotonic() - begin < 2.0
    assert update.outcome is not None
    assert update.outcome.ending is Ending.CANCELLED
    assert processes_in(a_bundle) == []


def test_cancel_reaches_grandchildren_that_ignore_sigterm_or_left_the_session(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    wait_until(lambda: len(processes_in(a_bundle)) == 5)
    begin = time.monotonic()
    a_process.cancel()
    follow(a_process)
    assert time.monotonic() - begin < 2.0
    assert processes_in(a_bundle) == []


def test_cancel_of_a_stopped_bundle_works(a_process, a_request, a_bundle):
    a_process.start(a_request("hang", stage="1"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(bundle_pid(a_bundle), signal.SIGSTOP)
    a_process.cancel()
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert processes_in(a_bundle) == []


def test_cancel_takes_over_from_a_keeper_that_does_not_answer(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    keeper = next(pid for pid in processes_in(a_bundle) if "process_tree.py" in command_of(pid))
    os.kill(keeper, signal.SIGSTOP)
    begin = time.monotonic()
    a_process.cancel()
    follow(a_process)
    assert time.monotonic() - begin < 2.0
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
def a_launcher(tmp_path: Path) -> Path:
    """Stand in for PythonSlicer, which starts Python as a child, keeps its standard input, and hands on its status."""
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@" </dev/null\nexit $?\n', encoding="utf-8")
    launcher.chmod(0o700)
    return launcher


def test_behind_a_launcher_a_run_ends_with_the_bundles_status(a_process, a_request, a_launcher):
    outcome, _ = outcome_of(a_process, replace(a_request("refuse"), python=a_launcher))
    assert outcome.exit_status == 3


def test_behind_a_launcher_cancel_leaves_no_process(a_process, a_request, a_bundle, a_launcher):
    a_process.start(replace(a_request("hang_with_family"), python=a_launcher))
    follow(a_process, until=lambda update: update.progress is not None)
    begin = time.monotonic()
    a_process.cancel()
    update, _ = follow(a_process)
    assert time.monotonic() - begin < 2.0
    assert update.outcome is not None
    assert update.outcome.ending is Ending.CANCELLED
    assert processes_in(a_bundle) == []


# --- sudden deaths


def test_a_killed_bundle_is_explained_as_memory_or_kill(a_process, a_request, a_bundle):
    a_process.start(a_request("hang", stage="2"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(bundle_pid(a_bundle), signal.SIGKILL)
    update, _ = follow(a_process)
    assert update.outcome is not None
    assert (update.outcome.exit_status, update.outcome.remedy) == (137, Remedy.FREE_MEMORY)
    assert "out of memory, or killed" in update.outcome.message


def test_a_killed_keeper_takes_the_family_with_it(a_process, a_request, a_bundle):
    a_process.start(a_request("hang_with_family"))
    follow(a_process, until=lambda update: update.progress is not None)
    os.kill(next(pid for pid in processes_in(a_bundle) if "process_tree.py" in command_of(pid)), signal.SIGKILL)
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
from ICHDiagnosisLib.bundle_process import BundleProcess, BundleRequest
process = BundleProcess()
process.start(BundleRequest(sys.executable, Path({str(request.bundle_root)!r}), Path({str(request.dataset_dir)!r}),
                            Path({str(request.output_dir)!r}), overrides={dict(request.overrides)!r}))
while True:
    if process.poll().progress:
        print("running", flush=True)
        break
    time.sleep(0.01)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", application], stdout=subprocess.PIPE, cwd=tmp_path, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "running\n"
    wait_until(lambda: len(processes_in(a_bundle)) == 5)
    parent.kill()
    assert wait_until(lambda: processes_in(a_bundle) == []) < 2.0
    parent.communicate()


# --- what the bundle says


def test_garbage_on_the_output_does_no_harm(a_process, a_request):
    outcome, lines = outcome_of(a_process, a_request("talk_garbage"))
    assert outcome.ending is Ending.EVALUATED
    assert max(len(line) for line in lines) < 5000
    assert "red" in lines
    assert "30%" in lines
    assert "PROGRESS 9/4 too far" in lines
    assert not any("\0" in line or "\x1b" in line for line in lines)


def test_a_flood_of_lines_keeps_the_log_bounded_with_its_beginning_and_end(a_process, a_request):
    request = a_request("talk_without_end")
    a_process.start(request)
    time.sleep(1.0)
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


def test_a_log_on_a_broken_disk_says_so_and_stops(tmp_path, caplog):
    if not Path("/dev/full").exists():
        pytest.fail("Linux has /dev/full")
    log = BoundedLog(Path("/dev/full"))
    log.write("one")
    log.write("two")
    log.close()
    assert log.failure == "No space left on device"
    assert "run.log is incomplete" in caplog.text


# --- failures in words


@pytest.fixture
def a_full_disk(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder on a disk of 256 KiB where mounting is allowed, else the limit on the size of a file."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    yield folder, "disk" if mounted else "file size"
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_offers_its_remedy(a_process, a_request, a_full_disk):
    folder, limit = a_full_disk
    request = a_request("fill_the_disk", limit=limit)
    request = replace(request, output_dir=folder)
    outcome, _ = outcome_of(a_process, request)
    assert outcome.remedy is Remedy.FREE_DISK_SPACE
    assert "cannot write attention.nii.gz" in outcome.message


def test_a_wrong_hash_is_passed_on_in_the_bundles_words(a_process, a_request):
    said = "ERROR models/model.pt: sha256 is 0f3a, metadata.json says 9c1d: download the weights again"
    outcome, _ = outcome_of(a_process, a_request("fail", message=said))
    assert outcome.message == said.removeprefix("ERROR ")
    assert outcome.remedy is Remedy.CHECK_INSTALLATION


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


def test_a_missing_package_in_the_child_points_to_the_installation(a_process, a_request):
    request = a_request("evaluate")
    shutil.rmtree(request.bundle_root / "monai" / "bundle")
    outcome, _ = outcome_of(a_process, request)
    assert outcome.remedy is Remedy.CHECK_INSTALLATION
    assert "No module named" in outcome.message


@pytest.mark.parametrize(
    ("status", "line", "remedy"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Remedy.RUN_ON_CPU),
        (1, "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", Remedy.RUN_ON_CPU),
        (1, "RuntimeError: No CUDA GPUs are available", Remedy.RUN_ON_CPU),
        (
            1,
            "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate",
            Remedy.FREE_MEMORY,
        ),
        (1, "MemoryError", Remedy.FREE_MEMORY),
        (-9, "", Remedy.FREE_MEMORY),
        (0xC0000017, "", Remedy.FREE_MEMORY),
        (1, "OSError: [Errno 28] No space left on device", Remedy.FREE_DISK_SPACE),
        (1, "ModuleNotFoundError: No module named 'monai'", Remedy.CHECK_INSTALLATION),
        (0xC0000005, "", Remedy.RUN_ON_CPU),
        (1, "ERROR study.nii: 4D volumes are not supported", Remedy.READ_LOG),
        (1, "", Remedy.READ_LOG),
    ],
)
def test_known_failures_get_their_remedy(status, line, remedy):
    outcome = explain_ending(status, ["INFO before", line] if line else [])
    assert (outcome.ending, outcome.remedy) == (Ending.FAILED, remedy)
    assert outcome.message
    assert outcome.suggestion


def test_a_warning_about_the_driver_is_not_taken_for_the_failure():
    tail = ["UserWarning: CUDA initialization: The NVIDIA driver is too old", "ERROR no DICOM file in the folder"]
    outcome = explain_ending(1, tail)
    assert (outcome.message, outcome.remedy) == ("no DICOM file in the folder", Remedy.READ_LOG)


def test_messages_can_be_translated():
    assert explain_ending(130, [], _=str.upper).message == "THE ANALYSIS WAS CANCELLED."


# --- the command


def test_the_command_is_a_list_with_absolute_paths_and_the_choices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = BundleRequest("python", Path("b"), Path("d e"), Path("o"), device="cuda:1", operating_point="sensitive")
    assert build_command(request) == [
        *("python", "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"),
        *("--bundle_root", str(tmp_path / "b"), "--dataset_dir", str(tmp_path / "d e")),
        *("--output_dir", str(tmp_path / "o"), "--device", "cuda:1", "--operating_point", "sensitive"),
    ]


@pytest.mark.parametrize("value", ["$import os", "@network_def", "%other.json"])
def test_a_setting_that_monai_would_run_is_refused(value):
    with pytest.raises(ValueError, match="MONAI would run or resolve it"):
        build_command(BundleRequest("python", Path("b"), Path("d"), Path("o"), operating_point=value))


def test_no_python_variable_of_the_application_reaches_the_child():
    environment = child_environment({"PATH": "/bin", "PythonStartup": "x", "PYTHONHOME": "y", "LANG": "C"})
    assert environment == {
        "PATH": "/bin",
        "LANG": "C",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
    }


# --- the temporary input folder


def test_the_input_folder_is_removed_also_after_an_error(tmp_path):
    with pytest.raises(KeyError), TemporaryInputFolder(tmp_path) as folder:
        (folder / "ct.nrrd").write_bytes(b"voxels")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_only_the_folders_of_crashed_applications_are_swept(tmp_path):
    application = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(MODULE_FOLDER)!r})
from ICHDiagnosisLib.input_folder import TemporaryInputFolder
folder = TemporaryInputFolder(Path({str(tmp_path)!r}))
(folder.path / "ct.nrrd").write_bytes(b"voxels")
print(folder.path.parent, flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", application], capture_output=True, text=True, check=False)
    crashed = Path(killed.stdout.strip())
    in_use = TemporaryInputFolder(tmp_path)
    being_made = tmp_path / f"{PREFIX}new"
    being_made.mkdir()
    (tmp_path / "somebody else's").mkdir()
    assert crashed.is_dir()
    assert sweep_stale_input_folders(tmp_path) == 1
    assert not crashed.exists()
    assert in_use.path.is_dir()
    assert being_made.is_dir()
    in_use.remove()
    assert not in_use.path.exists()


def test_the_sweep_does_not_follow_links(tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "in-use-by-pid").write_text("1", encoding="utf-8")
    (tmp_path / f"{PREFIX}link").symlink_to(target)
    assert sweep_stale_input_folders(tmp_path) == 0
    assert target.is_dir()


# --- Windows, as far as it can be seen from here


class Kernel32Recorder:
    """Notes the calls, and says yes or no to each as told."""

    def __init__(self, refused: str = "") -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.refused = refused
        self.limits = ExtendedLimits()

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            self.calls.append((name, arguments))
            if name == "SetInformationJobObject":
                ctypes.memmove(ctypes.byref(self.limits), arguments[2], arguments[3])
            return 0 if name == self.refused else 77

        return call


def test_a_windows_job_kills_its_members_with_its_last_handle():
    kernel32 = Kernel32Recorder()
    job = WindowsJob(kernel32)
    job.add(42)
    job.end_all(130)
    job.close()
    job.close()
    job.end_all(130)
    names = [name for name, _ in kernel32.calls]
    assert names == [
        "CreateJobObjectW",
        "SetInformationJobObject",
        "AssignProcessToJobObject",
        "TerminateJobObject",
        "CloseHandle",
    ]
    assert kernel32.limits.BasicLimitInformation.LimitFlags == KILL_ON_JOB_CLOSE
    assert kernel32.calls[2][1] == (77, 42)
    assert kernel32.calls[3][1] == (77, 130)
    assert ctypes.sizeof(ExtendedLimits) == 144


@pytest.mark.parametrize("refused", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_a_refusal_by_windows_is_an_error(refused):
    with pytest.raises(OSError, match="refused"):
        WindowsJob(Kernel32Recorder(refused)).add(42)
