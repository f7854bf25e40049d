"""What an analysis reports to the panel: progress, ending, and why it cannot start. No Qt."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import slicer

from .bundle.child_output import Progress
from .bundle.exit_status import Outcome
from .bundle.run import leaves_room
from .install.requirements import MissingPackage
from .messages import MessageError, message
from .result.content import Result
from .scene.layers import ShownResult


class CannotStartError(MessageError):
    """The analysis cannot start; the message is one line for the user."""


class PackagesMissingError(CannotStartError):
    """Packages are missing; the panel lists them and asks whether to install them.

    Attributes
    ----------
    missing : tuple of MissingPackage
        For :class:`ICHDiagnosisLib.install.installation.Installation`.
    """

    def __init__(self, missing: tuple[MissingPackage, ...]) -> None:
        super().__init__("input.packages_missing")
        self.missing = missing


class TermsNotAcceptedError(CannotStartError):
    """Nobody has accepted the terms on which the weights may be used."""


@dataclass(frozen=True)
class AnalysisEnding:
    """How an analysis ended.

    Attributes
    ----------
    outcome : Outcome
        Ending, message, suggestion and remedy, in the user's language.
    log_file : Path
        ``run.log`` of this analysis.
    result : Result or None
        What the bundle wrote, also where the study was not evaluable (``result.reason``); None after a failure.
    shown : ShownResult or None
        The nodes on the scene; None where nothing was shown.
    notices : tuple of str
        What else the user should know; nothing to decide.
    """

    outcome: Outcome
    log_file: Path
    result: Result | None = None
    shown: ShownResult | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnalysisUpdate:
    """What has happened since the last call.

    Attributes
    ----------
    stage : str
        What is being done, in the user's language; empty where nothing is.
    fraction : float or None
        Fraction of the work that is done, 0..1; None while unknown (show a busy bar).
    lines : tuple of str
        New lines of the log.
    ending : AnalysisEnding or None
        Given once, with the update in which the analysis ended.
    """

    stage: str = ""
    fraction: float | None = None
    lines: tuple[str, ...] = ()
    ending: AnalysisEnding | None = None


def check_input(input_node: slicer.vtkMRMLScalarVolumeNode | None, output_folder: Path) -> None:
    """Refuse an input with which no analysis can start.

    Raises
    ------
    CannotStartError
        States what the user must still do.
    """
    if input_node is None:
        raise CannotStartError("input.none")
    image = input_node.GetImageData()
    if image is None or not image.GetNumberOfPoints():
        raise CannotStartError("input.no_voxels")
    if image.GetNumberOfScalarComponents() != 1:
        raise CannotStartError("input.colours")
    check_output_folder(output_folder)


def check_output_folder(output_folder: Path) -> None:
    """Refuse a folder for results that depends on where the application was started, or that is too deep for Windows.

    Raises
    ------
    CannotStartError
        States what the user must still do.
    """
    if not output_folder.is_absolute():
        raise CannotStartError("input.no_folder")
    if sys.platform == "win32" and not leaves_room(output_folder):
        raise CannotStartError("input.folder_too_deep")


def stage_name(progress: Progress | None) -> str:
    """Return the name of a stage of the bundle in the user's language; "starting" before the first."""
    if progress is None:
        return message("stage.starting")
    names = {
        "reading": message("stage.reading"),
        "slices": message("stage.slices"),
        "key slices": message("stage.key_slices"),
        "explanation": message("stage.explanation"),
        "maps": message("stage.maps"),
        "writing": message("stage.writing"),
        "done": message("stage.done"),
    }
    return names.get(progress.stage, progress.stage)
