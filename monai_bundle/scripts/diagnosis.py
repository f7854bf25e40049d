"""What one run says of one study: plain dataclasses that mirror the result folder (docs/result.schema.json)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import CTStudy
from scripts.labels import Label

MapKind = Literal["attention", "feature_attention", "gradcam", "gradcam++", "slice_gradcam"]
RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis or treatment."


@dataclass(frozen=True)
class Finding:
    """One label's probability against its operating point.

    Attributes
    ----------
    label : Label
        What was looked for.
    probability, threshold : float
        0..1.
    threshold_chosen : bool
        False where too few patients had or lacked the label for a threshold to be chosen: 0.5 stands in, and may miss
        it.
    """

    label: Label
    probability: float
    threshold: float
    threshold_chosen: bool = True

    @property
    def positive(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class SliceResult:
    """What the network made of one stored slice.

    Attributes
    ----------
    index : int
        Index of the stored slice, 0-based.
    position_mm : float
        Position along the slice normal (mm).
    attention : float
        Share of the slice attention, 0..1; all stored slices sum to 1.
    key_rank : int or None
        1 for the slice with most attention, 2 for the next ...; None where it is no key slice.
    read : bool
        Whether the network read this slice, alone or averaged into a slab.
    """

    index: int
    position_mm: float
    attention: float
    key_rank: int | None
    read: bool


@dataclass(frozen=True)
class AttributionMap:
    """Values on the stored voxels of the CT.

    Attributes
    ----------
    kind : str
        ``"attention"``, ``"feature_attention"``, ``"gradcam"``, ``"gradcam++"`` or ``"slice_gradcam"``.
    label : Label or None
        The label that a Grad-CAM belongs to; None for the two kinds of attention.
    voxels : ndarray of uint8, shape (slices, rows, columns)
        0 outside the head and where the evidence is against the label.
    scale : float
        Value that 255 stands for: a share of attention, an attended activation, or a Grad-CAM value in logits. One
        for the whole scan.
    """

    kind: MapKind
    label: Label | None
    voxels: NDArray[np.uint8]
    scale: float

    @property
    def file_name(self) -> str:
        """Name of the map's file in the result folder."""
        return f"{self.kind}.nii.gz" if self.label is None else f"gradcam_{self.label.key}.nii.gz"


@dataclass(frozen=True)
class ModelIdentity:
    """Which model spoke."""

    name: str
    version: str
    network: str
    weights_sha256: dict[str, str]
    labels: tuple[str, ...]
    trained_on: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything that one run found in one study, with its evidence.

    Attributes
    ----------
    study_id : str
        Name of the result folder.
    study : CTStudy
        What was read.
    head : ndarray of bool, shape (slices, rows, columns)
        Voxels inside the head; maps are 0 elsewhere.
    findings : tuple of Finding
        One per label, in the order of the vocabulary.
    slices : tuple of SliceResult
        One per stored slice.
    maps : tuple of AttributionMap
        Attention first, then one Grad-CAM per label.
    read_slices : tuple of tuple of int
        For each read slice, from first to last, the stored slices that were averaged into it.
    operating_point : str
        Name of the operating point that the thresholds belong to.
    device, precision : str
        For example ``"cpu"`` and ``"bfloat16"``.
    seconds : dict
        Wall time per stage.
    """

    study_id: str
    study: CTStudy
    head: NDArray[np.bool_]
    findings: tuple[Finding, ...]
    slices: tuple[SliceResult, ...]
    maps: tuple[AttributionMap, ...]
    read_slices: tuple[tuple[int, ...], ...]
    model: ModelIdentity
    operating_point: str
    device: str
    precision: str
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A study that must not be read: its result folder says why and holds nothing else.

    Attributes
    ----------
    study_id, source_name : str
        Name of the result folder; name (no path) of the folder or file.
    code, reason : str
        For example ``"too_few_slices"`` and ``"7 slices, at least 12 needed"``.
    study : CTStudy or None
        What could be read before the refusal.
    """

    study_id: str
    source_name: str
    code: str
    reason: str
    model: ModelIdentity
    study: CTStudy | None = None
