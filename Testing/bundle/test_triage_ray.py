"""Ray as the engine: processes and machines that are killed, one computer and a cluster, Ctrl-C and a second start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import triage_readers
from ray import cloudpickle
from triage_readers import named_fate

from scripts.messages import message
from scripts.phantom import make_phantom, write_nifti
from scripts.triage import ray_workers
from scripts.triage.schedule import Schedule
from scripts.triage.tasks import MINUTES, Settings, Tally, Task, TriageError
from scripts.worklist.failures import read_failures

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
PATIENCE_S = 240
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


def processes_of(output: Path, name: str) -> set[int]:
    return {int(file.suffix[1:]) for file in (output / "readings").glob(f"{name}.*")}


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
    assert not [pid for pid in pids if psutil.pid_exists(pid) and b"NamedFate" in _command(pid)]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


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


def start(source: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    small = ["--set", "image_size=112", "--set", "high_res_size=160", "--set", "device=cpu"]
    command = [sys.executable, "-m", "scripts.triage", "--source", str(source), "--output", str(output)]
    return subprocess.Popen(
        [*command, "--workers", "1", *small, *more],
        cwd=BUNDLE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As of a terminal: Ctrl-C reaches every process of the group.
        start_new_session=True,
    )


def test_a_cancelled_triage_loses_nothing_and_the_same_command_goes_on(tmp_path: Path):
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    for seed in range(2):
        write_nifti(make_phantom(seed=seed), source / f"head-{seed}.nii.gz")
    (source / "broken.nii.gz").write_bytes(b"no NIfTI")
    first = start(source, output)
    deadline = time.monotonic() + PATIENCE_S
    while not list(output.glob("*/result.json")) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGINT)
    _, log = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130, log
    assert message("triage.cancelled") in log
    assert "Traceback" not in log
    assert (output / "worklist.html").is_file()
    assert not list((output / ".triage" / "partial").iterdir())
    before = {file: file.stat().st_mtime_ns for file in output.glob("*/result.json")}

    second = start(source, output)
    printed, log = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 3, log
    assert re.findall(r"PROGRESS (\d+/\d+) reading", printed)[-1] == "300/300"
    assert {file.parent.name for file in output.glob("*/result.json")} == {"head-0", "head-1", "broken"}
    assert all(file.stat().st_mtime_ns == written for file, written in before.items())
    assert message("triage.so_far", evaluated=2, not_evaluable=1, failed=0, total=3, before=len(before)) in log


def test_a_killed_machine_of_a_cluster_costs_only_time(tmp_path: Path):
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - Ray is an extra

    small = {"object_store_memory": 80 * 2**20, "num_cpus": 1}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        second = cluster.add_node(**small)
        with ray_workers.engine(cluster.address):
            assert ray_workers.places_for(CORE) == 2
            workers = ray_workers.RayWorkers(Settings(tmp_path), 2, CORE, named_fate)
            tasks = [Task(name, f"/archive/{name}") for name in ("slow-1", "slow-2", "a", "b")]
            schedule = Schedule(tasks, workers, tmp_path, tmp_path / "partial")
            state = {"killed": False}

            def report(_: Tally) -> None:
                if not state["killed"] and all(processes_of(tmp_path, f"slow-{number}") for number in (1, 2)):
                    state["killed"] = True
                    cluster.remove_node(second, allow_graceful=False)
                    (tmp_path / "go").touch()

            tally = schedule.run(report)
            workers.close()
    finally:
        cluster.shutdown()
    assert state["killed"]
    assert (tally.not_evaluable, tally.failed) == (4, 0)
    assert {file.parent.name for file in tmp_path.glob("*/result.json")} == {"slow-1", "slow-2", "a", "b"}
