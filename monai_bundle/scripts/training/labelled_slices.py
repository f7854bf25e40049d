"""Single slices with labels, as cached maps: what the backbone's trained stage is fine-tuned on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scripts.messages import ExpectedError
from scripts.training.stage_maps import StageMaps

LabelledMaps = tuple[Mapping[str, Any], StageMaps]


@dataclass(frozen=True)
class SliceSplit:
    """Datalist entries with their maps: ``train`` to learn from, ``validation`` to evaluate on."""

    train: list[LabelledMaps]
    validation: list[LabelledMaps]


def split_slices(
    scans: Sequence[Mapping[str, Any]],
    scan_maps: Sequence[StageMaps],
    batches: Sequence[Mapping[str, Any]],
    batch_maps: Sequence[StageMaps],
    validation_fold: int | None,
    with_scans: bool = True,
) -> SliceSplit:
    """Split the slices of scans by patient; single slices of other patients all train.

    Parameters
    ----------
    scans, scan_maps : sequence
        Datalist with ``fold``, and the maps of each entry. Scans without ``slice_labels`` are left out.
    batches, batch_maps : sequence
        The same of batches of single slices.
    validation_fold : int or None
        The fold whose slices training must not see; None trains on all. Where nothing is held out, what there is to
        train on is evaluated: the scans, or the batches where there is no scan.
    with_scans : bool
        Whether the slices of scans take part.
    """
    of_scans = [
        (entry, maps)
        for entry, maps in zip(scans, scan_maps, strict=True)
        if with_scans and entry["slice_labels"] is not None
    ]
    of_batches = list(zip(batches, batch_maps, strict=True))
    held_out = [pair for pair in of_scans if validation_fold is not None and pair[0]["fold"] == validation_fold]
    train = [pair for pair in of_scans if validation_fold is None or pair[0]["fold"] != validation_fold]
    return SliceSplit([*train, *of_batches], held_out or of_scans or of_batches)


class LabelledSlices(Dataset[dict[str, Tensor]], Randomizable):
    """Every slice of some scans and slice batches, one by one.

    Parameters
    ----------
    data : sequence of (mapping, StageMaps)
        Datalist entries, each with its maps; those without ``slice_labels`` are left out.
    random : bool
        Whether to draw the augmented variant and mirror half of the maps; else the slices are as they are.
    masks : mapping of Tensor, optional
        Name of a scan to its masks, see :func:`scripts.training.masks.cached_masks`; scans without, and single slices,
        are given empty ones.

    Raises
    ------
    ExpectedError
        ``training.no_slice_labels`` if no slice is labelled.
    """

    def __init__(self, data: Sequence[LabelledMaps], random: bool, masks: Mapping[str, Tensor] | None = None) -> None:
        labelled = [(entry, maps) for entry, maps in data if entry["slice_labels"] is not None]
        if not labelled:
            raise ExpectedError("training.no_slice_labels")
        self.data = labelled
        self.maps = [maps for _, maps in labelled]
        self.masks = [(masks or {}).get(entry["name"]) for entry, _ in labelled]
        # Cells of the last maps, which may be fewer than those of the frozen stage; none where there is no mask at all.
        self.cells = next((mask.shape[-2:] for mask in (masks or {}).values()), (0, 0))
        self.labels = [labels_of_input_slices(entry["slice_labels"], maps.input_slice) for entry, maps in labelled]
        self.random = random
        self.places = [(scan, slice_) for scan, rows in enumerate(self.labels) for slice_ in range(len(rows))]

    def __len__(self) -> int:
        """Return the number of slices."""
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (maps, h, w), bfloat16, and ``label`` (labels + cells,): the labels, then the mask."""
        scan, slice_ = self.places[index]
        maps, masks = self.maps[scan], self.masks[scan]
        variant = int(self.R.randint(len(maps.image))) if self.random else 0
        image = maps.image[variant, slice_].permute(2, 0, 1)
        mask = torch.zeros(self.cells) if masks is None else masks[variant, slice_].float()
        if self.random and self.R.random_sample() < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        return {"image": image, "label": torch.cat([self.labels[scan][slice_], mask.flatten()])}

    def frequencies(self) -> list[float]:
        """Return the fraction of slices that show each label, where it is known; NaN where it nowhere is."""
        return torch.cat(self.labels).nanmean(dim=0).tolist()


def labels_of_input_slices(slice_labels: NDArray[np.float32], input_slice: Tensor) -> Tensor:
    """Bring labels from original to input slices: a slab shows what one of its slices shows.

    Parameters
    ----------
    slice_labels : ndarray of float32, shape (original slices, labels)
        0, 1 or NaN for unknown.
    input_slice : Tensor of int64, shape (original slices,)
        The input slice of each original slice.

    Returns
    -------
    Tensor of float32, shape (input slices, labels)
        1 if any is 1, else NaN if any is unknown, else 0.
    """
    rows = []
    for number in range(int(input_slice.max()) + 1):
        members = slice_labels[(input_slice == number).numpy()]
        rows.append(np.where((members == 1).any(axis=0), np.float32(1), members.max(axis=0)))
    return torch.from_numpy(np.stack(rows))


class SliceProbabilitiesd(MapTransform):
    """Postprocessing of one slice for the metric: ``pred`` to probabilities, ``label`` without the mask's cells.

    In training ``pred`` is what :class:`~scripts.training.slice_network.SliceNetwork` gives the loss, a dict.
    """

    def __init__(self) -> None:
        super().__init__(("pred", "label"))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return both as tensors of shape (labels,)."""
        prediction = data["pred"]
        logits: Tensor = prediction["logits"] if isinstance(prediction, Mapping) else prediction
        return {**data, "pred": logits.sigmoid(), "label": data["label"][: len(logits)]}
