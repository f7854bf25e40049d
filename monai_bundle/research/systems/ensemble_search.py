"""The best subset of an ensemble's candidates and the best rule, on validation data alone (ICH app, section 4.2.1).

The paper tried "various combinations" on its test set; here the data that choose are never those that are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from research.metrics.predictions import Predictions
from scripts.networks.ensemble_rules import RULES, THRESHOLD, combined
from scripts.networks.slice_ensemble import EnsembleMembers

Floats = NDArray[np.float64]


def best_ensemble(candidates: dict[str, Predictions], folds: Sequence[int]) -> tuple[EnsembleMembers, float]:
    """Search all subsets and rules on the slices of some folds.

    Parameters
    ----------
    candidates : dict
        Name to its held-out predictions, all of the same scans.
    folds : sequence of int
        Folds whose scans may choose; the others are not looked at.

    Returns
    -------
    EnsembleMembers
        Of the largest mean AUC over the labels of single slices; of equal ones the smallest, the first by order.
    float
        That AUC: it is optimistic, as it was chosen by.

    Raises
    ------
    ValueError
        If the candidates are not of the same scans, or no slice of these folds is labelled.
    """
    names = list(candidates)
    labels, probabilities = _slices(candidates, folds)
    accuracies = ((probabilities >= THRESHOLD) == (labels == 1))[:, ~np.isnan(labels)].mean(axis=1)
    stack = torch.from_numpy(probabilities)
    weights = torch.from_numpy(accuracies)
    best, rule = -np.inf, RULES[0]
    chosen: tuple[str, ...] = (names[0],)
    for size in range(1, len(names) + 1):
        for subset in combinations(range(len(names)), size):
            places = list(subset)
            # One member is itself by every rule but the vote, which only loses.
            for name in RULES if size > 1 else RULES[:1]:
                score = mean_auc(labels, combined(stack[places], name, weights[places]).numpy())
                if score > best + 1e-9:
                    best, chosen, rule = score, tuple(names[place] for place in places), name
    own = tuple(round(float(accuracies[names.index(name)]), 6) for name in chosen)
    searched = (
        f"held-out slices of {len(set(folds))} other folds" if len(set(folds)) > 1 else "held-out slices of one fold"
    )
    return EnsembleMembers(chosen, rule, own, searched), best


def mean_auc(labels: Floats, scores: Floats) -> float:
    """Return the AUC, mean over the labels that have both classes; ranks of all labels at once.

    Parameters
    ----------
    labels, scores : ndarray, shape (slices, labels)
        0 or 1 (NaN counts as absent); larger for likelier.

    Raises
    ------
    ValueError
        If no label has both classes.
    """
    positive = labels == 1
    count = positive.sum(axis=0)
    both = (count > 0) & (count < len(labels))
    if not both.any():
        raise ValueError("no label has both positive and negative slices: nothing to choose by")
    ranks = np.where(positive, rankdata(scores, axis=0), 0.0).sum(axis=0)[both]
    count = count[both]
    return float(((ranks - count * (count + 1) / 2) / (count * (len(labels) - count))).mean())


def _slices(candidates: dict[str, Predictions], folds: Sequence[int]) -> tuple[Floats, Floats]:
    """Return labels (slices, labels) and probabilities (candidates, slices, labels) of the scans of some folds."""
    first = next(iter(candidates.values()))
    order = [scan.name for scan in first.scans if scan.fold in set(folds) and scan.slice_labels is not None]
    if not order:
        raise ValueError("no slice of these folds is labelled: nothing to choose by")
    logits = []
    for name, predictions in candidates.items():
        by_name = {scan.name: scan for scan in predictions.scans}
        if predictions.keys != first.keys or not set(order) <= set(by_name):
            raise ValueError(f"{name}: not measured on the same scans and labels")
        logits.append(np.concatenate([by_name[scan].slice_logits for scan in order]))
    by_name = {scan.name: scan for scan in first.scans}
    labels = np.concatenate([np.asarray(by_name[scan].slice_labels) for scan in order])
    return labels, np.asarray(expit(np.stack(logits)))
