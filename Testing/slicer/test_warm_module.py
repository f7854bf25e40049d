"""The module has a worker ready while it is used: from entering it to its end, and never against the settings."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import slicer

import host
from ICHDiagnosisLib.bundle import location
from ICHDiagnosisLib.bundle.process import BundleProcess
from ICHDiagnosisLib.bundle.worker_process import WorkerSettings
from ICHDiagnosisLib.settings import IDLE_MINUTES, LEAST_MEMORY_MB, ModuleSettings
from logic_cases import BUNDLE
from panel_cases import MODULE_FILE, an_open_panel, click
from process_cases import processes_in, wait_until, with_worker, workers_in

Open = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def a_bundle(a_bundle: Path) -> Path:
    for name in ("operating_points.json", "metadata.json"):
        shutil.copy(BUNDLE / "configs" / name, a_bundle / "configs" / name)
    return with_worker(a_bundle)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[ModuleSettings]:
    """The application's settings, in which nobody switched anything off."""
    settings = ModuleSettings(tmp_path)
    settings.keep_warm = True
    yield settings
    for name in (IDLE_MINUTES, LEAST_MEMORY_MB):
        slicer.app.userSettings().remove(name)


@pytest.fixture
def opened_on(a_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open the module with the program in place of the bundle."""
    # Where the module's file takes it from: it is loaded anew.
    monkeypatch.setattr(location, "find_bundle", lambda _module: a_bundle)

    def opened(**options: Any) -> AbstractContextManager[Any]:
        return an_open_panel(tmp_path, monkeypatch, BundleProcess(), **options)

    return opened


def wait_for_worker(a_bundle: Path) -> None:
    def is_there() -> bool:
        slicer.app.processEvents()
        return len(workers_in(a_bundle)) == 1

    wait_until(is_there)


def test_the_worker_runs_from_entering_the_module_to_its_end(opened_on, a_bundle, settings):
    with opened_on() as module_widget:
        wait_for_worker(a_bundle)
        before = workers_in(a_bundle)
        module_widget.exit()
        module_widget.enter()
        slicer.app.processEvents()
        slicer.mrmlScene.Clear(False)
        slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.EndCloseEvent)
        slicer.app.processEvents()
        assert workers_in(a_bundle) == before
    assert processes_in(a_bundle) == []


def test_a_module_that_was_left_at_once_starts_none(opened_on, a_bundle, settings):
    with opened_on() as module_widget:
        module_widget.exit()
        slicer.app.processEvents()
        assert processes_in(a_bundle) == []


def test_switched_off_there_is_none_and_the_box_switches_it_at_once(opened_on, a_bundle, settings):
    settings.keep_warm = False
    with opened_on() as module_widget:
        slicer.app.processEvents()
        module_widget.panel.ui.optionsSection.collapsed = False
        assert not module_widget.panel.ui.keepWarmBox.checked
        assert processes_in(a_bundle) == []
        click(module_widget.panel.ui.keepWarmBox)
        assert settings.keep_warm
        wait_for_worker(a_bundle)
        click(module_widget.panel.ui.keepWarmBox)
        assert not settings.keep_warm
        assert processes_in(a_bundle) == []


def test_it_ends_before_packages_are_installed(opened_on, a_bundle, settings, monkeypatch):
    with opened_on() as module_widget:
        wait_for_worker(a_bundle)
        panel = module_widget.panel
        with monkeypatch.context() as patch:
            patch.setattr(type(panel.installation), "installing", property(lambda _section: True), raising=False)
            # What every section calls when it begins something.
            panel.batch.on_started()
            assert processes_in(a_bundle) == []


def test_there_is_none_while_packages_are_missing(opened_on, a_bundle, settings):
    with opened_on(missing=("torch",)):
        slicer.app.processEvents()
        assert processes_in(a_bundle) == []


def test_a_logic_that_nobody_holds_takes_its_worker_along(opened_on, a_bundle, settings, monkeypatch):
    host.load_module(MODULE_FILE)
    module = sys.modules["ICHDiagnosis"]
    monkeypatch.setattr(module, "find_missing", lambda _requirements: ())
    logic = module.ICHDiagnosisLogic()
    logic.warm_up()
    wait_until(lambda: workers_in(a_bundle))
    del logic
    gc.collect()
    wait_until(lambda: processes_in(a_bundle) == [])


def test_limits_are_read_from_the_settings_and_nonsense_is_not(settings):
    assert settings.worker == WorkerSettings()
    for minutes, megabytes in (("2.5", "300"), ("never", "-1")):
        slicer.app.userSettings().setValue(IDLE_MINUTES, minutes)
        slicer.app.userSettings().setValue(LEAST_MEMORY_MB, megabytes)
        default = WorkerSettings()
        expected = WorkerSettings(2.5, 300.0) if minutes == "2.5" else default
        assert settings.worker == expected
    settings.keep_warm = False
    assert settings.worker is None
