"""An analysis, its settings and its temporary folder, for the tests of the Slicer half.

Test files name this module in ``pytest_plugins``; nothing imports it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The library needs the application, which this stands in for.
from slicer_logic_cases import BUNDLE

# isort: split
from ICHDiagnosisLib.bundle_run import BundleRun, RunSettings
from ICHDiagnosisLib.logic import AnalysisLogic


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where inputs are written for the bundle; nothing may be left there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def a_logic(temporary: Path) -> Callable[..., AnalysisLogic]:
    def make(runner: object, **seams: object) -> AnalysisLogic:
        run = BundleRun(runner, Path(sys.executable), BUNDLE, temporary)
        return AnalysisLogic(run, **{"findMissing": tuple, **seams})

    return make


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    return RunSettings(tmp_path / "résultats", device="cpu")
