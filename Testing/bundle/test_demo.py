"""The demo: what the terminal shows of a result, and how a user's mistake ends."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from scripts import demo

REPORT = Path("results/head/report.html")


def a_finding(key: str, name: str, probability: float, *, positive: bool) -> dict[str, object]:
    return {
        "key": key,
        "name": name,
        "probability": probability,
        "threshold": 0.5,
        "default_threshold": False,
        "positive": positive,
    }


def a_result() -> dict[str, object]:
    return {
        "schema": "ich-diagnosis-result/2",
        "status": "evaluated",
        "impression": {"text": "Intracranial haemorrhage likely (91 %), no single type stands out", "caution": "Read."},
        "study": {"source_name": "head", "quality": []},
        "slices": [],
        "model": {"notice": "Research use only."},
        "findings": [
            a_finding("any", "Any intracranial haemorrhage", 0.913, positive=True),
            a_finding("epidural", "Epidural haemorrhage", 0.071, positive=False),
            a_finding("subdural", "Subdural haemorrhage", 0.25, positive=False),
        ],
    }


def test_the_truth_stands_beside_each_finding():
    lines = demo.summary(a_result(), REPORT, truth=("subdural",)).splitlines()
    assert lines[0] == "head: Research use only."
    assert lines[1] == "Intracranial haemorrhage likely (91 %), no single type stands out. Read."
    assert lines[2].split() == ["finding", "probability", "threshold", "result", "truth"]
    assert lines[3].split()[-4:] == ["0.913", "0.500", "positive", "present"]
    assert lines[4].split()[-4:] == ["0.071", "0.500", "negative", "absent"]
    assert lines[5].split()[-4:] == ["0.250", "0.500", "negative", "present"]
    assert lines[6] == f"Report: {REPORT}"


def test_a_default_threshold_has_a_star_and_a_sentence():
    result = a_result()
    result["findings"] = [
        a_finding("subdural", "Subdural haemorrhage", 0.7, positive=True) | {"default_threshold": True}
    ]
    lines = demo.summary(result, REPORT).splitlines()
    assert lines[3].split()[-2:] == ["0.500*", "positive"]
    assert lines[4].startswith("* Default threshold: ")


def test_a_result_of_version_1_has_its_impression_composed():
    result = a_result() | {"schema": "ich-diagnosis-result/1"}
    del result["impression"]
    findings = [
        a_finding("any", "Any intracranial haemorrhage", 0.23, positive=False),
        a_finding("subdural", "Subdural haemorrhage", 0.7, positive=True),
    ]
    for finding in findings:
        del finding["default_threshold"]
    result["findings"] = findings
    assert "contradictory, “any haemorrhage” stays below its operating point (23 %)." in demo.summary(result, REPORT)


def test_a_head_without_haemorrhage_has_no_haemorrhage_of_any_kind():
    lines = demo.summary(a_result(), REPORT, truth=()).splitlines()
    assert [line.split()[-1] for line in lines[3:6]] == ["absent"] * 3


def test_no_truth_is_claimed_for_the_users_own_study():
    text = demo.summary(a_result(), REPORT)
    assert "truth" not in text
    assert "present" not in text


def test_a_refused_study_shows_its_reason():
    refused = a_result() | {
        "status": "not_evaluable",
        "reason": {"code": "few", "message": "7 slices, at least 12 needed"},
    }
    assert demo.summary(refused, REPORT).splitlines()[0] == "head: not evaluable: 7 slices, at least 12 needed"


def test_results_of_an_earlier_run_are_not_shown_again(tmp_path: Path):
    for name in ("old", "renewed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}", encoding="utf-8")
    before = demo.result_files(tmp_path)
    os.utime(tmp_path / "renewed" / "result.json", ns=(1, 1))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "result.json").write_text("{}", encoding="utf-8")
    assert [file.parent.name for file in demo.fresh_results(tmp_path, before)] == ["new", "renewed"]


def test_a_study_that_does_not_exist_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        status = demo.main(["--study", str(tmp_path / "nowhere"), "--output", str(tmp_path)])
    assert status == 1
    assert "nowhere does not exist" in caplog.text


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit(130)", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 1),
    ],
)
def test_the_exit_status_of_the_bundle_is_handed_on(ending: str, status: int):
    assert demo.run_python(["-c", ending]) == status
