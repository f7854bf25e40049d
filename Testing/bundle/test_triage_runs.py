"""A triage as a whole: cancelled and started again; and on a cluster of two nodes, one of which is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import triage_readers
from dicom_files import write_series
from ray import cloudpickle
from triage_readers import named_fate, processes_of

from scripts.messages import message
from scripts.triage import ray_workers
from scripts.triage.schedule import Schedule
from scripts.triage.tasks import Settings, Tally, Task

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
PATIENCE_S = 400
# Workers are processes of Ray's, which do not find the tests' own files.
cloudpickle.register_pickle_by_value(triage_readers)
CORE = ray_workers.Share(cores=1)


def start(source: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    small = ["--set", "image_size=96", "--set", "high_res_size=128", "--set", "device=cpu"]
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
    for number in range(2):
        write_series(source / f"head-{number}")
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


def patiently(begin: Callable[[], Any]) -> Any:
    """Ray gives the start of a node half a minute, which on a busy computer is not enough."""
    for _ in range(4):
        try:
            return begin()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return begin()


def test_a_killed_machine_of_a_cluster_costs_only_time(tmp_path: Path):
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - Ray is an extra

    small = {"object_store_memory": 80 * 2**20, "num_cpus": 1}
    cluster = Cluster()
    try:
        second = [patiently(lambda: cluster.add_node(wait=False, **small)) for _ in ("head", "second")][1]
        cluster.wait_for_nodes(PATIENCE_S)
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
