"""Which series of a folder with several is read: the one that a list names, else the one that the intake would read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .bundle.command import BundleRequest
from .bundle.process import BundleRunner
from .bundle.short_run import run_to_end
from .messages import MessageError, message
from .reader_study.protocol import stem
from .scene.dicom_series import CTSeries, ct_series

_ANSWER = "choice.json"


class SeriesChoiceError(MessageError):
    """The intake chooses no series of a study; the message is one line that says why."""


def choice_command(request: BundleRequest) -> list[str]:
    """Build the command line that asks for the series of ``request.dataset_dir``.

    To be given to :class:`ICHDiagnosisLib.bundle.process.BundleProcess` as ``build``.
    """
    answer = str(request.output_dir / _ANSWER)
    return [str(request.python), "-m", "scripts.intake", "--study", str(request.dataset_dir), "--output", answer]


def choose_series(
    runner: BundleRunner, python: Path, bundle_root: Path, study: Path, keep_alive: Callable[[], None]
) -> str:
    """Return the Series Instance UID (0020,000E) of the series that the intake reads of a folder.

    Parameters
    ----------
    runner : BundleRunner
        Made with :func:`choice_command`.
    python : Path
        Python that runs the bundle.
    bundle_root : Path
        Folder of the bundle.
    study : Path
        Folder of one study.
    keep_alive : callable
        Called again and again while waiting (``slicer.app.processEvents``).

    Raises
    ------
    SeriesChoiceError
        If there is none, the folder holds several studies, or the intake fails.
    BundleMissingError, ProcessStartError, AlreadyRunningError
        As :meth:`BundleProcess.start`.
    """
    with tempfile.TemporaryDirectory(prefix="ich-series-") as folder:
        outcome, lines = run_to_end(runner, BundleRequest(python, bundle_root, study, Path(folder)), keep_alive)
        if outcome.exit_status != 0:
            reason = lines[-1] if lines else outcome.message
            raise SeriesChoiceError("series.not_chosen", name=study.name, reason=reason)
        choices = json.loads((Path(folder) / _ANSWER).read_text(encoding="utf-8"))
    if len(choices) != 1:
        raise SeriesChoiceError("series.several_studies", name=study.name, count=len(choices))
    if choices[0]["series_uid"] is None:
        reason = (choices[0]["sentences"] or [""])[-1]
        raise SeriesChoiceError("series.not_chosen", name=study.name, reason=reason)
    return str(choices[0]["series_uid"])


def series_of_cases(
    paths: Sequence[Path], named: Mapping[str, str], choose: Callable[[Path], str]
) -> tuple[dict[Path, str], tuple[str, ...]]:
    """Decide which series is read of every folder that holds several.

    Parameters
    ----------
    paths : sequence of Path
        Volume files, for which there is nothing to decide, and DICOM folders.
    named : mapping of str to str
        UID, number or description of a series by the name of the folder.
    choose : callable
        Asks the intake (:func:`choose_series`) where no series is named.

    Returns
    -------
    dict of Path to str
        Series Instance UIDs.
    tuple of str
        One line per folder of which the intake has chosen.

    Raises
    ------
    SeriesChoiceError
        If a name fits none or several; as :func:`choose_series`.
    OSError
        If a folder cannot be read.
    """
    chosen: dict[Path, str] = {}
    lines = []
    for path in (path for path in paths if path.is_dir()):
        found = ct_series(path)
        name = named.get(path.name, named.get(stem(path), ""))
        if name:
            chosen[path] = _only(path, name, found).uid
        elif len(found) > 1:
            chosen[path] = choose(path)
            series = next((one for one in found if one.uid == chosen[path]), None)
            text = chosen[path] if series is None else _described(series)
            lines.append(message("series.chosen", name=path.name, count=len(found), series=text))
    return chosen, tuple(lines)


def _only(path: Path, name: str, found: Sequence[CTSeries]) -> CTSeries:
    fitting = [series for series in found if series.is_called(name)]
    if len(fitting) != 1:
        there = "; ".join(_described(series) for series in found)
        raise SeriesChoiceError("series.no_such", name=path.name, series=name, found=there)
    return fitting[0]


def _described(series: CTSeries) -> str:
    return message("series.described", number=series.number, description=series.description, count=len(series.files))
