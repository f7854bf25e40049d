"""Measure the time from Apply to the shown result, and the memory that it takes.

    python Testing/slicer/host/time_to_result.py [STUDY] [--times 2] [--switched-off]

Opens the real panel in the test host, loads the sample phantom (or STUDY, a folder with one DICOM series, its original
files at hand as in the application), and presses Apply on the CPU several times, each time when the result is shown.
Before the first time nothing of the bundle runs: its worker starts with Apply, and takes the others too, unless it is
switched off. The bundle is the real one, in a child process. The network's own seconds are those of its passes over all
slices and over the key slices, as the result states them. Processor seconds are those of all processes together: on a
computer that is busy with something else they tell more than the wait.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[3]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
sys.path[:0] = [str(ROOT / folder) for folder in ("Testing/slicer", "ICHDiagnosis", "monai_bundle")]

import host  # noqa: E402 - found through the path above

host.install()

import slicer  # noqa: E402 - after its host
from pydicom import config as pydicom_config  # noqa: E402

from host.scripted_module import accept_terms  # noqa: E402
from ICHDiagnosisLib.parameters import DeviceChoice  # noqa: E402
from logic_cases import on_scene  # noqa: E402

NETWORK_STAGES = ("slices", "key slices")
_log = logging.getLogger(__name__)


def resident_megabytes() -> float:
    """Return the resident memory of this process, MB."""
    return psutil.Process().memory_info().rss / 1e6


def processor_seconds() -> float:
    """Return what this process, all that it started and all that those waited for have used of the processor, s."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (own, *own.children(recursive=True)))


def open_with_volume(study: Path | None, results: Path) -> Any:
    """Open the panel and choose a volume: the DICOM series in a folder, or the sample phantom.

    Raises
    ------
    FileNotFoundError
        If the folder holds no DICOM file.
    """
    node = None
    if study is not None:
        files = sorted(study.rglob("*.dcm"))
        if not files:
            raise FileNotFoundError(f"{study} holds no .dcm file")
        # Public data have identifiers that are no UIDs; a line of warning for each would hide the measurements.
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
        node, slicer.dicomDatabase = on_scene(files)
    slicer.app.slicerUserSettingsFilePath = str(results / "Slicer.ini")
    host.load_module(ROOT / "ICHDiagnosis" / "ICHDiagnosis.py")
    accept_terms(ROOT / "monai_bundle")
    module = host.open_panel("ICHDiagnosis")
    module.logic.settings.output_folder = results / "ICHDiagnosis"
    module.logic.getParameterNode().device = DeviceChoice.CPU
    module.parent.show()
    module.panel.ui.inputSelector.setCurrentNode(module.logic.load_phantom() if node is None else node)
    slicer.app.processEvents()
    return module


@dataclass(frozen=True)
class Measured:
    """One analysis.

    Attributes
    ----------
    seconds : float
        From Apply to the shown result.
    processor_seconds : float
        Of the Slicer side and of everything that it started, in that time.
    stages : dict of str to float
        Seconds of each of the bundle's stages.
    grown_mb, peak_mb : float
        What the Slicer side grew by, and by how much at most while it waited (MB).
    waiting_mb : float
        Resident memory of the processes that stay (MB).
    """

    seconds: float
    processor_seconds: float
    stages: dict[str, float]
    grown_mb: float
    peak_mb: float
    waiting_mb: float

    @property
    def network_seconds(self) -> float:
        """Seconds of the network's own passes."""
        return sum(self.stages.get(stage, 0.0) for stage in NETWORK_STAGES)


def apply_and_measure(module: Any) -> Measured:
    """Press Apply, and wait for the result to be shown.

    Raises
    ------
    RuntimeError
        If no result is shown.
    """
    panel = module.panel
    before, used, begin = resident_megabytes(), processor_seconds(), time.perf_counter()
    most = before
    panel.ui.applyButton.click()
    while panel.running:
        slicer.app.processEvents()
        most = max(most, resident_megabytes())
        time.sleep(0.05)
    slicer.app.processEvents()
    seconds, after = time.perf_counter() - begin, resident_megabytes()
    result = panel.result.result
    if result is None:
        raise RuntimeError(f"no result is shown: {panel.ui.statusLabel.text}")
    waiting = sum(child.memory_info().rss for child in psutil.Process().children(recursive=True)) / 1e6
    used = processor_seconds() - used
    return Measured(seconds, used, dict(result.seconds), after - before, max(most, after) - before, waiting)


def report(name: str, measured: Measured) -> None:
    """Log what was measured."""
    stages = ", ".join(f"{stage} {duration:.1f}" for stage, duration in measured.stages.items())
    own = measured.network_seconds
    _log.info("%s Apply to the shown result: %.1f s", name, measured.seconds)
    _log.info("  processor time of all processes: %.1f s", measured.processor_seconds)
    _log.info("  of which the network %.1f s, all else %.1f s (stages: %s)", own, measured.seconds - own, stages)
    _log.info("  Slicer side: %+.0f MB, at most %+.0f MB while it waited", measured.grown_mb, measured.peak_mb)
    _log.info("  processes of the bundle that stay: %.0f MB", measured.waiting_mb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure some analyses."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Measure the time from Apply to the shown result.")
    parser.add_argument("study", nargs="?", type=Path, help="folder with one DICOM series; default: the sample phantom")
    parser.add_argument("--times", type=int, default=2, help="how often Apply is pressed")
    parser.add_argument("--switched-off", action="store_true", help="a process of its own for each analysis")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ich-time-") as folder:
        module = open_with_volume(options.study, Path(folder))
        module.logic.settings.keep_warm = not options.switched_off
        module.logic.end_worker()
        for number in range(1, options.times + 1):
            report(f"{number}.", apply_and_measure(module))
        host.close_panel(module)


if __name__ == "__main__":
    main()
