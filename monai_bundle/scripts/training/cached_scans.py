"""Training samples from cached features, and the network as it sees them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from torch import Tensor, nn
from torch.utils.data import Dataset

from scripts.messages import ExpectedError
from scripts.networks.attention import SliceClassifier
from scripts.networks.drct import DrCT1
from scripts.networks.study_network import FeatureMaps, StudyNetwork, StudyOutput, evenly_spaced_mm
from scripts.training.labelled_slices import labels_of_input_slices
from scripts.training.scan_features import ScanFeatures

LabelledFeatures = tuple[Mapping[str, Any], ScanFeatures]


@dataclass(frozen=True)
class ScanSplit:
    """Datalist entries with their features: ``train`` to learn from, ``validation`` to evaluate on."""

    train: list[LabelledFeatures]
    validation: list[LabelledFeatures]


def split_scans(
    entries: Sequence[Mapping[str, Any]], features: Sequence[ScanFeatures], validation_fold: int | None
) -> ScanSplit:
    """Split scans by patient.

    Parameters
    ----------
    entries, features : sequence
        Datalist with ``fold``, and the features of each entry.
    validation_fold : int or None
        The fold that training must not see; None trains on all. Where no scan is held out, the training scans are
        evaluated.
    """
    pairs = list(zip(entries, features, strict=True))
    train = [pair for pair in pairs if validation_fold is None or pair[0]["fold"] != validation_fold]
    held_out = [pair for pair in pairs if validation_fold is not None and pair[0]["fold"] == validation_fold]
    return ScanSplit(train, held_out or train)


class CachedScans(Dataset[dict[str, Tensor]], Randomizable):
    """One sample of m slices per scan.

    For training, the variant and the phase of the slices are drawn anew each time: the slices that one epoch leaves out
    are seen in another (the paper's "unsampled data used for augmentation"); their order is kept. Otherwise the scan
    is sampled evenly, unaugmented.

    Parameters
    ----------
    data : sequence of (mapping, ScanFeatures)
        Datalist entries with ``label``, each with its features; see :func:`split_scans`.
    sub_stack_size : int
        m.
    random : bool
        Whether to draw variant and phase.
    """

    def __init__(
        self,
        data: Sequence[LabelledFeatures],
        sub_stack_size: int,
        random: bool,
    ) -> None:
        self.data = data
        self.sub_stack_size = sub_stack_size
        self.random = random
        self.slice_labels = [_slice_labels(entry, scan) for entry, scan in data]

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (2, m, channels), both resolutions, and ``label`` (1 + m, labels): scan, then slices."""
        entry, scan = self.data[index]
        variant, phase = self._draw(len(scan.image)) if self.random else (0, 0.5)
        slices = scan.image.shape[1]
        chosen = np.floor((np.arange(self.sub_stack_size) + phase) * slices / self.sub_stack_size).astype(np.int64)
        image = torch.stack([scan.image[variant, chosen], scan.high_res[variant, chosen]])
        label = torch.as_tensor(entry["label"], dtype=torch.float32)[None]
        return {"image": image, "label": torch.cat([label, self.slice_labels[index][chosen]])}

    def _draw(self, variants: int) -> tuple[int, float]:
        return int(self.R.randint(variants)), float(self.R.random_sample())


def _slice_labels(entry: Mapping[str, Any], scan: ScanFeatures) -> Tensor:
    """Labels (input slices, labels), NaN where unknown."""
    if entry["slice_labels"] is None:
        return torch.full((scan.image.shape[1], len(entry["label"])), torch.nan)
    return labels_of_input_slices(entry["slice_labels"], scan.input_slice)


class ScanProbabilitiesd(MapTransform):
    """Postprocessing of one scan for the metric: ``pred`` to probabilities, ``label`` without those of the slices."""

    def __init__(self) -> None:
        super().__init__(("pred", "label"))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return both as tensors of shape (labels,), from :class:`CachedFeaturesNetwork` and :class:`CachedScans`."""
        return {**data, "pred": data["pred"]["logits"][0].sigmoid(), "label": data["label"][0]}


class CachedFeaturesNetwork(nn.Module):
    """A DrCT network that is fed cached features instead of slices.

    Its ``forward`` takes features (batch, 2, m, 512), at the image size and in high resolution, and returns the
    fields of a :class:`~scripts.networks.drct.Reading` that training uses; ``logits`` (batch, readings, labels)
    holds the fused logits first, then the branches.

    Parameters
    ----------
    network : DrCT1
        Trained in place.
    train_slice_classifiers : bool
        Whether its slice classifiers are trained; else they stay as training on slices left them, statistics included.
    """

    def __init__(self, network: DrCT1, train_slice_classifiers: bool = True) -> None:
        super().__init__()
        self.network = network
        self.train_slice_classifiers = train_slice_classifiers

    def train(self, mode: bool = True) -> CachedFeaturesNetwork:
        """Put the network into training mode, its slice classifiers only if they are trained."""
        super().train(mode)
        if not self.train_slice_classifiers:
            for part in self.modules():
                if isinstance(part, SliceClassifier):
                    part.eval()
        return self

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Read one sample per batch entry."""
        high_res = features[:, 1]

        def high_res_features(positions: Tensor) -> Tensor:
            if high_res.isnan().any():
                raise ExpectedError("training.no_high_res_features")
            return high_res.gather(1, positions[..., None].expand(-1, -1, high_res.shape[-1]))

        reading = self.network.read(features[:, 0], high_res_features)
        return {
            "logits": torch.stack((reading.logits, *reading.branch_logits), dim=1),
            "slice_attention": reading.slice_attention,
            "key_slices": reading.key_slices,
            "slice_logits": reading.slice_logits,
            "key_slice_logits": reading.key_slice_logits,
        }


def parameter_groups(
    network: DrCT1,
    learning_rate: float,
    aps_learning_rate: float,
    slice_classifiers: bool = True,
    evidence_learning_rate: float = 0.01,
) -> list[dict[str, Any]]:
    """Give the APS network its own learning rate and leave the frozen backbone out (the paper: 5e-4 and 3e-4).

    The lesion decoder, which scans teach nothing, is left out too, and slice classifiers where they are not trained.
    What lesions weigh is two numbers a label, which at the others' rate would stay where they begin.
    """
    left_out = ["backbone.", "lesion_decoder."]
    if not slice_classifiers:
        left_out += ["primary.slice_classifier.", "aps.slice_classifier."]
    rates = {"primary.lesion_evidence.": evidence_learning_rate, "aps.lesion_evidence.": evidence_learning_rate}
    rates |= {"aps.": aps_learning_rate, "": learning_rate}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not name.startswith(tuple(left_out)):
            rate = next(rate for start, rate in rates.items() if name.startswith(start))
            groups.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]


