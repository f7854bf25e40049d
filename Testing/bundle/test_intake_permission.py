"""A file or folder that the user may not read is answered by name, alone and among others."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import Series, head_voxels, write_series

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
SMALL = Series(head_voxels(13, 24, 20))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may enter; pytest closes its own to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for closed in folder.rglob("*"):
        closed.chmod(0o755)
    shutil.rmtree(folder)


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import IntakeError
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    for source in find_studies(Path(sys.argv[2])):
        read_study(source)
except IntakeError as fault:
    print(getattr(fault, "code", "no study"), "|", fault)
"""


def refusal_for_a_user_without_rights(path: Path) -> str:
    """Read a path as a user who is not root, because root may read everything."""
    command = [sys.executable, "-W", "ignore", "-c", AS_NOBODY, str(BUNDLE), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def close(path: Path) -> Path:
    path.chmod(0)
    return path


def make_dicom_folder(folder: Path) -> Path:
    close(write_series(folder / "head", SMALL)[4])
    return folder / "head"


def make_nifti(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(SMALL.voxels, np.eye(4)), folder / "head.nii.gz")
    return close(folder / "head.nii.gz")


def make_closed_folder(folder: Path) -> Path:
    write_series(folder / "head", SMALL)
    return close(folder / "head")


def make_closed_folder_inside(folder: Path) -> Path:
    write_series(folder / "all" / "head", SMALL)
    close(folder / "all" / "head")
    return folder / "all"


def make_nifti_among_others(folder: Path) -> Path:
    (folder / "all").mkdir()
    nib.save(nib.Nifti1Image(SMALL.voxels, np.eye(4)), folder / "all" / "head.nii")
    close(folder / "all" / "head.nii")
    return folder / "all"


def make_zip(folder: Path) -> Path:
    (folder / "all").mkdir()
    (folder / "all" / "head.zip").write_bytes(b"PK")
    close(folder / "all" / "head.zip")
    return folder / "all"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (make_dicom_folder, "no_permission | 2_004.dcm: no permission to read; ask its owner for read access"),
        (make_nifti, "intake.no_permission | head.nii.gz: no permission to read; ask its owner for read access"),
        (make_closed_folder, "intake.no_permission | head: no permission to read; ask its owner for read access"),
        (make_closed_folder_inside, "no_permission | head: no permission to read; ask its owner for read access"),
        (make_nifti_among_others, "no_permission | head.nii: no permission to read; ask its owner for read access"),
        (make_zip, "no_permission | head.zip: no permission to read; ask its owner for read access"),
    ],
)
def test_files_and_folders_without_permission(open_folder: Path, make: Callable[[Path], Path], expected: str):
    assert refusal_for_a_user_without_rights(make(open_folder)) == expected
