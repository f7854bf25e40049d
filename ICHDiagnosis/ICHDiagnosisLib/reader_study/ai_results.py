"""Which result folder belongs to which case; known for all of them before the sitting with AI begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..messages import MessageError
from ..result.content import Result, ResultError
from ..result.reader import read_result
from .protocol import LABELS, Case, stem, with_any
from .record import Reading

RESULTS_FOLDER = "ai_results"
"""Where results are computed beforehand, inside the folder of the reader study: one folder per case."""
_DEPTH = 3


class ResultsMissingError(MessageError):
    """A case has no usable result; the message names the case and what to do."""


def results_of(cases: tuple[Case, ...], folder: Path) -> dict[str, Result]:
    """Return the result of every case.

    Parameters
    ----------
    cases : tuple of Case
        Of the reader study.
    folder : Path
        Result folders at most three levels below it: those of a run from the terminal, of *Many at once*, or of
        *Compute AI results*.

    Returns
    -------
    dict of str to Result
        By the identifier of the case.

    Raises
    ------
    ResultsMissingError
        If a case has no result, several, a damaged one, or one that says that it could not be evaluated.
    """
    found = list(_result_folders(folder, _DEPTH))
    return {case.identifier: _result_of(case, folder, found) for case in cases}


def cases_without_result(cases: tuple[Case, ...], folder: Path) -> tuple[Case, ...]:
    """Return the cases of which no result folder exists; those with a damaged one are not among them."""
    found = list(_result_folders(folder, _DEPTH))
    return tuple(case for case in cases if not _belonging(case, folder, found))


def ai_readings(results: Mapping[str, Result]) -> tuple[Reading, ...]:
    """Return the positive findings of results, and the time that they took, as if the network were a reader."""
    readings = []
    for position, (case, result) in enumerate(sorted(results.items()), start=1):
        labels = with_any(finding.key for finding in result.positive_findings if finding.key in LABELS)
        # "total" is the sum of the stages, which some results state beside them.
        seconds = sum(time for stage, time in result.seconds.items() if stage != "total")
        readings.append(Reading(case, position, seconds, labels=labels, stopped=True))
    return tuple(readings)


def folder_name(case: Case) -> str:
    """Return the name of the folder in which the results of a case are computed."""
    return f"case-{case.identifier}"


def _result_of(case: Case, folder: Path, found: list[Path]) -> Result:
    places = _belonging(case, folder, found)
    if not places:
        raise ResultsMissingError("ai.none", case=case.identifier, name=case.path.name)
    if len(places) > 1:
        raise ResultsMissingError("ai.several", case=case.identifier, name=case.path.name, count=len(places))
    try:
        result = read_result(places[0])
    except ResultError as error:
        raise ResultsMissingError("ai.damaged", case=case.identifier, name=case.path.name, error=error) from error
    if result.reason is not None:
        reason = result.reason.message
        raise ResultsMissingError("ai.not_evaluable", case=case.identifier, name=case.path.name, reason=reason)
    if case.series and result.study.series_uid != case.series:
        raise ResultsMissingError("ai.other_series", case=case.identifier, name=case.path.name)
    return result


def _belonging(case: Case, folder: Path, found: list[Path]) -> list[Path]:
    """Return the result folders that are named after a case, or lie in a folder that is."""
    names = {case.path.name, stem(case.path), folder_name(case)}
    return [place for place in found if not names.isdisjoint(place.relative_to(folder).parts)]


def _result_folders(folder: Path, depth: int) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for child in sorted(folder.iterdir()):
        if not child.is_dir() or child.name.startswith("."):
            continue
        if (child / "result.json").is_file():
            yield child
        elif depth > 1:
            yield from _result_folders(child, depth - 1)
