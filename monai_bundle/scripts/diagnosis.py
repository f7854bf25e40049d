"""What one run found in one study: plain dataclasses that mirror the result folder (docs/result.schema.json)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scripts.intake.study import CTStudy
from scripts.labels import LESION_GROUPS, Label, LesionGroup
from scripts.messages import Message


@dataclass(frozen=True)
class MapKind:
    """One kind of map on the voxels of the CT.

    Attributes
    ----------
    key : str
        Name in ``result.json``.
    file : str
        Name of its file; ``{label}`` stands for a label's key where there is one map per label.
    caption : str
        Code of its name in the catalogue (:mod:`scripts.messages`).
    """

    key: str
    file: str
    caption: str


SALIENCY_FILE = "saliency.nii.gz"
"""Where a reader is expected to look; what that was learned from is the map's kind."""

MAP_KINDS: dict[str, MapKind] = {
    kind.key: kind
    for kind in (
        MapKind("attention", "attention.nii.gz", "map.attention"),
        MapKind("feature_attention", "feature_attention.nii.gz", "map.feature_attention"),
        MapKind("gradcam", "gradcam_{label}.nii.gz", "map.gradcam"),
        MapKind("gradcam++", "gradcam_{label}.nii.gz", "map.gradcam++"),
        MapKind("slice_gradcam", "gradcam_{label}.nii.gz", "map.slice_gradcam"),
        MapKind("slice_gradcam++", "gradcam_{label}.nii.gz", "map.slice_gradcam++"),
        MapKind("saliency", SALIENCY_FILE, "map.saliency"),
        MapKind("saliency_masks", SALIENCY_FILE, "map.saliency_masks"),
        MapKind("saliency_gaze", SALIENCY_FILE, "map.saliency_gaze"),
    )
}
"""Every kind of map by its key. A new one is a line here, one in the catalogue and one in the schema."""


