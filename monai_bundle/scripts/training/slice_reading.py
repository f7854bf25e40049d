"""Backbone, slice classifier and lesion decoder trained together, end to end, on single slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from ignite.handlers.tqdm_logger import ProgressBar
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from scripts.messages import ExpectedError
from scripts.networks.attention import SliceClassifier
from scripts.networks.drct import DrCT1
from scripts.synthesis.lesion import LABEL_VALUES
from scripts.training.balanced_batches import windowed
from scripts.training.group_arrays import UNKNOWN_SUBTYPE
from scripts.training.prepared_slices import PreparedGroup
from scripts.transforms import HounsfieldWindows

_STRONGEST = 6
"""Pixels by which a slice's label is told from its map."""
_SMOOTH = 8.0
"""Added to both sides of Dice, in pixels: a slice without blood has a Dice of about 1 where nothing is found."""


class SliceReading(nn.Module):
    """Labels single slices and their pixels.

    Parameters
    ----------
    network : DrCT1
        Its backbone, slice classifiers and lesion decoder are trained in place.
    high_res_size : int
        From this image size on, the APS network's slice classifier is used, below it the primary one.

    Raises
    ------
    ExpectedError
        ``training.no_slice_classifier`` if the network has none.
    """

    def __init__(self, network: DrCT1, high_res_size: int) -> None:
        super().__init__()
        primary = network.primary.slice_classifier
        if not isinstance(primary, SliceClassifier):
            raise ExpectedError("training.no_slice_classifier")
        self.backbone = network.backbone
        self.decoder = network.lesion_decoder
        self.primary = primary
        self.high_resolution: nn.Module = getattr(network, "aps", network.primary).slice_classifier
        self.high_res_size = high_res_size

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return ``logits`` (slices, labels) and ``pixels`` (slices, labels, h, w), if there is a decoder."""
        levels = self.backbone.levels(image.contiguous(memory_format=torch.channels_last))
        classifier = self.high_resolution if image.shape[-1] >= self.high_res_size else self.primary
        found = {"logits": classifier(self.backbone.pool(levels[-1])[:, None])[:, 0]}
        if self.decoder is not None:
            found["pixels"] = self.decoder(levels)
        return found

    def parameter_groups(self, learning_rate: float, new_learning_rate: float) -> list[dict[str, Any]]:
        """Give what starts from nothing a learning rate of its own."""
        pretrained = list(self.backbone.parameters())
        known = {id(parameter) for parameter in pretrained}
        new = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [{"params": pretrained, "lr": learning_rate}, {"params": new, "lr": new_learning_rate}]


class SliceReadingLoss(nn.Module):
    """Cross-entropy of the labels, any counting double, and of the pixels, with Dice and the strongest of them.

    Slices without a mask teach the decoder too: their labels are those of their strongest pixels.

    Parameters
    ----------
    pixel_weight, dice_weight, strongest_weight : float
        Of the pixels' cross-entropy, of Dice (Milletari et al. 2016) and of the strongest pixels, beside the labels'.
    blood_weight : float
        How often a pixel with blood counts in the cross-entropy: there are few.
    subtype_weight : float
        Of the choice among subtypes where there is blood. Blood is so rare that the pixels' cross-entropy hardly
        teaches to distinguish its subtypes.
    """

    def __init__(
        self,
        pixel_weight: float = 4.0,
        dice_weight: float = 1.0,
        strongest_weight: float = 0.25,
        blood_weight: float = 6.0,
        subtype_weight: float = 0.15,
    ) -> None:
        super().__init__()
        self.pixel_weight, self.dice_weight, self.strongest_weight = pixel_weight, dice_weight, strongest_weight
        self.blood_weight, self.subtype_weight = blood_weight, subtype_weight

    def forward(self, found: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        found : dict
            What :class:`SliceReading` returns.
        batch : dict
            What :class:`~scripts.training.balanced_batches.BalancedBatches` draws.
        """
        weights = torch.ones(found["logits"].shape[1], device=found["logits"].device)
        weights[0] = 2.0
        loss = _mean_known(found["logits"], batch["label"], weights)
        if "pixels" in found:
            target, known = pixel_targets(batch["mask"], batch["mask_known"])
            counted = weights[:, None, None] * (1.0 + (self.blood_weight - 1.0) * target)
            of_pixels = _mean_known(found["pixels"], torch.where(known, target, torch.nan), counted)
            loss = loss + self.pixel_weight * of_pixels
            loss = loss + self.dice_weight * _dice_loss(found["pixels"][:, 0], target[:, 0], batch["mask_known"])
            subtypes = torch.where(batch["mask_known"][:, None, None], batch["mask"][:, 0], UNKNOWN_SUBTYPE)
            loss = loss + self.subtype_weight * _subtype_loss(found["pixels"][:, 1:], subtypes)
            strongest = found["pixels"].flatten(2).topk(_STRONGEST, dim=2).values.mean(dim=2)
            loss = loss + self.strongest_weight * _mean_known(strongest, batch["label"], weights)
        return loss


