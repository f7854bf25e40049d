"""A study network without training: what is as bright as fresh blood, inside the skull's brightness, is a lesion."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from tiny_backbone import TinyBackbone
from torch import Tensor

from scripts.networks.study_network import SliceSource, StudyNetwork, StudyOutput

OVERRIDES: dict[str, Any] = {
    "network_def": {"_target_": "brightness_network.BrightnessNetwork"},
    "image_sizes": {"image": 128},
    "windows": [[40, 80], [80, 200], [600, 2800]],
}
"""Of ``configs/inference.json``: this network in the place of the shipped one."""

BLOOD = (50.0, 85.0)
"""HU between which a pixel counts as blood."""
BONE_HU = 150.0


def blood_of(hounsfield: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels of one slice (rows, columns) that are blood: inside the skull, and in no thin line."""
    bone = hounsfield > BONE_HU
    inside = ndimage.binary_fill_holes(bone) & ~ndimage.binary_dilation(bone)
    dense = inside & (hounsfield > BLOOD[0]) & (hounsfield < BLOOD[1])
    return np.asarray(ndimage.binary_opening(dense, np.ones((3, 3))))


class BrightnessNetwork(StudyNetwork):
    """Reads the windows 40/80, 80/200 and 600/2800; its lesion logits are 6 in blood and -6 elsewhere.

    The logit of a slice is -3, and more the more blood it shows; the scan's is that of its strongest slice. Every
    subtype has the logits of any haemorrhage, but intraparenchymal is the strongest.
    """

    has_slice_classifier = True

    def __init__(self, labels: int = 6) -> None:
        super().__init__()
        self.labels, self.slices = labels, 32
        self.backbone = TinyBackbone()

    def read_study(self, source: SliceSource) -> StudyOutput:
        images: Tensor = source.images["image"]  # type: ignore[attr-defined]  # no embedding would do
        hounsfield = images[:, 1] * 200 - 20
        lesion = torch.stack([torch.from_numpy(blood_of(plane.cpu().numpy())) for plane in hounsfield])[:, None].float()
        amount = lesion.sum(dim=(1, 2, 3))
        slice_logits = (amount / 60 - 3)[:, None].repeat(1, self.labels)
        attention = (amount + 1) / (amount + 1).sum()
        logits = (12 * lesion - 6).repeat(1, self.labels, 1, 1)
        logits[:, 2] += 1
        strongest = slice_logits.amax(dim=0, keepdim=True)
        none = torch.zeros(0, dtype=torch.int64)
        return StudyOutput(strongest, attention, slice_logits, none, slice_logits[:0], lesion_logits=logits)
