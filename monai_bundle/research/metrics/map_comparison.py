"""Whether networks differ in the quality of their maps: Qiu's table 3.2, its analysis of variance and its pairs.

Qiu, thesis 2024, section 3.3.4: Diff_GradCAM of every case, mean, standard deviation, least and largest value, one-way
ANOVA and Tukey's test of all pairs. A case is a scan here: the mean over its slices, which are not independent. As in
the thesis the same cases are taken for independent samples, though every network sees them: differences between
networks are then understated, not exaggerated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import f_oneway, tukey_hsd


@dataclass(frozen=True)
class Spread:
    """One column of table 3.2.

    Attributes
    ----------
    cases : int
        Number of scans.
    mean, smallest, largest : float
        Over them.
    standard_deviation : float or None
        Of the sample; None for a single case.
    """

    cases: int
    mean: float
    standard_deviation: float | None
    smallest: float
    largest: float


@dataclass(frozen=True)
class PairDifference:
    """One pair of Tukey's test.

    Attributes
    ----------
    first, second : str
        Names of the networks.
    difference : float
        Mean of the first minus mean of the second.
    low, high : float
        Its simultaneous 95 % interval.
    p : float
        Adjusted for the number of pairs.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class MapComparison:
    """All networks on the same cases.

    Attributes
    ----------
    spreads : dict
        Network to its column.
    f, p : float or None
        Of the one-way analysis of variance; None with its ``remark`` where it cannot be made.
    pairs : tuple of PairDifference
        All pairs; empty where the analysis cannot be made.
    remark : str or None
        Why a part is missing.
    """

    spreads: dict[str, Spread]
    f: float | None
    p: float | None
    pairs: tuple[PairDifference, ...]
    remark: str | None = None


def compare_maps(values: Mapping[str, Sequence[float]]) -> MapComparison:
    """Compare one measure of maps between networks.

    Parameters
    ----------
    values : mapping
        Network to its value in each case.

    Raises
    ------
    ValueError
        If a network has no case, or a value is not finite.
    """
    samples = {name: np.asarray(sample, dtype=np.float64) for name, sample in values.items()}
    for name, sample in samples.items():
        if not sample.size or not np.isfinite(sample).all():
            raise ValueError(f"{name}: {sample.size} cases, all of which must be finite numbers")
    spreads = {name: _spread(sample) for name, sample in samples.items()}
    least = min((len(sample) for sample in samples.values()), default=0)
    if len(samples) < 2 or least < 2:
        return MapComparison(spreads, None, None, (), f"{len(samples)} networks, {least} cases: needs two of each")
    groups = list(samples.values())
    if all(np.ptp(group) == 0 for group in groups):
        return MapComparison(spreads, None, None, (), "no network's values differ between cases")
    variance, tukey = f_oneway(*groups), tukey_hsd(*groups)
    interval, names = tukey.confidence_interval(0.95), list(samples)
    low, high = np.asarray(interval.low), np.asarray(interval.high)
    pairs = tuple(
        PairDifference(
            first=names[one],
            second=names[other],
            difference=float(tukey.statistic[one, other]),
            low=float(low[one, other]),
            high=float(high[one, other]),
            p=float(tukey.pvalue[one, other]),
        )
        for one in range(len(names))
        for other in range(one + 1, len(names))
    )
    return MapComparison(spreads, float(variance.statistic), float(variance.pvalue), pairs)


def _spread(sample: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Spread:
    return Spread(
        cases=len(sample),
        mean=float(sample.mean()),
        standard_deviation=float(sample.std(ddof=1)) if len(sample) > 1 else None,
        smallest=float(sample.min()),
        largest=float(sample.max()),
    )
