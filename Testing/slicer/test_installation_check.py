"""The check of the installation reports versions, device and weights, and states every problem in a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from host.launcher import write_launcher
from ICHDiagnosisLib.bundle import interpreter
from ICHDiagnosisLib.bundle.command import BundleMissingError
from ICHDiagnosisLib.bundle.interpreter import real_interpreter
from ICHDiagnosisLib.bundle.location import bundle_identity
from ICHDiagnosisLib.install import check as installation_check
from ICHDiagnosisLib.install.check import (
    Device,
    DeviceQueryError,
    WeightsState,
    check_installation,
    query_device,
)
from ICHDiagnosisLib.install.installed_packages import InstalledPackages
from ICHDiagnosisLib.install.requirements import Requirement
from ICHDiagnosisLib.panel.installation_section import describe
from package_cases import put_distribution

PYTHON = Path(sys.executable)


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    hashes = {}
    for name in ("models/model.pt", "models/second.pt"):
        (root / name).write_bytes(name.encode())
        hashes[name] = hashlib.sha256(name.encode()).hexdigest()
    write_metadata(root, {"version": "0.1.0", "weights": hashes})
    answer(root, {"title": "DrCT2", "file": "models/model.pt", "stated": True, "fault": ""})
    return root


def answer(root: Path, *systems: dict[str, object]) -> None:
    """Let the bundle say this of its installed systems."""
    (root / "scripts").mkdir(exist_ok=True)
    lines = [f"print('WEIGHTS ' + {json.dumps(system)!r})" for system in systems]
    (root / "scripts" / "installed_weights.py").write_text("\n".join(lines), encoding="utf-8")


def write_metadata(root: Path, content: object) -> None:
    (root / "configs" / "metadata.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def a_device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device("A card", 24.0, "2.13.0")
    monkeypatch.setattr(installation_check, "query_device", lambda *_: device)
    return device


def test_a_sound_installation_has_no_problems(a_bundle):
    check = check_installation(a_bundle, PYTHON)
    assert check.problems == ()
    assert check.device is not None
    assert check.device.torch_version == check.versions["torch"]
    assert check.bundle_version == "0.1.0"
    assert [file.state for file in check.weights] == [WeightsState.INTACT, WeightsState.INTACT]
    assert [system.describe() for system in check.systems] == [
        "DrCT2: models/model.pt is as stated, and fills its network"
    ]


def test_wrong_and_missing_weights_and_old_packages_are_reported(a_bundle, a_device, tmp_path):
    (a_bundle / "models" / "model.pt").write_bytes(b"something else")
    (a_bundle / "models" / "second.pt").unlink()
    put_distribution(tmp_path / "site", "monai", "1.3")
    check = check_installation(
        a_bundle, PYTHON, {}, [Requirement("monai", "1.6")], InstalledPackages((tmp_path / "site",))
    )
    assert check.problems == (
        "monai>=1.6 (1.3 is installed; about 14 MB)",
        "models/model.pt: wrong hash",
        "models/second.pt: missing",
    )
    assert [system.fault for system in check.systems] == [""]
    assert check.weights[0].found_sha256 == hashlib.sha256(b"something else").hexdigest()


def test_the_weights_of_every_installed_system_are_reported(a_bundle, a_device):
    own = {"title": "RADnet", "file": "models/radnet/model.pt", "stated": False, "fault": ""}
    torn = {"title": "DenseNet40", "file": "models/densenet40/model.pt", "stated": False, "fault": "it is damaged"}
    answer(a_bundle, own, torn)
    check = check_installation(a_bundle, PYTHON, {}, [])
    assert check.problems == ("DenseNet40: models/densenet40/model.pt cannot be used: it is damaged",)
    shown = describe(check)
    assert "RADnet: models/radnet/model.pt fills its network; no hash is stated for it" in shown
    assert shown.count("DenseNet40") == 1
    (a_bundle / "scripts" / "installed_weights.py").write_text("raise SystemExit('no such thing')", encoding="utf-8")
    (problem,) = check_installation(a_bundle, PYTHON, {}, []).problems
    assert problem == "The weights of the installed systems could not be loaded: no such thing"


def test_a_torch_that_cannot_be_imported_is_offered_for_repair(a_bundle, tmp_path, monkeypatch):
    def fails(*_arguments):
        raise DeviceQueryError("device.error", error="OSError: [WinError 126] fbgemm.dll")

    monkeypatch.setattr(installation_check, "query_device", fails)
    put_distribution(tmp_path / "site", "torch", "2.13.0")
    packages = InstalledPackages((tmp_path / "site",))
    (repair,) = check_installation(a_bundle, PYTHON, {}, [Requirement("torch", "2.8")], packages).repairs
    assert (repair.installed, repair.requirement.name) == ("2.13.0", "torch")
    assert "WinError 126" in repair.description
    # One that is not there at all is missing, and offered once.
    (missing,) = check_installation(a_bundle, PYTHON, {}, [Requirement("torch", "9")], packages).repairs
    assert (missing.installed, missing.fault) == ("2.13.0", "")


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"version": "1", "weights": {"../secret": "0" * 64}}, "outside the bundle"),
        ({"version": "1", "weights": {}}, "lists no weights"),
        ({"version": "1"}, "does not list"),
        ([], "does not list"),
    ],
)
def test_metadata_that_cannot_be_trusted_is_a_problem(a_bundle, a_device, metadata, problem):
    write_metadata(a_bundle, metadata)
    with pytest.raises(BundleMissingError, match=problem):
        bundle_identity(a_bundle)
    assert problem in check_installation(a_bundle, PYTHON, {}, []).problems[0]


def test_a_missing_bundle_is_a_problem_not_a_traceback(tmp_path, a_device):
    check = check_installation(tmp_path / "nowhere", PYTHON, {}, [])
    assert check.problems == ("configs/metadata.json cannot be read: No such file or directory",)


@pytest.mark.parametrize(
    ("script", "seconds", "problem"),
    [
        ("echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1", 60.0, "No module named 'torch'"),
        ("exit 0", 60.0, "no message"),
        ("sleep 60", 0.5, "no answer within 0.5 s"),
        ("ulimit -c 0; kill -SEGV $$", 60.0, r"crashed.*status -11"),
    ],
)
def test_a_torch_that_does_not_answer_is_named(tmp_path, script, seconds, problem):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o700)
    with pytest.raises(DeviceQueryError, match=problem):
        query_device(python, os.environ, seconds)


def test_a_torch_that_crashes_behind_the_launcher_is_told_from_one_that_fails(tmp_path):
    crash = "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nos.kill(os.getpid(), 11)\n"
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "torch.py").write_text(crash, encoding="utf-8")
    python = write_launcher(tmp_path, packages)
    with pytest.raises(DeviceQueryError, match=r"crashed.*status -11"):
        query_device(python, os.environ)


def test_modules_of_the_current_folder_are_not_imported(tmp_path, python_slicer, monkeypatch):
    for name in ("torch", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(interpreter, "_known", {})
    assert query_device(python_slicer, os.environ).torch_version.split("+")[0] == version("torch").split("+")[0]
    assert real_interpreter(python_slicer, os.environ).python != python_slicer
