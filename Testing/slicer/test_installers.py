"""The application's own installers, against stand-ins with the signatures of Slicer and its PyTorch extension."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ICHDiagnosisLib.install.installation import InstallationError
from ICHDiagnosisLib.install.installed_packages import THIS_PYTHON
from ICHDiagnosisLib.install.installers import PyTorchExtensionInstaller, SlicerPackagesInstaller
from ICHDiagnosisLib.install.requirements import Requirement
from package_cases import nothing


@pytest.fixture
def a_slicer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, ModuleType]]:
    def make(**functions: dict[str, object]) -> dict[str, ModuleType]:
        modules = {"slicer": ModuleType("slicer")}
        modules["slicer"].__path__ = []
        for name in ("util", "packaging"):
            monkeypatch.setitem(sys.modules, f"slicer.{name}", None)
        for name, members in functions.items():
            full = name if name == "PyTorchUtils" else f"slicer.{name}"
            modules[full] = ModuleType(full)
            vars(modules[full]).update(members)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return modules

    return make


def test_slicers_packaging_is_used_where_it_exists(a_slicer):
    calls = []

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
        calls.append((requirements, skip_packages, prompt_install, prompt_restart, requester))
        sys.stdout.write("Installing monai...\n")

    a_slicer(packaging={"pip_ensure": pip_ensure}, util={})
    log: list[str] = []
    SlicerPackagesInstaller().install(Requirement("monai", "1.6"), log.append)
    skipped = ["torch", "SimpleITK", "numpy", "requests"]
    assert calls == [(["monai>=1.6"], skipped, False, False, "ICHDiagnosis")]
    assert log == ["Installing monai..."]


def test_an_older_slicer_installs_without_replacing_what_it_brings(a_slicer):
    seen = {}

    def pip_install(requirements):
        seen["arguments"] = requirements
        seen["constraints"] = Path(requirements[-1]).read_text(encoding="utf-8").splitlines()

    a_slicer(util={"pip_install": pip_install})
    SlicerPackagesInstaller().install(Requirement("monai", "1.6"), nothing)
    assert seen["arguments"][:2] == ["monai>=1.6", "--constraint"]
    installed = THIS_PYTHON.versions()
    assert f"numpy=={installed['numpy']}" in seen["constraints"]
    assert f"torch=={installed['torch']}" in seen["constraints"]
    assert not Path(seen["arguments"][2]).exists()


def test_pips_failure_inside_slicer_keeps_its_log_and_restores_the_console(a_slicer):
    def pip_install(requirements):
        sys.stdout.write("Collecting monai\nERROR: No matching distr")
        sys.stdout.write("ibution\n")
        raise subprocess.CalledProcessError(1, "pip")

    a_slicer(util={"pip_install": pip_install})
    console = sys.stdout
    with pytest.raises(InstallationError, match=r"monai>=1\.6 could not be installed") as caught:
        SlicerPackagesInstaller().install(Requirement("monai", "1.6"), nothing)
    assert caught.value.log == "Collecting monai\nERROR: No matching distribution"
    assert sys.stdout is console


def test_torch_comes_through_the_pytorch_extension(a_slicer):
    asked = []

    class PyTorchUtilsLogic:
        # The extension's own signature: it refuses every other name.
        def installTorch(  # noqa: N802
            self,
            askConfirmation=False,  # noqa: N803
            forceComputationBackend=None,  # noqa: N803
            torchVersionRequirement=None,  # noqa: N803
        ):
            asked.append((askConfirmation, forceComputationBackend, torchVersionRequirement))

    a_slicer(PyTorchUtils={"PyTorchUtilsLogic": PyTorchUtilsLogic})
    PyTorchExtensionInstaller().install(Requirement("torch", "2.4"), nothing)
    assert asked == [(False, None, ">=2.4")]


def test_a_missing_pytorch_extension_is_named():
    with pytest.raises(InstallationError, match="PyTorch extension is missing"):
        PyTorchExtensionInstaller().install(Requirement("torch", "2.4"), nothing)
