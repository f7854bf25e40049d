"""Do the maps depend on what the network has learnt? With random weights they must fall apart (Adebayo et al. 2018).

"Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292: the model-parameter randomisation test, cascading
from the output to the input. A map that looks the same without the learnt weights is an edge detector, no explanation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from scripts.inferer import StudyInferer
from scripts.networks.drct import DrCT1

FALLEN_APART = 0.5
"""Rank correlation below which a map counts as another one. Adebayo et al. set no limit: this one is ours."""

_WINDOW = 7
"""Pixels across, for structural similarity: scikit-image's own."""

_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)

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


@dataclass(frozen=True)
class Agreement:
    """How much of a map is left.

    Attributes
    ----------
    rank_correlation : float or None
        Spearman's, over the voxels of the head; None where a map is the same everywhere.
    structural_similarity : float or None
        Mean over the voxels of the head, both maps scaled to their own largest magnitude.
    reason : str or None
        Why one is missing.
    """

    rank_correlation: float | None
    structural_similarity: float | None
    reason: str | None = None


@dataclass(frozen=True)
class StageFigure:
    """Means over the maps of all scans and labels at one stage.

    Attributes
    ----------
    stage : str
        The last part randomised.
    rank_correlation, structural_similarity : float or None
        Means over the maps that could be compared.
    maps, not_compared : int
        How many were compared, and how many could not be: dark everywhere, for instance, which is falling apart too.
    fallen_apart : bool
        Whether the mean rank correlation is below :data:`FALLEN_APART`, or no map is left to compare.
    """

    stage: str
    rank_correlation: float | None
    structural_similarity: float | None
    maps: int
    not_compared: int
    fallen_apart: bool


def cascade(network: nn.Module) -> tuple[Stage, ...]:
    """Name what is randomised step by step: fusion, APS, primary network, then the backbone's last block.

    The heads are all parts with weights beside the backbone, the one that the network made last coming first. The
    backbone's last block is what lies behind its last max-pooling; its convolutions follow from last to first.

    Raises
    ------
    ValueError
        If the network has no heads, or no ``backbone.features`` with a max-pooling.
    """
    parts = [name for name, part in network.named_children() if name != "backbone" and list(_learnt(part))]
    heads = parts[::-1]
    if not heads:
        raise ValueError("the network has no heads")
    stages: list[Stage] = []
    for name in [*heads, *reversed(_last_block(network))]:
        before = stages[-1].modules if stages else ()
        stages.append(Stage(name, (*before, name)))
    return tuple(stages)


