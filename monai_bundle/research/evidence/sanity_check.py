"""Sanity check of attribution maps: with randomised weights they must change (Adebayo et al. 2018).

"Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292: the model-parameter randomisation test, cascading
from the output to the input. A map that stays the same without the trained weights is an edge detector, no explanation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from research.metrics.map_agreement import Agreement, compare_maps

_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)

_LAST_LAYERS = 3
"""Of a backbone whose blocks do not end in a max-pooling."""

MapsOf = Callable[[nn.Module], NDArray[np.number]]
"""Network -> maps, shape (labels, slices, rows, columns), of one and the same study."""


@dataclass(frozen=True)
class Stage:
    """One step of the cascade: everything up to and including ``name`` is random.

    Attributes
    ----------
    name : str
        The part that this step adds.
    modules : tuple of str
        Names of all modules that are random now, as ``get_submodule`` takes them.
    """

    name: str
    modules: tuple[str, ...]


def cascade(network: nn.Module) -> tuple[Stage, ...]:
    """Return what is randomised step by step: fusion, APS, primary network, then the backbone's last block.

    The heads are all parts with weights beside the backbone and the lesion decoder, on which no attribution map
    depends, in reverse order of construction. The backbone's last block is what lies behind its last max-pooling, of a
    backbone without one its last three layers with weights; they follow from last to first.

    Raises
    ------
    ValueError
        If the network has no heads, or ``backbone.features`` no weights behind its last max-pooling.
    """
    others = ("backbone", "lesion_decoder")
    parts = [name for name, part in network.named_children() if name not in others and list(_weights(part))]
    heads = parts[::-1]
    if not heads:
        raise ValueError("the network has no heads")
    stages: list[Stage] = []
    for name in [*heads, *reversed(_last_block(network))]:
        before = stages[-1].modules if stages else ()
        stages.append(Stage(name, (*before, name)))
    return tuple(stages)


def randomised(network: nn.Module, modules: Sequence[str], seed: int) -> nn.Module:
    """Return a copy with new weights in the named modules; ``network`` stays as it is.

    Every weight tensor is drawn from the normal distribution with its own mean and standard deviation: the activations
    keep their scale, so that a map does not vanish only because numbers became small. Normalisation layers keep their
    weights for the same reason. Each module has its own random numbers, whatever else is randomised.

    Raises
    ------
    AttributeError
        If the network has no such module.
    ValueError
        If a module has no weights to randomise.
    """
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for name in modules:
            generator = torch.Generator().manual_seed(_seed_of(name, seed))
            parameters = list(_weights(changed.get_submodule(name)))
            if not parameters:
                raise ValueError(f"{name} has no weights to randomise")
            for parameter in parameters:
                parameter.copy_(_random_like(parameter, generator))
    return changed


def sanity_check(
    network: nn.Module, maps_of: MapsOf, head: NDArray[np.bool_] | None = None, seed: int = 0
) -> dict[str, tuple[Agreement, ...]]:
    """Randomise stage by stage and compare the maps of one study with those of the trained network.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; stays as it is.
    maps_of : callable
        Computes the maps of the study with a given network.
    head : ndarray of bool, shape (slices, rows, columns), optional
        See :func:`compare_maps`.
    seed : int
        Of the random weights.

    Returns
    -------
    dict
        Stage name to one agreement per label, in the cascade's order.
    """
    trained = maps_of(network)
    found = {}
    for stage, changed in randomised_networks(network, seed):
        pairs = zip(trained, maps_of(changed), strict=True)
        found[stage.name] = tuple(compare_maps(before, after, head) for before, after in pairs)
    return found


def randomised_networks(network: nn.Module, seed: int) -> Iterator[tuple[Stage, nn.Module]]:
    """Return the cascade's networks one at a time: at most one copy is in memory."""
    for stage in cascade(network):
        yield stage, randomised(network, stage.modules, seed)


def _last_block(network: nn.Module) -> list[str]:
    """Names of the backbone's layers with weights behind its last max-pooling, or of its last ones, in their order."""
    features = network.get_submodule("backbone.features")
    layers = list(features.named_children())
    pools = [place for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    start = pools[-1] + 1 if pools else 0
    behind = [f"backbone.features.{name}" for name, layer in layers[start:] if list(_weights(layer))]
    if not pools:
        behind = behind[-_LAST_LAYERS:]
    if not behind:
        raise ValueError("backbone.features has no weights behind its last max-pooling")
    return behind


def _weights(module: nn.Module) -> Iterator[nn.Parameter]:
    for part in module.modules():
        if not isinstance(part, _NORMALISATION):
            yield from part.parameters(recurse=False)


def _random_like(parameter: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(parameter.shape, generator=generator).to(parameter)
    if parameter.numel() == 1:
        # One number has no standard deviation: its magnitude takes its place.
        return noise * parameter.abs()
    return noise * parameter.std() + parameter.mean()


def _seed_of(name: str, seed: int) -> int:
    """Mix a module's name into the seed; Python's own hash of a string differs from run to run."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])
