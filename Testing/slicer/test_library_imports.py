"""Who may import whom in the module's library, and what may be imported as soon as a file is."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from package_build import MODULE, ROOT

LIBRARY = MODULE / "ICHDiagnosisLib"
ALLOWED_AT_FILE_SCOPE = {"vtk", "qt", "ctk", "slicer", "numpy", "ICHDiagnosisLib", *sys.stdlib_module_names}
# What each sub-package may import of the library beside itself; "messages" is one file of the standard library alone.
ROOMS = {
    "bundle": {"messages"},
    "result": {"messages"},
    "install": {"messages", "bundle"},
    "scene": {"messages", "result"},
    "batch": {"messages", "bundle", "install", "result", "scene", "analysis", "parameters"},
    "panel": {
        "messages",
        "bundle",
        "install",
        "result",
        "scene",
        "batch",
        "analysis",
        "parameters",
        "history",
        "logic",
    },
}
STANDARD_LIBRARY_ALONE = ("bundle", "result", "install")


def imports_of(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at whatever depth, by its full name."""
    package = ["ICHDiagnosisLib", *path.relative_to(LIBRARY).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def files_of(room: str) -> list[Path]:
    files = sorted((LIBRARY / room).glob("*.py"))
    assert len(files) > 3
    return files


@pytest.mark.parametrize("room", ROOMS)
def test_a_sub_package_imports_only_what_lies_below_it(room: str):
    found = []
    for path in files_of(room):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "ICHDiagnosisLib" and parts[1] not in {room, *ROOMS[room]}:
                found.append(f"{path.name} imports {name}")
    assert found == []


@pytest.mark.parametrize("room", STANDARD_LIBRARY_ALONE)
def test_bundle_result_and_installation_need_the_standard_library_alone(room: str):
    # The installers ask Slicer, inside their functions, at the moment of an installation.
    files = [path for path in (*files_of(room), LIBRARY / "messages.py") if path.name != "installers.py"]
    allowed = {"ICHDiagnosisLib", "__future__", *sys.stdlib_module_names}
    found = [f"{path.name} imports {name}" for path in files for name in imports_of(path)]
    assert [entry for entry in found if entry.rpartition(" ")[2].split(".")[0] not in allowed] == []


def test_only_the_panel_knows_qt():
    files = [path for path in LIBRARY.rglob("*.py") if path.parent.name != "panel"]
    assert len(files) > 30
    assert [path.name for path in files if {"qt", "ctk"} & {name.split(".")[0] for name in imports_of(path)}] == []


def test_nothing_imports_torch_monai_or_the_bundles_own_code():
    found = {name.split(".")[0] for path in LIBRARY.rglob("*.py") for name in imports_of(path)}
    assert {"slicer", "ICHDiagnosisLib"} <= found
    assert found & {"torch", "monai", "scripts", "research"} == set()


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
