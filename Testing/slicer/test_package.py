"""What the Slicer package installs: the module, and of the bundle what inference and training need, no research."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle.command import BundleMissingError
from ICHDiagnosisLib.bundle.location import bundle_identity, find_bundle, operating_points
from package_build import BUNDLE, MODULE, PackageTrees, files_in

AT_THE_TOP = {"configs", "docs", "models", "scripts", "LICENSE"}
# The licence of the data that the weights were trained on, and the contract that the bundle checks its results against.
IN_DOCS = {"docs/data_license.txt", "docs/result.schema.json"}
FORBIDDEN = (
    "*research/*",
    "*evidence.json",
    "*EVIDENCE.md",
    "*.png",
    "*.svg",
    "*.jpg",
    "*.md",
    "*test*.py",
    "*.pyc",
    "*__pycache__*",
    "*/.*",
)


def bundle_files(modules_folder: Path) -> set[str]:
    folder = modules_folder / "ICHDiagnosisBundle"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_of_the_bundle_only_the_product_is_installed(package: PackageTrees):
    installed = bundle_files(package.installed)
    assert {name.split("/")[0] for name in installed} == AT_THE_TOP
    assert {name for name in installed if name.startswith("docs/")} <= IN_DOCS
    assert "docs/data_license.txt" in installed
    assert [name for name in sorted(installed) for pattern in FORBIDDEN if fnmatch.fnmatch(name, pattern)] == []


def test_no_folder_of_research_is_installed_under_another_one(package: PackageTrees):
    research = {path.name for path in (BUNDLE / "research").glob("*/") if not path.name.startswith("__")}
    installed = {part for name in bundle_files(package.installed) for part in Path(name).parts[:-1]}
    product = {path.name for path in (BUNDLE / "scripts").rglob("*/")}
    assert installed & (research - product) == set()


def test_what_the_product_is_made_of_is_installed_whole(package: PackageTrees):
    wanted = {f"{folder}/{name}" for folder in ("configs", "models", "scripts") for name in files_in(BUNDLE / folder)}
    assert {"configs/inference.json", "configs/metadata.json", "scripts/__init__.py"} <= wanted
    docs = {name for name in IN_DOCS if (BUNDLE / name).is_file()}
    assert bundle_files(package.installed) == wanted | docs | {"LICENSE"}


def test_the_installed_tree_is_the_module_and_the_bundle_and_nothing_else(package: PackageTrees):
    module = files_in(MODULE) - {"CMakeLists.txt"}
    bundle = {f"ICHDiagnosisBundle/{name}" for name in bundle_files(package.installed)}
    assert files_in(package.installed) == module | bundle
    everything = {path for path in package.prefix.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(package.installed) for path in everything)


def test_module_and_bundle_are_the_same_in_source_build_and_package(package: PackageTrees):
    assert bundle_files(package.built) == bundle_files(package.installed)
    for tree in (package.built, package.installed):
        for name in bundle_files(tree):
            assert (tree / "ICHDiagnosisBundle" / name).read_bytes() == (BUNDLE / name).read_bytes()
        for name in files_in(MODULE) - {"CMakeLists.txt"}:
            assert (tree / name).read_bytes() == (MODULE / name).read_bytes()


def test_the_module_finds_its_bundle_in_source_build_and_package(package: PackageTrees, tmp_path: Path):
    assert find_bundle(MODULE / "ICHDiagnosis.py") == BUNDLE
    for tree in (package.built, package.installed):
        found = find_bundle(tree / "ICHDiagnosis.py")
        assert found == tree / "ICHDiagnosisBundle"
        assert bundle_identity(found) == bundle_identity(BUNDLE)
        assert "balanced" in operating_points(found)
    with pytest.raises(BundleMissingError, match="Reinstall the extension"):
        find_bundle(tmp_path / "ICHDiagnosis.py")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_bundle_without_operating_points_is_damaged(content: str | None, tmp_path: Path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{}")
    if content is not None:
        (tmp_path / "configs" / "operating_points.json").write_text(content)
    with pytest.raises(BundleMissingError, match="Reinstall the extension"):
        operating_points(tmp_path)


def test_the_installed_module_loads_and_uses_the_bundle_beside_it(package: PackageTrees):
    script = (
        "import sys; from pathlib import Path; import host; host.install()\n"
        "module = host.load_module(Path(sys.argv[1]) / 'ICHDiagnosis.py')\n"
        "import ICHDiagnosisLib; assert Path(ICHDiagnosisLib.__file__).is_relative_to(sys.argv[1])\n"
        "print(sys.modules['ICHDiagnosis'].ICHDiagnosisLogic().bundle_root)"
    )
    command = [sys.executable, "-B", "-c", script, package.installed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip().splitlines()[-1]) == package.installed / "ICHDiagnosisBundle"
