"""Who may import whom: the contracts hold, and each of them fails where it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
# One forbidden import for each contract: file, what it says.
FORBIDDEN = {
    "research": ("monai_bundle/scripts/intake/planted.py", "def later():\n    from research import metrics\n"),
    "layers": ("monai_bundle/scripts/networks/planted.py", "from ..output import report\n"),
    "bundle-without-slicer": ("monai_bundle/research/planted.py", "import slicer.util\n"),
    "module-without-bundle": ("ICHDiagnosis/ICHDiagnosisLib/panel/planted.py", "import torch\n"),
    "standard-library": ("ICHDiagnosis/ICHDiagnosisLib/result/planted.py", "import numpy as np\n"),
    "module-layers": ("ICHDiagnosis/ICHDiagnosisLib/scene/planted.py", "from ..panel import widgets\n"),
    "reader-study": ("ICHDiagnosis/ICHDiagnosisLib/reader_study/planted.py", "import slicer\n"),
    "qt": ("ICHDiagnosis/ICHDiagnosisLib/batch/planted.py", "def later():\n    import qt\n"),
}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a copy of the packages, as `make lint` does."""
    paths = [root / "monai_bundle", root / "ICHDiagnosis", ROOT / "Testing" / "repository"]
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, str(ROOT / "pyproject.toml"), "--no-logo", "--no-cache"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Copy the Python files of the three packages."""
    for package in ("monai_bundle/scripts", "monai_bundle/research", "ICHDiagnosis/ICHDiagnosisLib"):
        others = shutil.ignore_patterns("__pycache__", "*.json", "*.j2")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=others)
    return tmp_path


def test_the_contracts_hold(packages: Path):
    run = lint_imports(packages)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_contract_fails_where_an_import_breaks_it(packages: Path):
    for path, source in FORBIDDEN.values():
        (packages / path).write_text(f'"""Planted."""\n\n{source}', encoding="utf-8")
    run = lint_imports(packages)
    assert run.returncode == 1
    broken = {contract["id"] for contract in CONTRACTS if f"{contract['name']} BROKEN" in run.stdout}
    assert broken == {contract["id"] for contract in CONTRACTS} == set(FORBIDDEN)
