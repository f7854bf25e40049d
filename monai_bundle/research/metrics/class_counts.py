"""How many scans show a label, do not, or are unknown: what decides whether a metric exists at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ClassCounts:
    """Known and unknown labels of one column.

    Attributes
    ----------
    positive, negative, unknown : int
        Rows labelled 1, 0 and NaN.
    """

    positive: int
    negative: int
    unknown: int

    @property
    def rarest(self) -> int:
        """Rows of the rarer class."""
        return min(self.positive, self.negative)

    def __str__(self) -> str:
        """Return what a metric rests on, e.g. ``3 positives, 79 negatives``."""
        counts = [_counted(self.positive, "positive"), _counted(self.negative, "negative")]
        return ", ".join([*counts, f"{self.unknown} unknown"] if self.unknown else counts)


def class_counts(labels: ArrayLike) -> ClassCounts:
    """Count one column of labels.

    Raises
    ------
    ValueError
        If a label is none of 0, 1 and NaN.
    """
    column = np.asarray(labels, dtype=np.float64)
    counts = ClassCounts(int((column == 1).sum()), int((column == 0).sum()), int(np.isnan(column).sum()))
    if counts.positive + counts.negative + counts.unknown != column.size:
        raise ValueError("labels must be 0, 1 or NaN")
    return counts


def known(labels: ArrayLike, *columns: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """Return the labels that are known, and the same rows of the other columns.

    Raises
    ------
    ValueError
        If the columns differ in length, or a prediction with a known label is no number.
    """
    truth = np.asarray(labels, dtype=np.float64)
    rows = ~np.isnan(truth)
    kept = []
    for column in columns:
        values = np.asarray(column, dtype=np.float64)
        if values.shape != truth.shape:
            raise ValueError(f"{len(values)} predictions, {len(truth)} labels")
        if np.isnan(values[rows]).any():
            raise ValueError("a prediction is NaN where its label is known")
        kept.append(values[rows])
    return truth[rows], *kept


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
