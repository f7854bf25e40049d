"""How well a map agrees with the outline of the haemorrhage: four measures, each beside its chance level.

- ``diff_gradcam``: mean of the map inside the outline minus mean outside (Diff_GradCAM; Qiu, Rivaz, Xiao, MLMI 2023,
  arXiv 2308.15172: .186 for VGG16 on chest X-rays). Chance 0.
- ``effective_heat_ratio_auc``: share of the heat at or above a threshold that lies inside the outline, integrated over
  thresholds in equal steps from 0 to 1 (Effective Heat Ratio; Zhang et al., NeurIPS 2021, arXiv 2110.01471, used by Qiu
  et al. with equal steps: .0243 for VGG16). Zhang et al. choose thresholds by quantile and divide by the number of
  points instead of their heat; the definition here has the outline's share of the head as its chance level.
- ``pointing_game``: whether the largest value lies inside (Zhang et al., ECCV 2016), optionally within a tolerance; of
  several largest values, the share that does. Chance: the share of the head that the (grown) outline takes.
- ``energy_inside``: share of all heat that lies inside (Score-CAM, Wang et al., CVPR workshops 2020). Chance: as above.

Chance is what the same map gives on average when its values are dealt at random to the voxels of the head.

Each is taken twice. ``per_slice``, as the literature does with single pictures: every slice with an outline is scaled
to its own largest value and judged by itself; slices without an outline have no inside and are left out. ``per_scan``,
as the maps are shown: one scale for the scan, all slices of the head together; heat in slices without an outline lies
outside. Only evidence for the label counts: negative values are 0. A map that is dark where an outline is has pointed
at nothing and gets 0 in every measure (``dark_slices`` says how often): leaving it out would reward silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.ndimage import distance_transform_edt

from research.metrics.random_baseline import Figure, MeanInterval, mean_figure, missing

MEASURES = ("diff_gradcam", "effective_heat_ratio_auc", "pointing_game", "energy_inside")

STEPS = 20
"""Equal steps of the threshold between 0 and 1."""


@dataclass(frozen=True)
class Measured:
    """One map's value and chance level."""

    value: float
    chance: float


@dataclass(frozen=True)
class MapQuality:
    """One map of one scan.

    Attributes
    ----------
    per_slice, per_scan : dict of Measured
        Measure to its figure, the mean over slices with an outline and over the whole scan; empty where there is none.
    slices : int
        Slices with an outline.
    dark_slices : int
        Of these, those on which the map shows nothing.
    reason : str or None
        Why nothing was measured.
    """

    per_slice: dict[str, Measured]
    per_scan: dict[str, Measured]
    slices: int
    dark_slices: int
    reason: str | None = None


