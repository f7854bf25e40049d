"""Paths of results stay within the 260 characters that every Windows opens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ICHDiagnosisLib.analysis import CannotStartError, check_output_folder
from ICHDiagnosisLib.batch.table import output_folders
from ICHDiagnosisLib.bundle.run import LONGEST_PATH, leaves_room, run_folder
from scripts.intake.study_id import unique_ids
from scripts.labels import VOCABULARIES

NAMES = st.text(min_size=1, max_size=300)
DEPTHS = st.integers(min_value=1, max_value=250)
LONGEST_FILE = max(
    [f"gradcam_{label.key}.nii.gz" for labels in VOCABULARIES.values() for label in labels]
    + ["feature_attention.nii.gz", "lesion_subtypes.nii.gz", "result.json", "report.html"],
    key=len,
)


def longest_below(folder: Path, name: str) -> int:
    """Return the length of the longest path of a result in a run's folder, its study named by the bundle."""
    study = unique_ids([name, name], ["first", "second"])[0]
    return max(len(str(folder / study / LONGEST_FILE)), len(str(folder / f".{'0' * 32}.partial" / LONGEST_FILE)))


@given(name=NAMES, depth=DEPTHS)
def test_no_result_of_one_volume_has_a_longer_path(name: str, depth: int):
    output_folder = Path("/" + "o" * depth)
    if leaves_room(output_folder):
        assert longest_below(run_folder(output_folder, name), name) <= LONGEST_PATH


@given(name=NAMES, depth=DEPTHS)
def test_no_result_of_a_batch_has_a_longer_path(name: str, depth: int):
    output_folder = Path("/" + "o" * depth)
    if leaves_room(output_folder):
        for folder in output_folders([name] * 12, output_folder):
            assert longest_below(folder, name) <= LONGEST_PATH


def test_a_usual_folder_leaves_room_for_a_usual_name():
    documents = Path("C:/Users/somebody/Documents/ICHDiagnosis")
    assert leaves_room(documents)
    assert run_folder(documents, "5: Head/4.8 mm brain").name.startswith("5_ Head_4.8 mm brain ")


def test_a_folder_that_is_too_deep_for_windows_is_refused_there_alone(monkeypatch: pytest.MonkeyPatch):
    deep = Path("/" + "d" * 200)
    monkeypatch.setattr(sys, "platform", "linux")
    check_output_folder(deep)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(CannotStartError, match="too long a path for Windows"):
        check_output_folder(deep)
