"""What keeps a study from being read twice: a record of input, settings and model beside its result.

A record is written after its result folder has its name, and holds the hash of that ``result.json``. A worker that dies
in between leaves a whole result without a record, and the study is read again, with the same result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from scripts.output.folder import RESULT_FILE, write_whole_file
from scripts.triage.tasks import Outcome, Settings, Task
from scripts.worklist.failures import forget_failure, state_file

_RECORDS, _PLACES = "records", "places"
_DECIDING = ("configs", "models")


def settings_digest(bundle_root: Path, settings: Settings) -> str:
    """Return a hash of what makes a result besides the study: the bundle's files and the settings.

    Parameters
    ----------
    bundle_root : Path
        Its ``configs`` and ``models`` count with their content; the program's version stands in the metadata there.
    settings : Settings
        Where results go does not count.
    """
    digest = hashlib.sha256(repr((settings.config_files, sorted(settings.overrides))).encode())
    for folder in _DECIDING:
        for file in sorted((bundle_root / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(bundle_root).as_posix()}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def task_key(task: Task, settings_key: str) -> str:
    """Return a hash of a task's input and settings.

    Raises
    ------
    OSError
        If its files cannot be listed.
    """
    digest = hashlib.sha256(f"{settings_key}\0{task.study}\0{task.state}".encode(errors="surrogateescape"))
    if not task.state:
        for line in _file_states(Path(task.place)):
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def outcome_before(task: Task, key: str, output: Path) -> Outcome | None:
    """Return what an earlier triage made of the same input with the same settings, if its result is still whole."""
    try:
        record = json.loads(_record(task, output).read_text(encoding="utf-8"))
        if record["key"] != key:
            return None
        if record["status"] == "several":
            return Outcome("several", before=True, studies=tuple(record["studies"]))
        if record["result"] != _result_digest(output / task.name):
            return None
        return Outcome(record["status"], before=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_outcome(task: Task, key: str, outcome: Outcome, output: Path) -> None:
    """Keep what became of a task whose result folder, if it has one, has its name.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    result = None if outcome.status == "several" else _result_digest(output / task.name)
    record = {"key": key, "status": outcome.status, "studies": list(outcome.studies), "result": result}
    write_whole_file(_record(task, output), json.dumps(record).encode())
    forget_failure(output, task.name)


def note_place(task: Task, output: Path) -> None:
    """Note where a study's files lie, for programs that show its images: the result folder does not say.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    content = json.dumps({"study_id": task.name, "place": task.place}).encode()
    file = state_file(output, _PLACES, task.name)
    if not file.is_file() or file.read_bytes() != content:
        write_whole_file(file, content)


def _record(task: Task, output: Path) -> Path:
    return state_file(output, _RECORDS, task.name if task.study is None else f"{task.name}\0{task.study}")


def _result_digest(folder: Path) -> str:
    return hashlib.sha256((folder / RESULT_FILE).read_bytes()).hexdigest()


def _file_states(place: Path) -> Iterable[str]:
    """Yield place, size and time of change of every file of a study."""
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        stat = file.stat()
        if not file.is_dir():
            yield f"{file.relative_to(place)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
