"""Agreement of a lesion map, a probability for each voxel, with the annotation of the haemorrhage.

- ``inside_minus_outside``: mean probability inside the mask minus mean outside it within the head. Probabilities stay
  as they are: ``diff_gradcam`` of :mod:`research.metrics.attribution_quality` is the same after scaling by the map's
  largest value, and therefore never smaller where it is positive. Random baseline 0.
- ``pointing_game``: whether the largest probability lies inside the mask, of several largest ones the proportion that
  does; 0 where the map is 0. Random baseline: the mask's proportion of the head.
- ``dice``: overlap of the thresholded map and the mask (Dice, Ecology 1945). Random baseline: as many voxels drawn at
  random from the head.

Each is taken ``per_slice`` (the mean over slices with a mask) and ``per_scan`` (all slices of the head together).
Volumes are compared in ml and as a ratio, predicted over true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.metrics.attribution_quality import Measured
from research.metrics.random_baseline import MeanInterval, MeanMetric, mean_metric, missing

MEASURES = ("inside_minus_outside", "pointing_game", "dice")
THRESHOLD = 0.5


@dataclass(frozen=True)
class LesionQuality:
    """One lesion map of one scan.

    Attributes
    ----------
    per_slice, per_scan : dict of Measured
        Measure to its value and random baseline.
    slices : int
        Slices with a mask.
    """

    per_slice: dict[str, Measured]
    per_scan: dict[str, Measured]
    slices: int


@dataclass(frozen=True)
class VolumePair:
    """Volume of one haemorrhage, or of one group of them, in one scan.

    Attributes
    ----------
    name, patient : str
        Of the scan, and whose it is.
    group : str
        What is measured: ``"total"`` or a group of subtypes.
    true_ml, predicted_ml : float
        By the mask, and by the network.
    """

    name: str
    patient: str
    group: str
    true_ml: float
    predicted_ml: float

    @property
    def error_ml(self) -> float:
        """Predicted minus true volume in ml."""
        return self.predicted_ml - self.true_ml

    @property
    def ratio(self) -> float:
        """Predicted over true volume; NaN where there is none."""
        return self.predicted_ml / self.true_ml if self.true_ml > 0 else float("nan")


def lesion_quality(
    probability: NDArray[np.number],
    mask: NDArray[np.bool_],
    head: NDArray[np.bool_],
    threshold: float = THRESHOLD,
) -> LesionQuality:
    """Measure one lesion map.

    Parameters
    ----------
    probability : ndarray, shape (slices, rows, columns)
        0..1, or uint8 with 255 for probability 1 as ``lesion.nii.gz`` holds it.
    mask : ndarray of bool, shape (slices, rows, columns)
        Annotation. Its voxels outside ``head`` count as head.
    head : ndarray of bool, shape (slices, rows, columns)
        Where the map can have values.
    threshold : float
        Probability from which a voxel counts as haemorrhage in ``dice``.

    Raises
    ------
    ValueError
        If the shapes differ, nothing is annotated, or a probability lies outside 0..1.
    """
    if not probability.shape == mask.shape == head.shape or probability.ndim != 3:
        raise ValueError(f"map {probability.shape}, mask {mask.shape}, head {head.shape}: equal, of three axes")
    annotated = np.flatnonzero(mask.any(axis=(1, 2)))
    if not annotated.size:
        raise ValueError("nothing is annotated")
    values = as_probability(probability)
    domain = head | mask
    slices = [_measures(values[each], mask[each], domain[each], threshold) for each in annotated]
    return LesionQuality(
        per_slice={
            name: Measured(
                float(np.mean([found[name].value for found in slices])),
                float(np.mean([found[name].random_baseline for found in slices])),
            )
            for name in MEASURES
        },
        per_scan=_measures(values, mask, domain, threshold),
        slices=len(annotated),
    )


def as_probability(values: NDArray[np.number]) -> NDArray[np.float32]:
    """Return probabilities 0..1 of a map of either form.

    Raises
    ------
    ValueError
        If a value lies outside 0..1, or is NaN.
    """
    found = values.astype(np.float32) / np.float32(255) if values.dtype == np.uint8 else values.astype(np.float32)
    if found.size and not (float(found.min()) >= 0.0 and float(found.max()) <= 1.0):
        raise ValueError("probabilities lie between 0 and 1")
    return found


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the overlap of two masks, 0..1; 1 where both are empty."""
    size = int(first.sum()) + int(second.sum())
    return 2.0 * float((first & second).sum()) / size if size else 1.0


