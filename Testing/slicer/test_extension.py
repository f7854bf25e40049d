"""The extension as Slicer's build and the Extensions Index see it: lists, metadata, rules, and what is installed."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ICHDiagnosisLib.bundle.command import BundleMissingError
from ICHDiagnosisLib.bundle.location import bundle_identity, find_bundle, operating_points

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "ICHDiagnosis"
BUNDLE = ROOT / "monai_bundle"
INSTALLED = Path("lib/Slicer-5.10/qt-scripted-modules")
PACKAGED_FOLDERS = ("configs", "docs", "models", "scripts")
ADDRESS = "https://raw.githubusercontent.com/ICHDiagnosis/SlicerICHDiagnosis/main/"
ALLOWED_AT_FILE_SCOPE = {"vtk", "qt", "ctk", "slicer", "numpy", "ICHDiagnosisLib", *sys.stdlib_module_names}
# https://github.com/Slicer/Slicer/blob/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json
SCHEMA_KEYS = {
    "$schema",
    "category",
    "scm_url",
    "scm_revision",
    "scm_type",
    "build_dependencies",
    "dicom_support_rule",
    "build_subdirectory",
    "enabled",
    "tier",
}


def files_in(folder: Path) -> set[str]:
    """Return the files below a folder, without what Python and editors leave."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    }


def listed(variable: str) -> list[str]:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    body = re.search(rf"set\({variable}\n(.*?)\n\s*\)", text, re.DOTALL)
    assert body is not None
    return [line.strip().replace("${MODULE_NAME}", "ICHDiagnosis") for line in body[1].splitlines()]


def metadata() -> dict[str, str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]+)"\)$', text, re.MULTILINE))


# Lists


def test_every_file_of_the_module_is_in_its_cmake_list_and_none_that_is_not_there():
    scripts, resources = listed("MODULE_PYTHON_SCRIPTS"), listed("MODULE_PYTHON_RESOURCES")
    assert len(scripts) == len(set(scripts))
    assert set(scripts) == {name for name in files_in(MODULE) if name.endswith(".py")}
    assert set(resources) == {name for name in files_in(MODULE) if name.startswith("Resources/")}
    assert set(scripts) | set(resources) | {"CMakeLists.txt"} == files_in(MODULE)


def test_the_lists_are_in_the_order_of_the_alphabet():
    for variable in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"):
        names = listed(variable)
        assert names == sorted(names)


# The Index's machine rules


def test_the_catalogue_entry_follows_its_schema():
    entry = json.loads((ROOT / "ICHDiagnosis.json").read_text(encoding="utf-8"))
    assert {"$schema", "category", "scm_url"} <= set(entry) <= SCHEMA_KEYS
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == "Neuroimaging"
    assert entry["build_dependencies"] == ["PyTorch"]
    assert 1 <= entry["tier"] <= 5


