"""Losses of the saliency multi-task network: triplets of slices, divergence of saliency maps (Qiu, thesis 2024).

Where no reader's gaze was recorded, a reader's mask, blurred, stands in for it: :func:`blurred_mask`. Whatever is
trained or measured so has to say it (:data:`~scripts.explanation.saliency.STAND_IN`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from scripts.explanation.saliency import STAND_IN

__all__ = ["BLUR", "STAND_IN", "blurred_mask", "divergence", "triplet_loss", "true_saliency"]

BLUR = 0.03
"""Standard deviation of the Gaussian that makes a saliency map of a mask, relative to the image's side."""


def triplet_loss(embeddings: Tensor, positive: Tensor, margin: float = 1.0) -> Tensor:
    """Return the loss of all triplets of a batch in which the wrong pair is not farther by the margin (4.3.1).

    Parameters
    ----------
    embeddings : Tensor, shape (slices, channels)
    positive : Tensor of bool, shape (slices,)
        Slices of equal value are similar.
    margin : float
        The thesis states none; 1 is that of its reference's implementation in PyTorch.

    Returns
    -------
    Tensor, scalar
        Mean over the triplets that cost something; 0, still differentiable, where there is none.
    """
    distance = torch.cdist(embeddings, embeddings)
    similar = positive[:, None] == positive[None, :]
    pairs = similar & ~torch.eye(len(positive), dtype=torch.bool, device=positive.device)
    # (anchor, similar, other)
    valid = pairs[:, :, None] & ~similar[:, None, :]
    cost = (distance[:, :, None] - distance[:, None, :] + margin).clamp(min=0.0) * valid
    return cost.sum() / (cost > 0).sum().clamp(min=1)


def divergence(logits: Tensor, saliency: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of the predicted map from the true one, each a distribution over pixels.

    The thesis (2.5.1) prints it with prediction and truth exchanged, which is infinite wherever nobody looked; this is
    the usual direction.

    Parameters
    ----------
    logits : Tensor, shape (slices, 1, h, w)
        Of the predicted map.
    saliency : Tensor, shape (slices, 1, h, w)
        At least 0; slices without any saliency teach nothing.
    """
    total = saliency.flatten(1).sum(dim=1)
    seen = total > 0
    if not bool(seen.any()):
        return logits.sum() * 0.0
    truth = saliency[seen].flatten(1) / total[seen, None]
    predicted = functional.log_softmax(logits[seen].flatten(1), dim=1)
    return functional.kl_div(predicted, truth, reduction="batchmean")


def true_saliency(mask: Tensor, known: Tensor, gaze: bool, blur: float = BLUR) -> Tensor:
    """Return what a predicted saliency map is held to, at least 0; 0 everywhere where nothing is known of a slice.

    Parameters
    ----------
    mask : Tensor of uint8, shape (slices, 1, h, w)
        Readers' masks, or their gaze.
    known : Tensor of bool, shape (slices, 1)
        Whether the mask, or the gaze, is known.
    gaze : bool
        Which of the two it is.
    blur : float
        Standard deviation of the Gaussian that smooths masks, relative to the image's side.
    """
    counted = mask * known[..., None, None]
    return counted.float() if gaze else blurred_mask(counted, blur * mask.shape[-1])


def blurred_mask(mask: Tensor, sigma_pixels: float) -> Tensor:
    """Return masks (slices, 1, h, w) smoothed by a Gaussian, each slice's largest value 1 where it has any."""
    radius = math.ceil(3 * sigma_pixels)
    places = torch.arange(-radius, radius + 1, dtype=torch.float32, device=mask.device)
    kernel = torch.exp(-0.5 * (places / sigma_pixels) ** 2)
    kernel = kernel / kernel.sum()
    rows = functional.conv2d((mask > 0).float(), kernel[None, None, :, None], padding=(radius, 0))
    smooth = functional.conv2d(rows, kernel[None, None, None, :], padding=(0, radius))
    largest = smooth.amax(dim=(-2, -1), keepdim=True)
    return torch.where(largest > 0, smooth / largest.clamp(min=1e-12), smooth)
