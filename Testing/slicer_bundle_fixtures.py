"""A stand-in for the bundle, requests to run it, and a process to run it in, for the tests of the Slicer half.

Test files name this module in ``pytest_plugins``; nothing imports it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle_command import BundleRequest
from ICHDiagnosisLib.bundle_process import BundleProcess

STAND_IN = Path(__file__).parent / "stand_in_bundle"


@pytest.fixture
def a_bundle(tmp_path: Path) -> Path:
    return shutil.copytree(STAND_IN, tmp_path / "Bündel für 脑 CT")


@pytest.fixture
def a_request(a_bundle: Path, tmp_path: Path) -> Callable[..., BundleRequest]:
    study = tmp_path / "Étude n° 1 (tête)"
    study.mkdir()

    def build(behaviour: str, **settings: str) -> BundleRequest:
        overrides = {"behaviour": behaviour, **settings}
        return BundleRequest(sys.executable, a_bundle, study, tmp_path / "résultats d'un jour", overrides=overrides)

    return build


@pytest.fixture
def a_process() -> Iterator[BundleProcess]:
    process = BundleProcess()
    yield process
    process.close()
