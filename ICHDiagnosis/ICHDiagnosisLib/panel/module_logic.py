"""The seam between the panel and the module's logic."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..batch.batch import Batch
from ..batch.studies import BatchStudy
from ..dicom_export import DicomExport
from ..history import History
from ..logic import AnalysisLogic
from ..settings import ModuleSettings


class ModuleLogic(Protocol):
    """What the panel needs of the module's logic."""

    bundle_root: Path
    settings: ModuleSettings
    history: History
    analysis: AnalysisLogic
    batch: Batch
    dicom_export: DicomExport
    results_batch: Batch

    def start_analysis(self) -> None:
        """Start an analysis with the parameters of the scene."""

    def start_batch(self, studies: tuple[BatchStudy, ...]) -> None:
        """Start a batch with the parameters of the scene."""

    def write_worklist(self, results: Path) -> Path:
        """Have the worklist of a folder of results written; return its page."""

    def choose_series(self, study: Path) -> str:
        """Return the UID of the series that the bundle reads of a folder."""

    def compute_results(self, studies: tuple[BatchStudy, ...], output_folder: Path) -> None:
        """Start computing the results of a reader study."""

    def warm_up(self) -> None:
        """Have the network loaded before a study comes, unless that is switched off."""

    def end_worker(self) -> None:
        """End the process that waits for studies."""
