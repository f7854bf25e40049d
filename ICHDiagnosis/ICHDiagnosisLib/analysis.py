"""What an analysis reports to the panel: state, progress, ending, and why it cannot start. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .bundle.child_output import Progress
from .bundle.exit_status import Outcome
from .install.requirements import MissingPackage
from .parameters import NOT_CHOSEN
from .result.reader import Result
from .scene.layers import ShownResult


class AnalysisState(Enum):
    """What the logic is doing."""

    IDLE = "idle"
    RUNNING = "running"
    DONE = "done"


class CannotStartError(RuntimeError):
    """The analysis cannot start; the message is one line for the person at the screen."""


class PackagesMissingError(CannotStartError):
    """Packages are missing; the panel lists them and asks whether to install them.

    Attributes
    ----------
    missing : tuple of MissingPackage
        For :func:`ICHDiagnosisLib.install.requirements.install`.
    """

    def __init__(self, missing: tuple[MissingPackage, ...]) -> None:
        super().__init__(_("Some Python packages must be installed first."))
        self.missing = missing


@dataclass(frozen=True)
class AnalysisEnding:
    """How an analysis ended.

    Attributes
    ----------
    outcome : Outcome
        Ending, message, suggestion and remedy, in the person's language.
    result : Result or None
        What the bundle wrote, also where the study was not evaluable (``result.reason``); None after a failure.
    shown : ShownResult or None
        The nodes on the scene; None where nothing was shown.
    result_folder : Path or None
        Folder of the result, with ``report.html``.
    log_file : Path
        ``run.log`` of this analysis.
    notices : tuple of str
        What else the person should know; nothing to decide.
    """

    outcome: Outcome
    log_file: Path
    result: Result | None = None
    shown: ShownResult | None = None
    result_folder: Path | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnalysisUpdate:
    """What has happened since the last look.

    Attributes
    ----------
    state : AnalysisState
        Idle, running or done.
    stage : str
        What is being done, in the person's language; empty where nothing is.
    fraction : float or None
        Share of the work that is done, 0..1; None while unknown (show a busy bar).
    lines : tuple of str
        New lines of the log.
    ending : AnalysisEnding or None
        Given once, with the update in which the analysis ended.
    """

    state: AnalysisState
    stage: str = ""
    fraction: float | None = None
    lines: tuple[str, ...] = ()
    ending: AnalysisEnding | None = None


def what_is_missing(input_node: slicer.vtkMRMLScalarVolumeNode | None, output_folder: Path) -> str:
    """Say in one line what the person must still do before Apply can work (its tooltip); empty when nothing."""
    if input_node is None:
        return _("Choose a head CT: load one, or take the phantom from Sample Data.")
    image = input_node.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        return _("The chosen volume holds no voxels.")
    if image.GetNumberOfScalarComponents() != 1:
        return _("The chosen volume holds colours; choose a head CT in Hounsfield units.")
    if output_folder == NOT_CHOSEN:
        return _("Choose a folder for the results.")
    return ""


def stage_name(progress: Progress | None) -> str:
    """Return the name of a stage of the bundle in the person's language; before the first, what starting means."""
    if progress is None:
        return _("Starting")
    names = {
        "reading": _("Reading the study"),
        "slices": _("Looking at every slice"),
        "key slices": _("Looking at key slices again"),
        "explanation": _("Explaining"),
        "maps": _("Making heat maps"),
        "writing": _("Writing results"),
        "done": _("Done"),
    }
    return names.get(progress.stage, progress.stage)
