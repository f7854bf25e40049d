"""Time our path beside the reference implementation.

    python -m research.bench [--study PATH] [--repeats N] [--reference-labels N]

Each path runs in a process of its own, so that each has a peak memory of its own. This process stays small and imports
the standard library alone: a child's peak would start from its parent's size.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from research.bench.intake import intake_line
from scripts.demo import BUNDLE_ROOT, PHANTOM_KINDS

NOT_THE_NETWORKS = ("reading", "writing")
"""Stages that both paths share; every other one is the network, its explanation and the maps."""

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
    """

    seconds: dict[str, float]
    peak_gb: float
    threads: int
    device: str
    precision: str
    labels: int

    @property
    def network_and_maps(self) -> float:
        """Seconds from the windowed slices to one map per label on the original voxels."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage not in NOT_THE_NETWORKS)

    def with_all_labels_explained(self, explained: int) -> Measurement:
        """Return the estimate for all labels of a path that explained only some."""
        seconds = self.seconds | {"explanation": self.seconds["explanation"] * self.labels / explained}
        return replace(self, seconds=seconds)


def table(ours: Measurement, reference: Measurement) -> str:
    """Lay the two measurements side by side."""
    stages = list(dict.fromkeys([*ours.seconds, *reference.seconds]))
    stages.sort(key=lambda stage: stage == "writing")
    lines = [f"{'seconds':<24}{'ours':>10}{'reference':>10}"]
    for stage in stages:
        cells = (f"{path.seconds[stage]:.2f}" if stage in path.seconds else "-" for path in (ours, reference))
        lines.append(f"{stage:<24}" + "".join(f"{cell:>10}" for cell in cells))
    totals = ours.network_and_maps, reference.network_and_maps
    lines.append(f"{f'network + {ours.labels} maps':<24}{totals[0]:>10.2f}{totals[1]:>10.2f}")
    lines.append(f"{'whole study':<24}{sum(ours.seconds.values()):>10.2f}{sum(reference.seconds.values()):>10.2f}")
    lines.append(f"{'peak memory (GB)':<24}{ours.peak_gb:>10.2f}{reference.peak_gb:>10.2f}")
    lines.append(f"ratio of network + {ours.labels} maps: {totals[1] / totals[0]:.1f}")
    return "\n".join(lines)


def run(*arguments: str) -> None:
    """Run this Python in the bundle's folder; its output goes to standard error.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; it has said why.
    """
    subprocess.run([sys.executable, *arguments], cwd=BUNDLE_ROOT, check=True, stdout=sys.stderr)


def measure(path: str, study: Path, folder: Path, *options: str) -> Measurement:
    """Measure one path, ``"ours"`` or ``"reference"``, in a process of its own."""
    measured = folder / f"{path}.json"
    logger.info("timing %s", path)
    place = ["--study", str(study), "--output", str(folder / path), "--measured", str(measured)]
    run("-m", "research.bench.measurement", path, *place, *options)
    return Measurement(**json.loads(measured.read_text(encoding="utf-8")))


def write_phantom(folder: Path) -> Path:
    """Write the demo's phantom as a DICOM series and return its folder."""
    kinds = [word for kind in PHANTOM_KINDS for word in ("--haemorrhage", kind)]
    run("-m", "scripts.phantom", "--format", "dicom", "--output", str(folder), *kinds)
    return folder / "ct"


def bench(study: Path | None, repeats: int, reference_labels: int | None, folder: Path) -> str:
    """Measure both paths on a study, without one on the phantom, and return what to print."""
    study = write_phantom(folder / "phantom") if study is None else study.resolve()
    ours = measure("ours", study, folder, "--repeats", str(repeats))
    some = [] if reference_labels is None else ["--explained-labels", str(reference_labels)]
    reference = measure("reference", study, folder, *some)
    lines = [
        f"{study.name} on {ours.device}, {ours.threads} threads",
        f"ours: {ours.precision}, median of {repeats} runs",
        f"reference: {reference.precision}, default layout, one MONAI GradCAM per label over the whole network; 1 run",
    ]
    if reference_labels is not None and reference_labels < reference.labels:
        reference = reference.with_all_labels_explained(reference_labels)
        lines.append(
            f"reference explanation: {reference_labels} of {reference.labels} labels timed, the others reckoned alike"
        )
    return "\n".join([*lines, table(ours, reference), intake_line(folder / "intake")])


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; return 0, or 1 where a path failed."""
    parser = argparse.ArgumentParser(prog="python -m research.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, help="a head CT; without it the demo's phantom")
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
