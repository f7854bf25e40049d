"""3D Slicer's host, a scene of its own for every test, and what the tests of the Slicer half are given."""

from __future__ import annotations

import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import host

host.install()

import numpy as np  # noqa: E402 - everything below finds the application that was installed above
import pytest  # noqa: E402
import slicer  # noqa: E402

from host.launcher import write_launcher  # noqa: E402
from ICHDiagnosisLib.batch.batch import Batch  # noqa: E402
from ICHDiagnosisLib.bundle.command import BundleRequest  # noqa: E402
from ICHDiagnosisLib.bundle.process import BundleProcess  # noqa: E402
from ICHDiagnosisLib.bundle.run import BundleRun, RunSettings  # noqa: E402
from ICHDiagnosisLib.logic import AnalysisLogic  # noqa: E402
from ICHDiagnosisLib.result.content import Result  # noqa: E402
from ICHDiagnosisLib.scene.volume_input import write_stored_voxels  # noqa: E402
from logic_cases import BUNDLE  # noqa: E402
from package_build import PackageTrees, build_package  # noqa: E402
from panel_cases import PlayedBundle, an_open_panel  # noqa: E402
from process_cases import PATIENCE_SECONDS  # noqa: E402
from reading_runner import ReadingRunner  # noqa: E402
from scene_cases import GEOMETRIES, SHAPE, a_ct, a_result, affine  # noqa: E402

STAND_IN = Path(__file__).parent / "stand_in_bundle"


@pytest.fixture(autouse=True)
def callback_faults(same_handlers: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail a test in whose slots or observers an exception was raised: Qt and VTK hand it to ``sys.excepthook`` alone.

    Made first and taken down last, so that it sees panels close.
    """
    faults: list[str] = []

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        faults.append("".join(traceback.format_exception(kind, error, trace)))

    monkeypatch.setattr(sys, "excepthook", note)
    yield faults
    assert not faults, "\n".join(faults)


@pytest.fixture(autouse=True)
def a_scene_and_settings_of_its_own(callback_faults: list[str]) -> Iterator[None]:
    _begin_anew()
    yield
    _begin_anew()


def _begin_anew() -> None:
    host.empty_scene()
    # A scene that is closed keeps them, and with them what Slicer 5.10 never takes off: observers of widgets long gone.
    for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
        slicer.mrmlScene.RemoveNode(node)
    slicer.app.userSettings().clear()


@pytest.fixture(autouse=True)
def no_worker_unless_asked_for() -> None:
    """A worker takes seconds to start; tests that are about it switch it on."""
    slicer.app.userSettings().setValue("ICHDiagnosis/KeepWarm", False)


@pytest.fixture(autouse=True)
def same_orders_of_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the orders of reader studies anew from one seed: what a test finds must not depend on the draw."""
    monkeypatch.setattr("ICHDiagnosisLib.reader_study.protocol.secrets.randbits", random.Random(0).getrandbits)


@pytest.fixture(autouse=True)
def ends_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever closes wait for the end, which on a busy machine takes longer than a user is kept waiting."""
    for place in ("bundle.process", "bundle.resident_bundle", "bundle.dicom_process"):
        monkeypatch.setattr(f"ICHDiagnosisLib.{place}.CANCEL_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr("ICHDiagnosisLib.install.steps._CLOSE_SECONDS", PATIENCE_SECONDS)


# Scene


@pytest.fixture
def ct() -> slicer.vtkMRMLScalarVolumeNode:
    """An oblique CT on the scene."""
    return a_ct(GEOMETRIES["oblique"])


@pytest.fixture
def result(tmp_path: Path) -> Result:
    """A result of ``ct``."""
    return a_result(tmp_path / "result", GEOMETRIES["oblique"])


# The extension's package


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> PackageTrees:
    return build_package(tmp_path_factory.mktemp("extension with spaces"))


# A real child process


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    """A program in place of the bundle, which behaves as a request asks."""
    return shutil.copytree(STAND_IN, tmp_path / "Bündel für 脑 CT")


@pytest.fixture(scope="session")
def python_slicer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher that starts Python in the application, and the interpreter behind it."""
    return write_launcher(tmp_path_factory.mktemp("Slicer with spaces"))


@pytest.fixture
def a_request(a_bundle: Path, tmp_path: Path, python_slicer: Path) -> Callable[..., BundleRequest]:
    study = tmp_path / "Étude n° 1 (tête)"
    study.mkdir()

    def build(behaviour: str, **settings: str) -> BundleRequest:
        overrides = {"behaviour": behaviour, **settings}
        return BundleRequest(python_slicer, a_bundle, study, tmp_path / "résultats d'un jour", overrides=overrides)

    return build


@pytest.fixture
def a_process() -> Iterator[BundleProcess]:
    process = BundleProcess()
    yield process
    process.close()


# Analysis and batch


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where inputs are written for the bundle; nothing may be left there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    return RunSettings(tmp_path / "résultats", device="cpu")


@pytest.fixture
def a_logic(temporary: Path) -> Callable[..., AnalysisLogic]:
    def make(runner: object, **seams: object) -> AnalysisLogic:
        run = BundleRun(runner, Path(sys.executable), BUNDLE, temporary)
        return AnalysisLogic(run, **{"find_missing": tuple, **seams})

    return make


@pytest.fixture
def a_batch(temporary: Path) -> Callable[..., Batch]:
    def make(runner: ReadingRunner, **seams: object) -> Batch:
        run = BundleRun(runner, Path(sys.executable), BUNDLE, temporary)
        return Batch(run, **{"find_missing": tuple, **seams})

    return make


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Three entries: a volume file, a folder with two studies, and a volume that cannot be evaluated."""
    folder = tmp_path / "studies"
    (folder / "b two").mkdir(parents=True)
    volume = a_ct(GEOMETRIES["oblique"])
    written = write_stored_voxels(volume, folder / "a.nrrd")
    for name in ("first", "second"):
        shutil.copy(written, folder / "b two" / f"{name}.nrrd")
    slicer.util.updateVolumeFromArray(volume, np.zeros(SHAPE[::-1], dtype=np.int16))
    write_stored_voxels(volume, folder / "c.nrrd")
    slicer.mrmlScene.RemoveNode(volume)
    (folder / "notes.txt").write_text("not a study")
    (folder / ".hidden").mkdir()
    return folder


# Panel


@pytest.fixture
def bundle() -> PlayedBundle:
    return PlayedBundle()


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: PlayedBundle) -> Iterator[Any]:
    """The module's widget, as the application holds it."""
    with an_open_panel(tmp_path, monkeypatch, bundle) as module_widget:
        yield module_widget


@pytest.fixture
def panel(opened: Any) -> Any:
    return opened.panel


@pytest.fixture
def head_ct(opened: Any) -> slicer.vtkMRMLScalarVolumeNode:
    """A CT that is loaded while the panel is open."""
    return a_ct(affine())
