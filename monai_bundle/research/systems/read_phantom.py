"""Reads the demo's phantom by every installed system, as a user's study is read, and checks each result folder.

    python -m research.systems.read_phantom --output FOLDER [--only radnet densenet_a] [--study DICOM_FOLDER]

A study that is named is read in the phantom's place. Each system gets a process and a folder of its own. Exit status
1 where one of them does not give a whole result.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from research.systems.training import is_shipped
from scripts.phantom.writing import write_dicom_series
from scripts.synthesis.demo_phantoms import HEADS, draw_head
from scripts.systems import System, systems

SLICES, PIXELS = 32, 512

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhantomReading:
    """What one system's result states.

    Attributes
    ----------
    system : str
        Its name.
    faults : tuple of str
        What is wrong with the result; empty where it is whole.
    probability : float or None
        Of any haemorrhage.
    maps : int
        Files of attribution maps of labels.
    """

    system: str
    faults: tuple[str, ...]
    probability: float | None
    maps: int


def read_by(system: System, study: Path, output: Path, extra: Sequence[str] = ()) -> PhantomReading:
    """Read a study by one system in a process of its own, and check what it wrote.

    Parameters
    ----------
    system : System
        Installed, in the bundle in whose folder this runs.
    study : Path
        DICOM series.
    output : Path
        Gets the result folder.
    extra : sequence of str
        Further arguments of the bundle.
    """
    own = [] if is_shipped(system) else [system.configuration]
    command = ["-m", "scripts.quick_start", "run", "--config_file", str(["configs/inference.json", *own])]
    command += ["--dataset_dir", str(study.resolve()), "--output_dir", str(output.resolve()), *extra]
    status = subprocess.run([sys.executable, *command], check=False).returncode
    folders = sorted(path for path in output.glob("*") if (path / "result.json").is_file())
    if status or len(folders) != 1:
        return PhantomReading(system.name, (f"exit status {status}, {len(folders)} results",), None, 0)
    return checked(system, folders[0])


def checked(system: System, folder: Path) -> PhantomReading:
    """Check a result folder: evaluated, by this system, with report and maps of its method, all files there."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    if result["status"] != "evaluated":
        return PhantomReading(system.name, (f"status {result['status']}",), None, 0)
    method = _method(system)
    maps = [entry for entry in result["maps"] if entry["kind"] == method]
    faults = [
        text
        for holds, text in (
            (result["model"]["network"] == system.title, f"read by {result['model']['network']}"),
            (bool(maps), f"no map by {method}"),
            ((folder / "report.html").is_file(), "no report"),
            (all((folder / entry["file"]).is_file() for entry in result["maps"]), "a map's file is missing"),
        )
        if not holds
    ]
    probability = next(finding["probability"] for finding in result["findings"] if finding["key"] == "any")
    return PhantomReading(system.name, tuple(faults), probability, len(maps))


def _method(system: System) -> str:
    settings = json.loads(Path("configs/inference.json").read_text("utf-8"))
    return str((settings | json.loads(Path(system.configuration).read_text("utf-8")))["explanation_method"])


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the phantom and read it by all installed systems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the phantom and the results")
    parser.add_argument("--study", type=Path, help="a study to read instead of the phantom")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some systems")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study: Path = arguments.study or arguments.output / "phantom" / HEADS[0].name
    if arguments.study is None:
        write_dicom_series(draw_head(HEADS[0], SLICES, PIXELS), study)
    chosen = [each for each in systems(".") if each.installed and each.name in (arguments.only or [each.name])]
    failed = 0
    for system in tqdm(chosen, unit="system"):
        found = read_by(system, study, arguments.output / "results" / system.name)
        failed += bool(found.faults)
        stated = "; ".join(found.faults) or f"p {found.probability:.3f}, {found.maps} maps"
        logger.info("%s: %s", system.name, stated)
    logger.info("%d of %d installed systems read the study", len(chosen) - failed, len(chosen))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
