"""``python -m scripts.intake`` says which series of a study is read, and reads nothing else."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from dicom_files import Series, head_voxels, write_series

from scripts.intake.__main__ import FAILED, FOUND, main


def test_the_series_that_is_read_is_named_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    study = tmp_path / "study"
    for number, kernel in ((1, "H30s"), (2, "H70h")):
        series = Series(voxels=head_voxels(), study_uid="1.2.3", series_uid=f"1.2.3.{number}", kernel=kernel)
        write_series(study / str(number), series)
    answer = tmp_path / "choice.json"
    with caplog.at_level(logging.INFO):
        assert main(["--study", str(study), "--output", str(answer)]) == FOUND
    (choice,) = json.loads(answer.read_text("utf-8"))
    assert choice["source_name"] == "study"
    assert choice["series_uid"] == "1.2.3.1"
    assert len(choice["sentences"]) == 2
    assert "chosen" in caplog.text
    assert [path.name for path in tmp_path.iterdir() if path != answer] == ["study"]


def test_a_study_of_which_none_is_read_states_why(tmp_path: Path):
    write_series(tmp_path / "study", Series(voxels=head_voxels(), modality="MR"))
    assert main(["--study", str(tmp_path / "study"), "--output", str(tmp_path / "choice.json")]) == FOUND
    (choice,) = json.loads((tmp_path / "choice.json").read_text("utf-8"))
    assert choice["series_uid"] is None
    assert "MR" in choice["sentences"][-1]


def test_a_folder_without_a_study_is_an_error_of_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert main(["--study", str(tmp_path)]) == FAILED
    (record,) = caplog.records
    assert tmp_path.name in record.getMessage()
