"""Sensitivity at a fixed specificity, by the contrast of a haemorrhage to the brain beside it.

It stands beside the sensitivity by volume and takes nothing from it: it tells whether what is missed is what no reader
sees either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from research.metrics.confidence import RESAMPLES
from research.metrics.lesion_contrast import LesionContrast
from research.metrics.volume_sensitivity import SPECIFICITY, ScoredScan, Sensitivity, sensitivities

CONTRAST_BINS = {
    "below -10 HU": (-np.inf, -10.0),
    "-10 to 10 HU": (-10.0, 10.0),
    "10 to 20 HU": (10.0, 20.0),
    "from 20 HU": (20.0, np.inf),
}
"""Median contrast in HU of a haemorrhage of one density, the lower bound included.

Grey and white matter differ by 5 to 10 HU: within 10 HU of the brain beside it a haemorrhage is isodense, and only the
shape of the brain betrays it; below, it is old and dark. From 20 HU on it takes a quarter of the brain window (80 HU),
and is plainly white: acute blood has 60 to 75 HU, brain 30 to 37.
"""
MIXED, NOT_MEASURABLE = "mixed density", "not measurable"
SUBTYPES = ("any", "subdural")
"""Any haemorrhage, and the subtype that is isodense at some age."""
FROM_ML = (1.0, 5.0)

BySize = dict[str, dict[str, Sensitivity]]


def sensitivity_by_contrast(
    scans: Sequence[ScoredScan], specificity: float = SPECIFICITY, count: int = RESAMPLES
) -> dict[str, BySize]:
    """Return the sensitivity in each bin of :data:`CONTRAST_BINS`, by the score of any haemorrhage.

    Parameters
    ----------
    scans : sequence of ScoredScan
        Positive and negative.
    specificity, count
        See :func:`~research.metrics.volume_sensitivity.sensitivities`.

    Returns
    -------
    dict
        Each of :data:`SUBTYPES` to ``"from 1 ml"`` and ``"from 5 ml"``, each of which maps the bins, :data:`MIXED` and
        :data:`NOT_MEASURABLE` to a sensitivity: together they are all such haemorrhages. One threshold serves all, and
        intervals resample hosts.
    """
    found: dict[str, BySize] = {}
    for subtype in SUBTYPES:
        chosen = [scan for scan in scans if subtype == "any" or scan.subtype in (None, subtype)]
        found[subtype] = {
            f"from {low_ml:g} ml": sensitivities(chosen, _groups(low_ml), "any", specificity, count)
            for low_ml in FROM_ML
        }
    return found


def _groups(low_ml: float) -> dict[str, Callable[[ScoredScan], bool]]:
    return {name: _belonging(low_ml, name) for name in (*CONTRAST_BINS, MIXED, NOT_MEASURABLE)}


def _belonging(low_ml: float, name: str) -> Callable[[ScoredScan], bool]:
    return lambda scan: scan.volume_ml >= low_ml and _bin(scan.contrast) == name


def _bin(contrast: LesionContrast | None) -> str:
    if contrast is None:
        return NOT_MEASURABLE
    if contrast.mixed:
        return MIXED
    return next(name for name, (low, high) in CONTRAST_BINS.items() if low <= contrast.median_hu < high)
