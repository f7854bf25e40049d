"""A folder of studies and a batch, for the tests of the Slicer half.

Test files name this module in ``pytest_plugins``; nothing imports it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import slicer

# The library needs the application, which this stands in for.
from slicer_scene_cases import GEOMETRIES, SHAPE, a_ct

# isort: split
from reading_runner import ReadingRunner

from ICHDiagnosisLib.batch import Batch
from ICHDiagnosisLib.bundle_run import BundleRun
from ICHDiagnosisLib.volume_file import writeStoredVoxels
from slicer_logic_cases import BUNDLE


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Three entries: a volume file, a folder with two studies, and a volume that cannot be evaluated."""
    folder = tmp_path / "studies"
    (folder / "b two").mkdir(parents=True)
    ct = a_ct(GEOMETRIES["oblique"])
    written = writeStoredVoxels(ct, folder / "a.nrrd")
    for name in ("first", "second"):
        shutil.copy(written, folder / "b two" / f"{name}.nrrd")
    slicer.util.updateVolumeFromArray(ct, np.zeros(SHAPE[::-1], dtype=np.int16))
    writeStoredVoxels(ct, folder / "c.nrrd")
    slicer.mrmlScene.RemoveNode(ct)
    (folder / "notes.txt").write_text("not a study")
    (folder / ".hidden").mkdir()
    return folder


@pytest.fixture
def a_batch(temporary: Path) -> Callable[..., Batch]:
    def make(runner: ReadingRunner, **seams: object) -> Batch:
        run = BundleRun(runner, Path(sys.executable), BUNDLE, temporary)
        return Batch(run, **{"findMissing": tuple, **seams})

    return make