class CachedSource:
    """Gives the cached embeddings of one variant of a scan: a :class:`~scripts.networks.study_network.SliceSource`."""

    def __init__(self, features: ScanFeatures, device: torch.device, variant: int = 0) -> None:
        self.image, self.high_res = (each[variant].to(device) for each in (features.image, features.high_res))

    def embeddings(self) -> Tensor:
        """Return the embeddings (input slices, channels) of all slices."""
        return self.image

    def high_resolution(self, input_slices: Tensor, size: int) -> Tensor:
        """Return the embeddings (n, channels) of chosen slices at the high resolution of the cache."""
        return self.high_res[input_slices]

    def positions_mm(self) -> Tensor:
        """Return even positions: none are cached."""
        return evenly_spaced_mm(len(self.image)).to(self.image.device)

    def feature_maps(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: only embeddings are cached."""
        return ()

    def lesion_logits(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: only embeddings are cached."""
        return ()

    def saliency_logits(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: only embeddings are cached."""
        return ()


@torch.no_grad()
def read_whole_scan(network: StudyNetwork, features: ScanFeatures, variant: int = 0) -> StudyOutput:
    """Read a whole scan from cached embeddings, as inference does from images; the output is on the CPU."""
    device = next(network.parameters()).device
    return network.eval().read_study(CachedSource(features, device, variant)).detached()
