"""Networks that only the ablations use, named in ``plan.json`` and ``overrides/``.

If random or evenly spaced key slices serve as well as those with most attention (DrCT2, figure 6), then the
high-resolution slices help, but the attention that chooses them does not.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from scripts.networks.drct import DrCT1, DrCT2

SECOND_PASS_SETTINGS = ("key_slices", "high_res_size", "fusion")
"""Of DrCT2, which DrCT1 does not have."""

KeySliceChoice = Literal["attention", "random", "even"]


def single_pass(**settings: Any) -> DrCT1:
    """Return the primary network alone, with the settings of a DrCT2."""
    return DrCT1(**{name: value for name, value in settings.items() if name not in SECOND_PASS_SETTINGS})


def choose_key_slices(slice_attention: Tensor, count: int, how: KeySliceChoice, seed: int = 0) -> Tensor:
    """Choose the slices that :class:`~scripts.networks.drct.DrCT2` reads again at high resolution.

    Parameters
    ----------
    slice_attention : Tensor, shape (batch, m)
        Attention of each slice of the sub-stack.
    count : int
        m_key.
    how : {"attention", "random", "even"}
        Most attention; drawn without repetition; evenly spaced over the sub-stack.
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
    """Return the middles of ``count`` equal parts of the sub-stack, shape (count,)."""
    return (2 * torch.arange(count) + 1) * slices // (2 * count)


class DrCT2ByChoice(DrCT2):
    """DrCT2 with other key slices than those with most attention, in training and inference.

    Parameters
    ----------
    choice : {"attention", "random", "even"}
        See :func:`choose_key_slices`; a random choice differs in every pass of training, and is the same in every
        inference.
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
