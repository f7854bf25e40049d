"""From what single slices show to what the scan shows: rules that published systems state, as functions of logits.

Every rule is a choice among logits, so that a threshold on its result is the same threshold on the slices, and
gradients reach the slices that decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.networks.study_network import SLAB_MM

ScanRule = Callable[[Tensor, Tensor], Tensor]
"""Slice logits (slices, labels) in anatomical order and slice positions (slices,) in mm -> scan logits (labels,)."""


def strongest(slice_logits: Tensor, positions_mm: Tensor) -> Tensor:
    """Return each label's largest logit: a scan shows what any of its slices shows."""
    return slice_logits.amax(dim=0)


@dataclass(frozen=True)
class Consecutive:
    """A scan shows a label where so many neighbouring slices show it (RADnet, section 2.3: three or more).

    The result is the largest value that this many neighbours reach together, so that it passes a threshold exactly
    where the rule does. The paper's slices are 1 to 2 mm thick. ``extent_mm`` carries its rule over to other CT: at
    6 mm, three of its thickest slices, three slices are asked for up to 2.4 mm from slice to slice, two up to 4 mm and
    one beyond, as in routine CT of 5 mm, where a haemorrhage often shows on one slice alone.

    Attributes
    ----------
    slices : int
        Most slices that are asked for.
    extent_mm : float or None
        Length along the slice normal; the number of slices that comes nearest to it must show the label. None asks for
        ``slices`` whatever their thickness.
    """

    slices: int = 3
    extent_mm: float | None = 6.0

    def asked_for(self, positions_mm: Tensor) -> int:
        """Return how many neighbouring slices must show a label, at least 1 and at most the scan's."""
        count = len(positions_mm)
        step = float(positions_mm.diff().abs().median()) if count > 1 else SLAB_MM
        fitting = self.slices if self.extent_mm is None else math.floor(round(self.extent_mm / max(step, 0.1), 3) + 0.5)
        return max(1, min(self.slices, fitting, count))

    def __call__(self, slice_logits: Tensor, positions_mm: Tensor) -> Tensor:
        """Return the largest logit that enough neighbouring slices reach."""
        together = slice_logits.unfold(0, self.asked_for(positions_mm), 1).amin(dim=-1)
        return together.amax(dim=0)


RULES: dict[str, ScanRule] = {
    "strongest": strongest,
    "three_consecutive": Consecutive(extent_mm=None),
    "three_thin_consecutive": Consecutive(),
}
"""Rules by the name that a configuration gives them."""


def slice_attention(slice_logits: Tensor) -> Tensor:
    """Return how much of a scan's evidence each slice holds: probabilities of the first label, brought to a sum of 1.

    Networks without an attention of their own are ranked by it: it keeps the order of the probabilities.

    Parameters
    ----------
    slice_logits : Tensor, shape (slices, labels)

    Returns
    -------
    Tensor, shape (slices,)
    """
    probability = slice_logits[:, 0].sigmoid() + torch.finfo(torch.float32).eps
    return probability / probability.sum()
