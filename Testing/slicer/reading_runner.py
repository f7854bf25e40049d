"""A runner without a child process: reads with the bundle's own intake, and returns maps made of the voxels.

Each Grad-CAM voxel is a function of the CT's voxel in the same place (:func:`map_value_of`), so that a map that lands
anywhere else on the scene is found out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import sample_result_folder as sample
from ICHDiagnosisLib.bundle.child_output import Progress
from ICHDiagnosisLib.bundle.command import BundleRequest, check_bundle
from ICHDiagnosisLib.bundle.exit_status import explain_ending
from ICHDiagnosisLib.bundle.process import AlreadyRunningError, RunUpdate
from scripts.intake.discovery import StudySource, find_studies, read_study
from scripts.intake.study import NotEvaluableError


def map_value_of(hounsfield_units: NDArray) -> NDArray[np.uint8]:
    """Return the value that a map has where the CT has this one: neighbouring HU have different values."""
    return ((np.asarray(hounsfield_units, dtype=np.int64) + 1024) % 251).astype(np.uint8)


class ReadingRunner:
    """Ends with the second poll, as often as it is started; keeps what it was asked and what it was given.

    Parameters
    ----------
    endings : sequence of (int, sequence of str)
        Exit status and log of each run, the last one for all that follow; without any, every run succeeds.
    before_ending : callable, optional
        Called with the request just before a run ends.
    """

    def __init__(
        self,
        endings: Sequence[tuple[int, Sequence[str]]] = (),
        before_ending: Callable[[BundleRequest], None] = lambda request: None,
    ) -> None:
        self.requests: list[BundleRequest] = []
        self.given: list[list[str]] = []
        self.cancelled = False
        self._endings = list(endings)
        self._before_ending = before_ending
        self._request: BundleRequest | None = None
        self._polls = 0

    @property
    def running(self) -> bool:
        return self._request is not None

    def start(self, request: BundleRequest) -> None:
        if self.running:
            raise AlreadyRunningError("run.busy")
        check_bundle(request.bundle_root)
        request.output_dir.mkdir(parents=True, exist_ok=True)
        request.log_file.write_text("a log\n", encoding="utf-8")
        self.requests.append(request)
        place = request.dataset_dir
        self.given.append(sorted(path.name for path in place.iterdir()) if place.is_dir() else [place.name])
        self._request, self._polls, self.cancelled = request, 0, False

    def poll(self) -> RunUpdate:
        if self._request is None:
            return RunUpdate()
        self._polls += 1
        if self._polls == 1 and not self.cancelled:
            return RunUpdate(("reading",), Progress(20, 100, "slices"))
        request, self._request = self._request, None
        if self.cancelled:
            return RunUpdate((), None, explain_ending(130, (), cancelled=True))
        self._before_ending(request)
        status, log = self._endings.pop(0) if len(self._endings) > 1 else (self._endings or [(0, ())])[0]
        if status == 0:
            evaluated = [answer(source, request.output_dir) for source in find_studies(request.dataset_dir)]
            status = 0 if all(evaluated) else 3
        return RunUpdate(tuple(log), Progress(100, 100, "done"), explain_ending(status, tuple(log)))

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self._request = None


def answer(source: StudySource, output_dir: Path) -> bool:
    """Write the result folder of one study in place of an earlier one; return whether it could be evaluated."""
    shutil.rmtree(output_dir / source.study_id, ignore_errors=True)
    try:
        study = read_study(source)
    except NotEvaluableError as error:
        refused = sample.refusal()
        refused["reason"] = {"code": error.code, "message": str(error)}
        sample.write_folder(output_dir / source.study_id, refused, {}, np.eye(4))
        return False
    stored = study.in_file_order(study.voxels)
    marks = map_value_of(stored)
    content = sample.document(stored.shape, stored.shape.index(len(study.voxels)), study.orientation)
    content["study"].update(
        source_name=source.source_name,
        study_uid=study.provenance.study_uid,
        series_uid=study.provenance.series_uid,
        tilt_degrees=study.tilt_degrees,
    )
    maps = dict.fromkeys((None, *sample.LABELS), marks)
    sample.write_folder(output_dir / source.study_id, content, maps, study.file_affine)
    return True
