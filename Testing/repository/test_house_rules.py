"""The walls of the house: who may import whom, and what every file and the front door must look like."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "monai_bundle"
LIBRARY = ROOT / "ICHDiagnosis" / "ICHDiagnosisLib"
MOST_LINES = 350

# A room may import those before it, never those after it.
DOWNWARDS = ("intake", "networks", "explanation", "output")
# What tools and runs leave in the tree; .gitignore keeps it out of the repository.
LEFT_BY_RUNS = {ROOT / name for name in ("build", "cache", "htmlcov", "output", "runs")}
LEFT_BY_RUNS |= {BUNDLE / name for name in ("cache", "eval", "output", "runs")}


def our_files(folder: Path = ROOT, suffix: str = "") -> Iterator[Path]:
    """Walk the tree without what tools and runs left in it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__")) and path not in LEFT_BY_RUNS:
            yield from our_files(path, suffix)
        elif path.is_file() and path.name.endswith(suffix):
            yield path


def imports_of(source: str, package: str = "") -> set[str]:
    """Return every module that a source imports, at whatever depth; ``package`` resolves relative imports."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules |= {f"{base}.{alias.name}" for alias in node.names}
    return modules


def offenders(files: Iterator[Path], root: Path, forbidden: tuple[str, ...]) -> list[str]:
    """Return ``file imports module`` for each import of a forbidden package."""
    found = []
    for path in files:
        package = ".".join(path.relative_to(root).parent.parts)
        for module in sorted(imports_of(path.read_text(encoding="utf-8"), package)):
            if any(module == name or module.startswith(f"{name}.") for name in forbidden):
                found.append(f"{path.relative_to(root)} imports {module}")
    return found


def room(name: str) -> Iterator[Path]:
    """Return the files of one room of the bundle, be it a folder or a single file."""
    folder, file = BUNDLE / "scripts" / name, BUNDLE / "scripts" / f"{name}.py"
    if folder.is_dir():
        yield from our_files(folder, ".py")
    if file.is_file():
        yield file


def test_the_reader_of_imports_sees_every_way_to_import():
    source = "import a.b\nfrom c import d\ndef f():\n    from scripts import output\n    from ..networks import vgg16\n"
    assert imports_of(source, "scripts.explanation") == {"a.b", "c.d", "scripts.output", "scripts.networks.vgg16"}


def test_a_forbidden_import_is_named(tmp_path: Path):
    (tmp_path / "vgg16.py").write_text(
        "import torch\nimport torchvision\nfrom scripts.output import report\n", encoding="utf-8"
    )
    assert offenders(our_files(tmp_path), tmp_path, ("scripts.output", "torch")) == [
        "vgg16.py imports scripts.output.report",
        "vgg16.py imports torch",
    ]


def test_imports_run_downwards_only():
    found = []
    for place, name in enumerate(DOWNWARDS):
        above = tuple(f"scripts.{upper}" for upper in DOWNWARDS[place + 1 :])
        found += offenders(room(name), BUNDLE, above)
    assert not found


def test_every_room_stands():
    assert [name for name in DOWNWARDS if not list(room(name))] == []


def test_nothing_in_the_bundle_imports_slicer():
    assert not offenders(our_files(BUNDLE / "scripts", ".py"), BUNDLE, ("slicer", "qt", "ctk", "ICHDiagnosisLib"))


def test_nothing_in_the_slicer_library_imports_torch_monai_or_the_bundle():
    files = our_files(LIBRARY, ".py") if LIBRARY.is_dir() else iter(())
    assert not offenders(files, LIBRARY.parent, ("torch", "monai", "scripts"))


def test_result_and_child_process_of_the_slicer_library_need_the_standard_library_alone():
    waiting, seen, found = ["result", "bundle_process"], set(), []
    while waiting:
        seen.add(name := waiting.pop())
        path = LIBRARY / f"{name}.py"
        for module in imports_of(path.read_text(encoding="utf-8"), LIBRARY.name) if path.is_file() else ():
            first, _, rest = module.partition(".")
            neighbour = rest.split(".")[0]
            if first == LIBRARY.name and neighbour not in seen:
                waiting.append(neighbour)
            elif first not in {LIBRARY.name, *sys.stdlib_module_names}:
                found.append(f"{path.name} imports {module}")
    assert not found


def test_every_python_file_says_what_it_is_for():
    files = [path for path in our_files(suffix=".py") if path.read_text(encoding="utf-8").strip()]
    assert len(files) > 10
    assert not [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(ast.parse(path.read_bytes()))]


def test_no_python_file_is_longer_than_one_idea():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in our_files(suffix=".py")}
    assert not {str(path.relative_to(ROOT)): count for path, count in lengths.items() if count > MOST_LINES}


def test_lines_end_the_unix_way():
    texts = {path: path.read_bytes() for path in our_files()}
    assert not [str(path.relative_to(ROOT)) for path, raw in texts.items() if b"\0" not in raw and b"\r\n" in raw]


def test_both_doors_carry_the_same_complete_licence():
    licence = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert (BUNDLE / "LICENSE").read_text(encoding="utf-8") == licence
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_readme_sets_up_with_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Set-up\n(.*?)(?=^## )", readme, re.MULTILINE | re.DOTALL)
    assert section is not None
    blocks = re.findall(r"^```\w*\n(.*?)^```", section.group(1), re.MULTILINE | re.DOTALL)
    commands = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert commands == ["make demo", "make test"]


def test_the_readme_points_only_at_files_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", readme) if "://" not in target]
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_project_bundle_and_changelog_agree_on_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["version"] == version
    assert version in metadata["changelog"]
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_pinned_package_is_locked_at_the_same_version():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    lock = (ROOT / "setup" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {re.sub(r"[-_.]+", "-", line).lower() for line in lock if not line.startswith("#")}
    pins = {re.sub(r"[-_.]+", "-", pin).lower() for group in groups.values() for pin in group if isinstance(pin, str)}
    assert len(pins) > 20
    assert pins <= locked


def test_the_bundle_names_the_versions_that_it_was_tested_with():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    pins = {pin for group in groups.values() for pin in group if isinstance(pin, str)}
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    named = {f"{package}=={version}" for package, version in metadata["required_packages_version"].items()}
    named |= {
        f"{package}=={metadata[f'{key}_version']}"
        for package, key in {"torch": "pytorch", "monai": "monai", "numpy": "numpy"}.items()
    }
    assert named <= pins
