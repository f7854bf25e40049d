"""A study whose result cannot be written: the others are evaluated all the same, unless the disk itself refuses."""

from __future__ import annotations

import errno
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_diagnosis import MODEL, a_diagnosis
from torch import nn

from scripts.calibration import identity
from scripts.diagnosis import Diagnosis
from scripts.exit_status import one_line
from scripts.inferer import StudyReading
from scripts.intake.discovery import StudySource
from scripts.intake.study import NotEvaluableError
from scripts.labels import RSNA
from scripts.output import result
from scripts.output.folder import OutputFolderError
from scripts.progress import Progress
from scripts.settings import SettingError
from scripts.study_evaluator import Reader, StudyDataset, StudyEvaluator
from scripts.weights import labels_without_training

torch.set_num_threads(1)

UNCALIBRATED = identity([label.key for label in RSNA])

REFUSED = NotEvaluableError("too_few_slices", slices=7, least=12)


class MadeUpEvaluator(StudyEvaluator):
    """Writes diagnoses that are made up instead of read; loop, folders and counts are the evaluator's own."""

    def __init__(self, entries: Sequence[dict[str, Any]], output_dir: Path) -> None:
        super().__init__(
            device=torch.device("cpu"),
            val_data_loader=entries,
            network=nn.Identity(),
            inferer=lambda *_, **__: None,
            reader=Reader(MODEL, RSNA, "balanced", (0.5,) * len(RSNA), UNCALIBRATED),
            output_dir=output_dir,
            progress=Progress(studies=len(entries)),
        )

    def _diagnosis(self, study_id: str, entry: dict[str, Any], reading: StudyReading) -> Diagnosis:
        return replace(entry["diagnosis"], study_id=study_id)


def an_entry(study_id: str, **content: Any) -> dict[str, Any]:
    return {"source": StudySource(study_id, study_id, Path(study_id))} | content


def a_diagnosis_that_is_no_number() -> Diagnosis:
    diagnosis = a_diagnosis()
    return replace(diagnosis, findings=(replace(diagnosis.findings[0], probability=math.nan), *diagnosis.findings[1:]))


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.ERROR]


def test_a_foreign_folder_in_the_place_of_one_result_leaves_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "slice.dcm").write_bytes(b"pixels")
    evaluator = MadeUpEvaluator([an_entry(name, refusal=REFUSED) for name in ("first", "second", "third")], tmp_path)
    evaluator.run()
    assert [refusal.study_id for refusal in evaluator.refusals] == ["first", "third"]
    assert evaluator.failures == ["second"]
    assert (tmp_path / "third" / "result.json").is_file()
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["slice.dcm"]
    [error] = errors(caplog)
    assert error.startswith("second: no result: 'second' exists and is no result of an earlier run")


def test_a_result_that_is_no_number_leaves_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    broken, good = a_diagnosis_that_is_no_number(), a_diagnosis()
    evaluator = MadeUpEvaluator([an_entry("broken", diagnosis=broken), an_entry("good", diagnosis=good)], tmp_path)
    evaluator.run()
    assert (evaluator.diagnoses, evaluator.failures) == (["good"], ["broken"])
    assert [path.name for path in tmp_path.iterdir()] == ["good"]
    [error] = errors(caplog)
    assert "findings[0].probability is nan" in error
    assert "\n" not in error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_refuses_stops_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int):
    asked: list[Path] = []

    def refused(path: Path, _content: bytes) -> None:
        asked.append(path)
        raise OSError(code, "refused")

    monkeypatch.setattr(result, "write_file", refused)
    evaluator = MadeUpEvaluator([an_entry(name, refusal=REFUSED) for name in ("first", "second")], tmp_path)
    with pytest.raises(OutputFolderError):
        evaluator.run()
    assert len(asked) == 1
    assert evaluator.failures == []


def test_a_disk_that_refuses_is_an_expected_error_of_the_run(tmp_path: Path):
    (tmp_path / "output").write_text("a file")
    with pytest.raises(OutputFolderError) as caught:
        MadeUpEvaluator([an_entry("first", refusal=REFUSED)], tmp_path / "output").run()
    assert one_line(caught.value) == str(caught.value)


class UnforeseenError(Exception):
    """Nothing that the bundle knows of."""


def raising_transform(error: Exception) -> Callable[[Any], Any]:
    def transform(entry: Any) -> Any:
        raise error

    return transform


def test_an_unforeseen_error_in_reading_one_study_leaves_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    dataset = StudyDataset([an_entry("broken")["source"]], raising_transform(UnforeseenError("odd\nfile")))
    evaluator = MadeUpEvaluator([dataset[0], an_entry("good", diagnosis=a_diagnosis())], tmp_path)
    evaluator.run()
    assert (evaluator.diagnoses, [refusal.study_id for refusal in evaluator.refusals]) == (["good"], ["broken"])
    reason = json.loads((tmp_path / "broken" / "result.json").read_text(encoding="utf-8"))["reason"]
    assert reason["code"] == "unforeseen_error"
    assert reason["message"] == "broken: could not be read: UnforeseenError: odd file; the log has the details"
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert "UnforeseenError" in caplog.text


@pytest.mark.parametrize("error", [UnforeseenError("odd"), RuntimeError("size mismatch")])
def test_an_unforeseen_error_in_evaluating_one_study_leaves_the_others(tmp_path: Path, error: Exception):
    class Failing(MadeUpEvaluator):
        def _diagnosis(self, study_id: str, entry: dict[str, Any], reading: StudyReading) -> Diagnosis:
            if study_id == "broken":
                raise error
            return super()._diagnosis(study_id, entry, reading)

    entries = [an_entry(name, diagnosis=a_diagnosis()) for name in ("broken", "good")]
    evaluator = Failing(entries, tmp_path)
    evaluator.run()
    assert (evaluator.diagnoses, evaluator.failures, evaluator.refusals) == (["good"], ["broken"], [])


@pytest.mark.parametrize(
    "error", [SettingError("settings.device", device="cuda", fault="gone"), torch.cuda.OutOfMemoryError("2 GiB")]
)
def test_what_is_wrong_with_the_run_ends_it(tmp_path: Path, error: Exception):
    class Failing(MadeUpEvaluator):
        def _diagnosis(self, study_id: str, entry: dict[str, Any], reading: StudyReading) -> Diagnosis:
            raise error

    evaluator = Failing([an_entry(name, diagnosis=a_diagnosis()) for name in ("first", "second")], tmp_path)
    with pytest.raises(type(error)):
        evaluator.run()
    assert evaluator.refusals == []


def test_a_label_that_the_network_never_learnt_is_no_finding():
    reader = Reader(MODEL, RSNA, "balanced", (0.5,) * len(RSNA), UNCALIBRATED, unanswered=("epidural",))
    found = [finding.label.key for finding in reader.findings([4.0] * len(RSNA))]
    assert found == [label.key for label in RSNA if label.key != "epidural"]


def test_the_note_beside_weights_states_which_labels_they_never_learnt(tmp_path: Path):
    assert labels_without_training(tmp_path, None) == ()
    assert labels_without_training(tmp_path, "model.pt") == (), "no note"
    for content, stated in (('{"labels_without_training": ["mass_effect"]}', ("mass_effect",)), ("[]", ()), ("{", ())):
        (tmp_path / "model.json").write_text(content, encoding="utf-8")
        assert labels_without_training(tmp_path, "model.pt") == stated
