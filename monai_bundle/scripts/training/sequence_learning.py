"""Training of a sequence model on the embeddings of a whole CT's slices, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from scripts.messages import ExpectedError
from scripts.networks.scan_rules import RULES
from scripts.networks.sequence_model import MergedSliceNetworks
from scripts.networks.study_network import evenly_spaced_mm
from scripts.training.balanced_batches import stated_labels
from scripts.training.cached_scans import LabelledFeatures
from scripts.training.prepared_slices import PreparedGroup
from scripts.training.slice_learning import label_loss

_FEWEST_TO_SKIP = 10
"""Scans with more slices than this are read every other slice half of the time, as in the winner's released code."""


def labelled_sequences(groups: Sequence[PreparedGroup]) -> list[dict[str, Any]]:
    """Return a data entry for every prepared scan, labelled slice by slice.

    Returns
    -------
    list of dict
        ``name``, ``fold``, ``real`` (whether it may be evaluated on), ``label`` (labels,) and ``slice_labels`` (slices,
        labels), NaN where unknown.
    """
    entries = []
    for group in groups:
        labels = stated_labels(group)
        scan = labels.nan_to_num(nan=-1.0).amax(dim=0)
        entry = {"name": group.name, "fold": group.fold, "real": group.kind == "scan"}
        label = torch.where(scan < 0, torch.nan, scan).tolist()
        entries.append({**entry, "label": label, "slice_labels": labels.numpy()})
    return entries


class SequenceScans(Dataset[dict[str, Tensor]]):
    """Runs of neighbouring slices of scans, as embeddings.

    For training the start, the step (every slice or every other) and the direction are drawn, as the RSNA 2019 winner
    does; otherwise a scan is given whole. The same seed, epoch and scan give the same run.

    Parameters
    ----------
    data : sequence of (mapping, ScanFeatures)
        From :func:`labelled_sequences`, each with its embeddings.
    length : int
        Slices of a run; shorter scans are filled up by their last slice, whose repetitions have no label.
    random : bool
        Whether to draw.
    seed : int
        Source of all randomness.

    Raises
    ------
    ExpectedError
        ``training.no_slice_labels`` if there is no scan.
    """

    def __init__(self, data: Sequence[LabelledFeatures], length: int = 24, random: bool = True, seed: int = 0) -> None:
        if not data:
            raise ExpectedError("training.no_slice_labels")
        self.data, self.length, self.random, self.seed, self.epoch = data, length, random, seed, 0
        # Drawn from by nothing: a run is decided by its epoch and scan.
        self.R = np.random.RandomState(seed)

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (slices, channels), ``positions_mm`` (slices,) and ``label`` (slices, labels).

        A whole scan's ``label`` (labels,) is its own.
        """
        entry, scan = self.data[index]
        embeddings, labels = scan.image[0], torch.as_tensor(entry["slice_labels"])
        positions = evenly_spaced_mm(len(embeddings))
        if not self.random:
            return {"image": embeddings, "positions_mm": positions, "label": torch.as_tensor(entry["label"])}
        places = self._run(len(embeddings), np.random.default_rng([self.seed, self.epoch, index]))
        beyond = places >= len(embeddings)
        places = places.clamp(max=len(embeddings) - 1)
        label = labels[places].clone()
        label[beyond] = torch.nan
        return {"image": embeddings[places], "positions_mm": positions[places], "label": label}

    def _run(self, count: int, generator: np.random.Generator) -> Tensor:
        step = 1 + int(generator.integers(2)) if count > _FEWEST_TO_SKIP else 1
        # A run beyond the scan's end is filled up there; every other slice begins with the first or the second.
        start = int(generator.integers(max(step, count - step * (self.length - 1))))
        places = start + step * torch.arange(self.length)
        return places.flip(0) if generator.random() < 0.5 else places


def sequence_batch(
    batch: Mapping[str, Tensor], device: torch.device | str | None = None, non_blocking: bool = False, **_: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """Hand a batch of :class:`SequenceScans` to MONAI's engines: input, target."""
    moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in batch.items()}
    return moved, moved.pop("label")


class SequenceLearning(nn.Module):
    """A system's sequence model as its training sees it; the slice networks stay as they are.

    Parameters
    ----------
    network : MergedSliceNetworks
        Its sequence model is trained in place.
    """

    def __init__(self, network: MergedSliceNetworks) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> SequenceLearning:
        """Put the sequence model alone into training mode."""
        super().train(False)
        self.training = mode
        if self.network.sequence is not None:
            self.network.sequence.train(mode)
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...] | Tensor:
        """Return logits (scans, slices, labels) of every head; in evaluation those of whole scans (scans, labels)."""
        image, positions = batch["image"], batch["positions_mm"]
        if self.training:
            return self.network.learn_sequence(image, positions)
        rule = RULES[self.network.rule]
        scans = zip(image, positions, strict=True)
        return torch.stack([rule(self.network.slice_logits(each, where), where) for each, where in scans])


class SequenceLoss(nn.Module):
    """Cross-entropy of every slice's labels, mean over the heads; any haemorrhage counts double."""

    def __init__(self, label_weights: Sequence[float] = (2.0, 1.0, 1.0, 1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.label_weights = tuple(label_weights)

    def forward(self, heads: Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss of logits (scans, slices, labels) against labels of that shape."""
        weights = torch.tensor(self.label_weights, device=target.device)
        return torch.stack([label_loss(each, target, weights) for each in heads]).mean()
