"""Agreement of an attribution map with the annotation of the haemorrhage: four measures beside their random baselines.

- ``diff_gradcam``: mean of the map inside the mask minus mean outside (Diff_GradCAM; Qiu, Rivaz, Xiao, MLMI 2023,
  arXiv 2308.15172, with VGG16 on chest X-rays). Random baseline 0.
- ``effective_heat_ratio_auc``: proportion of the map's values at or above a threshold that lies inside the mask,
  integrated over thresholds in equal steps from 0 to 1 (Effective Heat Ratio; Zhang et al., NeurIPS 2021, arXiv
  2110.01471, used by Qiu et al. with equal steps). Zhang et al. choose thresholds by quantile and divide by the number
  of points instead of their values; the definition here has the mask's proportion of the head as its random baseline.
- ``pointing_game``: whether the largest value lies inside (Zhang et al., ECCV 2016); of several largest values, the
  proportion that does. Random baseline: the mask's proportion of the head.
- ``energy_inside``: proportion of the sum of all values that lies inside (Score-CAM, Wang et al., CVPR workshops 2020).
  Random baseline: as above.

The random baseline is the expectation when the map's values are permuted at random over the voxels of the head.

Each is taken twice. ``per_slice``, as the literature does with single images: every slice with a mask is scaled to its
own largest value and measured by itself; slices without a mask have no inside and are left out. ``per_scan``, as the
maps are shown: one scale for the scan, all slices of the head together; values on slices without a mask lie outside.
Only evidence for the label counts: negative values are 0. A map that is 0 where a mask is gets 0 in every measure
(``zero_slices`` counts them): leaving it out would favour maps that are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from research.metrics.random_baseline import MeanInterval, MeanMetric, mean_metric, missing

MEASURES = ("diff_gradcam", "effective_heat_ratio_auc", "pointing_game", "energy_inside")
_HITS = "pointing_game"

STEPS = 20
"""Equal steps of the threshold between 0 and 1."""


@dataclass(frozen=True)
class Measured:
    """One map's value and random baseline."""

    value: float
    random_baseline: float


@dataclass(frozen=True)
class MapQuality:
    """One map of one scan.

    Attributes
    ----------
    per_slice, per_scan : dict of Measured
        Measure to its value, the mean over slices with a mask and over the whole scan; empty where there is no mask.
    slices : int
        Slices with a mask.
    zero_slices : int
        Of these, those on which the map is 0.
    reason : str or None
        Why nothing was measured.
    """

    per_slice: dict[str, Measured]
    per_scan: dict[str, Measured]
    slices: int
    zero_slices: int
    reason: str | None = None


