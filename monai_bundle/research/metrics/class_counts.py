"""How many scans show a label, do not, or are unknown: what decides whether a metric exists at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ANY = "any"
"""The label of any haemorrhage."""


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


def pooled_keys(labels: ArrayLike, keys: Sequence[str], fewest: int) -> tuple[str, ...]:
    """Return the subtypes that are too rare each, but not together: one line and one threshold serve them all.

    Parameters
    ----------
    labels : array_like, shape (scans, labels)
        0, 1 or NaN.
    keys : sequence of str
        The label of each column; ``any``, which is no subtype, is never pooled.
    fewest : int
        So many positives, and negatives, a label of its own needs.

    Returns
    -------
    tuple of str
        Empty, or two keys and more.
    """
    truth = np.asarray(labels, dtype=np.float64)
    rare = [column for column, key in enumerate(keys) if key != ANY and class_counts(truth[:, column]).rarest < fewest]
    if len(rare) < 2 or class_counts(truth[:, rare].ravel()).rarest < max(fewest, 1):
        return ()
    return tuple(keys[column] for column in rare)


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
