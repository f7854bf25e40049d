"""Balanced training slices: real ones of every subtype, negatives, and negatives with synthetic haemorrhage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional
from torch.utils.data import Dataset

from scripts.datasets.ct_ich import CTICHScan
from scripts.datasets.ct_ich_images import ImageStack
from scripts.datasets.rsna_slices import LabelledSlice, read_slice
from scripts.intake.study import AIR_HU, CTStudy
from scripts.labels import RSNA
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.working_grid import SynthesisError

LABELS = tuple(label.key for label in RSNA)
RSNA_PIXEL_MM = 0.65
"""Spacing that is assumed for RSNA's slices of 384 pixels, which do not state it."""

_TISSUE_HU = -200.0
_DARK_HU = 3.0
_REDRAWS = 6


@dataclass(frozen=True)
class SliceSource:
    """One real slice that can be read when it is drawn.

    Attributes
    ----------
    name : str
        Name of the dataset and of the slice.
    fold : int
        Fold of its patient.
    labels : ndarray of float32, shape (6,)
        RSNA's labels in the order of :data:`LABELS`.
    read : callable
        Returns a study of one slice, and the mask of all its haemorrhage where one is known.
    bone : bool
        Whether the source shows bone: RSNA's JPEG slices end at 75 HU.
    """

    name: str
    fold: int
    labels: NDArray[np.float32]
    read: Callable[[], tuple[CTStudy, NDArray[np.bool_] | None]]
    bone: bool

    @property
    def positive(self) -> bool:
        """Whether it shows any haemorrhage."""
        return bool(self.labels[LABELS.index("any")] > 0.0)


def ct_ich_sources(scans: Sequence[CTICHScan], fold_of: Callable[[str], int]) -> list[SliceSource]:
    """List the slices of CT-ICH's JPEG release.

    Parameters
    ----------
    scans : sequence of CTICHScan
        What :func:`~scripts.datasets.ct_ich.find_scans` returns.
    fold_of : callable
        Fold of a patient.

    Raises
    ------
    ValueError
        For a scan of the NIfTI release, from which a single slice cannot be read cheaply.
    """
    sources = []
    for scan in scans:
        if not isinstance(scan.source, ImageStack):
            raise ValueError(f"CT-ICH patient {scan.patient}: only the JPEG release is read slice by slice")
        for index, number in enumerate(scan.source.numbers):
            labels = np.array([scan.slice_labels[key][index] for key in LABELS], dtype=np.float32)
            one = replace(scan.source, numbers=(number,))
            name = f"ct-ich {scan.patient} {number}"
            sources.append(SliceSource(name, fold_of(scan.patient), labels, _CTICHReader(one), bone=True))
    return sources


@dataclass(frozen=True)
class _CTICHReader:
    stack: ImageStack

    def __call__(self) -> tuple[CTStudy, NDArray[np.bool_]]:
        study = self.stack.read()
        return study, self.stack.mask(study)[0]


def rsna_sources(slices: Sequence[LabelledSlice]) -> list[SliceSource]:
    """List RSNA's single slices (see :func:`~scripts.datasets.rsna_slices.find_slices`)."""
    return [
        SliceSource(
            f"rsna {each.name}",
            each.fold,
            np.array([each.labels[key] for key in LABELS], dtype=np.float32),
            _RSNAReader(each),
            bone=False,
        )
        for each in slices
    ]


@dataclass(frozen=True)
class _RSNAReader:
    slice_: LabelledSlice

    def __call__(self) -> tuple[CTStudy, None]:
        return slice_study(read_slice(self.slice_)[0], RSNA_PIXEL_MM, name=self.slice_.name), None


