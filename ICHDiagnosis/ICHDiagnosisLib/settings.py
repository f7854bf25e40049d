"""What a user chose for this computer, kept in the application's settings alone.

A parameter node is saved with the scene and travels to other people with it: an absolute path names a user and a
computer, and whether analyses are remembered is nobody's choice but the user's.
"""

from __future__ import annotations

from pathlib import Path

import slicer

from .bundle.location import weights_terms
from .bundle.worker_process import WorkerSettings

KEEP_HISTORY = "ICHDiagnosis/KeepHistory"
OUTPUT_FOLDER = "ICHDiagnosis/OutputFolder"
KEEP_WARM = "ICHDiagnosis/KeepWarm"
IDLE_MINUTES = "ICHDiagnosis/IdleMinutes"
LEAST_MEMORY_MB = "ICHDiagnosis/LeastMemoryMB"
ACCEPTED_TERMS = "ICHDiagnosis/AcceptedTerms"
READER_STUDY_FOLDER = "ICHDiagnosis/ReaderStudyFolder"
SHOW_PATIENT = "ICHDiagnosis/ShowPatientAttributes"
FOLDER_NAME = "ICHDiagnosis"


class ModuleSettings:
    """Settings of the module; each is written at once.

    Parameters
    ----------
    documents : Path
        The user's folder of documents, in which results are kept by default.
    """

    def __init__(self, documents: Path) -> None:
        self._documents = documents

    @property
    def keep_history(self) -> bool:
        """Whether analyses are recorded in the history."""
        return bool(slicer.util.toBool(slicer.app.userSettings().value(KEEP_HISTORY, True)))

    @keep_history.setter
    def keep_history(self, keep: bool) -> None:
        slicer.app.userSettings().setValue(KEEP_HISTORY, keep)

    @property
    def output_folder(self) -> Path:
        """Folder in which each run makes a folder of its own; always absolute.

        Raises
        ------
        ValueError
            When a relative path is set: what it is relative to depends on how the application was started.
        """
        kept = slicer.app.userSettings().value(OUTPUT_FOLDER, "")
        return Path(kept) if kept and Path(kept).is_absolute() else self._documents / FOLDER_NAME

    @output_folder.setter
    def output_folder(self, folder: Path) -> None:
        if not folder.is_absolute():
            raise ValueError(f"{folder} is a relative path")
        slicer.app.userSettings().setValue(OUTPUT_FOLDER, str(folder))

    def terms_to_accept(self, bundle_root: Path) -> str:
        """Return the terms of a bundle's weights that are still to be accepted; empty where there are none."""
        terms = weights_terms(bundle_root)
        return "" if slicer.app.userSettings().value(ACCEPTED_TERMS, "") == terms else terms

    def accept_terms(self, terms: str) -> None:
        """Remember the terms that the user accepted: others are asked for again."""
        slicer.app.userSettings().setValue(ACCEPTED_TERMS, terms)

    @property
    def reader_study_folder(self) -> Path | None:
        """Folder of the reader study that was open last; None where there was none."""
        kept = slicer.app.userSettings().value(READER_STUDY_FOLDER, "")
        return Path(kept) if kept and Path(kept).is_absolute() else None

    @reader_study_folder.setter
    def reader_study_folder(self, folder: Path) -> None:
        slicer.app.userSettings().setValue(READER_STUDY_FOLDER, str(folder))

    @property
    def show_patient(self) -> bool:
        """Whether the history may show the patient attributes of a study that is opened again; off by default."""
        return bool(slicer.util.toBool(slicer.app.userSettings().value(SHOW_PATIENT, False)))

    @show_patient.setter
    def show_patient(self, show: bool) -> None:
        slicer.app.userSettings().setValue(SHOW_PATIENT, show)

    @property
    def keep_warm(self) -> bool:
        """Whether one process with the network loaded waits for studies, so that they need not wait for it."""
        return bool(slicer.util.toBool(slicer.app.userSettings().value(KEEP_WARM, True)))

    @keep_warm.setter
    def keep_warm(self, keep: bool) -> None:
        slicer.app.userSettings().setValue(KEEP_WARM, keep)

    @property
    def worker(self) -> WorkerSettings | None:
        """For how long that process waits, which is not in the panel; None where there shall be none."""
        if not self.keep_warm:
            return None
        settings, default = slicer.app.userSettings(), WorkerSettings()
        return WorkerSettings(
            idle_minutes=_number(settings.value(IDLE_MINUTES), default.idle_minutes),
            least_memory_mb=_number(settings.value(LEAST_MEMORY_MB), default.least_memory_mb),
        )


def _number(value: object, otherwise: float) -> float:
    """Return a number of at least 0 from a settings file, which holds texts and may have been edited by hand."""
    try:
        number = float(str(value))
    except ValueError:
        return otherwise
    return number if 0 <= number < float("inf") else otherwise
