"""What goes back of a study without a result: a notice that it was not evaluated, and why."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.dicom_node.result_objects import ResultObjects
from scripts.dicom_node.settings import NodeSettings
from scripts.dicom_node.study_queue import IMAGES_ABSENT, QueuedStudy, State
from scripts.messages import ENGLISH, Translation
from scripts.output.folder import RESULT_FILE

_METADATA = Path(__file__).parents[2] / "configs" / "metadata.json"
_PROGRAM = "ICHDiagnosis"

SEVERAL_PATIENTS, NO_RESULT = "several_patients", "no_result"
"""Causes besides those of the intake (section ``intake`` of the catalogue) and :data:`IMAGES_ABSENT`."""

_REFUSED = ("report.do_read", "report.do_check", "report.do_export")
_ANNOUNCED = ("report.do_read", "not_evaluated.do_send")
_MIXED = ("report.do_read", "not_evaluated.do_check")
_FAILED = ("report.do_read", "not_evaluated.do_tell")


def notice_of(study: QueuedStudy, settings: NodeSettings) -> ResultObjects:
    """Return what writes the notice of a study without a result; it raises what :func:`notices` raises.

    Parameters
    ----------
    study : QueuedStudy
        With its cause.
    settings : NodeSettings
        The language of readings is the notice's.
    """
    translate = Translation(str(settings.reading.arguments.get("language", ENGLISH)))

    def write(result_folder: Path, series_files: Sequence[Path], target_folder: Path) -> Sequence[Path]:
        # Imported when a first study needs it: the packages take seconds and 100 MB.
        from scripts.dicom_output.export import write_files  # noqa: PLC0415
        from scripts.dicom_output.not_evaluated import NotEvaluated, notices  # noqa: PLC0415

        reason, remedies, model = _statement(study, result_folder, translate)
        written = datetime.datetime.fromtimestamp(int(study.since))
        described = (str(study.cause), reason, tuple(translate(code) for code in remedies), *model)
        refusal = NotEvaluated(*described, written, is_read=_is_read(study))
        write_files(notices(refusal, series_files, translate), target_folder)
        return sorted(target_folder.glob("*.dcm"))

    return write


def _statement(
    study: QueuedStudy, result_folder: Path, translate: Translation
) -> tuple[str, tuple[str, ...], tuple[str, str]]:
    """Return reason, codes of the remedies, and name and version of the program."""
    program = (_PROGRAM, str(json.loads(_METADATA.read_text(encoding="utf-8"))["version"]))
    if _is_read(study):
        return translate("not_evaluated.no_objects", fault=study.cause), _FAILED, program
    if study.ends_as is State.FAILED:
        return translate("not_evaluated.failed", fault=study.cause), _FAILED, program
    if study.cause == IMAGES_ABSENT:
        return translate("not_evaluated.images_absent"), _ANNOUNCED, program
    if study.cause == SEVERAL_PATIENTS:
        return translate("not_evaluated.several_patients"), _MIXED, program
    refused = _refusal_in(result_folder, str(study.cause))
    if refused is None:
        return translate("not_evaluated.no_result"), _FAILED, program
    model = refused["model"]
    return refused["reason"]["message"], _REFUSED, (f"{model['name']} {model['network']}", model["version"])


def _is_read(study: QueuedStudy) -> bool:
    """Whether a study has a result of which no objects could be made: the cause is a code of that error."""
    return study.ends_as is State.FAILED and str(study.cause).startswith("dicom_output.")


def _refusal_in(result_folder: Path, code: str) -> dict[str, Any] | None:
    """Return the result that states a refusal; None where the folder holds that of an earlier reading, or none."""
    try:
        document: dict[str, Any] = json.loads((result_folder / RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if (document.get("reason") or {}).get("code") == code else None
