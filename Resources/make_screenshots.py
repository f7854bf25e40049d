"""Make the four screenshots of README and extension from the real panel and real slice views, on the phantom.

    python Resources/make_screenshots.py [--output Resources]

Runs without 3D Slicer: the panel runs in the test host (Testing/slicer/host), the slice views are drawn by MRML. The
analysis and everything shown of it are the bundle's own, right or wrong. Needs Chromium for the image of the report.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
sys.path[:0] = [str(ROOT / "Testing" / "slicer"), str(ROOT / "ICHDiagnosis")]

import host  # noqa: E402 - found through the path above

host.install()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from host.scripted_module import accept_terms  # noqa: E402
from host.slice_view import draw_slice_view  # noqa: E402

PANEL = (450, 1090)
AXIAL = (660, 720)
SMALL = (329, 328)
BAR_COLOURS = {"Red": (243, 74, 51), "Yellow": (237, 213, 76), "Green": (110, 176, 75)}
KINDS = ("intraparenchymal", "subdural")
REPORT_TOP = (1100, 1060)
README_REPORT = (1100, 1900)
README_WIDTH = 814
AROUND_HEIGHT = 900

_log = logging.getLogger(__name__)


def wait(until: Callable[[], object]) -> None:
    """Let the application run until something is so."""
    while not until():
        slicer.app.processEvents()
        time.sleep(0.02)


def settle() -> None:
    """Let layouts and repaints come to rest."""
    for _ in range(5):
        slicer.app.processEvents()


def open_module(results: Path) -> Any:  # noqa: ANN401 - the module's widget
    """Open the panel with its settings, history and results in a folder that goes with the images."""
    slicer.app.slicerUserSettingsFilePath = str(results / "Slicer.ini")
    host.load_module(ROOT / "ICHDiagnosis" / "ICHDiagnosis.py")
    accept_terms(ROOT / "monai_bundle")
    module = host.open_panel("ICHDiagnosis")
    module.panel.ui.outputFolderEdit.setCurrentPath(str(results / "ICHDiagnosis"))
    module.parent.resize(*PANEL)
    module.parent.show()
    return module


def image_of(widget: qt.QWidget) -> qt.QPixmap:
    """Return a widget as it is seen."""
    settle()
    return widget.grab()


def view_image(name: str, size: tuple[int, int]) -> qt.QPixmap:
    """Return a slice view with the coloured bar that the application puts above it."""
    slice_node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
    slice_node.SetDimensions(*size, 1)
    place = slice_node.GetSliceToRAS()
    offset = [place.GetElement(row, 3) for row in range(3)]
    slicer.app.layoutManager().sliceWidget(name).sliceLogic().FitSliceToBackground()
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *offset, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    pixels = draw_slice_view(name, size)
    bar = 20
    image = qt.QPixmap(size[0], size[1] + bar)
    painter = qt.QPainter()
    painter.begin(image)
    painter.fillRect(0, 0, size[0], bar, qt.QColor(*BAR_COLOURS[name]))
    painter.drawText(8, bar - 5, f"{name[0]}   {slice_node.GetOrientation()}")
    painter.drawImage(0, bar, as_image(pixels))
    painter.end()
    return image


def as_image(pixels: NDArray[np.uint8]) -> qt.QImage:
    """Return pixels, shape (rows, columns, 3), as an image that owns them."""
    rows, columns, _ = pixels.shape
    contiguous = np.ascontiguousarray(pixels)
    return qt.QImage(contiguous.data, columns, rows, 3 * columns, qt.QImage.Format_RGB888).copy()


def side_by_side(size: tuple[int, int], parts: Sequence[tuple[int, int, qt.QPixmap]]) -> qt.QPixmap:
    """Put images onto one, each at its place (x, y)."""
    whole = qt.QPixmap(*size)
    whole.fill(qt.QColor(60, 60, 66))
    painter = qt.QPainter()
    painter.begin(whole)
    for x, y, image in parts:
        painter.drawPixmap(x, y, image)
    painter.end()
    return whole


def take_running(module: Any) -> qt.QPixmap:  # noqa: ANN401 - the module's widget
    """Press Apply and take the panel half-way."""
    ui = module.panel.ui
    ui.applyButton.click()
    wait(lambda: ui.progressBar.maximum == 100 and ui.progressBar.value >= 40)
    image = image_of(module.parent)
    wait(lambda: not module.panel.running)
    return image


def write_phantom(folder: Path) -> Path:
    """Write the phantom and its true masks; return its CT."""
    command = [sys.executable, "-m", "scripts.phantom", "--format", "nifti", "--output", str(folder)]
    for kind in KINDS:
        command += ["--haemorrhage", kind]
    subprocess.run(command, cwd=ROOT / "monai_bundle", check=True, timeout=600)
    return folder / "ct.nii.gz"


def take_result(module: Any) -> qt.QPixmap:  # noqa: ANN401 - the module's widget
    """Take the panel with its result, and beside it the slice views where the panel goes by itself: on the lesion."""
    module.panel.result.go_to_leading_finding()
    panel = image_of(module.parent)
    axial = view_image("Red", AXIAL)
    below = AXIAL[1] + 22
    parts = [(0, 0, panel), (PANEL[0] + 2, 0, axial)]
    parts += [(PANEL[0] + 2, below, view_image("Yellow", SMALL))]
    parts += [(PANEL[0] + 4 + SMALL[0], below, view_image("Green", SMALL))]
    return side_by_side((PANEL[0] + 2 + AXIAL[0], PANEL[1]), parts)


def take_around(module: Any) -> qt.QPixmap:  # noqa: ANN401 - the module's widget
    """Take the sections around the result: many at once, history and the check of the installation."""
    ui = module.panel.ui
    ui.resultSection.setVisible(False)
    ui.historySection.collapsed = False
    ui.installationSection.collapsed = False
    ui.batchSection.collapsed = False
    ui.checkButton.click()
    wait(lambda: ui.checkButton.enabled)
    return image_of(module.parent)


def take_report(report: Path, target: Path, size: tuple[int, int]) -> None:
    """Take the top of the report as a browser shows it, ``size`` pixels wide and high.

    Raises
    ------
    RuntimeError
        If Chromium is missing or takes no image.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise RuntimeError("Chromium is needed for the image of the report")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={size[0]},{size[1]}", f"--screenshot={target}", report.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    if not target.is_file():
        raise RuntimeError("Chromium took no image of the report")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all four images."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Make the screenshots of the extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "Resources")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ich-screenshots-") as name:
        phantom = Path(name) / "phantom"
        ct = write_phantom(phantom)
        module = open_module(Path(name))
        module.panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(ct, {"name": "ICHPhantom"}))
        running = take_running(module)
        take_result(module).save(str(options.output / "screenshot_result.png"))
        report = module.panel.export.folder / "report.html"
        take_report(report, options.output.resolve() / "screenshot_report.png", REPORT_TOP)
        take_report(report, options.output.resolve() / "report.png", README_REPORT)
        in_readme = qt.QPixmap(str(options.output / "report.png"))
        in_readme.scaledToWidth(README_WIDTH, qt.Qt.SmoothTransformation).save(str(options.output / "report.png"))
        around = take_around(module)
        size = (running.width() + 2 + around.width(), AROUND_HEIGHT)
        pair = side_by_side(size, [(0, 0, running), (running.width() + 2, 0, around)])
        pair.save(str(options.output / "screenshot_panel.png"))
        host.close_panel(module)
    _log.info(
        "screenshot_result.png, screenshot_panel.png, screenshot_report.png and report.png are in %s", options.output
    )


if __name__ == "__main__":
    main()
