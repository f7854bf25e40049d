"""Two heads of DICOM files, and what a test asks of the study that is read from a folder of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from dicom_files import Series, head_voxels
from numpy.typing import NDArray

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy

HEAD = head_voxels(24, 48, 48, (3.4, 3.4))
OTHER = head_voxels(24, 48, 48, (3.8, 3.8))
SMALL = Series(HEAD, pixel_spacing=(3.4, 3.4))


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one example: hypothesis keeps pytest's own from one to the next."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


def read(path: Path) -> CTStudy:
    (source,) = find_studies(path)
    return read_study(source)


def codes(study: CTStudy) -> list[str]:
    return [warning.code for warning in study.warnings]


def sentences(study: CTStudy) -> str:
    return "\n".join(map(str, study.provenance.series_choice))


def assert_is(study: CTStudy, voxels: NDArray[np.int16]) -> None:
    np.testing.assert_array_equal(study.voxels, voxels)
