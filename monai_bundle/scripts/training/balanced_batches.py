"""Batches of prepared slices with fixed parts of real positives, synthetic positives and negatives."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.utils.data import Dataset

from scripts.labels import RSNA
from scripts.messages import ExpectedError
from scripts.synthesis.lesion import LABEL_VALUES
from scripts.training.prepared_slices import PreparedGroup
from scripts.training.slice_augmentation import SliceAugmentation
from scripts.transforms import HounsfieldWindows

_KEYS = tuple(label.key for label in RSNA)
_SYNTHETIC = ("synthetic scan", "synthetic slices", "phantom")
_FAINT_PIXELS = 60
"""Synthetic blood on fewer pixels of a prepared slice decides no label: no reader would state it."""

Place = tuple[int, int]
"""Group and slice."""


@dataclass(frozen=True)
class BatchParts:
    """What a batch is made of; the rest are real negatives.

    Attributes
    ----------
    positive, synthetic : float
        Parts of real and of synthetic positives.
    resembling : float
        Part of negatives that are synthetic: what resembles blood, and slices beside synthetic blood.
    phantom : float
        Part of the synthetic slices, positive or negative, that are phantoms.
    """

    positive: float = 0.32
    synthetic: float = 0.25
    resembling: float = 0.2
    phantom: float = 0.25

    def __post_init__(self) -> None:
        """Refuse parts that exceed the whole."""
        if min(self.positive, self.synthetic, self.resembling) < 0 or not 0 <= self.phantom <= 1:
            raise ValueError("parts of a batch are not negative, and that of phantoms lies between 0 and 1")
        if self.positive + self.synthetic + self.resembling > 1:
            raise ValueError("parts of a batch exceed the whole")


class BalancedBatches(Dataset[dict[str, Tensor]]):
    """Training batches; the same seed, epoch and number give the same batch, so that an interrupted training goes on.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        What to draw from.
    held_out : mapping of str to collection of int, or None
        Kind of group (``"scan"``, ``"slices"``; their synthetic versions follow them) to the folds that are left out.
    windows : sequence of (float, float)
        Centre and width in HU of each channel.
    sizes : sequence of (int, int, float)
        Image size, slices of a batch of that size, and how often it is drawn.
    count : int
        Batches of an epoch.
    parts : BatchParts
        What a batch is made of.
    augmentation : SliceAugmentation
        How slices are changed.
    seed : int
        Source of all randomness, together with the epoch and the batch's number.
    kinds : sequence of str, optional
        Kinds of groups that are drawn from; all, if not given.

    Attributes
    ----------
    epoch : int
        Other batches are drawn in another epoch; see :class:`EpochOfDataset`.
    data : list of (mapping, PreparedGroup)
        Name and labels of each group, and the group: what a training's key is made of.

    Raises
    ------
    ExpectedError
        ``training.no_slice_labels`` if no positive or no negative slice is left.
    """

    def __init__(  # noqa: PLR0913 (what is drawn, how often and how it is changed)
        self,
        groups: Sequence[PreparedGroup],
        held_out: Mapping[str, Collection[int] | None],
        windows: Sequence[Sequence[float]],
        sizes: Sequence[tuple[int, int, float]],
        count: int,
        *,
        parts: BatchParts | None = None,
        augmentation: SliceAugmentation | None = None,
        seed: int = 0,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.groups = [
            each
            for each in groups
            if each.fold not in (held_out.get(each.kind.removeprefix("synthetic ")) or ())
            and (kinds is None or each.kind in kinds)
        ]
        self.windows = HounsfieldWindows(windows)
        self.sizes = [(int(size), int(slices), float(chance)) for size, slices, chance in sizes]
        self.count, self.seed, self.epoch = count, seed, 0
        self.parts, self.augmentation = parts or BatchParts(), augmentation or SliceAugmentation()
        self.labels = [stated_labels(each) for each in self.groups]
        self.pools = _Pools.of(self.groups, self.labels)
        if not self.pools.negative or not (self.pools.positive or self.pools.synthetic):
            raise ExpectedError("training.no_slice_labels")
        self.data = [
            ({"name": each.name, "label": each.scan_labels.tolist(), "slice_labels": each.labels.numpy()}, each)
            for each in self.groups
        ]
        # Drawn from by nothing: a batch is decided by its epoch and number.
        self.R = np.random.RandomState(seed)

    @property
    def settings(self) -> list[object]:
        """Everything but the groups that decides the batches."""
        return [self.sizes, self.count, self.seed, self.parts, self.augmentation]

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.count

    def drawn(self, number: int) -> tuple[int, list[Place], np.random.Generator]:
        """Return image size and places of one batch, and the generator that goes on drawing for it."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        generator = np.random.default_rng([self.seed, self.epoch * self.count + number])
        chances = np.array([chance for _, _, chance in self.sizes])
        size, slices, _ = self.sizes[int(generator.choice(len(self.sizes), p=chances / chances.sum()))]
        return size, [self.pools.draw(self.parts, generator) for _ in range(slices)], generator

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return one batch.

        Returns
        -------
        dict
            ``image`` (slices, windows, size, size) in 0..1; ``label`` (slices, labels) with NaN for unknown; ``mask``
            uint8 (slices, 1, size / 4, size / 4) and ``mask_known`` (slices,) bool.
        """
        size, places, generator = self.drawn(number)
        image = torch.stack([self.groups[group].image[place].float()[None] for group, place in places])
        mask = torch.stack([self.groups[group].mask[place][None] for group, place in places])
        bone = torch.tensor([self.groups[group].bone for group, _ in places])
        image, mask = self.augmentation(image, mask, bone, size, generator)
        return {
            "image": windowed(image, self.windows),
            "label": torch.stack([self.labels[group][place] for group, place in places]),
            "mask": mask,
            "mask_known": torch.stack([self.groups[group].mask_known[place] for group, place in places]),
        }


class EpochOfDataset:
    """Handler of the trainer that tells its dataset which epoch it is."""

    def __init__(self, dataset: BalancedBatches) -> None:
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch)

    def _epoch(self, engine: Engine) -> None:
        self.dataset.epoch = engine.state.epoch - 1


def windowed(image: Tensor, windows: HounsfieldWindows) -> Tensor:
    """Turn slices (slices, 1, size, size) in HU into windows (slices, windows, size, size) in 0..1."""
    return convert_to_tensor(windows(image.movedim(0, 1)), track_meta=False).movedim(0, 1).contiguous()


def stated_labels(group: PreparedGroup) -> Tensor:
    """Return a group's labels (slices, labels), NaN where a few pixels of synthetic blood decide one."""
    labels = group.labels.clone()
    if group.kind in _SYNTHETIC:
        for column, key in enumerate(_KEYS):
            inside = group.mask > 0 if key == "any" else group.mask == LABEL_VALUES[key]
            faint = inside.flatten(1).sum(dim=1) < _FAINT_PIXELS
            # A host's own blood, of which the mask may be unknown, stays stated.
            labels[faint & (labels[:, column] == 1) & group.mask_known, column] = torch.nan
    return labels


