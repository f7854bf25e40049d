"""An analysis from a script: one call that waits for the result, for Slicer's Python console and ``--python-script``.

See ``SCRIPTING.md`` for examples; the call itself is ``ICHDiagnosisLogic().diagnose``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import slicer

from .analysis import AnalysisEnding
from .bundle.location import OPERATING_POINTS_FILE
from .bundle.run import RunSettings
from .bundle.systems import SHIPPED, installed_system
from .logic import AnalysisLogic
from .messages import MessageError, message
from .result.content import Finding, Result
from .scene.layers import ShownResult

OWN_OPERATING_POINT = "own"
_POLL_SECONDS = 0.05


class DiagnosisError(MessageError):
    """The analysis failed or was cancelled; the message states why.

    Attributes
    ----------
    ending : AnalysisEnding
        With the log file and what can be done.
    """

    def __init__(self, ending: AnalysisEnding) -> None:
        super().__init__("diagnosis.failed", reason=f"{ending.outcome.message} {ending.outcome.suggestion}".strip())
        self.ending = ending


@dataclass(frozen=True)
class Diagnosis:
    """What one analysis found, and its nodes on the scene.

    Attributes
    ----------
    result : Result
        All that the bundle wrote: findings, slices, lesion volumes, quality warnings, model.
    shown : ShownResult or None
        The nodes: ``segmentation_node``, ``attribution_maps`` by label, ``document_node``. None where the study could
        not be evaluated.
    notices : tuple of str
        What else the user should know.
    """

    result: Result
    shown: ShownResult | None
    notices: tuple[str, ...] = ()

    @property
    def evaluated(self) -> bool:
        """Whether the study was read; ``impression`` states the reason where it was not."""
        return self.result.reason is None

    @property
    def impression(self) -> str:
        """The sentence that sums it up."""
        if self.result.reason is not None:
            return message("result.not_evaluable", reason=self.result.reason.message)
        return "" if self.result.impression is None else self.result.impression.text

    @property
    def findings(self) -> dict[str, Finding]:
        """Each finding by the key of its label, for example ``findings["subdural"].probability``."""
        return {finding.key: finding for finding in self.result.findings}

    @property
    def folder(self) -> Path:
        """The result folder on the disk: ``result.json``, ``report.html`` and the maps."""
        if self.result.folder is None:
            raise ValueError("the result has no folder")
        return self.result.folder


def diagnose(logic: AnalysisLogic, volume_node: slicer.vtkMRMLScalarVolumeNode, settings: RunSettings) -> Diagnosis:
    """Analyse one volume, wait for the end, and show the result on the scene.

    The application stays responsive meanwhile.

    Raises
    ------
    CannotStartError, PackagesMissingError
        As :meth:`AnalysisLogic.start`.
    DiagnosisError
        If the analysis fails or is cancelled.
    """
    logic.start(volume_node, settings)
    try:
        ending = logic.poll().ending
        while ending is None:
            slicer.app.processEvents()
            time.sleep(_POLL_SECONDS)
            ending = logic.poll().ending
    finally:
        # An interruption from the keyboard must not leave the process behind.
        logic.close()
    if ending.result is None or not ending.outcome.has_results:
        raise DiagnosisError(ending)
    return Diagnosis(ending.result, ending.shown, ending.notices)


def at_own_thresholds(
    settings: RunSettings, bundle_root: Path, thresholds: Mapping[str, float], folder: Path
) -> RunSettings:
    """Let a run take an operating point of one's own.

    Parameters
    ----------
    settings : RunSettings
        Its operating point gives the thresholds of labels that are not named.
    bundle_root : Path
        Folder of the bundle.
    thresholds : mapping of str to float
        Probability (0..1) from which a label is positive, by the label's key.
    folder : Path
        Existing folder in which the operating point is written, for as long as the run takes.

    Raises
    ------
    BundleMissingError
        If the settings name a system that is not installed.
    ValueError
        If there is no such operating point or label, or a threshold is no probability.
    """
    stated = OPERATING_POINTS_FILE
    if settings.system != SHIPPED:
        stated = installed_system(bundle_root, settings.system).operating_points_file
    points = json.loads((bundle_root / stated).read_text(encoding="utf-8"))
    if settings.operating_point not in points:
        raise ValueError(f"there is no operating point {settings.operating_point!r}: {', '.join(points)}")
    point = dict(points[settings.operating_point])
    for label, threshold in thresholds.items():
        if label not in point:
            raise ValueError(f"there is no label {label!r}: {', '.join(point)}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"the threshold of {label} must lie in 0..1, not {threshold:g}")
        point[label] = float(threshold)
    file = folder / "operating_points.json"
    file.write_text(json.dumps({OWN_OPERATING_POINT: point}), encoding="utf-8")
    overrides = {**settings.overrides, "operating_points_file": str(file)}
    return replace(settings, operating_point=OWN_OPERATING_POINT, overrides=overrides)
