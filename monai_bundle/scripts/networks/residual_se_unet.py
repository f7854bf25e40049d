"""UNet with residual squeeze-and-excitation blocks and room for a second encoder's maps (Qiu, thesis 2024, 4.3.2).

The thesis's figure 4.1 gives no widths; ``width`` doubles at every halving, to eight times itself at most. Blocks are
two 3 x 3 convolutions, squeeze-and-excitation (Hu et al. 2018, ratio 16) and a shortcut. Without residual and
squeeze-and-excitation parts it is the standard UNet of the ablation ("UNet_S").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

HALVINGS = 5
"""As many as the DenseNet-201 has in front of its last block: both encoders' maps have one size."""
SQUEEZE = 16


class SqueezeExcitation(nn.Module):
    """Weighs channels by what all of the image shows (Hu et al. 2018, equations 2 to 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // SQUEEZE)
        self.weigh = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        """Return the weighted maps (slices, channels, h, w)."""
        weights: Tensor = self.weigh(maps.mean(dim=(-2, -1)))
        return maps * weights[..., None, None]


class Block(nn.Module):
    """Two convolutions; with ``residual``, squeeze-and-excitation and a shortcut as well.

    Parameters
    ----------
    channels, width : int
        Maps before and after.
    residual : bool
        Whether it is a residual squeeze-and-excitation block.
    """

    def __init__(self, channels: int, width: int, residual: bool) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.excitation = SqueezeExcitation(width) if residual else None
        self.shortcut = nn.Conv2d(channels, width, kernel_size=1, bias=False) if residual else None

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (slices, width, h, w)."""
        found: Tensor = self.convolutions(maps)
        if self.excitation is not None and self.shortcut is not None:
            found = self.excitation(found) + self.shortcut(maps)
        return functional.relu(found)


class ResidualSEUNet(nn.Module):
    """Predicts the logits of a saliency map, one per pixel.

    Parameters
    ----------
    in_channels : int
        Windows of a slice.
    width : int
        Maps at full size.
    residual : bool
        Whether encoder blocks are residual with squeeze-and-excitation; else plain, as in the ablation.
    second_encoder : int
        Channels of the maps of another encoder that join at the beginning of the decoder, at 1/32 of the size; 0 for a
        single encoder.
    """

    def __init__(self, in_channels: int = 3, width: int = 16, residual: bool = True, second_encoder: int = 0) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(HALVINGS + 1)]
        inputs = [in_channels, *widths[:-1]]
        self.width = width
        self.second_encoder = second_encoder
        self.encoder = nn.ModuleList(
            Block(channels, wide, residual) for channels, wide in zip(inputs, widths, strict=True)
        )
        decoder = []
        below = widths[-1] + second_encoder
        for wide in reversed(widths[:-1]):
            decoder.append(Block(below + wide, wide, residual=False))
            below = wide
        self.decoder = nn.ModuleList(decoder)
        self.last = nn.Conv2d(width, 1, kernel_size=1)

    def forward(self, image: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the map's logits and the maps of the last upsampling layer.

        Parameters
        ----------
        image : Tensor, shape (slices, in_channels, h, w)
            Sides divisible by 32.
        beside : Tensor, shape (slices, second_encoder, h / 32, w / 32), optional
            Of the other encoder.

        Returns
        -------
        logits : Tensor, shape (slices, 1, h, w)
        last_maps : Tensor, shape (slices, width, h, w)

        Raises
        ------
        ValueError
            If a second encoder's maps are missing, or given though there is none.
        """
        if (beside is not None) != bool(self.second_encoder):
            raise ValueError(f"a second encoder of {self.second_encoder} channels, maps given: {beside is not None}")
        levels: list[Tensor] = []
        maps = image
        for number, block in enumerate(self.encoder):
            maps = block(functional.max_pool2d(maps, 2) if number else maps)
            levels.append(maps)
        if beside is not None:
            maps = torch.cat([maps, beside], dim=1)
        for block, level in zip(self.decoder, self._skipped(levels), strict=True):
            enlarged = functional.interpolate(maps, size=level.shape[-2:], mode="bilinear", align_corners=False)
            maps = block(torch.cat([enlarged, level], dim=1))
        return self.last(maps), maps

    @staticmethod
    def _skipped(levels: Sequence[Tensor]) -> Sequence[Tensor]:
        return list(levels[:-1])[::-1]