def test_names_are_as_the_index_wants_them():
    entry = json.loads((ROOT / "ICHDiagnosis.json").read_text(encoding="utf-8"))
    repository = re.fullmatch(r"https://github\.com/[\w-]+/([\w-]+)\.git", entry["scm_url"])
    assert repository is not None
    assert repository[1] == "SlicerICHDiagnosis"
    project = re.search(r"project\s*\(\s*([^\s)]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert project is not None
    assert project[1] == "ICHDiagnosis" == listed("MODULE_PYTHON_SCRIPTS")[0].removesuffix(".py")
    assert not project[1].lower().startswith("slicer")


def test_the_metadata_are_all_there_each_on_one_line_and_agree_with_the_entry():
    said = metadata()
    assert set(said) == {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    assert (
        said["DEPENDS"].split()
        == json.loads((ROOT / "ICHDiagnosis.json").read_text(encoding="utf-8"))["build_dependencies"]
    )
    assert "Research use only" in said["DESCRIPTION"]
    assert said["HOMEPAGE"].startswith("https://github.com/ICHDiagnosis/SlicerICHDiagnosis")


def test_icon_and_screenshots_lie_where_their_addresses_say():
    said = metadata()
    addresses = [said["ICONURL"], *said["SCREENSHOTURLS"].split()]
    assert len(addresses) == 4
    assert all(address.startswith(ADDRESS) and address.endswith(".png") for address in addresses)
    assert [address for address in addresses if not (ROOT / address.removeprefix(ADDRESS)).is_file()] == []


def test_the_icon_is_a_png_of_128_pixels_and_the_module_has_the_same():
    places = (ROOT / "Resources" / "ICHDiagnosis.png", MODULE / "Resources" / "Icons" / "ICHDiagnosis.png")
    with Image.open(places[0]) as icon:
        assert (icon.format, icon.size, icon.mode) == ("PNG", (128, 128), "RGBA")
    assert places[0].read_bytes() == places[1].read_bytes()


def test_the_icon_is_what_its_script_draws(tmp_path: Path):
    root = tmp_path / "Resources"
    root.mkdir()
    shutil.copy(ROOT / "Resources" / "draw_icon.py", root)
    subprocess.run([sys.executable, root / "draw_icon.py"], check=True)
    with Image.open(root / "ICHDiagnosis.png") as drawn, Image.open(ROOT / "Resources" / "ICHDiagnosis.png") as kept:
        assert drawn.tobytes() == kept.tobytes()


def test_a_licence_that_the_index_finds_lies_in_the_root():
    assert (ROOT / "LICENSE.txt").stat().st_size > 1000


def git(*arguments: str, listed: str | None = None) -> str:
    if not (ROOT / ".git").exists():
        pytest.fail("the size of a clone can be told in a clone only")
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, input=listed, capture_output=True, text=True, check=True
    ).stdout


def test_a_clone_with_its_history_is_below_90_megabytes():
    # What this folder's .git takes says little: an object may lie there loose and packed, or belong to no branch.
    objects = [line.split()[0] for line in git("rev-list", "--objects", "HEAD").splitlines()]
    sizes = git("cat-file", "--batch-check=%(objectsize:disk)", listed="\n".join(objects)).split()
    assert len(sizes) == len(objects) > 0
    assert sum(map(int, sizes)) < 90e6


def imports_at_file_scope(node: ast.AST) -> Iterator[str]:
    """Yield the first name of every module that is imported as soon as the file is, in whatever block."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield "ICHDiagnosisLib" if child.level else (child.module or "").split(".")[0]
        elif isinstance(child, ast.stmt | ast.ExceptHandler) and not isinstance(child, ast.FunctionDef):
            yield from imports_at_file_scope(child)


def test_the_reader_of_imports_sees_blocks_and_classes_but_not_functions():
    source = """
try:
    import torch
except ImportError:
    import monai.bundle
class Panel:
    from scipy import ndimage
    def show(self):
        import itk
"""
    assert sorted(imports_at_file_scope(ast.parse(source))) == ["monai", "scipy", "torch"]


def test_nothing_is_imported_at_file_scope_that_slicer_does_not_bring():
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted(MODULE.rglob("*.py"))
        for name in imports_at_file_scope(ast.parse(path.read_bytes()))
        if name not in ALLOWED_AT_FILE_SCOPE
    ]
    assert offenders == []


# Configure, build, install


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Configure, build and install against the stand-in for Slicer's macros; return build and installed tree."""
    folder = tmp_path_factory.mktemp("extension with spaces")
    build, installed = folder / "build", folder / "installed"
    # There is nothing to compile: no compiler need be there.
    compilers = [
        f"-DCMAKE_{name}_COMPILER{part}" for name in ("C", "CXX") for part in ("=/bin/true", "_FORCED=ON", "_ID_RUN=ON")
    ]
    for command in (
        [
            "cmake",
            "-S",
            ROOT,
            "-B",
            build,
            f"-DSlicer_DIR={Path(__file__).parent / 'cmake_stand_in'}",
            "-DBUILD_TESTING=ON",
            *compilers,
        ],
        ["cmake", "--build", build],
        ["cmake", "--install", build, "--prefix", installed],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Warning" not in done.stderr, done.stderr
    return build, installed


def expected_bundle() -> set[str]:
    wanted = {f"{folder}/{name}" for folder in PACKAGED_FOLDERS for name in files_in(BUNDLE / folder)}
    return wanted | {"LICENSE", "large_files.yml"}


def test_the_installed_tree_is_the_module_and_the_whole_bundle_and_nothing_else(trees):
    _, installed = trees
    module = {f"{INSTALLED.as_posix()}/{name}" for name in files_in(MODULE) - {"CMakeLists.txt"}}
    bundle = {f"{INSTALLED.as_posix()}/ICHDiagnosisBundle/{name}" for name in expected_bundle()}
    assert "configs/inference.json" in expected_bundle()
    assert {
        path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()
    } == module | bundle


def test_the_bundle_is_installed_and_built_byte_for_byte(trees):
    for tree in trees:
        for name in expected_bundle():
            assert (tree / INSTALLED / "ICHDiagnosisBundle" / name).read_bytes() == (BUNDLE / name).read_bytes()


def test_the_module_finds_its_bundle_in_the_source_the_build_and_the_installed_tree(trees, tmp_path: Path):
    assert find_bundle(MODULE / "ICHDiagnosis.py") == BUNDLE
    for tree in trees:
        found = find_bundle(tree / INSTALLED / "ICHDiagnosis.py")
        assert found == tree / INSTALLED / "ICHDiagnosisBundle"
        assert bundle_identity(found) == bundle_identity(BUNDLE)
        assert "balanced" in operating_points(found)
    with pytest.raises(BundleMissingError, match="Reinstall the extension"):
        find_bundle(tmp_path / "ICHDiagnosis.py")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_bundle_without_operating_points_is_said_to_be_damaged(content: str | None, tmp_path: Path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{}")
    if content is not None:
        (tmp_path / "configs" / "operating_points.json").write_text(content)
    with pytest.raises(BundleMissingError, match="Reinstall the extension"):
        operating_points(tmp_path)


def test_the_installed_module_loads_and_uses_the_bundle_beside_it(trees):
    _, installed = trees
    script = (
        "import sys; from pathlib import Path; import host; host.install()\n"
        "module = host.load_module(Path(sys.argv[1]) / 'ICHDiagnosis.py')\n"
        "import ICHDiagnosisLib; assert Path(ICHDiagnosisLib.__file__).is_relative_to(sys.argv[1])\n"
        "print(sys.modules['ICHDiagnosis'].ICHDiagnosisLogic().bundle_root)"
    )
    place = installed / INSTALLED
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, place],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip().splitlines()[-1]) == place / "ICHDiagnosisBundle"
