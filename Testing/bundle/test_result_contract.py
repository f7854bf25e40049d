"""The Slicer half reads what the bundle writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sample_diagnosis import a_diagnosis, a_refusal, a_study, with_slice_labels

from ICHDiagnosisLib.result.reader import read_result
from scripts.output.impression import impression
from scripts.output.result import write_refusal_folder, write_result_folder


def test_impression_findings_and_slices_arrive(tmp_path: Path):
    uids = tuple(f"1.2.{index}" for index in range(12))
    diagnosis = a_diagnosis(a_study(sop_instance_uids=uids))
    first, *others = diagnosis.findings
    diagnosis = with_slice_labels(replace(diagnosis, findings=(replace(first, default_threshold=True), *others)))
    read = read_result(write_result_folder(diagnosis, tmp_path))
    written = impression(diagnosis.findings)
    assert (read.impression.code, read.impression.text, read.impression.caution) == (
        written.code,
        written.text,
        written.caution,
    )
    assert read.impression.certainty.value == written.certainty
    assert [finding.probability for finding in read.findings] == [entry.probability for entry in diagnosis.findings]
    assert [finding.default_threshold for finding in read.findings] == [True] + [False] * len(others)
    assert [entry.attention for entry in read.slices] == [entry.attention for entry in diagnosis.slices]
    assert [entry.probabilities for entry in read.slices] == [entry.probabilities for entry in diagnosis.slices]
    assert tuple(entry.sop_instance_uid for entry in read.slices) == uids


def test_a_refusal_arrives_without_an_impression(tmp_path: Path):
    read = read_result(write_refusal_folder(a_refusal(), tmp_path))
    assert read.impression is None
    assert not read.findings
