"""DrCT2's loss: MSE(primary) + MSE(APS) + BCE(fusion) (eq. 11 to 13), and what slice labels add to it.

A label of which nothing is known is NaN and adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.training.distributed import mean_count

PairwiseLoss = Callable[..., Tensor]
Branch = Literal["mse", "bce"]


def known_mean(loss: PairwiseLoss, predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of a loss over the known labels; 0, still differentiable, where none is known."""
    known = target.isfinite()
    losses = loss(predicted, torch.where(known, target, 0.0), reduction="none")
    return (losses * known).sum() / mean_count(known.sum())


class DrCTLoss(nn.Module):
    """Sum of the branches' losses on their own logits and the fusion's, and of what slice labels teach.

    Parameters
    ----------
    primary, aps : {"mse", "bce"}
        Loss of either branch: mean squared error of the probabilities, as the paper has it, or binary cross-entropy,
        which it compares in its table 2.
    slice_weight : float
        Weight of the slices' own logits against their labels (binary cross-entropy, at both sizes); 0 for scan labels
        only.
    attention_weight : float
        Weight of slice attention against the positive slices of a positive scan: cross-entropy with the even
        distribution over them; 0 for scan labels only.
    alone : {"mse", "bce"}
        Loss of the answer of a network without branches: DrCT1 is the paper's primary network alone.
    """

    def __init__(
        self,
        primary: Branch = "mse",
        aps: Branch = "mse",
        slice_weight: float = 0.0,
        attention_weight: float = 0.0,
        alone: Branch = "bce",
    ) -> None:
        super().__init__()
        for name, kind in (("primary", primary), ("aps", aps), ("alone", alone)):
            if kind not in ("mse", "bce"):
                raise ValueError(f"loss#{name} must be 'mse' or 'bce', not {kind!r}")
        self.branches = (primary, aps)
        self.alone = alone
        self.slice_weight = slice_weight
        self.attention_weight = attention_weight

    def forward(self, reading: Mapping[str, Tensor], target: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        reading : mapping
            What :class:`~scripts.training.cached_scans.CachedFeaturesNetwork` gives.
        target : Tensor, shape (batch, 1 + m, labels)
            Labels of the scan, then of each slice: 0, 1 or NaN.
        """
        scan, slices = target[:, 0], target[:, 1:]
        cross_entropy = functional.binary_cross_entropy_with_logits
        answer, *branches = reading["logits"].unbind(dim=1)
        # DrCT1 has no branch beside its answer.
        loss = _of_kind("bce" if branches else self.alone, answer, scan)
        for kind, branch in zip(self.branches, branches, strict=False):
            loss = loss + _of_kind(kind, branch, scan)
        if self.slice_weight > 0:
            of_keys = reading["key_slices"][..., None].expand(-1, -1, slices.shape[-1])
            loss = loss + self.slice_weight * known_mean(cross_entropy, reading["slice_logits"], slices)
            high_res = known_mean(cross_entropy, reading["key_slice_logits"], slices.gather(1, of_keys))
            loss = loss + self.slice_weight * high_res
        if self.attention_weight > 0:
            loss = loss + self.attention_weight * attention_loss(reading["slice_attention"], slices[..., 0])
        return loss


def _of_kind(kind: Branch, logits: Tensor, target: Tensor) -> Tensor:
    if kind == "bce":
        return known_mean(functional.binary_cross_entropy_with_logits, logits, target)
    return known_mean(functional.mse_loss, logits.sigmoid(), target)


def attention_loss(slice_attention: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy of slice attention with the even distribution over the positive slices.

    Parameters
    ----------
    slice_attention : Tensor, shape (batch, m)
        Sums to 1.
    positive : Tensor, shape (batch, m)
        1 where the slice shows a haemorrhage, 0 or NaN elsewhere; scans without a positive slice add nothing.
    """
    wanted = (positive == 1).to(slice_attention.dtype)
    count = wanted.sum(dim=1)
    surprise = -(wanted * slice_attention.clamp(min=1e-6).log()).sum(dim=1) / count.clamp(min=1)
    return (surprise * (count > 0)).sum() / mean_count((count > 0).sum())


def mask_loss(cells: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of what the cells of a slice say for a label with the even distribution over its mask.

    For a logit that is linear in the maxima of the maps, the cells are Grad-CAM before its rectification (Selvaraju et
    al. 2017, eq. 2, up to a factor): this is what draws attribution into the mask.

    Parameters
    ----------
    cells : Tensor, shape (batch, labels, cells)
        What each cell adds to each label's logit.
    positive : Tensor, shape (batch, labels)
        1 where the slice shows the label; others add nothing.
    mask : Tensor, shape (batch, cells)
        Masked fraction of each cell, of all haemorrhage; slices without a mask add nothing.
    """
    area = mask.sum(dim=1, keepdim=True)
    wanted = mask / area.clamp(min=1e-6)
    surprise = -(wanted[:, None] * cells.log_softmax(dim=-1)).sum(dim=-1)
    counted = (positive == 1) & (area > 0)
    return (surprise * counted).sum() / mean_count(counted.sum())


class SliceLoss(nn.Module):
    """Binary cross-entropy of slices mixed by :class:`~scripts.training.slice_network.SliceNetwork`.

    Parameters
    ----------
    mask_weight : float
        Weight of :func:`mask_loss`; 0 for labels only. Mixed slices show two masks and are not asked for either.
    of_haemorrhage : sequence of bool, optional
        Per label, whether it is a haemorrhage: masks say nothing of a fracture. All, if not given.
    """

    def __init__(self, mask_weight: float = 0.0, of_haemorrhage: Sequence[bool] | None = None) -> None:
        super().__init__()
        self.mask_weight = mask_weight
        self.of_haemorrhage = None if of_haemorrhage is None else torch.tensor(of_haemorrhage)

    def forward(self, reading: Mapping[str, Tensor], target: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        reading : mapping
            What SliceNetwork gives in training.
        target : Tensor, shape (batch, labels + cells)
            Labels, 0, 1 or NaN; then the cells of the mask, none where no scan has one.
        """
        logits, partner, weight = reading["logits"], reading["partner"], reading["weight"][:, None]
        labels, mask = target[:, : logits.shape[1]], target[:, logits.shape[1] :]
        blended = weight * labels + (1 - weight) * labels[partner]
        loss = known_mean(functional.binary_cross_entropy_with_logits, logits, blended)
        if self.mask_weight > 0 and mask.shape[1] > 0:
            unmixed = torch.where(weight == 1, mask, 0.0)
            shown = labels if self.of_haemorrhage is None else labels * self.of_haemorrhage.to(labels)
            loss = loss + self.mask_weight * mask_loss(reading["cells"], shown, unmixed)
        return loss
