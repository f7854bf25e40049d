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


PATIENCE_SECONDS = 180.0
"""What must happen does, however busy the computer is; after so long it does not."""


def commands_in(folder: Path) -> dict[int, str]:
    """Find, without the code under test, who works in a folder, and by which command.

    The stand-in and its family stay where they start. A process that is ending loses its command line first.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found[int(entry.name)] = (entry / "cmdline").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return {pid: line for pid, line in found.items() if line}


def processes_in(folder: Path) -> list[int]:
    return list(commands_in(folder))


def supervisor_pid(a_bundle: Path) -> int:
    return next(pid for pid, line in commands_in(a_bundle).items() if "process_tree.py" in line)


def bundle_pid(a_bundle: Path) -> int:
    """Find the bundle itself, not its supervisor, whose command line holds the bundle's too."""
    return next(pid for pid, line in commands_in(a_bundle).items() if "process_tree.py" not in line)


def workers_in(folder: Path) -> list[int]:
    """Find the workers themselves, not their supervisors."""
    lines = commands_in(folder).items()
    return [pid for pid, line in lines if "resident_worker" in line and "process_tree.py" not in line]


def with_worker(a_bundle: Path) -> Path:
    """Give the program in place of the bundle the bundle's own worker."""
    for name in ("__init__.py", "quick_start.py", "resident_worker.py"):
        shutil.copy(MODULE_FOLDER.parent / "monai_bundle" / "scripts" / name, a_bundle / "scripts" / name)
    return a_bundle


def wait_until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "nothing happened"
        time.sleep(0.01)


def follow(process: BundleRunner, until: Callable[[RunUpdate], object] | None = None) -> tuple[RunUpdate, list[str]]:
    """Poll like the timer of the module, until the outcome or until a condition holds."""
    lines: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
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
