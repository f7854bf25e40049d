"""Before anything is offered it is known which torch this computer can have, how large it is and whether it fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ICHDiagnosisLib.install import computer, sizes
from ICHDiagnosisLib.install.computer import Computer, TorchBuild, this_computer
from ICHDiagnosisLib.install.sizes import free_megabytes, megabytes, missing_room

INTEL_MAC = Computer("Darwin", "x86_64")
ROSETTA = Computer("Darwin", "x86_64", translated=True)
APPLE = Computer("Darwin", "arm64")


@pytest.mark.parametrize("mac", [INTEL_MAC, ROSETTA])
def test_where_no_torch_exists_that_is_stated_with_what_works(mac):
    assert mac.torch_build is TorchBuild.NONE
    assert "no torch newer than 2.2" in mac.obstacle
    assert "terminal" in mac.obstacle


def test_a_translated_slicer_is_told_from_an_intel_mac():
    assert "Rosetta" in ROSETTA.obstacle
    assert "Intel processor" in INTEL_MAC.obstacle


@pytest.mark.parametrize(
    ("here", "build"),
    [
        (APPLE, TorchBuild.APPLE),
        (Computer("Linux", "x86_64"), TorchBuild.CPU),
        (Computer("Windows", "AMD64", nvidia=True), TorchBuild.CUDA),
    ],
)
def test_every_other_computer_has_a_build(here, build):
    assert (here.torch_build, here.obstacle) == (build, "")


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o700)


@pytest.mark.parametrize(
    ("script", "nvidia"),
    [("echo 580.65.06", True), ("echo 'couldn''t communicate with the driver'; exit 9", False), (None, False)],
)
def test_a_graphics_card_counts_where_its_driver_answers(tmp_path, monkeypatch, script, nvidia):
    if script is not None:
        program(tmp_path, "nvidia-smi", script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(computer.platform, "system", lambda: "Linux")
    assert this_computer.__wrapped__().nvidia is nvidia


@pytest.mark.parametrize(("answer", "translated"), [("1", True), ("0", False)])
def test_rosetta_is_found_by_asking_the_system(tmp_path, monkeypatch, answer, translated):
    program(tmp_path, "sysctl", f"echo {answer}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(computer.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(computer.platform, "machine", lambda: "x86_64")
    assert this_computer.__wrapped__() == Computer("Darwin", "x86_64", translated)


def test_the_size_of_torch_is_that_of_the_build_that_comes(monkeypatch):
    shown = {}
    for here in (Computer("Linux", "x86_64"), Computer("Linux", "x86_64", nvidia=True), APPLE):
        monkeypatch.setattr(sizes, "this_computer", lambda here=here: here)
        shown[here.torch_build] = megabytes("torch")
    assert shown[TorchBuild.CUDA] > 4000 > shown[TorchBuild.CPU] > shown[TorchBuild.APPLE] > 0


def test_a_disk_that_is_too_full_is_found_before_anything_is_downloaded(tmp_path):
    assert missing_room(1000, tmp_path, lambda _: 5000) is None
    full = missing_room(1000, tmp_path / "not there yet", lambda _: 900)
    assert full is not None
    assert (full[1] >= 1000, full[2]) == (True, 900)
    assert free_megabytes(tmp_path) > 0


def test_the_sizes_are_those_that_the_script_measures():
    script = Path(__file__).parents[2] / "setup" / "installed_sizes.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    measured = {name: float(size) for name, size in (line.split() for line in done.stdout.splitlines()[1:-1])}
    stated = {**sizes.APPROXIMATE_MEGABYTES, "torch": sizes.TORCH_MEGABYTES[TorchBuild.CPU]}
    assert set(measured) == set(stated)
    # Versions differ from one computer to the next, and a whole number is all that is shown.
    wrong = {
        name: (measured[name], stated[name])
        for name in stated
        if not stated[name] / 2 <= measured[name] + 1 <= stated[name] * 2 + 1
    }
    assert wrong == {}
