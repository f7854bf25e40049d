"""Readers of a triage's workers without a network: what becomes of a study stands in its name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from scripts.triage.tasks import Outcome, Settings, Task, TriageError

# Ray ends its workers where the computer's memory is nearly full, whoever fills it.
os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112 - so Ray spells it


class NamedFate:
    """Reads studies whose names say what happens; who read what, in which process, goes into ``readings``."""

    def __init__(self, settings: Settings) -> None:
        self._output = settings.output
        self._overrides = dict(settings.overrides)

    def prepare(self) -> None:
        if "broken" in self._overrides:
            raise TriageError("triage.not_prepared", fault="as the test wants it")

    def read(self, task: Task, partial: Path) -> Outcome:
        (self._output / "readings").mkdir(parents=True, exist_ok=True)
        attempt = self._output / "readings" / f"{task.name}.{os.getpid()}"
        attempt.write_text(str(partial), encoding="utf-8")
        first = len(list((self._output / "readings").glob(f"{task.name}.*"))) == 1
        partial.mkdir(parents=True)
        if task.name.startswith("kills") or (task.name.startswith("once") and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.name.startswith("hangs"):
            time.sleep(3600)
        if task.name.startswith("slow"):
            while not (self._output / "go").exists():
                time.sleep(0.05)
        (self._output / task.name).mkdir(exist_ok=True)
        (self._output / task.name / "result.json").write_text("{}", encoding="utf-8")
        partial.rmdir()
        return Outcome("not_evaluable")


def named_fate(settings: Settings) -> NamedFate:
    return NamedFate(settings)


def processes_of(output: Path, name: str) -> set[int]:
    """Return the processes that began to read a study."""
    return {int(file.suffix[1:]) for file in (output / "readings").glob(f"{name}.*")}
