"""Ray as the engine on one computer: processes that are killed, studies that hang, and room for workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import triage_readers
from ray import cloudpickle
from triage_readers import named_fate, processes_of

from scripts.messages import message
from scripts.triage import ray_workers
from scripts.triage.schedule import Schedule
from scripts.triage.tasks import MINUTES, Settings, Tally, Task, TriageError
from scripts.worklist.failures import read_failures

# Workers are processes of Ray's, which do not find the tests' own files.
cloudpickle.register_pickle_by_value(triage_readers)
CORE = ray_workers.Share(cores=1)


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    """Ray on this computer alone."""
    with ray_workers.engine(None, 2):
        yield


def read_all(output: Path, *names: str, **overrides: str) -> Tally:
    settings = Settings(output, overrides=tuple(overrides.items()))
    workers = ray_workers.RayWorkers(settings, 2, CORE, named_fate)
    tasks = [Task(name, f"/archive/{name}") for name in names]
    # No time passes before all but one study are over, and then a century.
    schedule = Schedule(tasks, workers, output, output / "partial", clock=lambda: now["s"])
    now = {"s": 0.0}

    def report(tally: Tally) -> None:
        if tally.done == len(names) - 1:
            now["s"] = 3e9

    try:
        return schedule.run(report)
    finally:
        workers.close()


@pytest.mark.usefixtures("here")
def test_dead_workers_are_replaced_hanging_studies_ended_and_all_others_read(tmp_path: Path):
    names = ("a", "kills", "hangs", "once", "b", "c")
    tally = read_all(tmp_path, *names)
    assert (tally.not_evaluable, tally.failed) == (4, 2)
    assert read_failures(tmp_path) == {
        "kills": message("triage.worker_lost", times=3),
        "hangs": message("triage.time_limit", minutes=MINUTES),
    }
    assert len(processes_of(tmp_path, "kills")) == 3
    # Another process read the study whose first one was killed.
    assert len(processes_of(tmp_path, "once")) == 2
    assert not list((tmp_path / "partial").glob("*"))
    pids = {pid for name in names for pid in processes_of(tmp_path, name)}
    left = []
    for pid in pids:
        # They are ending at this moment.
        with suppress(psutil.NoSuchProcess):
            left.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(left, timeout=120)
    assert not alive


@pytest.mark.usefixtures("here")
def test_workers_that_cannot_be_prepared_end_the_triage_with_the_reason(tmp_path: Path):
    with pytest.raises(TriageError, match="as the test wants it"):
        read_all(tmp_path, "a", broken="yes")


@pytest.mark.usefixtures("here")
def test_room_for_workers_is_counted_by_cores_and_gpus():
    assert ray_workers.places_for(CORE) == 2
    assert ray_workers.places_for(ray_workers.Share(cores=2)) == 1
    assert ray_workers.places_for(ray_workers.Share(cores=8)) == 1
    assert ray_workers.gpus() == 0


def test_ray_that_did_not_start_in_time_is_started_again_and_other_faults_are_named(monkeypatch: pytest.MonkeyPatch):
    faults = [Exception("The current node timed out during startup."), Exception("no such host")]

    def begin(**_: object) -> None:
        raise faults.pop(0)

    monkeypatch.setattr(ray_workers.ray, "init", begin)
    monkeypatch.setattr(ray_workers.ray, "shutdown", lambda: None)
    with pytest.raises(TriageError, match="no such host"), ray_workers.engine("nowhere:6379"):
        pass
    assert not faults
