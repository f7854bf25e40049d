"""The extension as Slicer's build and the Extensions Index see it: lists, metadata and rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import publish
import pytest
from PIL import Image

from ICHDiagnosisLib.messages import message
from package_build import MODULE, ROOT, files_in

ENTRY = json.loads((ROOT / "ICHDiagnosis.json").read_text(encoding="utf-8"))
# The one place that holds the repository's address, which is known when it is published only.
REPOSITORY = ENTRY["scm_url"].removeprefix("https://github.com/").removesuffix(".git")
ADDRESS = f"https://raw.githubusercontent.com/{REPOSITORY}/{publish.BRANCH}/"
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
    assert repository[1].startswith("Slicer")
    project = re.search(r"project\s*\(\s*([^\s)]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert project is not None
    assert project[1] == "ICHDiagnosis" == listed("MODULE_PYTHON_SCRIPTS")[0].removesuffix(".py")
    assert not project[1].lower().startswith("slicer")


def test_the_metadata_are_all_there_each_on_one_line_and_agree_with_the_entry():
    found = metadata()
    assert set(found) == {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    assert (
        found["DEPENDS"].split()
        == json.loads((ROOT / "ICHDiagnosis.json").read_text(encoding="utf-8"))["build_dependencies"]
    )
    assert "Research use only" in found["DESCRIPTION"]
    assert found["HOMEPAGE"].startswith(f"https://github.com/{REPOSITORY}")
    assert "5.10" in found["DESCRIPTION"]


def test_page_and_module_state_versions_sizes_and_terms():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for text in (readme, message("module.help")):
        assert all(part in text for part in ("3D Slicer 5.10 or newer", "1.1 GB", "5 GB", "Intel", "non-commercial"))
    # With the command that measures them.
    assert "setup/installed_sizes.py" in readme


def test_icon_and_screenshots_lie_where_their_addresses_say():
    found = metadata()
    addresses = [found["ICONURL"], *found["SCREENSHOTURLS"].split()]
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


def test_a_shallow_clone_is_small_enough_for_the_index():
    if not (ROOT / ".git").exists():
        pytest.fail("the size of a clone is known in a clone only")
    assert 5 < publish.shallow_clone_megabytes(ROOT) < publish.LIMIT_MEGABYTES


# Publishing


def test_every_rule_of_the_index_that_needs_no_network_is_kept():
    assert publish.faults(ROOT) == []


@pytest.fixture
def a_copy(tmp_path: Path) -> Path:
    """The repository's pages without its code, as a repository of its own."""
    for name in ("ICHDiagnosis.json", "CMakeLists.txt", "README.md", "CITATION.cff", "LICENSE.txt", "Resources"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for name in ("ICHDiagnosis/CMakeLists.txt", "monai_bundle/configs/metadata.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


def test_another_address_is_put_everywhere_and_no_rule_is_broken_by_it(a_copy: Path):
    changed = publish.put_address(a_copy, "https://github.com/some-hospital/SlicerICHDiagnosis.git")
    assert {"ICHDiagnosis.json", "CMakeLists.txt", "CITATION.cff"} <= set(changed)
    assert publish.stated_address(a_copy) == "https://github.com/some-hospital/SlicerICHDiagnosis"
    assert publish.faults(a_copy) == []
    left = [path.name for path in a_copy.iterdir() if path.is_file() and REPOSITORY in path.read_text(encoding="utf-8")]
    assert left == []


@pytest.mark.parametrize(
    "address", ["https://example.org/a/b", "somebody/SlicerICHDiagnosis", "https://github.com/one"]
)
def test_what_is_no_address_of_a_repository_is_refused(a_copy: Path, address: str):
    with pytest.raises(ValueError, match="not of the form"):
        publish.put_address(a_copy, address)


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("ICHDiagnosis.json", "SlicerICHDiagnosis", "ICH", "does not begin with Slicer"),
        ("ICHDiagnosis.json", '"tier"', '"level"', "does not follow schema"),
        ("ICHDiagnosis.json", '["PyTorch"]', "[]", "different dependencies"),
        ("ICHDiagnosis.json", '"scm_revision": ""', '"scm_revision": "main"', "must be there and empty"),
        ("CMakeLists.txt", "project(ICHDiagnosis)", "project(SlicerICH)", "not named like the extension"),
        ("CMakeLists.txt", "screenshot_result.png", "nowhere.png", "no image lies where"),
        ("CMakeLists.txt", "non-commercial", "any", "terms of the weights"),
        ("CMakeLists.txt", "EXTENSION_ICONURL", "EXTENSION_ICON", "lacks ICONURL"),
        ("README.md", "\n## Modules\n", "\n## Parts\n", "no sentence for the module"),
        ("README.md", "test host", "application", "what the screenshots were made in"),
        ("README.md", "Apache-2.0", "a licence", "does not name the licence"),
    ],
)
def test_a_broken_rule_is_found(a_copy: Path, name: str, old: str, new: str, fault: str):
    path = a_copy / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert any(fault in found for found in publish.faults(a_copy))
