"""What is missing is installed step by step while the window lives on; every ending is one that the user can read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from ICHDiagnosisLib.bundle.process_tree import descendants
from ICHDiagnosisLib.install import sizes
from ICHDiagnosisLib.install.failure import InstallationError
from ICHDiagnosisLib.install.installation import Installation, InstallationUpdate
from ICHDiagnosisLib.install.installed_packages import InstalledPackages
from ICHDiagnosisLib.install.installers import WheelFolderInstaller
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement, find_missing
from ICHDiagnosisLib.install.steps import Command, ProgramStep, Step
from package_cases import put_distribution, put_wheel

PYTHON = Path(sys.executable)


class RecordingStep:
    """Installs by writing metadata, one package per call, or fails."""

    def __init__(self, packages: Sequence[MissingPackage], write: Callable[[MissingPackage], None]) -> None:
        self._left = list(packages)
        self._write = write
        self.closed = False

    @property
    def name(self) -> str:
        return ", ".join(package.requirement.text for package in self._left)

    def advance(self) -> tuple[Sequence[str], bool]:
        package = self._left.pop(0)
        self._write(package)
        return [f"Collecting {package.requirement.text}"], not self._left

    def close(self) -> None:
        self.closed = True


class RecordingInstaller:
    """Plans one step for torch and one for the rest."""

    def __init__(self, folder: Path, requires: Sequence[str] = (), error: BaseException | None = None) -> None:
        self.folder, self.requires, self.error = folder, requires, error
        self.asked: list[str] = []
        self.planned: list[RecordingStep] = []
        self.constraints = ""

    def steps(self, missing: Sequence[MissingPackage], constraints: Path) -> list[Step]:
        self.constraints = constraints.read_text(encoding="utf-8")
        groups = [[each for each in missing if (each.requirement.name == "torch") is torch] for torch in (True, False)]
        self.planned = [RecordingStep(group, self._write) for group in groups if group]
        return list(self.planned)

    def _write(self, package: MissingPackage) -> None:
        self.asked.append(package.requirement.text)
        if self.error is not None:
            raise self.error
        put_distribution(self.folder, package.requirement.name, package.requirement.minimum, self.requires)


@pytest.fixture(autouse=True)
def known_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ich-alpha", "ich-beta", "ich-gamma", "ich-leaf"):
        monkeypatch.setitem(sizes.APPROXIMATE_MEGABYTES, name, 1)


def missing(*texts: str) -> tuple[MissingPackage, ...]:
    return tuple(MissingPackage(Requirement(*text.split(">=")), None) for text in texts)


def an_installation(folder: Path, packages: Sequence[MissingPackage], installer: object, **options) -> Installation:
    options = {"free": lambda _: 10**6, **options}
    return Installation(packages, installer, InstalledPackages((folder,)), folder, **options)


def run(installation: Installation) -> list[InstallationUpdate]:
    updates = [installation.advance()]
    while not updates[-1].finished:
        updates.append(installation.advance())
        time.sleep(0.005)
    return updates


def test_torch_is_installed_first_and_every_step_is_named(tmp_path):
    installer = RecordingInstaller(tmp_path)
    updates = run(an_installation(tmp_path, missing("ich-alpha>=1.0", "torch>=2.8", "ich-beta>=1.0"), installer))
    assert installer.asked == ["torch>=2.8", "ich-alpha>=1.0", "ich-beta>=1.0"]
    stages = list(dict.fromkeys(update.stage for update in updates))
    assert stages[0] == "Installing torch>=2.8 (1 of 2)"
    assert stages[1] == "Installing ich-alpha>=1.0, ich-beta>=1.0 (2 of 2)"
    assert stages[-1] == "Installed"
    assert [line for update in updates for line in update.lines] == [f"Collecting {text}" for text in installer.asked]


def test_the_constraints_are_there_for_the_steps_and_gone_afterwards(tmp_path):
    put_distribution(tmp_path, "numpy", "2.0.2")
    installer = RecordingInstaller(tmp_path)
    run(an_installation(tmp_path, missing("ich-alpha>=1.0"), installer))
    assert installer.constraints == "numpy==2.0.2\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError("[WinError 126] fbgemm.dll or one of its dependencies"),
        ImportError("torch"),
        KeyError("x"),
        SystemError("y"),
    ],
)
def test_every_exception_ends_in_a_readable_message_with_the_log(tmp_path, error):
    class Fails(RecordingInstaller):
        def _write(self, package):
            if package.requirement.name == "ich-beta":
                raise error
            super()._write(package)

    installer = Fails(tmp_path)
    with pytest.raises(InstallationError, match="The installation failed: ") as caught:
        run(an_installation(tmp_path, missing("ich-alpha>=1.0", "ich-beta>=1.0", "ich-gamma>=1.0"), installer))
    assert caught.value.log == "Collecting ich-alpha>=1.0"
    assert installer.asked == ["ich-alpha>=1.0"]
    assert installer.planned[0].closed


def test_an_installer_that_did_nothing_is_not_believed(tmp_path):
    class Idle(RecordingInstaller):
        def _write(self, package):
            return

    with pytest.raises(InstallationError, match=r"ich-alpha>=1\.0 was not installed") as caught:
        run(an_installation(tmp_path, missing("ich-alpha>=1.0"), Idle(tmp_path)))
    assert caught.value.log == "Collecting ich-alpha>=1.0"


def test_a_dependency_that_stayed_away_is_named(tmp_path):
    requires = ["ich-leaf>=1", "ich-optional; extra == 'all'", "ich-elsewhere; sys_platform == 'nowhere'"]
    with pytest.raises(InstallationError, match=r"without what it needs: ich-leaf$"):
        run(an_installation(tmp_path, missing("ich-alpha>=1.0"), RecordingInstaller(tmp_path, requires)))


def test_what_slicer_itself_brings_is_never_replaced(tmp_path):
    installer = RecordingInstaller(tmp_path)
    with pytest.raises(InstallationError, match="use a newer Slicer"):
        run(an_installation(tmp_path, missing("numpy>=9"), installer))
    assert installer.asked == []


def test_a_disk_without_room_is_stated_before_anything_is_installed(tmp_path):
    installer = RecordingInstaller(tmp_path)
    with pytest.raises(InstallationError, match=r"The disk is too full: \d+ MB are needed in .*, 100 MB are free"):
        run(an_installation(tmp_path, missing("torch>=2.8"), installer, free=lambda _: 100))
    assert installer.asked == []


def test_a_folder_that_may_not_be_written_is_stated_before_anything_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    installer = RecordingInstaller(tmp_path)
    with pytest.raises(InstallationError, match="where you may not write"):
        run(an_installation(tmp_path, missing("ich-alpha>=1.0"), installer))
    assert installer.asked == []


def test_a_restart_is_needed_only_where_an_imported_package_changed(tmp_path, monkeypatch):
    put_distribution(tmp_path, "ich-alpha", "1.0")
    put_distribution(tmp_path, "ich-beta", "1.0")
    monkeypatch.setitem(sys.modules, "ich_alpha", ModuleType("ich_alpha"))
    texts = ("ich-alpha>=2.0", "ich-beta>=2.0", "ich-gamma>=1.0")
    assert run(an_installation(tmp_path, missing(*texts), RecordingInstaller(tmp_path)))[-1].restart_for == (
        "ich-alpha",
    )


def test_the_panels_timer_may_call_again_while_slicers_dialog_is_open(tmp_path):
    inner: list[InstallationUpdate] = []

    class Dialog(RecordingInstaller):
        def _write(self, package):
            inner.append(installation.advance())
            super()._write(package)

    installer = Dialog(tmp_path)
    installation = an_installation(tmp_path, missing("ich-alpha>=1.0"), installer)
    run(installation)
    assert installer.asked == ["ich-alpha>=1.0"]
    assert [(update.finished, update.lines) for update in inner] == [(False, ())]


# Real processes


def a_step(tmp_path: Path, *commands: Command) -> ProgramStep:
    return ProgramStep("torch>=2.8", commands, {**os.environ, "PYTHONUNBUFFERED": "1"})


def python(code: str, imports_torch: bool = False) -> Command:
    return Command((sys.executable, "-c", code), imports_torch)


def advance_to_the_end(step: ProgramStep) -> list[str]:
    lines: list[str] = []
    done = False
    while not done:
        new, done = step.advance()
        lines += new
        time.sleep(0.01)
    return lines


def test_programs_run_one_after_the_other_and_their_output_is_read(tmp_path):
    assert advance_to_the_end(a_step(tmp_path, python("print('one')"), python("print('two')"))) == ["one", "two"]


def test_a_torch_that_cannot_be_imported_is_stated_with_its_error(tmp_path):
    fault = "raise OSError('[WinError 126] Error loading \"fbgemm.dll\" or one of its dependencies.')"
    with pytest.raises(
        InstallationError, match=r"installed but cannot be imported: OSError: \[WinError 126\]"
    ) as caught:
        advance_to_the_end(a_step(tmp_path, python(fault, True), python("print('never')")))
    assert "Traceback" in caught.value.log


def test_a_python_that_does_not_start_is_stated(tmp_path):
    with pytest.raises(InstallationError, match="Python could not be started"):
        advance_to_the_end(a_step(tmp_path, Command((str(tmp_path / "nowhere"),))))


def test_closing_ends_pip_and_everything_that_it_started(tmp_path):
    # pip that unpacks for minutes without a word, with a process below it.
    silent = (
        "import subprocess, sys; print('begun'); subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    )
    others = descendants(os.getpid())
    step = a_step(tmp_path, python(silent))
    lines: list[str] = []
    while not lines:
        lines += step.advance()[0]
        time.sleep(0.01)
    before = descendants(os.getpid()) - others
    assert before
    step.close()
    assert descendants(os.getpid()) & before == set()
    assert step.advance() == ((), True)


def test_each_call_returns_at_once_although_pip_is_silent(tmp_path):
    step = a_step(tmp_path, python("import sys; sys.stdin.read(); import time; time.sleep(600)"))
    calls = [step.advance() for _ in range(20)]
    assert calls == [((), False)] * 20
    step.close()


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "Räder ohne Netz"
    put_wheel(folder, "ich-alpha", "1.2", ["ich-leaf>=1.0"])
    put_wheel(folder, "ich-leaf", "1.0")
    return folder


def test_wheels_are_installed_without_a_network(tmp_path, wheels, monkeypatch):
    environment = {**os.environ, "PIP_INDEX_URL": "https://index.invalid/simple"}
    target = tmp_path / "site packages"
    target.mkdir()
    installer = WheelFolderInstaller(wheels, PYTHON, target, environment)
    packages = InstalledPackages((target,))
    updates = run(an_installation(target, find_missing([Requirement("ich-alpha", "1.1")], packages), installer))
    log = [line for update in updates for line in update.lines]
    assert updates[-1].restart_for == ()
    assert packages.versions() == {"ich-alpha": "1.2", "ich-leaf": "1.0"}
    assert any("Successfully installed" in line for line in log)
    assert not any("invalid" in line for line in log)


def test_a_wheel_that_is_not_in_the_folder_fails_with_pips_log(tmp_path, wheels):
    target = tmp_path / "target"
    target.mkdir()
    installer = WheelFolderInstaller(wheels, PYTHON, target)
    with pytest.raises(InstallationError, match=r"No matching distribution found for ich-alpha>=3\.0") as caught:
        run(an_installation(target, missing("ich-alpha>=3.0"), installer))
    assert "Could not find a version that satisfies the requirement" in caught.value.log


def test_a_missing_folder_of_wheels_is_named(tmp_path):
    installer = WheelFolderInstaller(tmp_path / "nowhere", PYTHON)
    with pytest.raises(InstallationError, match="folder of wheels does not exist"):
        run(an_installation(tmp_path, missing("torch>=2.8"), installer))
