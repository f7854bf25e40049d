"""The saliency multi-task network's training, one stage after the other (Qiu, thesis 2024, 4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from scripts.networks.saliency_multitask import FusedBackbone, SaliencyMultiTask, Stage
from scripts.precision import PrecisionName, choose_precision
from scripts.training.saliency_losses import BLUR, divergence, triplet_loss, true_saliency
from scripts.training.slice_learning import label_loss


class SaliencyLearning(nn.Module):
    """One stage of a network as its training sees it.

    Parameters
    ----------
    network : SaliencyMultiTask
        Trained in place; what the stage does not train is frozen, its statistics too.
    stage : {"triplets", "encoder", "saliency", "fusion"}
        See :data:`~scripts.networks.saliency_multitask.Stage`.
    precision : str
        As for :func:`scripts.precision.choose_precision`; weights stay in float32.
    """

    def __init__(self, network: SaliencyMultiTask, stage: Stage, precision: PrecisionName = "auto") -> None:
        super().__init__()
        self.network = network
        self.stage: Stage = stage
        self.precision: PrecisionName = precision

    def train(self, mode: bool = True) -> SaliencyLearning:
        """Put the stage's parts into training mode, and the others into evaluation."""
        super().train(mode)
        if mode:
            self.network.eval().requires_grad_(False)
            for part in self.network.parts_of(self.stage):
                part.train().requires_grad_(True)
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Read samples (samples, 1, channels, height, width).

        In training, return what the stage's loss takes, in float32: embeddings, logits of labels, or those of saliency
        maps; otherwise the logits (samples, labels) of the encoder in its stages, of the whole network in the others.
        """
        device = next(self.network.parameters()).device
        network, slices = self.network, image[:, 0].to(device)
        with choose_precision(device, self.precision).autocast():
            if self.training and self.stage == "triplets":
                found = network.encoded(slices)
            elif self.training and self.stage == "saliency":
                found = cast("FusedBackbone", network.backbone).saliency(slices)
            elif self.stage in ("triplets", "encoder"):
                found = network.encoder_head(network.encoded(slices))
            else:
                found = network.learn(image.to(device)).logits[0][:, 0]
        return found.float()


class SaliencyLoss(nn.Module):
    """The loss of one stage.

    Parameters
    ----------
    stage : {"triplets", "encoder", "saliency", "fusion"}
        As for :class:`SaliencyLearning`.
    label_weights : sequence of float
        Of each label, the first being any haemorrhage.
    blur : float
        Standard deviation of the masks that stand in for gaze maps, relative to the image's side.
    gaze : bool
        Whether the batches' masks are gaze maps in the stage of the saliency map, taken as they are.
    """

    def __init__(
        self,
        stage: Stage,
        label_weights: Sequence[float] = (2.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        blur: float = BLUR,
        gaze: bool = False,
    ) -> None:
        super().__init__()
        self.stage: Stage = stage
        self.label_weights = tuple(label_weights)
        self.blur = blur
        self.gaze = gaze

    def forward(self, found: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of what :class:`SaliencyLearning` gives for a batch.

        Parameters
        ----------
        found : Tensor
            Embeddings, logits or maps.
        batch : mapping
            What :class:`~scripts.training.neighbourhood_batches.NeighbourhoodBatches` draws.
        """
        label = batch["label"][:, 0]
        if self.stage == "triplets":
            known = label[:, 0].isfinite()
            return triplet_loss(found[known], label[known, 0] == 1)
        if self.stage == "saliency":
            return divergence(found, true_saliency(batch["mask"], batch["mask_known"], self.gaze, self.blur))
        return label_loss(found, label, torch.tensor(self.label_weights, device=label.device))
