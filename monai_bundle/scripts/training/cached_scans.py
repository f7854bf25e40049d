"""Training samples from cached features, and the network as it sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable
from torch import Tensor, nn
from torch.utils.data import Dataset

from scripts.networks.drct import DrCT1
from scripts.reading_geometry import interleaved_samples
from scripts.training.feature_cache import ScanFeatures

LabelledFeatures = tuple[Mapping[str, Any], ScanFeatures]


def split(
    entries: Sequence[Mapping[str, Any]],
    features: Sequence[ScanFeatures],
    held_out_fold: int | None,
    held_out: bool,
) -> list[LabelledFeatures]:
    """Take the scans of one side of a split by patient.

    Parameters
    ----------
    entries, features : sequence
        Datalist with ``fold``, and the features of each entry.
    held_out_fold : int or None
        The fold that training must not see; None trains on all, and then nothing is held out.
    held_out : bool
        Whether to return the held-out scans or the others.
    """
    pairs = zip(entries, features, strict=True)
    if held_out_fold is None:
        return [] if held_out else list(pairs)
    return [(entry, scan) for entry, scan in pairs if (entry["fold"] == held_out_fold) == held_out]


class CachedScans(Dataset[dict[str, Tensor]], Randomizable):
    """One sample of m slices per scan.

    For training, the variant and the phase of the slices are drawn anew each time: the slices that one epoch leaves out
    are seen in another (the paper's "unsampled data used for augmentation"); their order is kept. Otherwise the scan
    is sampled evenly, unaugmented.

    Parameters
    ----------
    data : sequence of (mapping, ScanFeatures)
        Datalist entries with ``label``, each with its features; see :func:`split`.
    sample_size : int
        m.
    random : bool
        Whether to draw variant and phase.
    """

    def __init__(
        self,
        data: Sequence[LabelledFeatures],
        sample_size: int,
        random: bool,
    ) -> None:
        self.data = data
        self.sample_size = sample_size
        self.random = random

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (2, m, 512), the features at both sizes, and ``label`` (labels,)."""
        entry, scan = self.data[index]
        variant, phase = self._draw(len(scan.image)) if self.random else (0, 0.5)
        slices = scan.image.shape[1]
        chosen = np.floor((np.arange(self.sample_size) + phase) * slices / self.sample_size).astype(np.int64)
        image = torch.stack([scan.image[variant, chosen], scan.zoom[variant, chosen]])
        return {"image": image, "label": torch.as_tensor(entry["label"], dtype=torch.float32)}

    def _draw(self, variants: int) -> tuple[int, float]:
        return int(self.R.randint(variants)), float(self.R.random_sample())


class CachedReading(nn.Module):
    """A DrCT network that is fed cached features instead of slices.

    Its ``forward`` takes features (batch, 2, m, 512), at the picture's size and at the zoomed size, and returns logits
    (batch, readings, labels): the answer first, then the branches.
    """

    def __init__(self, network: DrCT1) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """Read one sample per batch entry."""
        zoom = features[:, 1]

        def zoomed_features(positions: Tensor) -> Tensor:
            return zoom.gather(1, positions[..., None].expand(-1, -1, zoom.shape[-1]))

        reading = self.network.read(features[:, 0], zoomed_features)
        return torch.stack((reading.logits, *reading.branch_logits), dim=1)


def parameter_groups(network: DrCT1, learning_rate: float, aps_learning_rate: float) -> list[dict[str, Any]]:
    """Give the APS network its own learning rate and leave the frozen backbone out (the paper: 5e-4 and 3e-4)."""
    aps = {name for name, _ in network.named_parameters() if name.startswith("aps.")}

    def chosen(is_aps: bool) -> Iterable[nn.Parameter]:
        for name, parameter in network.named_parameters():
            if not name.startswith("backbone.") and (name in aps) == is_aps:
                yield parameter

    groups = [{"params": list(chosen(False)), "lr": learning_rate}]
    return [*groups, {"params": list(chosen(True)), "lr": aps_learning_rate}] if aps else groups


@torch.no_grad()
def scan_probabilities(network: DrCT1, features: ScanFeatures) -> tuple[Tensor, Tensor]:
    """Read a whole scan as inference does: all its samples, probabilities averaged.

    Returns
    -------
    probabilities : Tensor, shape (labels,)
    slice_attention : Tensor, shape (read slices,)
        Sums to 1.
    """
    device = next(network.parameters()).device
    image, zoom = features.image[0].to(device), features.zoom[0].to(device)
    samples = torch.from_numpy(interleaved_samples(len(image), network.slices)).to(device)

    def zoomed_features(positions: Tensor) -> Tensor:
        return zoom[samples.gather(1, positions)]

    reading = network.eval().read(image[samples], zoomed_features)
    attention = torch.zeros(len(image), device=device)
    attention.index_add_(0, samples.flatten(), reading.slice_attention.flatten())
    return reading.logits.sigmoid().mean(dim=0).cpu(), (attention / len(samples)).cpu()
