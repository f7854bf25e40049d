"""Following a run of the bundle, and finding its processes without the code under test."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from host.waiting import wait_with_lock
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.bundle.exit_status import Outcome
from ICHDiagnosisLib.bundle.process import BundleRunner, RunUpdate

MODULE_FOLDER = Path(__file__).parents[2] / "ICHDiagnosis"


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


def bundle_pid(a_bundle: Path) -> int:
    """Find the bundle itself, not its supervisor, whose command line holds the bundle's too."""
    return next(pid for pid in processes_in(a_bundle) if "process_tree.py" not in command_of(pid))


def workers_in(folder: Path) -> list[int]:
    """Find the workers themselves, not their supervisors."""
    pids = {pid: command_of(pid) for pid in processes_in(folder)}
    return [pid for pid, line in pids.items() if "resident_worker" in line and "process_tree.py" not in line]


def with_worker(a_bundle: Path) -> Path:
    """Give the program in place of the bundle the bundle's own worker."""
    for name in ("__init__.py", "quick_start.py", "resident_worker.py"):
        shutil.copy(MODULE_FOLDER.parent / "monai_bundle" / "scripts" / name, a_bundle / "scripts" / name)
    return a_bundle


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what must happen, however long a busy computer takes; a minute means that it does not."""
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, "nothing happened"
        time.sleep(0.01)


def follow(process: BundleRunner, until: Callable[[RunUpdate], object] | None = None) -> tuple[RunUpdate, list[str]]:
    """Poll like the timer of the module, until the outcome or until a condition holds."""
    lines: list[str] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        update = process.poll()
        lines += update.lines
        if update.outcome is not None or (until is not None and until(update)):
            return update, lines
        wait_with_lock(0.01)
    raise AssertionError(f"no end in sight: {lines[-5:]}")


def outcome_of(process: BundleRunner, request: BundleRequest) -> tuple[Outcome, list[str]]:
    process.start(request)
    update, lines = follow(process)
    assert update.outcome is not None
    return update.outcome, lines