@dataclass(frozen=True)
class Finding:
    """One label's probability against its operating point.

    Attributes
    ----------
    label : Label
        The label.
    probability, threshold : float
        0..1.
    default_threshold : bool
        Whether the threshold is the default of 0.5, because too few patients had or lacked the label for one to be
        chosen.
    """

    label: Label
    probability: float
    threshold: float
    default_threshold: bool = False

    @property
    def positive(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class SliceResult:
    """What the network made of one original slice.

    Attributes
    ----------
    index : int
        Index of the original slice, 0-based.
    position_mm : float
        Position along the slice normal (mm).
    attention : float
        Slice attention, 0..1; all original slices sum to 1.
    key_rank : int or None
        1 for the slice with most attention, 2 for the next ...; None where it is no key slice.
    probabilities : dict or None
        Label key to the slice classifier's probability, 0..1, calibrated where that helps: that of the input slice that
        holds this slice. None where the network has no slice classifier, or did not read the slice.
    """

    index: int
    position_mm: float
    attention: float
    key_rank: int | None
    probabilities: dict[str, float] | None = None

    @property
    def haemorrhage(self) -> float | None:
        """The slice classifier's probability of any haemorrhage, if it is known."""
        return None if self.probabilities is None else self.probabilities.get("any")


@dataclass(frozen=True)
class AttributionMap:
    """Values on the voxels of the CT.

    Attributes
    ----------
    kind : str
        A key of :data:`MAP_KINDS`.
    label : Label or None
        The label that the map explains; None for the two kinds of attention and for predicted saliency.
    voxels : ndarray of uint8, shape (slices, rows, columns)
        0 outside the head and where the value is against the label.
    scale : float
        Value that 255 stands for: slice attention (0..1), an attended activation, a Grad-CAM value in logits, or how
        many times as often as everywhere a reader is expected to look. One for the whole scan.
    fixed_scale : bool
        Whether the scale is the same for every scan of the network, and not the scan's own largest value.
    largest : float or None
        Largest magnitude in the scan, in the unit of the scale; None where nobody kept it.

    Raises
    ------
    ValueError
        If the kind is unknown, or has one map per label and the label is missing.
    """

    kind: str
    label: Label | None
    voxels: NDArray[np.uint8]
    scale: float
    fixed_scale: bool = False
    largest: float | None = None

    def __post_init__(self) -> None:
        """Check that kind and label belong together."""
        if self.kind not in MAP_KINDS:
            raise ValueError(f"unknown kind of map {self.kind!r}; register it in MAP_KINDS")
        if ("{label}" in MAP_KINDS[self.kind].file) != (self.label is not None):
            raise ValueError(f"a map of kind {self.kind!r} {'belongs to no' if self.label else 'needs a'} label")

    @property
    def file_name(self) -> str:
        """Name of the map's file in the result folder."""
        return MAP_KINDS[self.kind].file.format(label=self.label.key if self.label else None)


@dataclass(frozen=True)
class LesionVolume:
    """How much blood a compartment holds.

    Attributes
    ----------
    group : str
        Key of a :class:`~scripts.labels.LesionGroup`, or ``"total"``.
    ml : float
        Estimate of the true volume: the mask's, calibrated where a calibration was measured.
    low_ml, high_ml : float or None
        Limits of the true volume; None where none were measured.
    mask_ml : float or None
        Volume of the mask itself.
    """

    group: str
    ml: float
    low_ml: float | None = None
    high_ml: float | None = None
    mask_ml: float | None = None


@dataclass(frozen=True)
class Lesions:
    """Where the network finds haemorrhage, and how much of it.

    Attributes
    ----------
    probability : ndarray of uint8, shape (slices, rows, columns)
        Of any haemorrhage; 255 is probability 1 in every scan.
    subtypes : ndarray of uint8, shape (slices, rows, columns)
        Inside a lesion the number of the subtype, its place in the vocabulary, or
        :data:`~scripts.labels.UNSPECIFIED_SUBTYPE`; 0 elsewhere.
    threshold : float
        Least probability of a lesion's voxel.
    smallest_ml : float
        Smaller lesions were dropped.
    level : float
        Fraction of true volumes that limits enclose.
    volumes : tuple of LesionVolume
        The total first, then the compartments, the largest first; empty where there is no lesion, or
        ``measurable`` is false.
    spacing_assumed : bool
        Whether the size of the voxels was assumed, because the files do not state it.
    groups : tuple of LesionGroup
        The compartments that the network tells apart.
    measurable : bool
        Whether volumes are stated; not of a network without subtypes, whose outlines were never measured.
    """

    probability: NDArray[np.uint8]
    subtypes: NDArray[np.uint8]
    threshold: float
    smallest_ml: float
    level: float
    volumes: tuple[LesionVolume, ...]
    spacing_assumed: bool = False
    groups: tuple[LesionGroup, ...] = LESION_GROUPS
    measurable: bool = True

    @cached_property
    def found(self) -> bool:
        """Whether there is any lesion."""
        return bool(self.subtypes.any())


@dataclass(frozen=True)
class ModelIdentity:
    """Which model a result comes from."""

    name: str
    version: str
    network: str
    weights_sha256: dict[str, str]
    labels: tuple[str, ...]
    trained_on: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything that one run found in one study.

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
        One per original slice.
    maps : tuple of AttributionMap
        Attention first, then one Grad-CAM per label.
    input_slices : tuple of tuple of int
        For each input slice, from the feet to the head, the original slices that were averaged into it.
    operating_point : str
        Name of the operating point that the thresholds belong to.
    device, precision : str
        For example ``"cpu"`` and ``"bfloat16"``.
    mirrored_views : bool
        Whether the network read every slice from both sides: as it is, and left and right exchanged.
    seconds : dict
        Wall time per stage (s).
    lesions : Lesions or None
        None where the network has no lesion decoder.
    draw_negative_maps : bool
        Whether the report draws attribution maps of negative findings too.
    prevalence : dict
        Label key to the prevalence that the probabilities presume; empty for that of the scans behind the calibration.
    """

    study_id: str
    study: CTStudy
    head: NDArray[np.bool_]
    findings: tuple[Finding, ...]
    slices: tuple[SliceResult, ...]
    maps: tuple[AttributionMap, ...]
    input_slices: tuple[tuple[int, ...], ...]
    model: ModelIdentity
    operating_point: str
    device: str
    precision: str
    mirrored_views: bool
    seconds: dict[str, float] = field(default_factory=dict)
    lesions: Lesions | None = None
    draw_negative_maps: bool = False
    prevalence: dict[str, float] = field(default_factory=dict)

    @property
    def haemorrhage_found(self) -> bool:
        """Whether any haemorrhage is positive."""
        return any(finding.positive and finding.label.is_haemorrhage for finding in self.findings)

    @property
    def stated_lesions(self) -> Lesions | None:
        """The lesions where a reader is told of them: nothing is claimed of a scan without a positive finding."""
        return self.lesions if self.lesions and self.lesions.found and self.haemorrhage_found else None


@dataclass(frozen=True)
class Refusal:
    """A study that must not be read: its result folder states why and holds nothing else.

    Attributes
    ----------
    study_id, source_name : str
        Name of the result folder; name (no path) of the folder or file.
    code : str
        For example ``"too_few_slices"``.
    reason : Message
        For example "7 slices, at least 12 needed".
    series_choice : tuple of Message
        One sentence per series that was considered, where the search came that far.
    """

    study_id: str
    source_name: str
    code: str
    reason: Message
    model: ModelIdentity
    series_choice: tuple[Message, ...] = ()