def randomised(network: nn.Module, modules: Sequence[str], seed: int) -> nn.Module:
    """Return a copy in which the named modules have forgotten what they learnt; ``network`` stays as it is.

    Every weight tensor is drawn anew from the normal distribution with its own mean and standard deviation: the
    activations keep their scale, so that a map does not vanish only because numbers became small. Normalisation layers
    are left alone for the same reason. Each module has its own random numbers, whatever else is randomised.

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
            parameters = list(_learnt(changed.get_submodule(name)))
            if not parameters:
                raise ValueError(f"{name} has no weights to randomise")
            for parameter in parameters:
                parameter.copy_(_drawn_anew(parameter, generator))
    return changed


def compare_maps(
    learnt: NDArray[np.number], random: NDArray[np.number], head: NDArray[np.bool_] | None = None
) -> Agreement:
    """Compare two maps of one study.

    Parameters
    ----------
    learnt, random : ndarray, shape (slices, rows, columns)
        Signed or not; each in its own unit.
    head : ndarray of bool, shape (slices, rows, columns), optional
        The voxels that count; all without it.

    Raises
    ------
    ValueError
        If shapes differ, or the head is empty.
    """
    head = np.ones(learnt.shape, dtype=bool) if head is None else head
    if not learnt.shape == random.shape == head.shape or learnt.ndim != 3:
        raise ValueError(f"maps {learnt.shape} and {random.shape}, head {head.shape}: must be equal, of three axes")
    if not head.any():
        raise ValueError("the head is empty")
    first, second = _scaled(learnt, head), _scaled(random, head)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Agreement(None, None, "a map holds values that are no number")
    if np.ptp(first[head]) == 0 or np.ptp(second[head]) == 0:
        return Agreement(None, None, "a map is the same everywhere")
    correlation = float(spearmanr(first[head], second[head]).statistic)
    if min(head.shape[1:]) < _WINDOW:
        return Agreement(correlation, None, f"slices smaller than {_WINDOW} pixels have no structural similarity")
    similarity = []
    for index in np.flatnonzero(head.any(axis=(1, 2))):
        _, cells = structural_similarity(first[index], second[index], win_size=_WINDOW, data_range=2.0, full=True)
        similarity.append(cells[head[index]])
    return Agreement(correlation, float(np.concatenate(similarity).mean()))


def sanity_check(
    network: nn.Module, maps_of: MapsOf, head: NDArray[np.bool_] | None = None, seed: int = 0
) -> dict[str, tuple[Agreement, ...]]:
    """Randomise stage by stage and compare the maps of one study with those of the learnt network.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; stays as it is.
    maps_of : callable
        Makes the maps of the study with a given network: :func:`study_maps`, or signed maps from
        :func:`~scripts.explanation.label_layers`.
    head : ndarray of bool, shape (slices, rows, columns), optional
        See :func:`compare_maps`.
    seed : int
        Of the random weights.

    Returns
    -------
    dict
        Stage name to one agreement per label, in the cascade's order.
    """
    learnt = maps_of(network)
    found = {}
    for stage, changed in randomised_networks(network, seed):
        pairs = zip(learnt, maps_of(changed), strict=True)
        found[stage.name] = tuple(compare_maps(before, after, head) for before, after in pairs)
    return found


def study_maps(inputs: dict[str, Any], inferer: StudyInferer) -> MapsOf:
    """Return a function that makes the maps of one study as they are shown: uint8, 0 where evidence is negative.

    Parameters
    ----------
    inputs : dict
        As :class:`~scripts.inferer.StudyInferer` takes them.
    inferer : StudyInferer
        Its method decides which maps are checked.
    """

    def maps_of(network: nn.Module) -> NDArray[np.number]:
        if not isinstance(network, DrCT1):
            raise TypeError(f"StudyInferer reads DrCT1 and DrCT2, not {type(network).__name__}")
        return np.stack([stored.voxels for stored in inferer(inputs, network).label_maps])

    return maps_of


def randomised_networks(network: nn.Module, seed: int) -> Iterator[tuple[Stage, nn.Module]]:
    """Make the cascade's networks one at a time: at most one copy is in memory."""
    for stage in cascade(network):
        yield stage, randomised(network, stage.modules, seed)


def summarise(checks: Sequence[dict[str, tuple[Agreement, ...]]]) -> tuple[StageFigure, ...]:
    """Average the checks of several scans (or seeds) of one network, stage by stage.

    Raises
    ------
    ValueError
        If there is no check, or they differ in their stages.
    """
    if not checks or any(list(check) != list(checks[0]) for check in checks):
        raise ValueError("checks of the same stages are needed, one at least")
    figures = []
    for stage in checks[0]:
        agreements = [agreement for check in checks for agreement in check[stage]]
        ranks = [found for one in agreements if (found := one.rank_correlation) is not None]
        similar = [found for one in agreements if (found := one.structural_similarity) is not None]
        mean_rank = float(np.mean(ranks)) if ranks else None
        figures.append(
            StageFigure(
                stage=stage,
                rank_correlation=mean_rank,
                structural_similarity=float(np.mean(similar)) if similar else None,
                maps=len(ranks),
                not_compared=len(agreements) - len(ranks),
                fallen_apart=mean_rank is None or mean_rank < FALLEN_APART,
            )
        )
    return tuple(figures)


def _last_block(network: nn.Module) -> list[str]:
    """Names of the backbone's layers with weights behind its last max-pooling, in their order."""
    features = network.get_submodule("backbone.features")
    layers = list(features.named_children())
    pools = [place for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    if not pools:
        raise ValueError("backbone.features has no max-pooling that ends a block")
    behind = [f"backbone.features.{name}" for name, layer in layers[pools[-1] + 1 :] if list(_learnt(layer))]
    if not behind:
        raise ValueError("backbone.features has no weights behind its last max-pooling")
    return behind


def _learnt(module: nn.Module) -> Iterator[nn.Parameter]:
    for part in module.modules():
        if not isinstance(part, _NORMALISATION):
            yield from part.parameters(recurse=False)


def _drawn_anew(parameter: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(parameter.shape, generator=generator).to(parameter)
    if parameter.numel() == 1:
        # One number has no spread: its magnitude stands for it.
        return noise * parameter.abs()
    return noise * parameter.std() + parameter.mean()


def _seed_of(name: str, seed: int) -> int:
    """Mix a module's name into the seed; Python's own hash of a string differs from run to run."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])


def _scaled(values: NDArray[np.number], head: NDArray[np.bool_]) -> NDArray[np.float64]:
    inside = np.where(head, values, 0).astype(np.float64)
    largest = float(np.abs(inside).max())
    return inside / largest if largest > 0 else inside
