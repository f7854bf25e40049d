"""Bootstrap intervals: studies are drawn with replacement, both sittings and all readers of a study together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
SEED = 20221017
LEVEL = 0.95
FEWEST_STUDIES = 5
"""With fewer studies a resample repeats itself so often that an interval would promise too much."""


@dataclass(frozen=True)
class Interval:
    """A difference and its percentile interval (95 %); no limits where there are too few studies."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class MeasureSamples:
    """A measure in both sittings, its differences, shape (resamples,), in resampled studies, and how many there are."""

    first: float
    second: float
    differences: np.ndarray
    studies: int


def resample(studies: int) -> np.ndarray:
    """Return how often each study was drawn: integers of shape (resamples, studies); the same ones every time."""
    generator = np.random.default_rng(SEED)
    return generator.multinomial(studies, np.full(studies, 1 / studies), size=RESAMPLES)


def interval(samples: MeasureSamples) -> Interval:
    """Return the difference (second minus first) with its percentile interval."""
    value = samples.second - samples.first
    known = samples.differences[~np.isnan(samples.differences)]
    if known.size < RESAMPLES // 2 or np.isnan(value) or samples.studies < FEWEST_STUDIES:
        return Interval(value, None, None)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
