"""The two heads of the demo, as DICOM series with their truth: one with three haemorrhages, one without blood.

    python -m scripts.synthesis.demo_phantoms --output DIR

Both are phantoms of drawn anatomy, contrast and noise. Truth lies beside the studies, never among them.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage
from scripts.phantom.rendering import Phantom
from scripts.phantom.writing import write_dicom_series, write_masks
from scripts.synthesis.random_phantom import draw_phantom_scan

STUDIES, TRUTH, TRUTH_FILE = "studies", "truth", "truth.json"
"""Folder of the DICOM series, folder of the masks, and the file with the true volumes, below the demo's phantoms."""

_LOG = logging.getLogger("demo_phantoms")


@dataclass(frozen=True)
class DemoHead:
    """One head of the demo.

    Attributes
    ----------
    name : str
        Of its folder, and so of its result.
    seed : int
        What head, contrast, noise and shapes are drawn from.
    haemorrhages : tuple of Haemorrhage
        Parenchymal blood that has broken into the ventricles is two of these: RSNA labels both.
    """

    name: str
    seed: int
    haemorrhages: tuple[Haemorrhage, ...] = ()


HEADS = (
    DemoHead(
        "phantom_with_haemorrhage",
        11,
        (
            Haemorrhage("intraparenchymal", "left", 30.0),
            Haemorrhage("intraventricular", "both", 8.0),
            Haemorrhage("subdural", "right", 30.0),
        ),
    ),
    DemoHead("phantom_without_haemorrhage", 12),
)


def draw_head(head: DemoHead, slices: int, pixels: int) -> Phantom:
    """Draw one head on a grid of 160 mm by 236 mm."""
    grid = Grid((slices, pixels, pixels), (235.52 / pixels, 235.52 / pixels, 160.0 / slices))
    return draw_phantom_scan(np.random.default_rng(head.seed), grid, haemorrhages=head.haemorrhages)


def write_demo_phantoms(folder: Path, slices: int, pixels: int) -> dict[str, dict[str, float]]:
    """Write both heads, their masks and ``truth.json``.

    Returns
    -------
    dict
        Name of a head to the true volume in ml of each subtype that it has, as ``truth.json`` holds it.
    """
    truth: dict[str, dict[str, float]] = {}
    for head in HEADS:
        phantom = draw_head(head, slices, pixels)
        write_dicom_series(phantom, folder / STUDIES / head.name)
        write_masks(phantom, folder / TRUTH / head.name)
        truth[head.name] = {kind: round(volume, 2) for kind, volume in phantom.volumes_ml.items()}
    content: dict[str, Any] = {"synthetic": True, "volume_ml": truth}
    (folder / TRUTH_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return truth


def main(argv: Sequence[str] | None = None) -> int:
    """Write the demo's heads; 0 when written, 1 with one line on standard error when they cannot be."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m scripts.synthesis.demo_phantoms", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for both heads and their truth")
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=512, help="rows and columns")
    chosen = parser.parse_args(argv)
    try:
        truth = write_demo_phantoms(chosen.output, chosen.slices, chosen.pixels)
    except (OSError, ValueError, ZeroDivisionError) as error:
        _LOG.error("phantoms not written: %s", error)
        return 1
    for name, volumes in truth.items():
        parts = ", ".join(f"{kind} {volume:.1f} ml" for kind, volume in volumes.items()) or "no haemorrhage"
        _LOG.info("%s: %s", name, parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
