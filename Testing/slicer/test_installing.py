"""What is missing is installed in order, by injected installers and by pip itself from a folder of wheels."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from ICHDiagnosisLib.install import requirements
from ICHDiagnosisLib.install.installation import InstallationError, Installers, OnLog, install
from ICHDiagnosisLib.install.installed_packages import InstalledPackages
from ICHDiagnosisLib.install.installers import WheelFolderInstaller, offline_installers
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement, find_missing
from package_cases import metadata_text, nothing, put_distribution

PYTHON = Path(sys.executable)


def put_wheel(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> None:
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata_text(name, version, requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={digest_of(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def digest_of(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class RecordingInstaller:
    """Installs by writing metadata, or fails, and notes what it was asked."""

    def __init__(self, folder: Path, failing: str = "", requires: Sequence[str] = ()) -> None:
        self.folder, self.failing, self.requires = folder, failing, requires
        self.asked: list[str] = []

    def install(self, requirement: Requirement, on_log: OnLog) -> None:
        self.asked.append(requirement.text)
        on_log(f"Collecting {requirement.text}")
        if requirement.name == self.failing:
            raise InstallationError(
                "install.failed", "ERROR: no matching distribution", name=requirement.text, error="status 1"
            )
        put_distribution(self.folder, requirement.name, requirement.minimum, self.requires)


@pytest.fixture
def known_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ich-alpha", "ich-beta", "ich-gamma", "ich-leaf"):
        monkeypatch.setitem(requirements.APPROXIMATE_MEGABYTES, name, 1)


def missing(*texts: str) -> tuple[MissingPackage, ...]:
    return tuple(MissingPackage(Requirement(*text.split(">=")), None) for text in texts)


def test_what_is_missing_is_installed_in_order_by_whom_it_belongs_to(tmp_path, known_sizes):
    torch, others = RecordingInstaller(tmp_path), RecordingInstaller(tmp_path)
    steps: list[tuple[int, int, str]] = []
    log: list[str] = []
    install(
        missing("torch>=2.4", "ich-alpha>=1.0"),
        Installers(torch, others),
        lambda *step: steps.append(step),
        log.append,
        InstalledPackages((tmp_path,)),
    )
    assert (torch.asked, others.asked) == (["torch>=2.4"], ["ich-alpha>=1.0"])
    assert steps == [(0, 2, "torch>=2.4"), (1, 2, "ich-alpha>=1.0"), (2, 2, "")]
    assert log == ["Collecting torch>=2.4", "Collecting ich-alpha>=1.0"]


def test_the_first_failure_stops_and_brings_pips_log(tmp_path, known_sizes):
    installer = RecordingInstaller(tmp_path, failing="ich-beta")
    with pytest.raises(InstallationError, match=r"ich-beta>=1\.0 could not be installed") as caught:
        install(
            missing("ich-alpha>=1.0", "ich-beta>=1.0", "ich-gamma>=1.0"),
            Installers(installer, installer),
            nothing,
            nothing,
            InstalledPackages((tmp_path,)),
        )
    assert caught.value.log == "ERROR: no matching distribution"
    assert installer.asked == ["ich-alpha>=1.0", "ich-beta>=1.0"]


def test_an_installer_that_did_nothing_is_not_believed(tmp_path, known_sizes):
    class Idle:
        def install(self, requirement: Requirement, on_log: OnLog) -> None:
            on_log("Testing mode is enabled: skipping")

    with pytest.raises(InstallationError, match="was not installed") as caught:
        install(missing("ich-alpha>=1.0"), Installers(Idle(), Idle()), nothing, nothing, InstalledPackages((tmp_path,)))
    assert caught.value.log == "Testing mode is enabled: skipping"


def test_a_dependency_that_stayed_away_is_named(tmp_path, known_sizes):
    requires = ["ich-leaf>=1", "ich-optional; extra == 'all'", "ich-elsewhere; sys_platform == 'nowhere'"]
    installer = RecordingInstaller(tmp_path, requires=requires)
    with pytest.raises(InstallationError, match=r"without what it needs: ich-leaf$"):
        install(
            missing("ich-alpha>=1.0"),
            Installers(installer, installer),
            nothing,
            nothing,
            InstalledPackages((tmp_path,)),
        )


def test_what_slicer_itself_brings_is_never_replaced(tmp_path):
    installer = RecordingInstaller(tmp_path)
    with pytest.raises(InstallationError, match="use a newer Slicer"):
        install(missing("numpy>=9"), Installers(installer, installer), nothing, nothing, InstalledPackages((tmp_path,)))
    assert installer.asked == []


def test_a_restart_is_needed_only_where_an_imported_package_changed(tmp_path, known_sizes, monkeypatch):
    put_distribution(tmp_path, "ich-alpha", "1.0")
    put_distribution(tmp_path, "ich-beta", "1.0")
    monkeypatch.setitem(sys.modules, "ich_alpha", ModuleType("ich_alpha"))
    installer = RecordingInstaller(tmp_path)
    restart_for = install(
        missing("ich-alpha>=2.0", "ich-beta>=2.0", "ich-gamma>=1.0"),
        Installers(installer, installer),
        nothing,
        nothing,
        InstalledPackages((tmp_path,)),
    )
    assert restart_for == ("ich-alpha",)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "Räder ohne Netz"
    put_wheel(folder, "ich-alpha", "1.2", ["ich-leaf>=1.0"])
    put_wheel(folder, "ich-leaf", "1.0")
    return folder


def test_wheels_are_installed_without_a_network(tmp_path, wheels, known_sizes, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    target = tmp_path / "site packages"
    installer = WheelFolderInstaller(wheels, PYTHON, target)
    packages = InstalledPackages((target,))
    log: list[str] = []
    restart_for = install(
        find_missing([Requirement("ich-alpha", "1.1")], packages),
        Installers(installer, installer),
        nothing,
        log.append,
        packages,
    )
    assert restart_for == ()
    assert packages.versions() == {"ich-alpha": "1.2", "ich-leaf": "1.0"}
    assert any("Successfully installed" in line for line in log)
    assert not any("invalid" in line for line in log)


def test_a_wheel_that_is_not_in_the_folder_fails_with_pips_log(tmp_path, wheels):
    installer = WheelFolderInstaller(wheels, PYTHON, tmp_path / "target")
    with pytest.raises(InstallationError, match="could not be installed from") as caught:
        installer.install(Requirement("ich-alpha", "3.0"), nothing)
    assert "No matching distribution found for ich-alpha>=3.0" in caught.value.log


def test_a_missing_folder_of_wheels_is_named(tmp_path):
    installers_without_net = offline_installers(tmp_path / "nowhere", PYTHON)
    with pytest.raises(InstallationError, match="folder of wheels does not exist"):
        installers_without_net.of(Requirement("torch", "2.4")).install(Requirement("torch", "2.4"), nothing)
