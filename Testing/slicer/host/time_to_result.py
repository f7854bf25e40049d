"""Measure the time from Apply to the shown result, and what the Slicer side grows by in memory.

    python Testing/slicer/host/time_to_result.py [STUDY]

Opens the real panel in the test host, loads the sample phantom (or STUDY, a folder with one DICOM series, its original
files at hand as in the application), presses Apply on the CPU and waits. The bundle is the real one, in a child
process; the memory is that of this process alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
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

from ICHDiagnosisLib.parameters import DeviceChoice  # noqa: E402
from logic_cases import on_scene  # noqa: E402

_log = logging.getLogger(__name__)


def resident_megabytes() -> float:
    """Return the resident memory of this process, MB."""
    return psutil.Process().memory_info().rss / 1e6


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
    module = host.open_panel("ICHDiagnosis")
    module.logic.settings.output_folder = results / "ICHDiagnosis"
    module.logic.getParameterNode().device = DeviceChoice.CPU
    module.parent.show()
    module.panel.ui.inputSelector.setCurrentNode(module.logic.load_phantom() if node is None else node)
    slicer.app.processEvents()
    return module


def apply_and_measure(module: Any) -> None:
    """Press Apply, wait for the result to be shown, and report.

    Raises
    ------
    RuntimeError
        If no result is shown.
    """
    panel = module.panel
    before, begin = resident_megabytes(), time.perf_counter()
    most = before
    panel.ui.applyButton.click()
    while panel.running:
        slicer.app.processEvents()
        most = max(most, resident_megabytes())
        time.sleep(0.01)
    slicer.app.processEvents()
    seconds, after = time.perf_counter() - begin, resident_megabytes()
    result = panel.result.result
    if result is None:
        raise RuntimeError(f"no result is shown: {panel.ui.statusLabel.text}")
    stages = ", ".join(f"{stage} {duration:.1f}" for stage, duration in result.seconds.items())
    _log.info("From Apply to the shown result: %.1f s", seconds)
    _log.info("of which the bundle's stages: %.1f s (%s)", sum(result.seconds.values()), stages)
    _log.info("Resident memory of the Slicer side: %.0f MB before, %+.0f MB after", before, after - before)
    _log.info("largest while running: %+.0f MB", max(most, after) - before)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one analysis."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Measure the time from Apply to the shown result.")
    parser.add_argument("study", nargs="?", type=Path, help="folder with one DICOM series; default: the sample phantom")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ich-time-") as folder:
        module = open_with_volume(options.study, Path(folder))
        apply_and_measure(module)
        host.close_panel(module)


if __name__ == "__main__":
    main()
