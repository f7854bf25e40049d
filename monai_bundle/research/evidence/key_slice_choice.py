"""Which slices are read again: those with most attention, or, for the ablation, others (DrCT2, figure 6).

If reading random or evenly spaced slices again serves as well as reading those with most attention, then the second
reading helps, but the attention that chooses for it does not.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from scripts.networks.drct import DrCT2

KeySliceChoice = Literal["attention", "random", "even"]

COUNTS = (4, 8, 16)
"""m_key in the ablation."""


def choose_key_slices(slice_attention: Tensor, count: int, how: KeySliceChoice, seed: int = 0) -> Tensor:
    """Choose the positions that :class:`~scripts.networks.drct.DrCT2` reads again.

    Parameters
    ----------
    slice_attention : Tensor, shape (batch, m)
        Attention of each slice of the sample.
    count : int
        m_key.
    how : {"attention", "random", "even"}
        Most attention; drawn without repetition; evenly spaced over the sample.
    seed : int
        Of the random choice. Every entry of the batch draws its own slices; the same call draws the same ones.

    Returns
    -------
    Tensor of int64, shape (batch, count)
        Ascending: the recurrent layer needs the anatomical order.

    Raises
    ------
    ValueError
        If there is no such choice, or there are fewer slices than asked for.
    """
    batch, slices = slice_attention.shape
    if not 1 <= count <= slices:
        raise ValueError(f"{count} key slices of {slices}")
    if how == "attention":
        return by_attention(slice_attention, count)
    if how == "random":
        positions = at_random(batch, slices, count, torch.Generator().manual_seed(seed))
    elif how == "even":
        positions = evenly(slices, count).expand(batch, count)
    else:
        raise ValueError(f"key slices are chosen by one of {', '.join(get_args(KeySliceChoice))}, not {how!r}")
    return positions.to(slice_attention.device)


def by_attention(slice_attention: Tensor, count: int) -> Tensor:
    """Return the positions (batch, count) of the largest attention (batch, m), ascending."""
    return slice_attention.topk(count, dim=1).indices.sort(dim=1).values


def at_random(batch: int, slices: int, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` positions per entry, shape (batch, count), ascending; every subset is equally likely."""
    drawn = torch.rand(batch, slices, generator=generator, dtype=torch.float64)
    return by_attention(drawn, count)


def evenly(slices: int, count: int) -> Tensor:
    """Return the middles of ``count`` equal parts of the sample, shape (count,)."""
    return (2 * torch.arange(count) + 1) * slices // (2 * count)


class DrCT2ByChoice(DrCT2):
    """DrCT2 that reads other slices again than those with most attention, in training and afterwards.

    Parameters
    ----------
    choice : {"attention", "random", "even"}
        See :func:`choose_key_slices`; a random choice is drawn anew in every pass of training, and is always the same
        afterwards.
    **settings
        As for :class:`~scripts.networks.drct.DrCT2`.
    """

    def __init__(self, choice: KeySliceChoice = "random", **settings: Any) -> None:
        super().__init__(**settings)
        self.choice: KeySliceChoice = choice
        self.passes = 0

    def choose(self, slice_attention: Tensor) -> Tensor:
        """Return the positions (batch, m_key) that are read again, ascending."""
        if self.training:
            self.passes += 1
        return choose_key_slices(slice_attention, self.key_slices, self.choice, self.passes if self.training else 0)
