"""The module's real panel in the host, with a bundle that is played by a script, and ways to use it like a user."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

import host
import sample_result_folder as sample
from host.waiting import wait_with_lock
from ICHDiagnosisLib.bundle.child_output import Progress
from ICHDiagnosisLib.bundle.command import BundleRequest
from ICHDiagnosisLib.bundle.exit_status import explain_ending
from ICHDiagnosisLib.bundle.location import weights_terms
from ICHDiagnosisLib.bundle.process import RunUpdate
from ICHDiagnosisLib.scene import views
from ICHDiagnosisLib.settings import ModuleSettings
from process_cases import PATIENCE_SECONDS
from scene_cases import SHAPE, affine, plane_of

MODULE_FILE = Path(__file__).resolve().parents[2] / "ICHDiagnosis" / "ICHDiagnosis.py"
STAGES = ("reading", "slices", "explanation", "writing")
Write = Callable[[BundleRequest], int]


def evaluated(request: BundleRequest) -> int:
    sample.write_folder(request.output_dir / "study", sample.document(SHAPE), sample.made_maps(SHAPE), affine())
    return 0


def negative(request: BundleRequest) -> int:
    content = sample.document(SHAPE, positive=())
    sample.write_folder(request.output_dir / "study", content, sample.made_maps(SHAPE), affine())
    return 0


def with_lesions(request: BundleRequest) -> int:
    content = sample.document(SHAPE) | {"lesions": sample.lesions(sample.VOLUMES)}
    subtypes = sample.made_subtypes(SHAPE)
    sample.write_folder(request.output_dir / "study", content, sample.made_maps(SHAPE), affine(), subtypes)
    return 0


def with_lesions_of_no_subtype(request: BundleRequest) -> int:
    content = sample.document(SHAPE) | {"lesions": sample.lesions_of_no_subtype()}
    subtypes = np.where(sample.made_subtypes(SHAPE) > 0, np.uint8(sample.UNSPECIFIED), np.uint8(0))
    sample.write_folder(request.output_dir / "study", content, sample.made_maps(SHAPE), affine(), subtypes)
    return 0


def with_slice_labels(request: BundleRequest) -> int:
    content = sample.with_slice_labels(sample.document(SHAPE))
    sample.write_folder(request.output_dir / "study", content, sample.made_maps(SHAPE), affine())
    return 0


def of_version_1(request: BundleRequest) -> int:
    content = sample.of_version_1(sample.document(SHAPE))
    sample.write_folder(request.output_dir / "study", content, sample.made_maps(SHAPE), affine())
    return 0


def refused(request: BundleRequest) -> int:
    sample.write_folder(request.output_dir / "study", sample.refusal(), {}, affine())
    return 3


class PlayedBundle:
    """Plays the child process: one stage per poll, held at ``hold_at``, and ``write`` makes the results at the end."""

    def __init__(self, write: Write = evaluated) -> None:
        self.write = write
        self.hold_at: str | None = None
        self.errors: tuple[str, ...] = ()
        self.requests: list[BundleRequest] = []
        self.running = False
        self._cancelled = False
        self._stages: list[str] = []

    def start(self, request: BundleRequest) -> None:
        request.output_dir.mkdir(parents=True)
        self.requests.append(request)
        self.running, self._cancelled, self._stages = True, False, list(STAGES)

    def poll(self) -> RunUpdate:
        if not self.running:
            return RunUpdate()
        if self._cancelled:
            self.running = False
            return RunUpdate(outcome=explain_ending(130, (), cancelled=True))
        if self._stages and self._stages[0] != self.hold_at:
            stage = self._stages.pop(0)
            return RunUpdate((f"INFO {stage}",), Progress(len(STAGES) - len(self._stages), len(STAGES), stage))
        if self._stages:
            return RunUpdate(progress=Progress(len(STAGES) - len(self._stages), len(STAGES), self.hold_at or ""))
        self.running = False
        return RunUpdate(self.errors, outcome=explain_ending(self.write(self.requests[-1]), self.errors))

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self.running = False


def accept_terms() -> None:
    """Have accepted the terms of the weights before."""
    ModuleSettings(Path()).accept_terms(weights_terms(MODULE_FILE.parents[1] / "monai_bundle"))


@contextmanager
def an_open_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Any, missing: Sequence = ()) -> Iterator:
    """Open the module on an empty scene; settings, history and results lie in ``tmp_path``."""
    host.empty_scene()
    host.load_module(MODULE_FILE)
    module = sys.modules["ICHDiagnosis"]
    monkeypatch.setattr(module, "BundleProcess", lambda *_arguments, **_options: runner)
    monkeypatch.setattr(module, "find_missing", lambda _requirements: tuple(missing))
    accept_terms()
    (tmp_path / "settings").mkdir()
    monkeypatch.setattr(slicer.app, "slicerUserSettingsFilePath", str(tmp_path / "settings" / "Slicer.ini"))
    module_widget = host.open_panel("ICHDiagnosis")
    module_widget.panel.ui.outputFolderEdit.setCurrentPath(str(tmp_path / "results"))
    module_widget.panel.ui.keepHistoryBox.checked = True
    module_widget.parent.resize(440, 1000)
    module_widget.parent.show()
    yield module_widget
    host.close_panel(module_widget)
    host.empty_scene()


def stands_on(index: int) -> bool:
    """Tell whether the axial view lies in an original slice."""
    plane = plane_of("Red")
    middle = affine() @ [5, 7, index, 1]
    return abs(float((middle[:3] - plane[:3, 3]) @ plane[:3, 2])) < 0.01


def foreground() -> str | None:
    """Return the volume that is laid over the CT."""
    return next(views.composite_nodes()).GetForegroundVolumeID()


def click(widget: Any) -> None:
    """Press a button, if a user could."""
    assert widget.visible, f"{widget.name} cannot be seen"
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def click_row(table: Any, row: int, column: int = 0) -> None:
    item = table.item(row, column)
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(item).center())


def click_bar(plot: Any, place: float) -> None:
    """Press the plot at a fraction (0..1) of its width."""
    QTest.mouseClick(plot, Qt.MouseButton.LeftButton, pos=QPoint(round(plot.width * place), 60))


def unfold(section: Any) -> None:
    """Press the bar of a folded section."""
    assert section.collapsed
    QTest.mouseClick(section, Qt.MouseButton.LeftButton, pos=QPoint(30, 8))
    slicer.app.processEvents()


def press(panel: Any, key: str) -> None:
    QTest.keyClick(panel.widget, getattr(Qt.Key, f"Key_{key}"))


def wait(until: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Let the application run, and with it the panel's timer."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "nothing happened in time"
        slicer.app.processEvents()
        wait_with_lock(0.005)


def applied(panel: Any, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Choose a volume, press Apply, and wait for the end."""
    panel.ui.inputSelector.setCurrentNode(node)
    click(panel.ui.applyButton)
    wait(lambda: not panel.running)
