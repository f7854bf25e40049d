"""What the module may import as soon as one of its files is imported; the import-linter contracts hold the rest."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from package_build import MODULE, ROOT

ALLOWED_AT_FILE_SCOPE = {"vtk", "qt", "ctk", "slicer", "numpy", "ICHDiagnosisLib", *sys.stdlib_module_names}


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
