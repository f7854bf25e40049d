"""Grad-CAM and Grad-CAM++ of one pass: gradients run through the heads only, and keep their sign."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from scripts.networks.study_network import FeatureMaps, StudyOutput

CellValues = Callable[[Tensor, Tensor], Tensor]
"""Feature maps and gradients (slices, channels, h, w) -> the value of each cell (slices, h, w)."""


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) without its final ReLU: the sign is kept.

    Parameters
    ----------
    maps, gradients : Tensor, shape (slices, channels, h, w)
        Feature maps and the derivative of the label's logit with respect to them.

    Returns
    -------
    Tensor, shape (slices, h, w)
    """
    weights = gradients.mean(dim=(-2, -1), keepdim=True)
    return (weights * maps).sum(dim=1)


def grad_cam_in_logits(maps: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM in one unit for maps of any resolution, logits, by undoing the average of the gradient over cells."""
    return grad_cam(maps, gradients) * gradients.shape[-2] * gradients.shape[-1]


def grad_cam_plus_plus(maps: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, eq. 10, 11 and 19): positive gradients, weighted cell by cell.

    Parameters and result are those of :func:`grad_cam`; where no gradient is positive the map is 0. It sums over the
    cells by itself, so that maps of any resolution have one unit.
    """
    squared, cubed = gradients**2, gradients**3
    denominator = 2 * squared + (maps * cubed).sum(dim=(-2, -1), keepdim=True)
    alpha = torch.where(denominator == 0, 0.0, squared / denominator)
    weights = (alpha * gradients.clamp(min=0)).sum(dim=(-2, -1), keepdim=True)
    return (weights * maps).sum(dim=1)


def slice_evidence(slice_logits: Tensor) -> Tensor:
    """Return what single slices add up to for each label: -log P(no slice shows it).

    With p the probability of a slice's own logit, and slices taken for independent, it is the sum of -log(1 - p): a
    slice's Grad-CAM counts by p, so that slices without evidence stay dark.

    Parameters
    ----------
    slice_logits : Tensor, shape (slices, labels)
        Of the slice classifier.

    Returns
    -------
    Tensor, shape (labels,)
        In nats.
    """
    return functional.softplus(slice_logits).sum(dim=0)


def explain_study(output: StudyOutput, label: int, cell_values: CellValues) -> list[Tensor]:
    """Explain the study's mean logit of one label; see :data:`scripts.explanation.methods.Explain`."""
    return layers(output.logits[label], output.feature_maps, len(output.slice_attention), cell_values)


def explain_slices(output: StudyOutput, label: int, cell_values: CellValues) -> list[Tensor]:
    """Explain what the slice classifier finds in single slices, at both resolutions."""
    found = slice_evidence(output.slice_logits) + slice_evidence(output.key_slice_logits)
    return layers(found[label], output.feature_maps, len(output.slice_attention), cell_values)


def layers(
    explained: Tensor, feature_maps: tuple[FeatureMaps, ...], input_slices: int, cell_values: CellValues
) -> list[Tensor]:
    """Explain one number cell by cell: one layer per resolution, to be added on the original voxels.

    Parameters
    ----------
    explained : Tensor, scalar
        Connected to every ``maps`` by the heads' graph.
    feature_maps : tuple of FeatureMaps
        Of all slices and, for DrCT2, of the key slices at high resolution.
    input_slices : int
        Number of input slices of the study.
    cell_values : callable
        See :data:`CellValues`; in the unit of ``explained``.

    Returns
    -------
    list of Tensor, shape (input slices, h, w)
        Signed; 0 for slices that have no map at a resolution.
    """
    gradients = torch.autograd.grad(explained, [each.maps for each in feature_maps], retain_graph=True)
    found = []
    with torch.no_grad():
        for each, gradient in zip(feature_maps, gradients, strict=True):
            values = cell_values(each.maps, gradient)
            layer = values.new_zeros((input_slices, *values.shape[1:]))
            layer[each.input_slices] = values
            found.append(layer)
    return found