def mask_of_label(mask: NDArray[np.bool_], slice_positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the outline of all haemorrhage on the slices that show one kind.

    Where a slice shows two kinds, both outlines stay: nobody drew them apart.
    """
    return np.asarray(mask & slice_positive[:, None, None])


def map_quality(
    values: NDArray[np.number],
    mask: NDArray[np.bool_],
    head: NDArray[np.bool_],
    tolerance: float = 0.0,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> MapQuality:
    """Judge one map.

    Parameters
    ----------
    values : ndarray, shape (slices, rows, columns)
        Signed or not, in any unit.
    mask : ndarray of bool, shape (slices, rows, columns)
        Outline of the haemorrhage. Outlined voxels outside ``head`` count as head: they can be missed.
    head : ndarray of bool, shape (slices, rows, columns)
        Where the map can have values.
    tolerance : float
        How far from the outline, within the slice, the largest value may lie for the pointing game, in the unit of
        ``spacing``.
    spacing : tuple of float
        Distance between rows and between columns: mm, or 1 for pixels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not values.shape == mask.shape == head.shape or values.ndim != 3:
        raise ValueError(f"map {values.shape}, mask {mask.shape}, head {head.shape} must be equal and of three axes")
    outlined = np.flatnonzero(mask.any(axis=(1, 2)))
    if not outlined.size:
        return MapQuality({}, {}, 0, 0, "no outline")
    domain = head | mask
    if np.isnan(np.asarray(values[domain], dtype=np.float64)).any():
        return MapQuality({}, {}, len(outlined), 0, "the map holds values that are no number")
    heat = np.where(domain, values, 0).astype(np.float64).clip(min=0)
    near = _grown(mask, tolerance, spacing) & domain
    slices = [_measures(heat[index], mask[index], near[index], domain[index]) for index in outlined]
    return MapQuality(
        per_slice={
            name: Measured(
                value=float(np.mean([found[name].value for found in slices])),
                chance=float(np.mean([found[name].chance for found in slices])),
            )
            for name in MEASURES
        },
        per_scan=_measures(heat, mask, near, domain),
        slices=len(outlined),
        dark_slices=int((heat[outlined].max(axis=(1, 2)) == 0).sum()),
    )


def summarise(
    qualities: Sequence[MapQuality], patients: Sequence[str], interval: MeanInterval | None = None
) -> dict[str, dict[str, Figure]]:
    """Average maps of one label over scans, every scan counting the same, as a picture does in the literature.

    Returns
    -------
    dict
        ``per_slice`` and ``per_scan``, each measure to its figure.
    """
    if len(qualities) != len(patients):
        raise ValueError(f"{len(qualities)} maps, {len(patients)} patients")
    found: dict[str, dict[str, Figure]] = {}
    for scale in ("per_slice", "per_scan"):
        of_scale: list[dict[str, Measured]] = [getattr(quality, scale) for quality in qualities]
        measured = [(figures, patient) for figures, patient in zip(of_scale, patients, strict=True) if figures]
        found[scale] = {
            name: mean_figure(
                [figures[name].value for figures, _ in measured],
                [figures[name].chance for figures, _ in measured],
                [patient for _, patient in measured],
                interval,
            )
            if measured
            else missing(_why(qualities))
            for name in MEASURES
        }
    return found


def summarise_labels(
    qualities: Mapping[str, Sequence[tuple[str, MapQuality]]], interval: MeanInterval | None = None
) -> dict[str, dict[str, dict[str, Figure]]]:
    """Average label by label and, under ``"overall"``, over every map of every label.

    Parameters
    ----------
    qualities : mapping
        Label key to (patient, quality) of each map.
    interval : callable, optional
        See :func:`~research.metrics.random_baseline.mean_figure`.
    """
    groups = dict(qualities) | {"overall": [entry for entries in qualities.values() for entry in entries]}
    return {
        key: summarise([quality for _, quality in entries], [patient for patient, _ in entries], interval)
        for key, entries in groups.items()
    }


def _measures(
    heat: NDArray[np.float64], mask: NDArray[np.bool_], near: NDArray[np.bool_], domain: NDArray[np.bool_]
) -> dict[str, Measured]:
    """Judge heat (at least 0) within ``domain``, be it a slice or a scan; ``near`` is the grown outline."""
    inside, outside = heat[mask], heat[domain & ~mask]
    share, near_share = float(mask.sum() / domain.sum()), float(near.sum() / domain.sum())
    largest = float(heat.max())
    if largest == 0:
        diff = ratio = pointing = energy = 0.0
    else:
        # An outline that fills the head has no outside to stand out from.
        diff = (float(inside.mean()) - float(outside.mean())) / largest if outside.size else 0.0
        ratio = _effective_heat_ratio_auc(inside / largest, outside / largest)
        pointing = float(near[heat == largest].mean())
        energy = float(inside.sum() / heat.sum())
    return {
        "diff_gradcam": Measured(diff, 0.0),
        "effective_heat_ratio_auc": Measured(ratio, share),
        "pointing_game": Measured(pointing, near_share),
        "energy_inside": Measured(energy, share),
    }


def _effective_heat_ratio_auc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Area under the share of heat inside against the threshold; both in 0..1, the largest of both being 1."""
    thresholds = np.linspace(0, 1, STEPS + 1)
    within = np.array([inside[inside >= threshold].sum() for threshold in thresholds])
    beyond = np.array([outside[outside >= threshold].sum() for threshold in thresholds])
    return float(trapezoid(within / (within + beyond), thresholds))


def _grown(mask: NDArray[np.bool_], tolerance: float, spacing: tuple[float, float]) -> NDArray[np.bool_]:
    """Grow the outline slice by slice."""
    if tolerance <= 0:
        return mask
    grown = mask.copy()
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        grown[index] = distance_transform_edt(~mask[index], sampling=spacing) <= tolerance
    return grown


def _why(qualities: Sequence[MapQuality]) -> str:
    reasons = sorted({quality.reason for quality in qualities if quality.reason})
    return "; ".join(reasons) or "no map"
