"""VGG16's last block and the heads' slice evidence, as one network that labels single slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scripts.networks.attention import SliceClassifier
from scripts.networks.backbone import Backbone, pool
from scripts.networks.drct import DrCT1
from scripts.precision import PrecisionName, choose_precision


class SliceReading(nn.Module):
    """Labels slices from the maps in front of the last block; trains the network's own layers.

    Parameters
    ----------
    network : DrCT1
        Its backbone's last block and its primary evidence are trained in place.
    trained_from : Backbone
        The network's backbone, filled: named here so that it is filled before training starts.
    frequencies : sequence of float
        Share of slices that show each label, NaN where unknown: where the evidence's bias starts, or the first epoch is
        spent on it.
    mixing : float
        Strength of mixup (Zhang et al. 2018): parameter of the Beta distribution by which two slices are blended; 0
        for none. Few slices are soon learnt by heart.
    precision : str
        As for :func:`scripts.precision.choose_precision`; the weights stay in float32.
    """

    def __init__(
        self,
        network: DrCT1,
        trained_from: Backbone,
        frequencies: Sequence[float],
        mixing: float = 0.0,
        precision: PrecisionName = "auto",
    ) -> None:
        super().__init__()
        if trained_from is not network.backbone:
            raise ValueError("trained_from must be the network's own backbone")
        if not isinstance(network.primary.evidence, SliceClassifier):
            raise ValueError("fine-tuning on slices needs network_def#heads#evidence true")
        if isinstance(network.primary.evidence.standardise.norm, nn.InstanceNorm1d):
            raise ValueError("fine-tuning on slices needs network_def#heads#normalisation 'batch': they have no scan")
        self.block = network.backbone.trained_stage()
        self.evidence = network.primary.evidence
        self.precision = precision
        self.mixing = torch.distributions.Beta(mixing, mixing) if mixing > 0 else None
        # The other blocks' maps come from the cache.
        network.backbone.requires_grad_(False)
        self.block.requires_grad_(True)
        with torch.no_grad():
            bias = torch.as_tensor(frequencies).to(self.evidence.output.bias).clamp(1e-3, 1 - 1e-3).logit()
            # Of a label that no slice is known for nothing is learnt here: what was known of it stays.
            self.evidence.output.bias.copy_(torch.where(bias.isfinite(), bias, self.evidence.output.bias))

    def forward(self, maps: Tensor) -> Tensor | dict[str, Tensor]:
        """Return slice logits (batch, labels) for maps (batch, 512, h, w).

        In training, return them as ``logits`` beside ``partner`` (batch,), each slice's partner in mixing, ``share``
        (batch,), what is its own of the mixture, and ``cells`` (batch, labels, h * w), what each cell of the last block
        adds to each logit: what :class:`scripts.training.losses.SliceLoss` takes.
        """
        device = self.evidence.output.weight.device
        maps = maps.to(device)
        if self.training:
            partner, share = self._draw(len(maps), device)
            weight = share[:, None, None, None].to(maps.dtype)
            maps = weight * maps + (1 - weight) * maps[partner]
        with choose_precision(device, self.precision).autocast():
            seen = self.block(maps.float().contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.evidence(pool(seen).float()[:, None])[:, 0]
        if not self.training:
            return logits
        cells = torch.einsum("bchw,lc->blhw", seen.float(), self.evidence.slope()).flatten(2)
        return {"logits": logits, "partner": partner, "share": share, "cells": cells}

    def _draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self.mixing is None:
            return torch.arange(count, device=device), torch.ones(count, device=device)
        share = self.mixing.sample((count,)).to(device)
        return torch.randperm(count, device=device), torch.maximum(share, 1 - share)


def with_high_res_classifier(network: DrCT1) -> DrCT1:
    """Start the APS network's evidence where fine-tuning has brought the primary network's: both judge one slice."""
    aps = getattr(network, "aps", None)
    if aps is not None:
        aps.evidence.load_state_dict(network.primary.evidence.state_dict())
    return network
