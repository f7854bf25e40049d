"""Where a network expects a reader to look, on the original voxels, and what taught it that (Qiu, thesis 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.networks.study_network import StudyOutput
from scripts.reading_geometry import ReadingGeometry

STAND_IN = "saliency maps are readers' masks, blurred: no gaze was recorded"
"""Remark of a training without gaze: whatever is trained or measured so has to say it."""
RECORDED = "saliency maps are recorded gaze"
"""Remark of a training on gaze maps."""

_KINDS = {STAND_IN: "saliency_masks", RECORDED: "saliency_gaze"}
UNSTATED = "saliency"
"""Kind of map of weights that do not state what their saliency maps were."""


def saliency_kind(trained_on: str) -> str:
    """Return the kind of a network's saliency map, a key of :data:`scripts.diagnosis.MAP_KINDS`.

    Parameters
    ----------
    trained_on : str
        What its weights were made of, as results state it.
    """
    return next((kind for remark, kind in _KINDS.items() if remark in trained_on), UNSTATED)


def saliency_map(output: StudyOutput, geometry: ReadingGeometry) -> Tensor | None:
    """Return how often a reader is expected to look at a voxel, relative to looks spread evenly over the slice's crop.

    The network was trained to give each slice a distribution over its pixels (4.3.2), so that every slice has a map,
    with haemorrhage or without; times the number of pixels it has one unit at every image size.

    Parameters
    ----------
    output : StudyOutput
        Of one pass.
    geometry : ReadingGeometry
        The way back to the original voxels.

    Returns
    -------
    Tensor of float32, shape (slices, rows, columns), or None
        At least 0; 0 outside the crop. None where the network predicts no saliency.
    """
    if output.saliency_logits is None:
        return None
    with torch.no_grad():
        logits = output.saliency_logits[:, 0].detach().cpu().float()
        share = logits.flatten(1).softmax(dim=1).reshape(logits.shape)
        return geometry.resample_back(share * logits[0].numel())
