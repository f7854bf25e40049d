"""What the bundle needs is listed once, and what is missing of it is found without importing anything."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ICHDiagnosisLib.install import check, computer, failure, installation, installers, requirements, sizes, steps
from ICHDiagnosisLib.install.installed_packages import InstalledPackages, canonical, is_at_least
from ICHDiagnosisLib.install.requirements import (
    DICOM_REQUIREMENTS_FILE,
    Requirement,
    find_missing,
    read_requirements,
    requirement_lines,
)
from package_cases import put_distribution

PROJECT_ROOT = Path(__file__).parents[2]


def test_the_list_is_what_the_bundle_needs():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(requirement_lines()) == sorted(project["dependencies"])


def test_the_list_of_what_dicom_needs_is_the_extra_of_that_name():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(requirement_lines(DICOM_REQUIREMENTS_FILE)) == sorted(project["optional-dependencies"]["dicom"])
    assert all(requirement.megabytes > 0 for requirement in read_requirements(DICOM_REQUIREMENTS_FILE))


def test_torch_comes_first_and_every_size_is_known():
    requirements = read_requirements()
    assert requirements[0].name == "torch"
    assert all(requirement.megabytes > 0 for requirement in requirements)
    assert len({requirement.name for requirement in requirements}) == len(requirements)


def test_on_windows_torch_has_an_upper_bound_for_its_paths_are_too_long_there(monkeypatch):
    bounds = {}
    for platform in ("win32", "linux", "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        bounds[platform] = read_requirements()[0].text
    assert bounds == {"win32": "torch>=2.8,<2.13", "linux": "torch>=2.8", "darwin": "torch>=2.8"}


def test_bounds_and_markers_are_read(tmp_path):
    text = "monai>=1.6,<2; python_version >= '3.10'\nfire>=0.7; sys_platform == 'nowhere'\n"
    (tmp_path / "requirements.txt").write_text(text, encoding="utf-8")
    assert read_requirements(tmp_path / "requirements.txt") == (Requirement("monai", "1.6", "2"),)


def test_an_upper_bound_limits_what_is_installed_not_what_is_there(tmp_path):
    put_distribution(tmp_path, "torch", "2.13.0")
    assert find_missing([Requirement("torch", "2.8", "2.13")], InstalledPackages((tmp_path,))) == ()


@pytest.mark.parametrize("line", ["monai==1.6", "monai", "monai>=1.6,!=1.7", "-r other.txt", "monai>=1.6 # why"])
def test_nothing_but_minimums_bounds_and_markers_is_admitted(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"# why\n\ntorch>=2.4\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not of the form name>=version"):
        read_requirements(tmp_path / "requirements.txt")


# An installation that was cut short


def test_a_torch_without_the_list_of_its_files_is_offered_for_repair(tmp_path):
    put_distribution(tmp_path, "torch", "2.13.0")
    (tmp_path / "torch-2.13.0.dist-info" / "RECORD").unlink()
    (found,) = find_missing([Requirement("torch", "2.8")], InstalledPackages((tmp_path,)))
    assert (found.installed, found.fault) == ("2.13.0", "RECORD is missing")
    assert found.description.startswith("torch (2.13.0 is damaged: RECORD is missing; about ")


def test_a_missing_file_is_found_although_python_3_12_leaves_it_out_of_the_list_of_files(tmp_path, monkeypatch):
    put_distribution(tmp_path, "torch", "2.13.0")
    (tmp_path / "torch" / "__init__.py").unlink()
    monkeypatch.setattr(importlib.metadata.Distribution, "files", [])
    (found,) = find_missing([Requirement("torch", "2.8")], InstalledPackages((tmp_path,)))
    assert found.fault == "torch/__init__.py is missing"


def test_a_torch_whose_libraries_are_missing_is_offered_for_repair(tmp_path):
    put_distribution(tmp_path, "torch", "2.13.0")
    record = tmp_path / "torch-2.13.0.dist-info" / "RECORD"
    record.write_text("torch/__init__.py,,\ntorch/lib/torch_cpu.dll,,\ntorch-2.13.0.dist-info/licenses/a/b/c,,\n")
    (found,) = find_missing([Requirement("torch", "2.8")], InstalledPackages((tmp_path,)))
    assert found.fault == "torch/lib/torch_cpu.dll is missing"
    (tmp_path / "torch" / "lib").mkdir()
    (tmp_path / "torch" / "lib" / "torch_cpu.dll").touch()
    assert find_missing([Requirement("torch", "2.8")], InstalledPackages((tmp_path,))) == ()


def test_this_development_environment_lacks_nothing():
    assert find_missing(read_requirements()) == ()


def test_absent_and_old_packages_are_listed_with_version_and_size(tmp_path):
    put_distribution(tmp_path, "monai", "1.3.0")
    put_distribution(tmp_path, "PyYAML", "6.0.1")
    wanted = (Requirement("monai", "1.6"), Requirement("pyyaml", "6.0"), Requirement("torch", "2.4"))
    found = find_missing(wanted, InstalledPackages((tmp_path,)))
    assert [package.description for package in found] == [
        "monai>=1.6 (1.3.0 is installed; about 14 MB)",
        f"torch>=2.4 (not installed; about {wanted[2].megabytes} MB)",
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


def test_names_are_compared_as_pip_does():
    assert canonical("Scikit_Image") == canonical("scikit.image") == "scikit-image"


def test_finding_what_is_missing_imports_nothing_heavy():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from ICHDiagnosisLib.install import check, installation, installers, requirements, steps;"
        "requirements.find_missing(requirements.read_requirements());"
        "print(sorted({'torch', 'monai', 'slicer', 'numpy', 'itk', 'pydicom', 'PyTorchUtils'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(PROJECT_ROOT / "ICHDiagnosis")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    [requirements, installation, installers, check, computer, failure, sizes, steps],
    ids=lambda module: module.__name__,
)
def test_nothing_happens_at_file_scope(module):
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    called = {
        ast.unparse(node.value.func)
        for node in tree.body
        if isinstance(node, (ast.Expr, ast.Assign)) and isinstance(node.value, ast.Call)
    }
    assert called <= {"re.compile"}
