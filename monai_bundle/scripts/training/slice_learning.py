"""Training of any :class:`~scripts.networks.slice_system.SliceSystem` on slices with labels and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.slice_system import SlicePass, SliceSystem
from scripts.precision import PrecisionName, choose_precision


class SliceLearning(nn.Module):
    """A system as its training sees it.

    Parameters
    ----------
    network : SliceSystem
        Trained in place.
    precision : str
        As for :func:`scripts.precision.choose_precision`; weights stay in float32.
    """

    def __init__(self, network: SliceSystem, precision: PrecisionName = "auto") -> None:
        super().__init__()
        self.network = network
        self.precision: PrecisionName = precision

    def forward(self, image: Tensor) -> SlicePass | Tensor:
        """Read samples (samples, slices, channels, height, width).

        In training, return what the system's :meth:`~SliceSystem.learn` gives, in float32; otherwise the logits
        (samples, labels) of the slice in the middle, mean over the outputs.
        """
        device = next(self.network.parameters()).device
        with choose_precision(device, self.precision).autocast():
            found = self.network.learn(image.to(device))
        logits = tuple(each.float() for each in found.logits)
        if self.training:
            return SlicePass(logits, tuple(each.float() for each in found.pixels))
        return torch.stack(logits).mean(dim=0)[:, image.shape[1] // 2]


class SliceLearningLoss(nn.Module):
    """Cross-entropy of every output's labels and of the auxiliary segmentations' pixels.

    Parameters
    ----------
    label_weights : sequence of float
        Of each label, the first being any haemorrhage; the RSNA 2019 metric counts it double.
    pixel_weights : sequence of float
        Of each auxiliary segmentation beside the labels.
    blood_weight : float
        How often a pixel with haemorrhage counts: there are few.
    """

    def __init__(
        self,
        label_weights: Sequence[float] = (2.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        pixel_weights: Sequence[float] = (1.0, 1.0, 1.0),
        blood_weight: float = 6.0,
    ) -> None:
        super().__init__()
        self.label_weights = tuple(label_weights)
        self.pixel_weights = tuple(pixel_weights)
        self.blood_weight = blood_weight

    def forward(self, found: SlicePass, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        found : SlicePass
            Of the samples.
        batch : mapping
            What :class:`~scripts.training.neighbourhood_batches.NeighbourhoodBatches` draws.
        """
        weights = torch.tensor(self.label_weights, device=batch["label"].device)
        loss = torch.stack([label_loss(each, batch["label"], weights) for each in found.logits]).mean()
        for weight, pixels in zip(self.pixel_weights, found.pixels, strict=False):
            loss = loss + weight * self._pixel_loss(pixels, batch)
        return loss

    def _pixel_loss(self, pixels: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        target = (batch["mask"].flatten(0, 1)[:, None] > 0).float()
        if pixels.shape != target.shape:
            target = functional.interpolate(target, size=pixels.shape[-2:], mode="nearest")
        counted = batch["mask_known"].flatten().float()[:, None, None, None] * (1 + (self.blood_weight - 1) * target)
        each = functional.binary_cross_entropy_with_logits(pixels, target, reduction="none")
        return (each * counted).sum() / counted.sum().clamp(min=1.0)


def label_loss(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted cross-entropy of known labels; 0, still differentiable, where none is known.

    Parameters
    ----------
    logits, target : Tensor, shape (..., labels)
        Target 0 or 1, NaN where unknown.
    weights : Tensor, shape (labels,)
    """
    counted = target.isfinite() * weights
    each = functional.binary_cross_entropy_with_logits(logits, target.nan_to_num(), reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1.0)
