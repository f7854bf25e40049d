"""From a reader study's folder to its evaluation: page and tables, written where the study lies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from ..messages import MessageError
from ..result.content import Result
from .ai_results import ai_readings
from .evaluation import evaluate
from .evaluation_csv import write_measures, write_readings
from .evaluation_page import evaluation_page
from .protocol import Sitting
from .store import StudyStore

FOLDER = "evaluation"
PAGE, READINGS, MEASURES = "evaluation.html", "readings.csv", "measures.csv"


class ConclusionError(MessageError):
    """There is nothing to evaluate, or the evaluation cannot be written; the message is one line for the user."""


def conclude(store: StudyStore, results: Mapping[str, Result] | None = None) -> Path:
    """Evaluate a reader study and write page and tables; return the page.

    Parameters
    ----------
    store : StudyStore
        The reader study.
    results : mapping of str to Result, optional
        By case, for the column of the network alone.

    Raises
    ------
    ConclusionError
        If no reader has read a study in both sittings, or the files cannot be written.
    JournalError, SittingError
        If a journal is damaged or belongs to another reader study: nothing is evaluated beside it.
    """
    sittings, records = [], []
    for participant in store.participants:
        first = store.record(participant, Sitting.WITHOUT_AI)
        second = store.record(participant, Sitting.WITH_AI)
        records += [record for record in (first, second) if record is not None]
        if first is not None:
            sittings.append((first, second))
    evaluation = evaluate(store.protocol, sittings, ai_readings(results or {}))
    if not evaluation.readers:
        raise ConclusionError("evaluation.nothing")
    folder = store.folder / FOLDER
    page = evaluation_page(evaluation, store.protocol, datetime.now(timezone.utc))
    try:
        folder.mkdir(exist_ok=True)
        write_readings(folder / READINGS, store.protocol, records)
        write_measures(folder / MEASURES, evaluation)
        temporary = folder / f".{PAGE}"
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(folder / PAGE)
    except OSError as error:
        raise ConclusionError("evaluation.not_written", error=error.strerror or error) from error
    return folder / PAGE
