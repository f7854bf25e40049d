"""The backbone's trained stage and the heads' slice classifier, as one network that labels single slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scripts.messages import ExpectedError
from scripts.networks.attention import SliceClassifier
from scripts.networks.drct import DrCT1
from scripts.precision import PrecisionName, choose_precision


class SliceNetwork(nn.Module):
    """Labels slices from the maps of the backbone's frozen stage; trains the network's own layers.

    Parameters
    ----------
    network : DrCT1
        With its weights. Its backbone's trained stage and its primary slice classifier are trained in place.
    frequencies : sequence of float
        Fraction of slices that show each label, NaN where unknown: where the classifier's bias starts, or the first
        epoch is spent on it.
    mixup : float
        Strength of mixup (Zhang et al. 2018): parameter of the Beta distribution by which two slices are blended; 0
        for none. A network overfits few slices soon.
    precision : str
        As for :func:`scripts.precision.choose_precision`; the weights stay in float32.

    Raises
    ------
    ExpectedError
        ``training.no_trained_stage``, ``training.no_slice_classifier`` or ``training.normalisation_of_scans`` if the
        network cannot learn from single slices.
    """

    def __init__(
        self,
        network: DrCT1,
        frequencies: Sequence[float],
        mixup: float = 0.0,
        precision: PrecisionName = "auto",
    ) -> None:
        super().__init__()
        if not isinstance(network.primary.slice_classifier, SliceClassifier):
            raise ExpectedError("training.no_slice_classifier")
        if isinstance(network.primary.slice_classifier.normalisation.norm, nn.InstanceNorm1d):
            raise ExpectedError("training.normalisation_of_scans")
        self.block, self.pool = network.backbone.trained_stage(), network.backbone.pool
        if not any(True for _ in self.block.parameters()):
            raise ExpectedError("training.no_trained_stage", backbone=type(network.backbone).__name__)
        self.slice_classifier = network.primary.slice_classifier
        self.precision = precision
        self.mixup = torch.distributions.Beta(mixup, mixup) if mixup > 0 else None
        # The frozen stage's maps come from the cache.
        network.backbone.requires_grad_(False)
        self.block.requires_grad_(True)
        with torch.no_grad():
            output = self.slice_classifier.output
            bias = torch.as_tensor(frequencies).to(output.bias).clamp(1e-3, 1 - 1e-3).logit()
            # Of a label that no slice is known for nothing is learnt here: what was known of it stays.
            output.bias.copy_(torch.where(bias.isfinite(), bias, output.bias))

    def forward(self, maps: Tensor) -> Tensor | dict[str, Tensor]:
        """Return slice logits (batch, labels) for maps (batch, maps, h, w) of the frozen stage.

        In training, return them as ``logits`` beside ``partner`` (batch,), each slice's partner in mixup, ``weight``
        (batch,), its own weight in the mixture, and ``cells`` (batch, labels, h * w), what each cell of the last maps
        adds to each logit: what :class:`scripts.training.losses.SliceLoss` takes.
        """
        device = self.slice_classifier.output.weight.device
        maps = maps.to(device)
        if self.training:
            partner, weight = self._draw(len(maps), device)
            of_pixels = weight[:, None, None, None].to(maps.dtype)
            maps = of_pixels * maps + (1 - of_pixels) * maps[partner]
        with choose_precision(device, self.precision).autocast():
            last_maps = self.block(maps.float().contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.slice_classifier(self.pool(last_maps).float()[:, None])[:, 0]
        if not self.training:
            return logits
        cells = torch.einsum("bchw,lc->blhw", last_maps.float(), self.slice_classifier.slope()).flatten(2)
        return {"logits": logits, "partner": partner, "weight": weight, "cells": cells}

    def parameter_groups(self, learning_rate: float, classifier_learning_rate: float) -> list[dict[str, Any]]:
        """Give the slice classifier, which starts from nothing, a learning rate of its own."""
        return [
            {"params": list(self.block.parameters()), "lr": learning_rate},
            {"params": list(self.slice_classifier.parameters()), "lr": classifier_learning_rate},
        ]

    def _draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if self.mixup is None:
            return torch.arange(count, device=device), torch.ones(count, device=device)
        weight = self.mixup.sample((count,)).to(device)
        return torch.randperm(count, device=device), torch.maximum(weight, 1 - weight)


def with_high_res_classifier(network: DrCT1) -> DrCT1:
    """Start the APS network's slice classifier from the fine-tuned primary one: both classify one slice."""
    aps = getattr(network, "aps", None)
    if aps is not None:
        aps.slice_classifier.load_state_dict(network.primary.slice_classifier.state_dict())
    return network
