"""Who reads which study when: workers that die, studies that kill them or hang, what is given up. No engine here."""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path

import pytest

from scripts.messages import ExpectedError, message
from scripts.triage.schedule import Finished, Lost, Ready, Schedule
from scripts.triage.tasks import Limits, Outcome, Tally, Task, TriageError
from scripts.worklist.failures import read_failures

EVALUATED = Outcome("evaluated")
DEATH, HANG = "death", "hang"


class ScriptedWorkers:
    """Workers that do at once with each study what is scripted for it, in turn; without a script it is evaluated."""

    def __init__(self, count: int, script: dict[str, list[object]] | None = None) -> None:
        self.script = {name: deque(steps) for name, steps in (script or {}).items()}
        self.pending: deque[Ready | Finished | Lost] = deque(Ready(worker) for worker in range(count))
        self.read: list[tuple[int, str]] = []
        self.replaced: list[int] = []
        self.now = 0.0

    def events(self, timeout_s: float) -> list[Ready | Finished | Lost]:
        if not self.pending:
            self.now += timeout_s
            return []
        return [self.pending.popleft()]

    def give(self, worker: int, task: Task, partial: Path) -> None:
        partial.mkdir(parents=True)
        self.read.append((worker, task.name))
        step = self.script[task.name].popleft() if self.script.get(task.name) else EVALUATED
        if step is DEATH:
            self.pending += [Lost(worker), Ready(worker)]
        elif step is not HANG:
            partial.rmdir()
            self.pending.append(Finished(worker, step))

    def replace(self, worker: int) -> None:
        self.replaced.append(worker)
        self.pending.append(Ready(worker))

    def clock(self) -> float:
        return self.now


def read_all(tmp_path: Path, workers: ScriptedWorkers, *names: str, limits: Limits | None = None) -> Tally:
    tasks = [Task(name, f"/archive/{name}") for name in names]
    schedule = Schedule(tasks, workers, tmp_path, tmp_path / "partial", limits, workers.clock)
    tally = schedule.run()
    assert not list((tmp_path / "partial").glob("*"))
    return tally


def test_every_worker_takes_the_next_study_as_soon_as_it_is_free(tmp_path: Path):
    workers = ScriptedWorkers(2)
    tally = read_all(tmp_path, workers, "a", "b", "c", "d", "e")
    assert sorted(name for _, name in workers.read) == ["a", "b", "c", "d", "e"]
    assert {worker for worker, _ in workers.read} == {0, 1}
    assert (tally.evaluated, tally.done, tally.total) == (5, 5, 5)


def test_a_study_whose_worker_dies_is_read_again_after_the_others(tmp_path: Path):
    workers = ScriptedWorkers(1, {"b": [DEATH, EVALUATED]})
    tally = read_all(tmp_path, workers, "a", "b", "c")
    assert [name for _, name in workers.read] == ["a", "b", "c", "b"]
    assert tally.evaluated == 3
    assert not read_failures(tmp_path)


def test_a_study_that_kills_three_workers_is_failed_and_the_rest_goes_on(tmp_path: Path):
    workers = ScriptedWorkers(2, {"b": [DEATH] * 9})
    tally = read_all(tmp_path, workers, "a", "b", "c", "d")
    assert [name for _, name in workers.read].count("b") == 3
    assert (tally.evaluated, tally.failed) == (3, 1)
    assert read_failures(tmp_path) == {"b": message("triage.worker_lost", times=3)}


def test_a_study_that_hangs_is_ended_at_its_limit_with_its_worker(tmp_path: Path):
    workers = ScriptedWorkers(1, {"b": [HANG]})
    tally = read_all(tmp_path, workers, "a", "b", "c", limits=Limits(minutes=2))
    assert workers.replaced == [0]
    assert workers.now == pytest.approx(120, abs=2)
    assert (tally.evaluated, tally.failed) == (2, 1)
    assert read_failures(tmp_path) == {"b": message("triage.time_limit", minutes=2)}


def test_what_may_help_is_tried_again_and_what_cannot_is_not(tmp_path: Path):
    unreachable = Outcome("failed", reason="the archive does not answer", again=True)
    workers = ScriptedWorkers(1, {"a": [unreachable, EVALUATED], "b": [Outcome("failed", reason="a fault")]})
    tally = read_all(tmp_path, workers, "a", "b")
    assert [name for _, name in workers.read] == ["a", "b", "a"]
    assert tally.failures == {"b": "a fault"}


def test_a_place_with_several_studies_becomes_a_task_for_each(tmp_path: Path):
    several = Outcome("several", studies=("1.2", "1.3", "1.4"))
    workers = ScriptedWorkers(1, {"patient": [several]})
    tally = read_all(tmp_path, workers, "patient", "patient_1.3")
    assert tally.total == tally.evaluated == 4
    names = [name for _, name in workers.read]
    assert len(set(names)) == 5
    assert {"patient_1.2", "patient_1.4", "patient_1.3"} < set(names)


def test_the_tally_counts_refusals_and_results_of_an_earlier_triage(tmp_path: Path):
    script = {"a": [Outcome("not_evaluable")], "b": [Outcome("evaluated", before=True)]}
    tally = read_all(tmp_path, ScriptedWorkers(1, script), "a", "b", "c")
    assert (tally.evaluated, tally.not_evaluable, tally.before) == (2, 1, 1)


def test_many_failures_in_a_row_end_the_triage_for_the_fault_is_not_the_studies(tmp_path: Path):
    script = {name: [Outcome("failed", reason="the disk is full")] for name in "abcdefgh"}
    workers = ScriptedWorkers(1, script)
    with pytest.raises(TriageError, match="the disk is full"):
        read_all(tmp_path, workers, *"abcdefgh", limits=Limits(failures_in_a_row=4))
    assert len(workers.read) == 4


def test_single_failures_between_results_end_nothing(tmp_path: Path):
    script = {name: [Outcome("failed", reason="a fault")] for name in "aceg"}
    assert read_all(tmp_path, ScriptedWorkers(1, script), *"abcdefgh", limits=Limits(failures_in_a_row=2)).failed == 4


def test_workers_that_die_before_they_are_ready_end_the_triage(tmp_path: Path):
    workers = ScriptedWorkers(0)
    workers.pending.extend(Lost(0) for _ in range(9))
    with pytest.raises(ExpectedError, match="died while they loaded the network"):
        read_all(tmp_path, workers, "a")


def test_a_worker_that_dies_while_it_waits_is_not_given_a_study_before_its_successor_is_ready(tmp_path: Path, caplog):
    caplog.set_level(logging.WARNING)
    workers = ScriptedWorkers(0)
    workers.pending.extend([Ready(0), Ready(1), Lost(1)])
    # Both are ready before anything is given; the second one is lost while the first one reads on.
    tally = read_all(tmp_path, workers, "a")
    assert tally.evaluated == 1
    assert not caplog.records
