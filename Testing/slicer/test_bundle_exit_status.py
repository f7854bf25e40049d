"""How a run of the bundle ended, in sentences: what happened, and the remedy on offer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ICHDiagnosisLib.bundle.exit_status import Ending, Remedy, explain_ending
from process_cases import outcome_of


@pytest.fixture
def a_full_disk(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder on a disk of 256 KiB where mounting is allowed, else the limit on the size of a file."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    yield folder, "disk" if mounted else "file size"
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_offers_its_remedy(a_process, a_request, a_full_disk):
    folder, limit = a_full_disk
    request = a_request("fill_the_disk", limit=limit)
    request = replace(request, output_dir=folder)
    outcome, _ = outcome_of(a_process, request)
    assert outcome.remedy is Remedy.FREE_DISK_SPACE
    assert "cannot write attention.nii.gz" in outcome.message


def test_a_wrong_hash_is_passed_on_as_the_bundle_put_it(a_process, a_request):
    error = "ERROR models/model.pt: sha256 is 0f3a, metadata.json says 9c1d: download the weights again"
    outcome, _ = outcome_of(a_process, a_request("fail", message=error))
    assert outcome.message == error.removeprefix("ERROR ")
    assert outcome.remedy is Remedy.CHECK_INSTALLATION


def test_a_missing_package_in_the_child_points_to_the_installation(a_process, a_request):
    request = a_request("evaluate")
    shutil.rmtree(request.bundle_root / "monai" / "bundle")
    outcome, _ = outcome_of(a_process, request)
    assert outcome.remedy is Remedy.CHECK_INSTALLATION
    assert "No module named" in outcome.message


@pytest.mark.parametrize(
    ("status", "line", "remedy"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Remedy.RUN_ON_CPU),
        (1, "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", Remedy.RUN_ON_CPU),
        (1, "RuntimeError: No CUDA GPUs are available", Remedy.RUN_ON_CPU),
        (
            1,
            "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate",
            Remedy.FREE_MEMORY,
        ),
        (1, "MemoryError", Remedy.FREE_MEMORY),
        (-9, "", Remedy.FREE_MEMORY),
        (0xC0000017, "", Remedy.FREE_MEMORY),
        (1, "OSError: [Errno 28] No space left on device", Remedy.FREE_DISK_SPACE),
        (1, "ModuleNotFoundError: No module named 'monai'", Remedy.CHECK_INSTALLATION),
        (0xC0000005, "", Remedy.RUN_ON_CPU),
        (1, "ERROR study.nii: 4D volumes are not supported", Remedy.READ_LOG),
        (1, "", Remedy.READ_LOG),
    ],
)
def test_known_failures_get_their_remedy(status, line, remedy):
    outcome = explain_ending(status, ["INFO before", line] if line else [])
    assert (outcome.ending, outcome.remedy) == (Ending.FAILED, remedy)
    assert outcome.message
    assert outcome.suggestion


@pytest.mark.parametrize("logger", ["root", "scripts.exit_status"])
def test_the_message_is_the_bundles_own_without_what_its_log_puts_before_it(logger: str):
    outcome = explain_ending(1, [f"2026-11-29 07:50:09,063 ERROR {logger}: ct.nii: 4D volumes are not supported"])
    assert outcome.message == "ct.nii: 4D volumes are not supported"


def test_a_warning_about_the_driver_is_not_taken_for_the_failure():
    tail = ["UserWarning: CUDA initialization: The NVIDIA driver is too old", "ERROR no DICOM file in the folder"]
    outcome = explain_ending(1, tail)
    assert (outcome.message, outcome.remedy) == ("no DICOM file in the folder", Remedy.READ_LOG)
