"""Folders of results for the worklist's tests: real result folders of made-up studies, and many lines without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sample_diagnosis import NEGATIVE, a_diagnosis, a_refusal, with_lesions

from scripts.output.result import write_refusal_folder, write_result_folder
from scripts.worklist.entries import WorklistEntry
from scripts.worklist.failures import write_failure

HOSTILE_REASON = "</script><script>window.hacked = 1</script><img src='x' onerror='window.hacked = 2'>\"'&"


def write_results(root: Path) -> None:
    """Write one study of each kind: with and without lesions, negative, not evaluable, failed."""
    write_result_folder(with_lesions(a_diagnosis(study_id="subdural")), root)
    write_result_folder(a_diagnosis(study_id="likely without volume"), root)
    write_result_folder(a_diagnosis(probabilities=NEGATIVE, study_id="größer & negative"), root)
    write_refusal_folder(replace(a_refusal(), study_id="=seven slices"), root)
    write_failure(root, "killed three workers", HOSTILE_REASON)


def an_entry(number: int = 1, **changes: object) -> WorklistEntry:
    """A study whose haemorrhage is likely; what is given stands in the place of that."""
    entry = WorklistEntry(
        study_id=f"study-{number:05d}",
        folder=f"study-{number:05d}",
        status="evaluated",
        impression="haemorrhage_likely",
        certainty="positive",
        text=f"Intracranial haemorrhage likely: subdural ({number % 97} %)",
        probability=round(number % 1000 / 1000, 4),
    )
    return replace(entry, **changes)
