"""What the bundle needs is found without importing it, installed with injected and real installers, and checked."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from ICHDiagnosisLib import environment, installation_check, installers
from ICHDiagnosisLib.environment import (
    InstallationError,
    Installers,
    MissingPackage,
    OnLog,
    Requirement,
    find_missing,
    install,
    read_requirements,
)
from ICHDiagnosisLib.installation_check import (
    Device,
    DeviceQueryError,
    WeightsState,
    check_installation,
    query_device,
    read_weights_hashes,
)
from ICHDiagnosisLib.installed_packages import THIS_PYTHON, InstalledPackages, canonical, is_at_least
from ICHDiagnosisLib.installers import (
    PyTorchExtensionInstaller,
    SlicerPackagesInstaller,
    WheelFolderInstaller,
    offline_installers,
)

PROJECT_ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.executable)


def put_distribution(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> None:
    """Write what an installed package leaves: its code and its metadata."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True, exist_ok=True)
    (folder / module / "__init__.py").write_text(f"VERSION = {version!r}\n", encoding="utf-8")
    for old in folder.glob(f"{module}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(metadata_text(name, version, requires), encoding="utf-8")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n", encoding="utf-8")


def metadata_text(name: str, version: str, requires: Sequence[str] = ()) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n"


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
            raise InstallationError(f"{requirement.text} could not be installed", "ERROR: no matching distribution")
        put_distribution(self.folder, requirement.name, requirement.minimum, self.requires)


@pytest.fixture
def known_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ich-alpha", "ich-beta", "ich-gamma", "ich-leaf"):
        monkeypatch.setitem(environment.APPROXIMATE_MEGABYTES, name, 1)


def missing(*texts: str) -> tuple[MissingPackage, ...]:
    return tuple(MissingPackage(Requirement(*text.split(">=")), None) for text in texts)


def nothing(*_arguments: object) -> None:
    return


# --- the list


def test_the_list_is_what_the_bundle_needs():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(requirement.text for requirement in read_requirements()) == sorted(project["dependencies"])


def test_torch_comes_first_and_every_size_is_known():
    requirements = read_requirements()
    assert requirements[0].name == "torch"
    assert all(requirement.megabytes > 0 for requirement in requirements)


@pytest.mark.parametrize("line", ["monai==1.6", "monai", "monai>=1.6,<2", "-r other.txt", "monai>=1.6 # why"])
def test_only_minimum_versions_are_admitted(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"# why\n\ntorch>=2.4\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not of the form name>=version"):
        read_requirements(tmp_path / "requirements.txt")


# --- what is missing


def test_this_development_environment_lacks_nothing():
    assert find_missing(read_requirements()) == ()


def test_absent_and_old_packages_are_listed_with_version_and_size(tmp_path):
    put_distribution(tmp_path, "monai", "1.3.0")
    put_distribution(tmp_path, "PyYAML", "6.0.1")
    wanted = (Requirement("monai", "1.6"), Requirement("pyyaml", "6.0"), Requirement("torch", "2.4"))
    found = find_missing(wanted, InstalledPackages((tmp_path,)))
    assert [package.description for package in found] == [
        "monai>=1.6 (1.3.0 is installed; about 7 MB)",
        "torch>=2.4 (not installed; about 700 MB)",
    ]


@pytest.mark.parametrize(
    ("version", "minimum", "reached"),
    [("2.13.0+cpu", "2.4", True), ("2.4.0rc1", "2.4", False), ("1.10", "1.9", True), ("3.0.2", "3.0.24", False)],
)
def test_versions_are_compared_as_versions(version, minimum, reached):
    assert is_at_least(version, minimum) is reached


def test_without_the_packaging_package_pips_own_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.version", None)
    assert is_at_least("1.10", "1.9")


def test_looking_imports_nothing_heavy():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from ICHDiagnosisLib import environment, installers, installation_check;"
        "environment.find_missing(environment.read_requirements());"
        "print(sorted({'torch', 'monai', 'slicer', 'numpy', 'itk', 'pydicom', 'PyTorchUtils'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(PROJECT_ROOT / "ICHDiagnosis")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("module", [environment, installers, installation_check])
def test_nothing_happens_at_file_scope(module):
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    called = {
        ast.unparse(node.value.func)
        for node in tree.body
        if isinstance(node, (ast.Expr, ast.Assign)) and isinstance(node.value, ast.Call)
    }
    assert called <= {"re.compile"}


# --- installing


