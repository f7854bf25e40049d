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
    lines = demo.summary(a_result(), REPORT, truth={"subdural": 30.2}).splitlines()
    assert lines[0] == "head: Research use only."
    assert lines[1] == "Intracranial haemorrhage likely (91 %), no single type stands out. Read."
    assert lines[2].split() == ["finding", "probability", "threshold", "result", "truth"]
    assert lines[3].split()[-4:] == ["0.913", "0.500", "positive", "present"]
    assert lines[4].split()[-4:] == ["0.071", "0.500", "negative", "absent"]
    assert lines[5].split()[-4:] == ["0.250", "0.500", "negative", "present"]
    assert lines[6].startswith("head is a phantom")
    assert lines[7] == f"Report: {REPORT}"


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
    lines = demo.summary(a_result(), REPORT, truth={}).splitlines()
    assert [line.split()[-1] for line in lines[3:6]] == ["absent"] * 3


def with_volumes(*volumes: dict[str, object]) -> dict[str, object]:
    return a_result() | {"lesions": {"volumes": list(volumes)}}


VOLUMES: tuple[dict[str, object], ...] = (
    {"group": "total", "ml": 61.3, "low_ml": 49.0, "high_ml": 77.2},
    {"group": "extra_axial", "ml": 39.2, "low_ml": 30.0, "high_ml": 48.4},
    {"group": "subarachnoid", "ml": 22.1, "low_ml": None, "high_ml": None},
)


def test_the_true_volume_stands_beside_each_volume_that_was_found_or_is_there():
    truth = {"epidural": 10.0, "subdural": 30.2, "intraparenchymal": 29.84}
    lines = demo.summary(with_volumes(*VOLUMES), REPORT, truth).splitlines()
    assert lines[6].split() == ["volume", "of", "blood", "ml", "interval", "truth"]
    assert lines[7].split() == ["Total", "61.3", "(49.0", "to", "77.2)", "70.0", "ml"]
    assert lines[8].split() == ["Parenchymal", "0.0", "29.8", "ml"]
    assert lines[9].split() == ["Subarachnoid", "22.1", "0.0", "ml"]
    assert lines[10].split()[-5:] == ["(30.0", "to", "48.4)", "40.2", "ml"]


def test_a_head_without_blood_in_which_none_is_found_has_a_total_of_nothing():
    lines = demo.summary(with_volumes(), REPORT, {}).splitlines()
    assert lines[7].split() == ["Total", "0.0", "0.0", "ml"]
    assert lines[8].startswith("head is a phantom")


def test_a_study_of_ones_own_has_volumes_without_a_truth():
    lines = demo.summary(with_volumes(*VOLUMES), REPORT).splitlines()
    assert lines[8].split() == ["Subarachnoid", "22.1"]


def test_a_network_without_a_lesion_decoder_states_no_volume():
    for lesions in ({}, {"lesions": None}):
        assert "volume" not in demo.summary(a_result() | lesions, REPORT)


def test_the_sentence_names_what_was_found_missed_and_found_without_being_there():
    findings = [
        a_finding("any", "Any", 0.9, positive=True),
        a_finding("epidural", "Epidural", 0.8, positive=True),
        a_finding("intraparenchymal", "Parenchymal", 0.7, positive=True),
        a_finding("subdural", "Subdural", 0.1, positive=False),
    ]
    assert demo.statement("head", findings, {"intraparenchymal": 30.0, "subdural": 12.4}) == (
        "head is a phantom, computed and no patient, with 42 ml of blood: found: Any, Parenchymal; missed: Subdural; "
        "found although not there: Epidural."
    )


def test_the_sentence_states_that_nothing_was_missed_or_wrongly_found():
    positive = [a_finding("any", "Any", 0.9, positive=True), a_finding("subdural", "Subdural", 0.9, positive=True)]
    negative = [a_finding("any", "Any", 0.1, positive=False), a_finding("subdural", "Subdural", 0.1, positive=False)]
    assert demo.statement("head", positive, {"subdural": 30.0}).endswith(
        "found: Any, Subdural; nothing was missed; nothing was found that is not there."
    )
    assert demo.statement("head", negative, {}) == (
        "head is a phantom, computed and no patient, without blood: nothing was found that is not there."
    )


def test_a_missed_haemorrhage_is_stated_although_nothing_was_found():
    findings = [a_finding("any", "Any", 0.1, positive=False), a_finding("subdural", "Subdural", 0.1, positive=False)]
    text = demo.statement("head", findings, {"subdural": 30.0})
    assert "missed: Any, Subdural" in text
    assert "found: " not in text


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
