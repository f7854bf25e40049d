"""ResNet18 as a backbone of DrCT: the example of how another one is added (ARCHITECTURE.md)."""

from __future__ import annotations

from monai.networks.nets import resnet18

from scripts.networks.backbone import Backbone


class ResNet18Features(Backbone):
    """MONAI's ResNet18 (He et al. 2016) in two dimensions up to its last block, with random weights."""

    channels = 512
    stride = 32
    frozen_layers = 7

    def __init__(self) -> None:
        # MONAI's first convolution has stride 1 by default, the paper's 2: without it maps are twice as large.
        whole = resnet18(spatial_dims=2, n_input_channels=3, conv1_t_stride=2)
        stem = (whole.conv1, whole.bn1, whole.act, whole.maxpool)
        super().__init__([*stem, whole.layer1, whole.layer2, whole.layer3, whole.layer4])
