"""Command line: ``python -m scripts.phantom --output DIR --haemorrhage subdural --format dicom --seed 3``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage, Kind, Side
from scripts.phantom.montage import write_montage
from scripts.phantom.rendering import make_phantom
from scripts.phantom.writing import write_dicom_series, write_masks, write_nifti

_LOG = logging.getLogger("phantom")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.phantom", description="Write a digital head CT.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, help="folder for the head CT and its truth masks")
    what.add_argument("--montage", type=Path, help="write only an image (PNG) of the phantom and its haemorrhages")
    parser.add_argument("--format", choices=("dicom", "nifti"), default="dicom")
    parser.add_argument("--haemorrhage", choices=get_args(Kind), action="append", default=[], help="may be repeated")
    parser.add_argument("--side", choices=get_args(Side), default="left", help="of the patient, for every haemorrhage")
    parser.add_argument("--volume", type=float, default=30.0, help="ml of each haemorrhage")
    parser.add_argument("--midline-shift", type=float, default=0.0, help="mm, positive to the patient's right")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=512, help="rows and columns")
    parser.add_argument("--tilt", type=float, default=0.0, help="gantry tilt in degrees")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write what the arguments ask for; 0 when written, 1 with one line on standard error when it cannot be made."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    chosen = _arguments(argv)
    try:
        if chosen.montage:
            _LOG.info("montage written to %s", write_montage(chosen.montage, chosen.seed))
            return 0
        pixel, step = 0.46 * 512 / chosen.pixels, 160.0 / chosen.slices
        grid = Grid((chosen.slices, chosen.pixels, chosen.pixels), (pixel, pixel, step), tilt_degrees=chosen.tilt)
        bleeds = [Haemorrhage(kind, chosen.side, chosen.volume) for kind in chosen.haemorrhage]
        phantom = make_phantom(grid, bleeds, midline_shift_mm=chosen.midline_shift, seed=chosen.seed)
        if chosen.format == "dicom":
            write_dicom_series(phantom, chosen.output / "ct")
        else:
            write_nifti(phantom, chosen.output / "ct.nii.gz")
        write_masks(phantom, chosen.output)
    except (OSError, ValueError, ZeroDivisionError) as error:
        _LOG.error("phantom not written: %s", error)
        return 1
    volumes = ", ".join(f"{kind} {volume:.1f} ml" for kind, volume in phantom.volumes_ml.items()) or "no haemorrhage"
    _LOG.info("phantom written to %s: %s", chosen.output, volumes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