def summarise(
    qualities: Sequence[tuple[str, LesionQuality]], interval: MeanInterval | None = None
) -> dict[str, dict[str, MeanMetric]]:
    """Average maps over scans, every scan counting the same.

    Parameters
    ----------
    qualities : sequence of (str, LesionQuality)
        Patient and quality of each scan.
    interval : callable, optional
        See :func:`~research.metrics.random_baseline.mean_metric`.

    Returns
    -------
    dict
        ``per_slice`` and ``per_scan``, each measure to its mean.
    """
    patients = [patient for patient, _ in qualities]
    found: dict[str, dict[str, MeanMetric]] = {}
    for scale in ("per_slice", "per_scan"):
        measured: list[dict[str, Measured]] = [getattr(quality, scale) for _, quality in qualities]
        found[scale] = {
            name: mean_metric(
                [each[name].value for each in measured],
                [each[name].random_baseline for each in measured],
                patients,
                interval,
            )
            if measured
            else missing("no scan with an annotation")
            for name in MEASURES
        }
    return found


def volume_errors(pairs: Sequence[VolumePair], interval: MeanInterval | None = None) -> dict[str, MeanMetric]:
    """Compare predicted and true volumes over scans.

    Returns
    -------
    dict
        ``error_ml`` (mean of predicted minus true), ``absolute_error_ml`` (mean of its size), ``true_ml`` (mean), and
        ``ratio``: the geometric mean of predicted over true, in which twice and half as much weigh the same. A scan in
        which nothing was predicted has no logarithm: its ratio counts as 0.01.
    """
    if not pairs:
        return dict.fromkeys(("error_ml", "absolute_error_ml", "true_ml", "ratio"), missing("no volume to compare"))
    patients = [pair.patient for pair in pairs]

    def mean_of(value: Callable[[VolumePair], float]) -> MeanMetric:
        values = [value(pair) for pair in pairs]
        return mean_metric(values, [0.0] * len(values), patients, interval)

    logarithm = mean_of(lambda pair: float(np.log(max(pair.ratio, 0.01))) if pair.true_ml > 0 else float("nan"))
    return {
        "error_ml": mean_of(lambda pair: pair.error_ml),
        "absolute_error_ml": mean_of(lambda pair: abs(pair.error_ml)),
        "true_ml": mean_of(lambda pair: pair.true_ml),
        "ratio": _exponential(logarithm),
    }


def _exponential(metric: MeanMetric) -> MeanMetric:
    value, low, high = (
        None if each is None else float(np.exp(each)) for each in (metric.value, metric.low, metric.high)
    )
    return MeanMetric(value, 1.0, low, high, metric.scans, metric.patients, metric.reason)


def _measures(
    values: NDArray[np.float32], mask: NDArray[np.bool_], domain: NDArray[np.bool_], threshold: float
) -> dict[str, Measured]:
    """Measure a map within ``domain``, be it a slice or a scan."""
    inside, outside = values[mask], values[domain & ~mask]
    voxels, annotated = int(domain.sum()), int(mask.sum())
    largest = max(float(inside.max()), float(outside.max(initial=0.0)))
    at_largest = int((inside == largest).sum()), int((outside == largest).sum())
    # A mask that fills the head has no outside to compare with.
    difference = float(inside.mean(dtype=np.float64)) - float(outside.mean(dtype=np.float64)) if outside.size else 0.0
    predicted = int((inside >= threshold).sum()) + int((outside >= threshold).sum())
    overlap = 2.0 * int((inside >= threshold).sum()) / (predicted + annotated)
    return {
        "inside_minus_outside": Measured(difference, 0.0),
        "pointing_game": Measured(at_largest[0] / sum(at_largest) if largest > 0 else 0.0, annotated / voxels),
        "dice": Measured(overlap, 2.0 * predicted * annotated / voxels / (predicted + annotated)),
    }