def mask_of_label(mask: NDArray[np.bool_], slice_positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Restrict the mask of all haemorrhage to the slices that show one subtype.

    Where a slice shows two subtypes, both stay in the mask: the annotation does not separate them.
    """
    return np.asarray(mask & slice_positive[:, None, None])


def map_quality(values: NDArray[np.number], mask: NDArray[np.bool_], head: NDArray[np.bool_]) -> MapQuality:
    """Measure one map.

    Parameters
    ----------
    values : ndarray, shape (slices, rows, columns)
        Signed or not, in any unit.
    mask : ndarray of bool, shape (slices, rows, columns)
        Annotation of the haemorrhage. Its voxels outside ``head`` count as head.
    head : ndarray of bool, shape (slices, rows, columns)
        Where the map can have values.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not values.shape == mask.shape == head.shape or values.ndim != 3:
        raise ValueError(f"map {values.shape}, mask {mask.shape}, head {head.shape} must be equal and of three axes")
    annotated = np.flatnonzero(mask.any(axis=(1, 2)))
    if not annotated.size:
        return MapQuality({}, {}, 0, 0, "no annotation")
    domain = head | mask
    if np.isnan(np.asarray(values[domain], dtype=np.float64)).any():
        return MapQuality({}, {}, len(annotated), 0, "the map holds NaN")
    evidence = np.where(domain, values, 0).astype(np.float64).clip(min=0)
    slices = [_measures(evidence[index], mask[index], domain[index]) for index in annotated]
    return MapQuality(
        per_slice={
            name: Measured(
                value=float(np.mean([found[name].value for found in slices])),
                random_baseline=float(np.mean([found[name].random_baseline for found in slices])),
            )
            for name in MEASURES
        },
        per_scan=_measures(evidence, mask, domain),
        slices=len(annotated),
        zero_slices=int((evidence[annotated].max(axis=(1, 2)) == 0).sum()),
    )


def summarise(
    qualities: Sequence[MapQuality], patients: Sequence[str], interval: MeanInterval | None = None
) -> dict[str, dict[str, MeanMetric]]:
    """Average maps of one label over scans, every scan counting the same.

    Returns
    -------
    dict
        ``per_slice`` and ``per_scan``, each measure to its mean.
    """
    if len(qualities) != len(patients):
        raise ValueError(f"{len(qualities)} maps, {len(patients)} patients")
    found: dict[str, dict[str, MeanMetric]] = {}
    for scale in ("per_slice", "per_scan"):
        of_scale: list[dict[str, Measured]] = [getattr(quality, scale) for quality in qualities]
        measured = [(measures, patient) for measures, patient in zip(of_scale, patients, strict=True) if measures]
        found[scale] = {
            name: mean_metric(
                [measures[name].value for measures, _ in measured],
                [measures[name].random_baseline for measures, _ in measured],
                [patient for _, patient in measured],
                _bounds_of(name, interval),
            )
            if measured
            else missing(_reasons(qualities))
            for name in MEASURES
        }
    return found


def summarise_labels(
    qualities: Mapping[str, Sequence[tuple[str, MapQuality]]], interval: MeanInterval | None = None
) -> dict[str, dict[str, dict[str, MeanMetric]]]:
    """Average label by label and, under ``"overall"``, over every map of every label.

    Parameters
    ----------
    qualities : mapping
        Label key to (patient, quality) of each map.
    interval : callable, optional
        See :func:`~research.metrics.random_baseline.mean_metric`.
    """
    groups = dict(qualities) | {"overall": [entry for entries in qualities.values() for entry in entries]}
    return {
        key: summarise([quality for _, quality in entries], [patient for patient, _ in entries], interval)
        for key, entries in groups.items()
    }


def _bounds_of(measure: str, interval: MeanInterval | None) -> MeanInterval | None:
    """Return an interval for a measure; where all values are equal, only that of hits has one, Wilson's."""
    if interval is None or measure == _HITS:
        return interval

    def bounds(values: NDArray[np.float64], patients: NDArray[np.str_]) -> tuple[float, float] | None:
        return None if np.ptp(values) == 0 else interval(values, patients)

    return bounds


def _measures(evidence: NDArray[np.float64], mask: NDArray[np.bool_], domain: NDArray[np.bool_]) -> dict[str, Measured]:
    """Measure a map (values at least 0) within ``domain``, be it a slice or a scan."""
    inside, outside = evidence[mask], evidence[domain & ~mask]
    proportion, largest = float(mask.sum() / domain.sum()), float(evidence.max())
    if largest == 0:
        diff = ratio = pointing = energy = 0.0
    else:
        # A mask that fills the head has no outside to compare with.
        diff = (float(inside.mean()) - float(outside.mean())) / largest if outside.size else 0.0
        ratio = _effective_heat_ratio_auc(inside / largest, outside / largest)
        pointing = float(mask[evidence == largest].mean())
        energy = float(inside.sum() / evidence.sum())
    return {
        "diff_gradcam": Measured(diff, 0.0),
        "effective_heat_ratio_auc": Measured(ratio, proportion),
        "pointing_game": Measured(pointing, proportion),
        "energy_inside": Measured(energy, proportion),
    }


def _effective_heat_ratio_auc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Area under the proportion inside against the threshold; values in 0..1, the largest of both arrays being 1."""
    thresholds = np.linspace(0, 1, STEPS + 1)
    within = np.array([inside[inside >= threshold].sum() for threshold in thresholds])
    beyond = np.array([outside[outside >= threshold].sum() for threshold in thresholds])
    return float(trapezoid(within / (within + beyond), thresholds))


def _reasons(qualities: Sequence[MapQuality]) -> str:
    reasons = sorted({quality.reason for quality in qualities if quality.reason})
    return "; ".join(reasons) or "no map"
