"""Time our path beside the paper's backbone and the reference implementation.

    python -m research.bench [--study PATH] [--repeats N] [--reference-labels N]

Each path runs in a process of its own, so that each has a peak memory of its own. This process stays small and imports
little but the standard library: a child's peak would start from its parent's size.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from research.bench.intake import intake_line
from research.bench.triage import bench_triage, worker_counts
from scripts.demo import BUNDLE_ROOT

NOT_THE_NETWORKS = ("reading", "writing")
"""Stages that both paths share; every other one is the network, its explanation and the maps."""

TRIAGE_STUDIES = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """What one path took.

    Attributes
    ----------
    seconds : dict
        Wall time per stage.
    peak_gb : float
        Largest resident memory of the process (10^9 bytes).
    threads : int
        torch's threads.
    device : str
        Where the network ran.
    precision : str
        Number format of the backbone.
    labels : int
        Number of labels that have a map.
    processor_seconds : float
        Processor time of one run, of all threads: what a busy machine does not change.
    gflop : dict
        Operations (10^9) of the backbone and the lesion decoder per stage, forward passes alone.
    peak_gflop_per_second : float
        What a product of large matrices reaches here, in the same number format.
    """

    seconds: dict[str, float]
    peak_gb: float
    threads: int
    device: str
    precision: str
    labels: int
    processor_seconds: float = 0.0
    gflop: dict[str, float] = field(default_factory=dict)
    peak_gflop_per_second: float = 0.0

    def share_of_peak(self, stage: str) -> float:
        """Return which part of the measured peak a stage reached, of its forward passes."""
        return self.gflop[stage] / self.seconds[stage] / self.peak_gflop_per_second

    @property
    def network_and_maps(self) -> float:
        """Seconds from the windowed slices to one map per label on the original voxels."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage not in NOT_THE_NETWORKS)

    def with_all_labels_explained(self, explained: int) -> Measurement:
        """Return the estimate for all labels of a path that explained only some."""
        factor = self.labels / explained
        seconds = self.seconds | {"explanation": self.seconds["explanation"] * factor}
        gflop = {stage: value * (factor if stage == "explanation" else 1) for stage, value in self.gflop.items()}
        return replace(self, seconds=seconds, gflop=gflop)


def table(paths: Mapping[str, Measurement]) -> str:
    """Lay measurements side by side; the first is ours, the last the reference implementation."""
    stages = list(dict.fromkeys(stage for path in paths.values() for stage in path.seconds))
    stages.sort(key=lambda stage: stage == "writing")
    ours, *_, reference = paths.values()

    def row(title: str, cell: Callable[[Measurement], str]) -> str:
        return f"{title:<28}" + "".join(f"{cell(path):>12}" for path in paths.values())

    lines = [f"{'seconds':<28}" + "".join(f"{name:>12}" for name in paths)]
    lines += [row(stage, partial(_seconds, stage)) for stage in stages]
    lines.append(row(f"network + {ours.labels} maps", lambda path: _number(path.network_and_maps)))
    lines.append(row("whole study", lambda path: _number(sum(path.seconds.values()))))
    lines.append(row("processor time of a run", lambda path: _number(path.processor_seconds)))
    for stage in stages:
        if any(stage in path.gflop for path in paths.values()):
            lines.append(row(f"GFLOP: {stage}", partial(_gflop, stage)))
            lines.append(row(f"% of the peak: {stage}", partial(_percent, stage)))
    lines.append(row("measured peak (GFLOP/s)", lambda path: f"{path.peak_gflop_per_second:.0f}"))
    lines.append(row("peak memory (GB)", lambda path: _number(path.peak_gb)))
    ratio = reference.network_and_maps / ours.network_and_maps
    return "\n".join([*lines, f"ratio of network + {ours.labels} maps: {ratio:.1f}"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _seconds(stage: str, path: Measurement) -> str:
    return _number(path.seconds.get(stage))


def _gflop(stage: str, path: Measurement) -> str:
    return _number(path.gflop.get(stage))


def _percent(stage: str, path: Measurement) -> str:
    return f"{100 * path.share_of_peak(stage):.0f}" if stage in path.gflop else "-"


def run(*arguments: str) -> None:
    """Run this Python in the bundle's folder; its output goes to standard error.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; it has said why.
    """
    subprocess.run([sys.executable, *arguments], cwd=BUNDLE_ROOT, check=True, stdout=sys.stderr)


def measure(path: str, study: Path, folder: Path, *options: str) -> Measurement:
    """Measure one path, ``"ours"``, ``"vgg16"`` or ``"reference"``, in a process of its own."""
    measured = folder / f"{path}.json"
    logger.info("timing %s", path)
    place = ["--study", str(study), "--output", str(folder / path), "--measured", str(measured)]
    run("-m", "research.bench.measurement", path, *place, *options)
    return Measurement(**json.loads(measured.read_text(encoding="utf-8")))


def write_phantom(folder: Path) -> Path:
    """Write a phantom with two haemorrhages as a DICOM series and return its folder."""
    kinds = [word for kind in ("intraparenchymal", "subdural") for word in ("--haemorrhage", kind)]
    run("-m", "scripts.phantom", "--format", "dicom", "--output", str(folder), *kinds)
    return folder / "ct"


def bench(study: Path | None, repeats: int, reference_labels: int | None, folder: Path) -> str:
    """Measure both paths on a study, without one on the phantom, and return what to print."""
    study = write_phantom(folder / "phantom") if study is None else study.resolve()
    ours = measure("ours", study, folder, "--repeats", str(repeats))
    vgg16 = measure("vgg16", study, folder)
    some = [] if reference_labels is None else ["--explained-labels", str(reference_labels)]
    reference = measure("reference", study, folder, *some)
    lines = [
        f"{study.name} on {ours.device}, {ours.threads} threads",
        f"ours: {ours.precision}, median of {repeats} runs",
        f"vgg16: {vgg16.precision}, the paper's backbone and sizes (configs/vgg16.json) on the same path; 1 run",
        f"reference: {reference.precision}, default layout, one MONAI GradCAM per label over the whole network; 1 run",
    ]
    if reference_labels is not None and reference_labels < reference.labels:
        reference = reference.with_all_labels_explained(reference_labels)
        lines.append(
            f"reference explanation: {reference_labels} of {reference.labels} labels timed, the others reckoned alike"
        )
    lines.append(table({"ours": ours, "vgg16": vgg16, "reference": reference}))
    lines.append(intake_line(folder / "intake"))
    lines += bench_triage(folder / "triage", TRIAGE_STUDIES, worker_counts())
    return "\n".join(lines)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; return 0, or 1 where a path failed."""
    parser = argparse.ArgumentParser(prog="python -m research.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, help="a head CT; without it a phantom")
    parser.add_argument("--repeats", type=_count, default=3, help="runs of our path")
    parser.add_argument("--reference-labels", type=_count, help="labels that the reference explains; all, if not given")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ichdiagnosis-bench-") as folder:
        try:
            text = bench(chosen.study, chosen.repeats, chosen.reference_labels, Path(folder))
        except subprocess.CalledProcessError as error:
            logger.error("stopped: %s ended with status %d", " ".join(error.cmd[1:3]), error.returncode)
            return 1
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main())