@dataclass(frozen=True)
class _Pools:
    """Places of slices by what they show."""

    positive: dict[str, list[Place]] = field(default_factory=dict)
    synthetic: dict[str, list[Place]] = field(default_factory=dict)
    phantom: dict[str, list[Place]] = field(default_factory=dict)
    negative: list[list[Place]] = field(default_factory=list)
    resembling: list[Place] = field(default_factory=list)
    empty_phantom: list[Place] = field(default_factory=list)

    @staticmethod
    def of(groups: Sequence[PreparedGroup], labels: Sequence[Tensor]) -> _Pools:
        pools = _Pools()
        negative: dict[str, list[Place]] = {}
        for number, (group, rows) in enumerate(zip(groups, labels, strict=True)):
            for place, row in enumerate(rows.tolist()):
                here = (number, place)
                if row[0] == 1:
                    by_subtype = {"phantom": pools.phantom, "scan": pools.positive, "slices": pools.positive}
                    of_kind = by_subtype.get(group.kind, pools.synthetic)
                    for key, value in zip(_KEYS[1:], row[1:], strict=True):
                        if value == 1:
                            of_kind.setdefault(key, []).append(here)
                elif row[0] == 0 and group.kind == "phantom":
                    pools.empty_phantom.append(here)
                elif row[0] == 0 and group.kind in _SYNTHETIC:
                    pools.resembling.append(here)
                elif row[0] == 0:
                    negative.setdefault(group.kind, []).append(here)
        pools.negative.extend(negative.values())
        return pools

    def draw(self, parts: BatchParts, generator: np.random.Generator) -> Place:
        kind, phantom = float(generator.random()), float(generator.random()) < parts.phantom
        if kind < parts.positive and self.positive:
            return _of_a_subtype(self.positive, generator)
        kind -= parts.positive
        if kind < parts.synthetic and (self.synthetic or self.phantom):
            from_phantoms = bool(self.phantom) and (phantom or not self.synthetic)
            return _of_a_subtype(self.phantom if from_phantoms else self.synthetic, generator)
        kind -= parts.synthetic
        if kind < parts.resembling and self.resembling:
            return _any_of(self.empty_phantom if (phantom and self.empty_phantom) else self.resembling, generator)
        return _any_of(self.negative[int(generator.integers(len(self.negative)))], generator)


def _of_a_subtype(places: Mapping[str, list[Place]], generator: np.random.Generator) -> Place:
    subtypes = sorted(places)
    # Between even draws, which repeat a rare subtype's few slices a hundredfold, and those of the data's frequencies.
    often = np.sqrt([len(places[subtype]) for subtype in subtypes])
    return _any_of(places[str(generator.choice(subtypes, p=often / often.sum()))], generator)


def _any_of(places: Sequence[Place], generator: np.random.Generator) -> Place:
    return places[int(generator.integers(len(places)))]
