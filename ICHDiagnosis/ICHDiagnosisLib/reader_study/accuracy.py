"""Precision, recall and F1 of ticked findings, macro-averaged over labels as in the paper's table 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .protocol import LABELS

Counts = np.ndarray
"""Integers of shape (studies, labels, 3): whether a label is true positive, false positive, false negative."""


@dataclass(frozen=True)
class Accuracy:
    """How well findings agree with the reference standard; NaN where no study shows any label.

    Attributes
    ----------
    precision, recall, f1 : float
        Means over :attr:`labels`, each 0..1.
    labels : tuple of str
        Labels that at least one study shows; of the others nothing can be recalled.
    """

    precision: float
    recall: float
    f1: float
    labels: tuple[str, ...]


def counts(truth: Sequence[frozenset[str]], ticked: Sequence[frozenset[str]]) -> Counts:
    """Count agreement and both kinds of error for every study and label."""
    shown, found = (
        np.array([[label in labels for label in LABELS] for labels in studies], dtype=bool).reshape(-1, len(LABELS))
        for studies in (truth, ticked)
    )
    return np.stack([shown & found, ~shown & found, shown & ~found], axis=-1).astype(np.int64)


def accuracy(of_studies: Counts) -> Accuracy:
    """Return the macro averages.

    A label's precision is 0 where it was never ticked. F1 is the mean of the labels' F1 scores ("Macro-F1 can treat
    each category equally": section VI.A.1), not the F1 of the mean precision and recall.
    """
    shown = (of_studies[:, :, 0] + of_studies[:, :, 2]).sum(axis=0) > 0
    precision, recall, f1 = macro_averages(of_studies.sum(axis=0)[np.newaxis, shown])
    labels = tuple(label for label, is_shown in zip(LABELS, shown, strict=True) if is_shown)
    return Accuracy(float(precision[0]), float(recall[0]), float(f1[0]), labels)


def macro_averages(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return macro precision, recall and F1, shape (resamples,), of totals, shape (resamples, labels, 3).

    Labels without a positive study in a resample are left out of its means; NaN where there is none at all.
    """
    true, false, missed = totals[..., 0], totals[..., 1], totals[..., 2]
    shown = true + missed > 0
    number = shown.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_labels = (
            np.where(true + false > 0, true / (true + false), 0.0),
            np.where(shown, true / (true + missed), 0.0),
            np.where(shown, 2 * true / (2 * true + false + missed), 0.0),
        )
        precision, recall, f1 = (np.where(shown, values, 0.0).sum(axis=-1) / number for values in of_labels)
    return precision, recall, f1
