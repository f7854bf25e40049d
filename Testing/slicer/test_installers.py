"""What each installer runs: torch by light-the-torch, the rest in one go, by Slicer's own packaging where it exists."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ICHDiagnosisLib.install import steps as install_steps
from ICHDiagnosisLib.install.failure import InstallationError
from ICHDiagnosisLib.install.installed_packages import THIS_PYTHON, InstalledPackages
from ICHDiagnosisLib.install.installers import (
    InternetInstaller,
    WheelFolderInstaller,
    application_installer,
    constraint_lines,
    has_slicer_packaging,
    offline_installer,
)
from ICHDiagnosisLib.install.requirements import MissingPackage, Requirement
from ICHDiagnosisLib.install.steps import ProgramStep, SlicerStep
from package_cases import put_distribution

PYTHON = Path(sys.executable)
TORCH = MissingPackage(Requirement("torch", "2.8", "2.13"), "2.6.0")
MONAI = MissingPackage(Requirement("monai", "1.6"), None)
FIRE = MissingPackage(Requirement("fire", "0.7.1"), None)
DAMAGED = MissingPackage(Requirement("torch", "2.8"), "2.13.0", "RECORD is missing")
DAMAGED_MONAI = MissingPackage(Requirement("monai", "1.6"), "1.6.1", "RECORD is missing")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A Slicer with ``slicer.packaging``, of the signature of 5.12: it refuses every other name."""
    calls: list[dict[str, object]] = []

    def pip_ensure(
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):
        calls.append(dict(locals()))
        sys.stdout.write("Collecting monai\nSuccessfully ins")
        sys.stdout.write("talled monai-1.6.1\n")

    module = ModuleType("slicer.packaging")
    vars(module).update(pip_ensure=pip_ensure)
    module.__spec__ = importlib.util.spec_from_loader("slicer.packaging", loader=None)
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    return calls


