"""How many studies a triage reads per hour and core, how that grows with workers, and what each of them needs.

python -m research.bench.triage [--studies 8] [--workers 1 2]

One phantom is copied, so that every study costs the same. The time from the first result to the last one counts: Ray
and the workers have started by then.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
LEAST_SCALING = 0.9
_WORKER, _SAMPLE_S = "ray::_StudyActor", 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Throughput:
    """What one triage took.

    Attributes
    ----------
    workers : int
        Processes that read.
    studies_per_hour : float
        Once all of them read.
    seconds : dict
        Mean wall time of a study's stages (s).
    processor_seconds : float
        Processor time of a study: what a busy computer changes least (s).
    worker_gb : float
        Largest resident memory of a worker (10^9 bytes).
    engine_gb : float
        Largest resident memory of Ray's own processes and of the one that was started (10^9 bytes).
    """

    workers: int
    studies_per_hour: float
    seconds: dict[str, float]
    processor_seconds: float
    worker_gb: float
    engine_gb: float


def write_studies(folder: Path, count: int) -> Path:
    """Write copies of one phantom with two haemorrhages, as DICOM; return their folder."""
    command = [sys.executable, "-m", "scripts.phantom", "--format", "dicom", "--output", str(folder / "phantom")]
    command += ["--haemorrhage", "intraparenchymal", "--haemorrhage", "subdural"]
    subprocess.run(command, cwd=BUNDLE_ROOT, check=True, stdout=subprocess.DEVNULL)
    for number in range(count):
        shutil.copytree(folder / "phantom" / "ct", folder / "studies" / f"study-{number:04d}")
    return folder / "studies"


def measure(studies: Path, output: Path, workers: int) -> Throughput:
    """Read all studies with so many workers.

    Raises
    ------
    subprocess.CalledProcessError
        If the triage fails; it has said why.
    """
    command = [sys.executable, "-m", "scripts.triage", "--source", str(studies), "--output", str(output)]
    command += ["--workers", str(workers), "--set", "device=cpu"]
    worker_gb, engine_gb = 0.0, 0.0
    spent: list[tuple[int, float]] = []
    with subprocess.Popen(command, cwd=BUNDLE_ROOT, stdout=subprocess.DEVNULL) as triage:
        process = psutil.Process(triage.pid)
        while triage.poll() is None:
            largest, others, processor = _use_of(process)
            worker_gb, engine_gb = max(worker_gb, largest), max(engine_gb, others)
            spent.append((len(list(output.glob("*/result.json"))), processor))
            time.sleep(_SAMPLE_S)
    if triage.returncode:
        raise subprocess.CalledProcessError(triage.returncode, command)
    per_hour, seconds = read_results(output, workers)
    return Throughput(workers, per_hour, seconds, processor_time(spent, workers), worker_gb, engine_gb)


def processor_time(spent: Sequence[tuple[int, float]], workers: int) -> float:
    """Return the processor seconds of a study, from the number of results and what workers had spent by then."""
    steady = [(results, seconds) for results, seconds in spent if results >= workers and seconds]
    if not steady or steady[-1][0] == steady[0][0]:
        return float("nan")
    first, last = steady[0], max(steady, key=lambda each: each[1])
    return (last[1] - first[1]) / (last[0] - first[0])


def read_results(output: Path, workers: int) -> tuple[float, dict[str, float]]:
    """Return studies per hour, and the mean seconds of each stage, from result folders and their times of writing."""
    files = sorted(output.glob("*/result.json"), key=lambda file: file.stat().st_mtime_ns)
    written = [file.stat().st_mtime for file in files]
    # Up to here each worker has finished one study, whenever it was ready to begin.
    counted = len(written) - workers
    per_hour = 3600 * counted / (written[-1] - written[workers - 1])
    stages = [json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in files]
    return per_hour, {stage: statistics.mean(each.get(stage, 0.0) for each in stages) for stage in stages[0]}


def _use_of(process: psutil.Process) -> tuple[float, float, float]:
    """Return the memory of the largest worker, that of all others (10^9 bytes), and the workers' processor time (s)."""
    largest, others, processor = 0.0, 0.0, 0.0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return largest, others, processor
    for each in family:
        try:
            gb = each.memory_info().rss / 1e9
            if " ".join(each.cmdline()).startswith(_WORKER):
                largest = max(largest, gb)
                processor += sum(each.cpu_times()[:2])
            else:
                others += gb
        except psutil.Error:
            # It has ended meanwhile.
            continue
    return largest, others, processor


def triage_lines(measured: Sequence[Throughput]) -> list[str]:
    """State throughput, scaling, memory and stages for the reader of the benchmark."""
    first = measured[0]
    lines = []
    for each in measured:
        per_core = each.studies_per_hour / each.workers
        scaling = each.studies_per_hour / first.studies_per_hour / (each.workers / first.workers)
        beside = "" if each is first else f"; {scaling:.2f} of linear (aim: {LEAST_SCALING:g})"
        lines.append(
            f"triage, {each.workers} workers: {each.studies_per_hour:.0f} studies an hour, "
            f"{per_core:.0f} per core{beside}; {each.processor_seconds:.2f} s of processor time a study; "
            f"{each.worker_gb:.2f} GB per worker, {each.engine_gb:.2f} GB for Ray"
        )
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in first.seconds.items())
    return [*lines, f"triage, seconds of a study on one core: {stages}"]


def bench_triage(folder: Path, studies: int, workers: Sequence[int]) -> list[str]:
    """Measure a triage with each number of workers; return what to print."""
    source = write_studies(folder, studies)
    measured = []
    for count in workers:
        logger.info("timing a triage with %d workers", count)
        measured.append(measure(source, folder / f"results-{count}", count))
    return triage_lines(measured)


def worker_counts() -> list[int]:
    """Return one worker and, where there are two cores, two."""
    return [1, 2][: psutil.cpu_count() or 1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a triage takes here."""
    parser = argparse.ArgumentParser(prog="python -m research.bench.triage", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=8, help="copies of the phantom that are read")
    parser.add_argument("--workers", type=int, nargs="+", default=worker_counts(), help="numbers of processes to try")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ichdiagnosis-bench-") as folder:
        lines = bench_triage(Path(folder), chosen.studies, chosen.workers)
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main())