def test_what_is_missing_is_installed_in_order_by_whom_it_belongs_to(tmp_path, known_sizes):
    torch, others = RecordingInstaller(tmp_path), RecordingInstaller(tmp_path)
    steps: list[tuple[int, int, str]] = []
    log: list[str] = []
    report = install(
        missing("torch>=2.4", "ich-alpha>=1.0"),
        Installers(torch, others),
        lambda *step: steps.append(step),
        log.append,
        InstalledPackages((tmp_path,)),
    )
    assert (torch.asked, others.asked) == (["torch>=2.4"], ["ich-alpha>=1.0"])
    assert steps == [(0, 2, "torch>=2.4"), (1, 2, "ich-alpha>=1.0"), (2, 2, "")]
    assert log == ["Collecting torch>=2.4", "Collecting ich-alpha>=1.0"]
    assert report.installed == ("torch>=2.4", "ich-alpha>=1.0")


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
    report = install(
        missing("ich-alpha>=2.0", "ich-beta>=2.0", "ich-gamma>=1.0"),
        Installers(installer, installer),
        nothing,
        nothing,
        InstalledPackages((tmp_path,)),
    )
    assert report.restart_needed == ("ich-alpha",)


# --- the installers of the application, against stand-ins with Slicer's own signatures


@pytest.fixture
def a_slicer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, ModuleType]]]:
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
    assert f"numpy=={THIS_PYTHON.version('numpy')}" in seen["constraints"]
    assert f"torch=={THIS_PYTHON.version('torch')}" in seen["constraints"]
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
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            asked.append((askConfirmation, forceComputationBackend, torchVersionRequirement))

    a_slicer(PyTorchUtils={"PyTorchUtilsLogic": PyTorchUtilsLogic})
    PyTorchExtensionInstaller().install(Requirement("torch", "2.4"), nothing)
    assert asked == [(False, None, ">=2.4")]


def test_a_missing_pytorch_extension_is_named():
    with pytest.raises(InstallationError, match="PyTorch extension is missing"):
        PyTorchExtensionInstaller().install(Requirement("torch", "2.4"), nothing)


# --- pip for real, from a folder of wheels


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
    report = install(
        find_missing([Requirement("ich-alpha", "1.1")], packages),
        Installers(installer, installer),
        nothing,
        log.append,
        packages,
    )
    assert report.installed == ("ich-alpha>=1.1",)
    assert report.restart_needed == ()
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


# --- check installation


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    hashes = {}
    for name in ("models/model.pt", "models/backbone.pt"):
        (root / name).write_bytes(name.encode())
        hashes[name] = hashlib.sha256(name.encode()).hexdigest()
    write_metadata(root, {"version": "0.1.0", "weights": hashes})
    return root


def write_metadata(root: Path, content: object) -> None:
    (root / "configs" / "metadata.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def a_device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device("cuda", "A card", 24.0, "2.13.0")
    monkeypatch.setattr(installation_check, "query_device", lambda *_: device)
    return device


def test_a_sound_installation_has_no_problems(a_bundle):
    check = check_installation(a_bundle, PYTHON)
    assert check.problems == ()
    assert check.device is not None
    assert check.device.torch_version == check.versions["torch"]
    assert check.bundle_version == "0.1.0"
    assert [file.state for file in check.weights] == [WeightsState.INTACT, WeightsState.INTACT]


def test_wrong_and_missing_weights_and_old_packages_are_reported(a_bundle, a_device, tmp_path):
    (a_bundle / "models" / "model.pt").write_bytes(b"something else")
    (a_bundle / "models" / "backbone.pt").unlink()
    put_distribution(tmp_path / "site", "monai", "1.3")
    check = check_installation(
        a_bundle, PYTHON, {}, [Requirement("monai", "1.6")], InstalledPackages((tmp_path / "site",))
    )
    assert check.problems == (
        "monai>=1.6 (1.3 is installed; about 7 MB)",
        "models/model.pt: wrong hash",
        "models/backbone.pt: missing",
    )
    assert check.weights[0].found_sha256 == hashlib.sha256(b"something else").hexdigest()


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"version": "1", "weights": {"../secret": "0" * 64}}, "outside the bundle"),
        ({"version": "1", "weights": {}}, "lists no weights"),
        ({"version": "1"}, "does not list"),
        ([], "does not list"),
    ],
)
def test_metadata_that_cannot_be_trusted_is_a_problem(a_bundle, a_device, metadata, says):
    write_metadata(a_bundle, metadata)
    with pytest.raises(ValueError, match=says):
        read_weights_hashes(a_bundle)
    assert says in check_installation(a_bundle, PYTHON, {}, []).problems[0]


def test_a_missing_bundle_is_a_problem_not_a_traceback(tmp_path, a_device):
    check = check_installation(tmp_path / "nowhere", PYTHON, {}, [])
    assert check.problems == ("configs/metadata.json cannot be read: No such file or directory",)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1", "No module named 'torch'"),
        ("exit 0", "no message"),
        ("sleep 60", "no answer within 0.5 s"),
    ],
)
def test_a_torch_that_does_not_answer_is_named(tmp_path, script, says):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o700)
    with pytest.raises(DeviceQueryError, match=says):
        query_device(python, os.environ, seconds=0.5)


def test_names_are_compared_as_pip_does():
    assert canonical("Scikit_Image") == canonical("scikit.image") == "scikit-image"
