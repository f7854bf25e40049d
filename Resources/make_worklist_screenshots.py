"""Draws the images of monai_bundle/docs/triage.md: the worklist of phantoms, which are no patients, in light and dark.

    python Resources/make_worklist_screenshots.py [--results FOLDER]

The phantoms are read by the shipped weights, one after the other; results that are there already are used again.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "monai_bundle"
IMAGES = {"triage_worklist.png": "1", "triage_worklist_dark.png": "0"}
"""File, and the colour scheme that Chromium tells pages of (1 light, 0 dark)."""

PHANTOMS: dict[str, tuple[str, ...]] = {
    "phantom-a": (),
    "phantom-b": ("--haemorrhage", "subdural", "--volume", "60"),
    "phantom-c": ("--haemorrhage", "intraparenchymal", "--volume", "25", "--side", "right"),
    "phantom-d": (),
    "phantom-e": ("--haemorrhage", "intraparenchymal", "--haemorrhage", "intraventricular", "--volume", "7"),
    "phantom-f": ("--haemorrhage", "epidural", "--volume", "40", "--side", "right"),
    "phantom-g-few-slices": ("--slices", "6"),
}


def write_phantoms(folder: Path) -> None:
    """Write every phantom as a DICOM study in a folder of its own."""
    for seed, (name, options) in enumerate(PHANTOMS.items(), start=11):
        with tempfile.TemporaryDirectory() as drawn:
            run(["-m", "scripts.phantom", "--seed", str(seed), "--pixels", "256", "--output", drawn, *options])
            shutil.copytree(Path(drawn) / "ct", folder / name)


def run(arguments: Sequence[str], statuses: Sequence[int] = (0,)) -> None:
    """Run this Python in the bundle's folder.

    Raises
    ------
    SystemExit
        If it ends with another status than those expected.
    """
    status = subprocess.run([sys.executable, *arguments], cwd=BUNDLE, check=False).returncode
    if status not in statuses:
        raise SystemExit(f"{' '.join(arguments[:2])} ended with status {status}")


def take(page: Path, target: Path, scheme: str) -> None:
    """Take an image of a page, 1200 x 900 pixels."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is needed")
    command = [browser, "--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,900"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", "--virtual-time-budget=5000"]
    subprocess.run([*command, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, read, sort, and take the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="folder to keep results in")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = (options.results or Path(folder) / "results").resolve()
        if not results.exists():
            write_phantoms(Path(folder) / "studies")
            command = ["-m", "scripts.quick_start", "run", "--config_file", "configs/inference.json"]
            run([*command, "--dataset_dir", str(Path(folder) / "studies"), "--output_dir", str(results)], (0, 3))
        run(["-m", "scripts.worklist", "--results", str(results)])
        for name, scheme in IMAGES.items():
            take(results / "worklist.html", BUNDLE / "docs" / name, scheme)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
