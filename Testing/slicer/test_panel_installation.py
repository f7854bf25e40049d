"""Installing from the panel: terms, consent, progress, every ending, and the check of the installation."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import slicer

from ICHDiagnosisLib import settings
from ICHDiagnosisLib.install.check import Device, InstallationCheck, WeightsFile, WeightsState
from ICHDiagnosisLib.install.computer import Computer
from ICHDiagnosisLib.install.failure import InstallationError
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement
from ICHDiagnosisLib.panel import installation_section
from ICHDiagnosisLib.settings import ACCEPTED_TERMS
from panel_cases import PlayedBundle, an_open_panel, applied, click, unfold, wait
from scene_cases import a_ct, affine


class LoggingInstaller:
    """Plans steps that install what is there anyway, or fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.asked: list[str] = []
        self.hold = False
        self.closed = False

    def steps(self, missing: Sequence[MissingPackage], constraints: Path) -> list[Any]:
        self._left = [package.requirement.text for package in missing]
        return [self]

    name = "psutil and scipy"

    def advance(self) -> tuple[list[str], bool]:
        if self.hold:
            return [], False
        self.asked.append(self._left.pop(0))
        if self.error is not None:
            raise self.error
        return [f"Collecting {self.asked[-1]}"], not self._left

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def missing() -> list[MissingPackage]:
    return [MissingPackage(Requirement("psutil", "5.9"), None), MissingPackage(Requirement("nibabel", "5.2"), "1.2")]


@pytest.fixture
def without_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: PlayedBundle, missing) -> Any:
    """The panel in an application that lacks packages, on a volume, after Apply."""
    with an_open_panel(tmp_path, monkeypatch, bundle, missing) as module_widget:
        panel = module_widget.panel
        panel.ui.inputSelector.setCurrentNode(a_ct(affine()))
        click(panel.ui.applyButton)
        yield panel


def install_with(monkeypatch: pytest.MonkeyPatch, installer: LoggingInstaller, afterwards: tuple = ()) -> None:
    monkeypatch.setattr(installation_section, "application_installer", lambda environment: installer)
    monkeypatch.setattr(sys.modules["ICHDiagnosis"], "find_missing", lambda _requirements: afterwards)


def test_what_is_missing_is_listed_with_sizes_and_nothing_happens_without_consent(without_packages, bundle):
    text = without_packages.ui.consentLabel.text
    assert "about 13 MB" in text
    assert "psutil>=5.9 (not installed; about 1 MB)" in text
    assert "nibabel>=5.2 (1.2 is installed; about 12 MB)" in text
    assert re.search(r"\d+ MB are free in /", text)
    assert without_packages.ui.installButton.text == "Install"
    click(without_packages.ui.declineButton)
    assert not without_packages.ui.consentFrame.visible
    assert bundle.requests == []
    assert without_packages.ui.applyButton.enabled


def test_consent_installs_and_goes_on_with_what_the_user_wanted(without_packages, bundle, monkeypatch):
    installer = LoggingInstaller()
    install_with(monkeypatch, installer)
    click(without_packages.ui.installButton)
    wait(lambda: len(bundle.requests) == 1)
    assert installer.asked == ["psutil>=5.9", "nibabel>=5.2"]
    wait(lambda: not without_packages.running)
    assert without_packages.ui.impressionLabel.visible
    assert not without_packages.ui.consentFrame.visible


FAILURES = [
    InstallationError("install.failed", "ERROR: no matching distribution", name="psutil>=5.9", error="status 1"),
    OSError("[WinError 126] Error loading fbgemm.dll or one of its dependencies"),
]


@pytest.mark.parametrize("error", FAILURES, ids=["pip", "anything"])
def test_a_failed_installation_shows_its_cause_and_log_and_asks_again(without_packages, bundle, monkeypatch, error):
    install_with(monkeypatch, LoggingInstaller(error))
    click(without_packages.ui.installButton)
    wait(lambda: not without_packages.running)
    ui = without_packages.ui
    assert str(error) in ui.statusLabel.text
    assert not ui.logSection.collapsed
    assert getattr(error, "log", "") in ui.logEdit.plainText
    assert ui.consentFrame.visible
    assert ui.applyButton.enabled
    assert bundle.requests == []


def test_the_panel_lives_on_while_pip_is_silent_and_closing_it_ends_pip(without_packages, monkeypatch):
    installer = LoggingInstaller()
    installer.hold = True
    install_with(monkeypatch, installer)
    click(without_packages.ui.installButton)
    assert without_packages.running
    wait(lambda: "psutil and scipy (1 of 1)" in without_packages.ui.statusLabel.text)
    assert not without_packages.ui.applyButton.enabled
    without_packages.close()
    assert installer.closed
    assert not without_packages.running


def test_a_folder_of_wheels_takes_the_place_of_the_internet(without_packages, monkeypatch, tmp_path: Path):
    installer, folders = LoggingInstaller(), []
    install_with(monkeypatch, LoggingInstaller(OSError("internet")))

    def from_folder(wheels: Path, environment: object) -> LoggingInstaller:
        folders.append(wheels)
        return installer

    monkeypatch.setattr(installation_section, "offline_installer", from_folder)
    without_packages.ui.wheelFolderEdit.setCurrentPath(str(tmp_path))
    click(without_packages.ui.installButton)
    wait(lambda: len(installer.asked) == 2)
    assert folders == [tmp_path]


