"""Times the intake alone: 1,000 slices of 512 x 512 from a folder of DICOM files to voxels in Hounsfield units.

``python -m research.bench.intake write FOLDER`` and ``... read FOLDER`` are processes of their own, so that the peak
memory is that of reading.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
SLICES, SIZE = 1000, 512
MOST_SECONDS, MOST_GB = 10.0, 1.5


def intake_line(folder: Path) -> str:
    """Write a series, read it in another process, and state its time and peak memory beside what is aimed at."""
    for step in ("write", "read"):
        command = [sys.executable, "-m", "research.bench.intake", step, str(folder)]
        run = subprocess.run(command, cwd=BUNDLE_ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    measured = json.loads(run.stdout)
    return (
        f"intake: {SLICES} slices of {SIZE} x {SIZE} from a folder to voxels in {measured['seconds']:.1f} s and "
        f"{measured['peak_gb']:.2f} GB (aim: {MOST_SECONDS:g} s and {MOST_GB:g} GB); "
        f"processor time {measured['processor_seconds']:.1f} s"
    )


def write(folder: Path) -> None:
    """Write a thin-slice head: the phantom, enlarged and repeated to 1,000 slices 0.2 mm apart."""
    import numpy as np  # noqa: PLC0415 (the process that starts this one stays small)
    from pydicom.uid import UID  # noqa: PLC0415 (as above)

    from research.fuzz.files import Head, save_series, slice_datasets, two_heads  # noqa: PLC0415

    head, _ = two_heads()
    scale = -(-SIZE // head.voxels.shape[1])
    spacing = np.linalg.norm(head.affine[:3, :3], axis=0)
    step = np.diag([1 / scale, 1 / scale, len(head.voxels) / SLICES, 1.0])
    for start in range(0, SLICES, 50):
        planes = head.voxels[np.arange(start, start + 50) * len(head.voxels) // SLICES]
        enlarged = planes.repeat(scale, axis=1).repeat(scale, axis=2)[:, :SIZE, :SIZE]
        affine = head.affine @ step
        affine[2, 3] += start * spacing[2] * len(head.voxels) / SLICES
        datasets = slice_datasets(Head(f"PART{start}", enlarged, affine))
        for index, dataset in enumerate(datasets):
            dataset.PatientID = dataset.PatientName = "BENCH"
            uid = UID(f"1.2.3.4.{start + index + 1}")
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        save_series(folder, datasets, f"{start:04d}_{{:04d}}.dcm")


def read(folder: Path) -> None:
    """Print time, processor time (s) and peak memory (10^9 bytes) of reading a folder as JSON; imports do not count."""
    from scripts.intake.discovery import find_studies, read_study  # noqa: PLC0415 (as above)

    begin, processor = time.perf_counter(), time.process_time()
    (source,) = find_studies(folder)
    study = read_study(source)
    seconds, processor = time.perf_counter() - begin, time.process_time() - processor
    if study.voxels.shape != (SLICES, SIZE, SIZE):
        raise SystemExit(f"read {study.voxels.shape}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    sys.stdout.write(json.dumps({"seconds": seconds, "processor_seconds": processor, "peak_gb": peak}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m research.bench.intake", description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["write", "read"])
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    (write if chosen.step == "write" else read)(chosen.folder)


if __name__ == "__main__":
    main()