class BalancedSlices(Dataset[dict[str, Any]]):
    """Slices drawn with fixed parts of real positives, synthetic positives and negatives.

    The same seed, epoch and index give the same slice, in any process and order. Real positives are drawn by subtype
    first, so that rare ones are seen as often as common ones; hosts of synthetic haemorrhage are real negatives.

    Parameters
    ----------
    sources : sequence of SliceSource
        All real slices.
    size : int
        Rows and columns of the images.
    length : int
        Slices per epoch.
    held_out_fold : int or None
        Fold that is never drawn from.
    positive, synthetic : float
        Parts of real and of synthetic positives; the rest is negative.
    settings : SynthesisSettings, optional
        What is set into hosts; its mimics and artefacts are drawn for negatives, too.
    seed : int
        Source of all randomness, together with epoch and index.

    Raises
    ------
    ValueError
        If the parts exceed 1, or the folds left hold no positive or no negative.
    """

    def __init__(
        self,
        sources: Sequence[SliceSource],
        size: int,
        length: int,
        *,
        held_out_fold: int | None = None,
        positive: float = 1 / 3,
        synthetic: float = 1 / 3,
        settings: SynthesisSettings | None = None,
        seed: int = 0,
    ) -> None:
        if min(positive, synthetic) < 0.0 or positive + synthetic > 1.0:
            raise ValueError("parts of positives lie between 0 and 1, and so does their sum")
        used = [each for each in sources if held_out_fold is None or each.fold != held_out_fold]
        self.negatives = [each for each in used if not each.positive]
        subtypes = [key for key in LABELS if key != "any"]
        groups = {key: [each for each in used if each.labels[LABELS.index(key)] > 0.0] for key in subtypes}
        self.positives = {key: group for key, group in groups.items() if group}
        if not self.negatives or (positive > 0.0 and not self.positives):
            raise ValueError("the folds that are drawn from hold no negative slice, or no positive one")
        self.size, self.length = size, length
        self.positive, self.synthetic = positive, synthetic
        self.settings = settings or SynthesisSettings()
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw other slices from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Slices per epoch."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw one slice.

        Returns
        -------
        dict
            ``image`` (float32, (1, size, size), HU), ``labels`` (float32, (6,)), ``mask`` (uint8, (1, size, size):
            subtype values of synthetic blood, 255 for blood of unknown subtype), ``mask_known``, ``bone``,
            ``synthetic`` (bool) and ``name``.
        """
        if not 0 <= index < self.length:
            raise IndexError(index)
        generator = np.random.default_rng([self.seed, self.epoch, index])
        kind = float(generator.random())
        if kind < self.positive:
            group = self.positives[str(generator.choice(list(self.positives)))]
            return self._real(group[int(generator.integers(len(group)))])
        wanted = kind < self.positive + self.synthetic
        for _ in range(_REDRAWS):
            source = self.negatives[int(generator.integers(len(self.negatives)))]
            study, _ = source.read()
            try:
                made = draw_synthesis(study, generator, self.settings, haemorrhage=wanted)
            except SynthesisError:
                if not wanted:
                    # Necks and the bare vertex hold no mimic, but are negatives all the same.
                    return self._real(source)
                continue
            labels = np.array([made.labels[key] for key in LABELS], dtype=np.float32)
            return self._entry(source, made.study, labels, made.label_map[0], known=True, synthetic=wanted)
        return self._real(source)

    def _real(self, source: SliceSource) -> dict[str, Any]:
        study, mask = source.read()
        known = mask is not None or not source.positive
        inside = np.zeros(study.voxels.shape[1:], np.uint8) if mask is None else np.where(mask, np.uint8(255), 0)
        return self._entry(source, study, source.labels, inside.astype(np.uint8), known=known, synthetic=False)

    def _entry(
        self,
        source: SliceSource,
        study: CTStudy,
        labels: NDArray[np.float32],
        mask: NDArray[np.uint8],
        *,
        known: bool,
        synthetic: bool,
    ) -> dict[str, Any]:
        plane = study.voxels[0].astype(np.float32)
        head = head_of_slice(plane)
        air = float(AIR_HU) if source.bone else float(plane.min())
        image, inside = head_square(np.where(head, plane, np.float32(air)), mask, head, self.size, air)
        return {
            "image": image,
            "labels": torch.from_numpy(labels.copy()),
            "mask": inside,
            "mask_known": known,
            "bone": source.bone,
            "synthetic": synthetic,
            "name": source.name,
        }


def head_of_slice(plane: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find the head in one slice: its largest piece of tissue that is not a thin shell, holes filled."""
    lowest = float(plane.min())
    tissue = plane > (_TISSUE_HU if lowest < _TISSUE_HU else lowest + _DARK_HU)
    solid = ndimage.binary_opening(tissue, iterations=3)
    components, count = ndimage.label(solid)
    if not count:
        return np.ones(plane.shape, dtype=np.bool_)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    head = ndimage.binary_fill_holes(components == sizes.argmax())
    return np.asarray(ndimage.binary_dilation(head, iterations=3), dtype=np.bool_)


def head_square(
    plane: NDArray[np.float32], mask: NDArray[np.uint8], head: NDArray[np.bool_], size: int, air: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut the square around the head out of a slice and its mask, and bring both to an image size.

    The square is 1.1 times the head's longer side, and at least half of the slice, so that the vertex stays small.

    Returns
    -------
    tensor of float32, shape (1, size, size)
        HU, averaged where pixels shrink.
    tensor of uint8, shape (1, size, size)
        Nearest values of the mask.
    """
    rows, columns = (np.flatnonzero(head.any(axis=axis)) for axis in (1, 0))
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = int(max(1.1 * longest, 0.5 * max(plane.shape)))
    top, left = (int(ends[0] + ends[-1] + 1 - side) // 2 for ends in (rows, columns))
    padding = (-left, left + side - plane.shape[1], -top, top + side - plane.shape[0])
    square = functional.pad(torch.from_numpy(plane)[None, None], padding, value=air)
    image = functional.interpolate(square, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    inside = functional.pad(torch.from_numpy(mask)[None, None], padding, value=0)
    return image[0], functional.interpolate(inside, size=(size, size), mode="nearest-exact")[0]
