"""The benchmark of a triage states throughput once all workers read, scaling, memory and stages."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from research.bench import triage
from research.bench.triage import Throughput, bench_triage, measure, read_results, triage_lines, worker_counts


def write_result(output: Path, name: str, written_s: float, **seconds: float) -> None:
    (output / name).mkdir(parents=True)
    file = output / name / "result.json"
    file.write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    os.utime(file, (written_s, written_s))


def test_the_start_of_the_workers_does_not_count(tmp_path: Path):
    for number, written in enumerate((1000.0, 1010.0, 1015.0, 1020.0, 1025.0)):
        write_result(tmp_path, f"study-{number}", written, reading=1.0, writing=number)
    per_hour, seconds = read_results(tmp_path, workers=2)
    assert per_hour == pytest.approx(3600 * 3 / 15)
    assert seconds == {"reading": 1.0, "writing": 2.0}


def test_processor_time_counts_once_every_worker_has_a_result():
    spent = [(0, 9.0), (1, 12.0), (2, 15.0), (3, 19.0), (6, 31.0), (6, 0.0)]
    assert triage.processor_time(spent, workers=2) == pytest.approx(4.0)
    assert math.isnan(triage.processor_time([(0, 3.0)], workers=1))


def test_scaling_is_stated_beside_its_aim():
    one = Throughput(1, 1000.0, {"reading": 0.5, "network": 2.25}, 3.5, 1.25, 0.6)
    two = Throughput(2, 1900.0, {"reading": 0.5, "network": 2.3}, 3.6, 1.26, 0.6)
    assert triage_lines([one, two]) == [
        "triage, 1 workers: 1000 studies an hour, 1000 per core; 3.50 s of processor time a study; "
        "1.25 GB per worker, 0.60 GB for Ray",
        "triage, 2 workers: 1900 studies an hour, 950 per core; 0.95 of linear (aim: 0.9); "
        "3.60 s of processor time a study; "
        "1.26 GB per worker, 0.60 GB for Ray",
        "triage, seconds of a study on one core: reading 0.50, network 2.25",
    ]


def test_a_computer_with_one_core_tries_one_worker(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda: 1)
    assert worker_counts() == [1]
    monkeypatch.setattr(psutil, "cpu_count", lambda: 16)
    assert worker_counts() == [1, 2]


class AnEndedTriage(subprocess.Popen):
    """A process in the place of a triage: it leaves two results, or fails."""

    status = 0

    def __init__(self, command: list[str], **_: object) -> None:
        output = Path(command[command.index("--output") + 1])
        for number in range(4):
            write_result(output, f"study-{number}", 1000.0 + number, reading=1.0)
        code = f"import time; time.sleep(0.2); raise SystemExit({self.status})"
        super().__init__([sys.executable, "-c", code])


def test_every_number_of_workers_is_measured_on_the_same_studies(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(triage, "write_studies", lambda folder, count: folder / "studies")
    monkeypatch.setattr(triage.subprocess, "Popen", AnEndedTriage)
    lines = bench_triage(tmp_path, 4, [1, 2])
    assert [line.partition(":")[0] for line in lines[:2]] == ["triage, 1 workers", "triage, 2 workers"]
    assert "3600 studies an hour" in lines[0]
    monkeypatch.setattr(AnEndedTriage, "status", 1)
    with pytest.raises(subprocess.CalledProcessError):
        measure(tmp_path / "studies", tmp_path / "another", 1)


def test_the_command_prints_what_was_measured(monkeypatch, capsys):
    monkeypatch.setattr(triage, "bench_triage", lambda folder, studies, workers: [f"{studies} {workers}"])
    assert triage.main(["--studies", "3", "--workers", "1"]) == 0
    assert capsys.readouterr().out == "3 [1]\n"


def test_studies_are_copies_of_one_phantom(tmp_path: Path, monkeypatch):
    def drawn(command: list[str], **_: object) -> None:
        (tmp_path / "phantom" / "ct").mkdir(parents=True)
        (tmp_path / "phantom" / "ct" / "slice.dcm").write_bytes(b"slice")

    monkeypatch.setattr(triage.subprocess, "run", drawn)
    studies = triage.write_studies(tmp_path, 3)
    assert sorted(file.parent.name for file in studies.rglob("slice.dcm")) == ["study-0000", "study-0001", "study-0002"]
