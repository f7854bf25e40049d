"""Prepared slices made by hand, for tests of what is drawn from them and learnt."""

from __future__ import annotations

import torch

from scripts.intake.study import AIR_HU
from scripts.training.prepared_slices import PreparedGroup

SIDE = 64
SUBDURAL = 5
"""Value of a subdural haemorrhage in a mask."""


def a_group(
    kind: str = "scan",
    fold: int = 0,
    positive: tuple[int, ...] = (),
    slices: int = 6,
    bone: bool = True,
    name: str | None = None,
    blood_pixels: int = 12,
) -> PreparedGroup:
    """Return slices of a bright disc in air; the positive ones have a square of blood, subdural, in the right half."""
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    head = (row - SIDE / 2) ** 2 + (column - SIDE / 2) ** 2 < (0.4 * SIDE) ** 2
    image = torch.where(head, 33, AIR_HU).to(torch.int16).repeat(slices, 1, 1)
    mask = torch.zeros(slices, SIDE, SIDE, dtype=torch.uint8)
    labels = torch.zeros(slices, 6)
    top, left = SIDE // 2 - blood_pixels // 2, SIDE // 2 + 4
    for place in positive:
        square = (slice(top, top + blood_pixels), slice(left, left + blood_pixels))
        image[(place, *square)] = 70
        mask[(place, *square)] = SUBDURAL
        labels[place, [0, 5]] = 1.0
    known = torch.ones(slices, dtype=torch.bool)
    return PreparedGroup(name or f"{kind}-{fold}", kind, fold, bone, image, mask, labels, known, key=[kind, fold, name])
