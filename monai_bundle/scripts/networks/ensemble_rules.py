"""From several networks' probabilities to one: average, vote and weights by accuracy (ICH app, equations 1 to 3)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

EnsembleRule = Literal["average", "vote", "accuracy"]
RULES: tuple[EnsembleRule, ...] = get_args(EnsembleRule)

THRESHOLD = 0.5
"""Probability at which a member votes for a label."""


def combined(probabilities: Tensor, rule: EnsembleRule, accuracies: Tensor | None = None) -> Tensor:
    """Combine members' probabilities.

    Parameters
    ----------
    probabilities : Tensor, shape (members, ...)
        0..1.
    rule : {"average", "vote", "accuracy"}
        The mean (eq. 1); the proportion of members that reach one half, so that a threshold of one half is the majority
        of eq. 2 (an even split, which its three members cannot have, is counted as positive); the mean weighted by
        accuracy (eq. 3).
    accuracies : Tensor, shape (members,), optional
        Needed by ``accuracy`` alone.

    Returns
    -------
    Tensor, shape (...)
        0..1.

    Raises
    ------
    ValueError
        If the rule is unknown, or has not one positive weight per member.
    """
    if rule == "vote":
        return (probabilities >= THRESHOLD).to(probabilities.dtype).mean(dim=0)
    weights = member_weights(len(probabilities), rule, accuracies).to(probabilities)
    return torch.tensordot(weights, probabilities, dims=1)


def member_weights(members: int, rule: EnsembleRule, accuracies: Tensor | None = None) -> Tensor:
    """Return how much each member counts, shape (members,), of sum 1; parameters as for :func:`combined`."""
    if rule not in RULES:
        raise ValueError(f"an ensemble combines by one of {', '.join(RULES)}, not {rule!r}")
    if rule != "accuracy":
        return torch.full((members,), 1.0 / members)
    if accuracies is None or accuracies.shape != (members,) or not bool((accuracies > 0).all()):
        raise ValueError(f"{members} members need as many accuracies above 0")
    return accuracies / accuracies.sum()