def test_where_no_torch_exists_nothing_is_offered_but_the_reason(without_packages, monkeypatch):
    monkeypatch.setattr(installation_section, "this_computer", lambda: Computer("Darwin", "x86_64"))
    without_packages.installation.ask([MissingPackage(Requirement("torch", "2.8"), None)], None)
    ui = without_packages.ui
    assert "there is no torch newer than 2.2" in ui.consentLabel.text
    assert not ui.installButton.visible
    assert not ui.wheelFrame.visible
    # Another package can still be had there.
    without_packages.installation.ask([MissingPackage(Requirement("psutil", "5.9"), None)], None)
    assert ui.installButton.visible


@pytest.mark.parametrize(("nvidia", "text"), [(True, "for NVIDIA graphics cards"), (False, "for the processor")])
def test_the_build_of_torch_that_will_come_is_named(without_packages, monkeypatch, nvidia, text):
    monkeypatch.setattr(installation_section, "this_computer", lambda: Computer("Linux", "x86_64", nvidia=nvidia))
    without_packages.installation.ask([MissingPackage(Requirement("torch", "2.8"), None)], None)
    assert text in without_packages.ui.consentLabel.text


# --- terms


def test_the_terms_of_the_weights_are_asked_for_once_before_anything_runs(panel, bundle, head_ct, monkeypatch):
    slicer.app.userSettings().remove(ACCEPTED_TERMS)
    panel.ui.inputSelector.setCurrentNode(head_ct)
    click(panel.ui.applyButton)
    assert "may be used for non-commercial research and education only" in panel.ui.consentLabel.text
    assert panel.ui.installButton.text == "Accept"
    assert bundle.requests == []
    click(panel.ui.declineButton)
    assert not panel.running
    click(panel.ui.applyButton)
    click(panel.ui.installButton)
    wait(lambda: not panel.running)
    assert len(bundle.requests) == 1
    click(panel.ui.applyButton)
    wait(lambda: not panel.running)
    assert len(bundle.requests) == 2


def test_many_studies_ask_for_the_terms_too(panel, bundle, tmp_path: Path):
    slicer.app.userSettings().remove(ACCEPTED_TERMS)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "a.nii.gz").write_bytes(b"")
    unfold(panel.ui.batchSection)
    panel.ui.batchFolderEdit.setCurrentPath(str(tmp_path / "studies"))
    click(panel.ui.batchFolderButton)
    assert bundle.requests == []
    assert panel.ui.installButton.text == "Accept"
    click(panel.ui.installButton)
    wait(lambda: not panel.running)
    assert len(bundle.requests) == 1


def test_weights_without_terms_ask_for_nothing(panel, bundle, head_ct, monkeypatch):
    slicer.app.userSettings().remove(ACCEPTED_TERMS)
    monkeypatch.setattr(settings, "weights_terms", lambda bundle_root: "")
    applied(panel, head_ct)
    assert len(bundle.requests) == 1


def test_a_check_shows_versions_device_and_hash_while_the_panel_lives_on(panel, monkeypatch):
    weights = WeightsFile("models/model.pt", WeightsState.WRONG_HASH, "a" * 64)
    device = Device("A card", 24.0, "2.13.0")
    found = InstallationCheck("0.1.0", {"torch": "2.13.0", "monai": None}, device, (weights,), ("model.pt: bad",))
    monkeypatch.setattr(installation_section, "check_installation", lambda *_: found)
    unfold(panel.ui.installationSection)
    click(panel.ui.checkButton)
    assert not panel.ui.checkButton.enabled
    wait(lambda: panel.ui.checkButton.enabled)
    lines = panel.ui.checkLabel.text.splitlines()
    assert lines[0] == "⚠ model.pt: bad"
    assert f"models/model.pt: wrong hash, SHA-256 {' '.join(['a' * 8] * 8)}" in lines
    assert "Device: A card, 24 GB (torch 2.13.0)" in lines
    assert lines[-1] == "Packages: torch 2.13.0, monai –"


def test_a_check_that_finds_a_damaged_torch_offers_its_repair(panel, monkeypatch):
    torch = MissingPackage(Requirement("torch", "2.8"), "2.13.0", "OSError: [WinError 126] fbgemm.dll")
    found = InstallationCheck("0.1.0", {}, None, (), ("Torch could not be asked",), (torch,))
    monkeypatch.setattr(installation_section, "check_installation", lambda *_: found)
    monkeypatch.setattr(installation_section, "this_computer", lambda: Computer("Windows", "AMD64"))
    unfold(panel.ui.installationSection)
    click(panel.ui.checkButton)
    wait(lambda: panel.ui.checkButton.enabled)
    assert "torch (2.13.0 is damaged: OSError: [WinError 126] fbgemm.dll" in panel.ui.consentLabel.text
    assert panel.ui.installButton.visible