@pytest.fixture
def without_slicer_packaging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slicer before 5.11."""
    monkeypatch.setattr("ICHDiagnosisLib.install.installers.has_slicer_packaging", lambda: False)


def planned(step: object) -> list[list[str]]:
    assert isinstance(step, ProgramStep)
    return [list(command.arguments[1:]) for command in step._commands]


def in_folder(tmp_path: Path) -> InternetInstaller:
    return InternetInstaller(PYTHON, {}, InstalledPackages((tmp_path,)))


def test_everything_but_torch_comes_by_one_call_with_constraints(asked, tmp_path):
    constraints = tmp_path / "constraints.txt"
    (step,) = in_folder(tmp_path).steps([MONAI, FIRE], constraints)
    console = sys.stdout
    lines, done = step.advance()
    assert (list(lines), done) == (["Collecting monai", "Successfully installed monai-1.6.1"], True)
    assert sys.stdout is console
    assert [call["requirements"] for call in asked] == [["monai>=1.6", "fire>=0.7.1"]]
    assert asked[0]["constraints"] == str(constraints)
    # It would delete what other packages state about themselves.
    assert asked[0]["skip_packages"] is None
    assert (asked[0]["prompt_install"], asked[0]["prompt_restart"]) == (False, False)


def test_an_older_slicer_gets_them_by_pip_in_a_process_of_its_own(without_slicer_packaging, tmp_path):
    (step,) = in_folder(tmp_path).steps([MONAI, FIRE], tmp_path / "constraints.txt")
    (command,) = planned(step)
    assert command[:3] == ["-m", "pip", "install"]
    assert command[-4:] == ["--constraint", str(tmp_path / "constraints.txt"), "monai>=1.6", "fire>=0.7.1"]


def test_torch_comes_by_the_program_of_the_pytorch_extension_and_is_imported_once_outside_the_application(
    asked, tmp_path
):
    (step, rest) = in_folder(tmp_path).steps([TORCH, MONAI], tmp_path / "c.txt")
    assert isinstance(rest, SlicerStep)
    get, install, import_it = planned(step)
    assert (get[:3], get[-1]) == (["-m", "pip", "install"], "light-the-torch>=0.5")
    assert install[:3] == ["-m", "light_the_torch", "install"]
    assert install[-1] == "torch>=2.8,<2.13"
    assert import_it == ["-c", "import torch"]


def test_light_the_torch_is_not_fetched_twice_and_a_torchvision_that_is_there_follows(tmp_path):
    put_distribution(tmp_path, "light_the_torch", "0.8.1")
    put_distribution(tmp_path, "torchvision", "0.21.0")
    (step,) = in_folder(tmp_path).steps([TORCH], tmp_path / "c.txt")
    install, _ = planned(step)
    assert install[-2:] == ["torch>=2.8,<2.13", "torchvision"]


def test_a_damaged_torch_is_written_over_for_it_cannot_be_removed(tmp_path):
    put_distribution(tmp_path, "light_the_torch", "0.8.1")
    (step,) = in_folder(tmp_path).steps([DAMAGED], tmp_path / "c.txt")
    over, then, _ = planned(step)
    assert {"--ignore-installed", "--no-deps", "torch>=2.8"} <= set(over)
    assert "--ignore-installed" not in then


def test_damaged_packages_never_go_to_pip_ensure_which_believes_metadata(asked, tmp_path):
    (step,) = in_folder(tmp_path).steps([DAMAGED_MONAI, FIRE], tmp_path / "c.txt")
    over, then = planned(step)
    assert over[-1] == "monai>=1.6"
    assert "--ignore-installed" in over
    assert then[-2:] == ["monai>=1.6", "fire>=0.7.1"]
    assert asked == []


def test_what_slicer_brings_is_held_at_its_version_unless_it_is_what_comes():
    installed = THIS_PYTHON.versions()
    lines = constraint_lines([MONAI])
    assert {f"numpy=={installed['numpy']}", f"scipy=={installed['scipy']}", f"torch=={installed['torch']}"} <= set(
        lines
    )
    assert not any(line.startswith("torch==") for line in constraint_lines([TORCH]))


@pytest.mark.parametrize(
    "error",
    [subprocess.CalledProcessError(1, "pip install"), OSError("[WinError 126]"), KeyError("odd"), TypeError("x")],
)
def test_whatever_slicers_packaging_raises_becomes_one_line_with_the_log(asked, monkeypatch, tmp_path, error):
    def fails(*_arguments, **_settings):
        print("Collecting monai")
        print("ERROR: No matching distribution found for monai>=1.6")
        raise error

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", fails)
    with pytest.raises(InstallationError, match=r"monai>=1\.6 could not be installed") as caught:
        SlicerStep(("monai>=1.6",), tmp_path).advance()
    assert caught.value.log.splitlines()[:2] == [
        "Collecting monai",
        "ERROR: No matching distribution found for monai>=1.6",
    ]


def test_a_slicer_with_packaging_is_recognised_without_importing_it(asked):
    assert has_slicer_packaging()
    assert "import_module" in inspect.getsource(install_steps.SlicerStep)


def test_the_environment_of_pip_keeps_the_proxy_and_no_other_python(tmp_path):
    environment = {"HTTPS_PROXY": "http://proxy.example:3128", "PYTHONPATH": "/elsewhere", "PIP_INDEX_URL": "x"}
    installer = application_installer(environment, PYTHON)
    assert isinstance(installer, InternetInstaller)
    assert installer.environment["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "PYTHONPATH" not in installer.environment
    offline = offline_installer(tmp_path, environment, PYTHON)
    assert isinstance(offline, WheelFolderInstaller)
    (step,) = offline.steps([MONAI], tmp_path / "c.txt")
    assert isinstance(step, ProgramStep)
    assert not {name for name in step._environment if name.startswith("PIP_")} - {"PIP_CONFIG_FILE"}