def slice_batch(
    batch: dict[str, Tensor], device: torch.device | str | None = None, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Hand a batch of :class:`~scripts.training.balanced_batches.BalancedBatches` to MONAI's trainer: input, target."""
    moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in batch.items()}
    return moved.pop("image"), moved


class ClippedGradients:
    """Handler of the trainer that bounds the norm of the gradients: the first steps from new layers are wild."""

    def __init__(self, network: nn.Module, norm: float = 5.0) -> None:
        self.network, self.norm = network, norm

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.norm)


class TrainingProgress:
    """Handler of the trainer that averages the weights after every step and shows epochs done and time left.

    Parameters
    ----------
    epochs : int
        Of the whole training.
    average : EMAHandler
        ignite's exponential moving average of the network's weights.
    """

    def __init__(self, epochs: int, average: EMAHandler) -> None:
        self.bar = ProgressBar(desc="slices", ncols=100)
        self.epochs, self.average = epochs, average

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        self.average.attach(engine)
        self.bar.attach(engine, event_name=Events.EPOCH_COMPLETED, closing_event_name=Events.COMPLETED)


class HeldOutSlices(Dataset[dict[str, Tensor]]):
    """Real slices of one fold, one by one, as inference reads them; all where no fold is held out.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        Real and synthetic; only real scans and slices are taken.
    fold : int or None
        The fold, of either dataset.
    windows : sequence of (float, float)
        Centre and width in HU of each channel.
    size : int
        Rows and columns.
    kinds : sequence of str
        Kinds of groups that are evaluated on.
    """

    def __init__(
        self,
        groups: Sequence[PreparedGroup],
        fold: int | None,
        windows: Sequence[Sequence[float]],
        size: int,
        kinds: Sequence[str] = ("scan", "slices"),
    ) -> None:
        real = [group for group in groups if group.kind in kinds]
        self.groups = [group for group in real if fold is None or group.fold == fold] or real
        self.places = [(group, place) for group in self.groups for place in range(len(group.labels))]
        self.windows, self.size = HounsfieldWindows(windows), size

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (windows, size, size) and ``label`` (labels,)."""
        group, place = self.places[index]
        size = (self.size, self.size)
        image = group.image[place].float()[None, None]
        image = functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        return {
            "image": windowed(image, self.windows)[0],
            "label": group.labels[place].clone(),
        }


def averaged_weights(network: SliceReading, average: nn.Module) -> SliceReading:
    """Give the network the weights that were averaged over the training's last steps, and return it."""
    network.load_state_dict(average.state_dict())
    return network


def pixel_targets(mask: Tensor, mask_known: Tensor) -> tuple[Tensor, Tensor]:
    """Turn masks into what every pixel's labels are, and which of them are known.

    Parameters
    ----------
    mask : Tensor of uint8, shape (slices, 1, h, w)
        See :class:`~scripts.training.prepared_slices.PreparedGroup`.
    mask_known : Tensor of bool, shape (slices,)

    Returns
    -------
    target : Tensor of float32, shape (slices, labels, h, w)
        Any haemorrhage, then the subtypes.
    known : Tensor of bool, of the same shape
    """
    target = torch.cat([mask > 0, *(mask == value for value in LABEL_VALUES.values())], dim=1)
    known = mask_known[:, None, None, None].expand_as(target).clone()
    known[:, 1:] &= mask != UNKNOWN_SUBTYPE
    return target.float(), known


def _mean_known(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    known = target.isfinite().float()
    each = functional.binary_cross_entropy_with_logits(logits, target.nan_to_num(), reduction="none")
    counted = known * weights
    return (each * counted).sum() / counted.sum().clamp(min=1.0)


def _subtype_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the subtypes (slices, subtypes, h, w) in pixels of known subtype; each subtype counts the same.

    Reading names a pixel by its largest logit, so that is what is learnt here; ``mask`` (slices, h, w) as in
    :func:`pixel_targets`.
    """
    loss = logits.new_zeros(())
    seen = [value for value in LABEL_VALUES.values() if bool((mask == value).any())]
    for value in seen:
        inside = mask == value
        chosen = logits.movedim(1, -1)[inside]
        loss = loss + functional.cross_entropy(chosen, torch.full_like(chosen[:, 0], value - 1, dtype=torch.long))
    return loss / max(len(seen), 1)


def _dice_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """One minus Dice of any haemorrhage, mean over the slices whose mask is known and shows some."""
    probability = logits.sigmoid().flatten(1)
    inside = target.flatten(1)
    dice = (2 * (probability * inside).sum(1) + _SMOOTH) / (probability.sum(1) + inside.sum(1) + _SMOOTH)
    counted = (known & (inside.sum(1) > 0)).float()
    return ((1 - dice) * counted).sum() / counted.sum().clamp(min=1.0)
