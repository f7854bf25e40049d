"""Training slices made once and kept: cropped as the network reads them, in HU, with masks and labels.

Real scans, real single slices, synthetic haemorrhage in both, and phantoms; every group of slices is made by a plan,
cached under its files and settings, and mapped into memory. An interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import torch
from torch import Tensor
from tqdm import tqdm

from scripts.cache import Cache, files_key, mapped_tensor
from scripts.datasets.datalist import LabelledScan
from scripts.datasets.slice_batches import SliceBatch
from scripts.synthesis.random_synthesis import SynthesisSettings
from scripts.training.group_arrays import (
    Arrays,
    phantom,
    real_scan,
    real_slices,
    synthetic_scan,
    synthetic_slices,
)

_VERSION = 1
_TYPES = {"image": torch.int16, "mask": torch.uint8, "labels": torch.float32, "mask_known": torch.bool}


@dataclass(frozen=True)
class PreparedGroup:
    """Slices of one scan, in its order, or single slices that were read together.

    Attributes
    ----------
    name : str
        Of the scan or batch and, for synthetic ones, of the draw.
    kind : str
        ``"scan"``, ``"slices"``, ``"synthetic scan"``, ``"synthetic slices"`` or ``"phantom"``.
    fold : int
        Fold of the patient in its dataset; -1 for phantoms.
    bone : bool
        Whether HU beyond the brain window are known.
    image : Tensor of int16, shape (slices, size, size)
        HU, outside the head air.
    mask : Tensor of uint8, shape (slices, size, size)
        0, a subtype's value (:data:`~scripts.synthesis.lesion.LABEL_VALUES`) or
        :data:`~scripts.training.group_arrays.UNKNOWN_SUBTYPE`.
    labels : Tensor of float32, shape (slices, labels)
        RSNA's labels; NaN where unknown.
    mask_known : Tensor of bool, shape (slices,)
        Whether the mask states where blood is and is not.
    key : object
        Cache key of the slices.
    """

    name: str
    kind: str
    fold: int
    bone: bool
    image: Tensor
    mask: Tensor
    labels: Tensor
    mask_known: Tensor
    key: object = None

    @property
    def is_scan(self) -> bool:
        """Whether the slices are a whole scan in order."""
        return "scan" in self.kind or self.kind == "phantom"

    @property
    def scan_labels(self) -> Tensor:
        """Labels of the whole group (labels,): what any slice shows."""
        return self.labels.amax(dim=0)


@dataclass(frozen=True)
class GroupPlan:
    """How a group is made: what it is, and the function that makes it."""

    name: str
    kind: str
    fold: int
    bone: bool
    key: object
    make: Callable[[], Arrays]


def scan_plans(
    entries: Sequence[Mapping[str, Any]],
    size: int,
    draws: int,
    mimic_draws: int,
    settings: SynthesisSettings | None = None,
    seed: int = 0,
) -> list[GroupPlan]:
    """Plan the scans of a datalist: as they are, and with synthetic haemorrhage in draws of their own.

    Parameters
    ----------
    entries : sequence of mapping
        Datalist with slice labels.
    size : int
        Rows and columns.
    draws, mimic_draws : int
        Synthetic versions of each scan without haemorrhage: with haemorrhage, and with what resembles it alone. Scans
        with haemorrhage are given one more in one draw.
    settings : SynthesisSettings, optional
        What is drawn how often.
    seed : int
        Of all draws.
    """
    settings = settings or SynthesisSettings()
    plans = []
    for entry in entries:
        scan: LabelledScan = entry["study"]
        positive = entry["label"][0] == 1
        key = [_VERSION, size, files_key(scan.files)]
        make = partial(real_scan, scan, entry["slice_labels"], size)
        plans.append(GroupPlan(entry["name"], "scan", entry["fold"], True, key, make))
        for draw in range(1 if positive else draws + mimic_draws):
            haemorrhage = draw < draws
            origin = [seed, draw, entry["name"]]
            made = partial(synthetic_scan, scan, entry["slice_labels"], size, settings, origin, haemorrhage)
            name = f"{entry['name']}-{draw}"
            plans.append(
                GroupPlan(name, "synthetic scan", entry["fold"], True, [key, settings, origin, haemorrhage], made)
            )
    return plans


def slice_plans(
    entries: Sequence[Mapping[str, Any]],
    size: int,
    draws: int = 1,
    settings: SynthesisSettings | None = None,
    seed: int = 0,
) -> list[GroupPlan]:
    """Plan batches of single slices: as they are, and the same with synthetic haemorrhage in those without any.

    Parameters
    ----------
    entries : sequence of mapping
        From :func:`scripts.datasets.slice_batches.slice_datalist`.
    draws : int
        Synthetic versions with haemorrhage of each batch; there is one more with what resembles it alone.
    size, settings, seed
        As for :func:`scan_plans`.
    """
    settings = settings or SynthesisSettings()
    plans = []
    for entry in entries:
        batch: SliceBatch = entry["study"]
        key = [_VERSION, size, files_key(batch.files)]
        make = partial(real_slices, batch, entry["slice_labels"], size)
        plans.append(GroupPlan(entry["name"], "slices", entry["fold"], False, key, make))
        for draw in range(draws + 1):
            haemorrhage = draw < draws
            origin = [seed, draw, entry["name"]]
            made = partial(synthetic_slices, batch, entry["slice_labels"], size, settings, origin, haemorrhage)
            name = f"{entry['name']}-{draw}"
            plans.append(
                GroupPlan(name, "synthetic slices", entry["fold"], False, [key, settings, origin, haemorrhage], made)
            )
    return plans


def phantom_plans(count: int, size: int, settings: SynthesisSettings | None = None, seed: int = 0) -> list[GroupPlan]:
    """Plan phantoms of random anatomy: every third without haemorrhage, the others with."""
    settings = settings or SynthesisSettings()
    return [
        GroupPlan(
            f"phantom-{seed}-{number}",
            "phantom",
            -1,
            True,
            [_VERSION, size, settings, seed, number],
            partial(phantom, size, settings, [seed, number], number % 3 != 0),
        )
        for number in range(count)
    ]


def prepare(plans: Sequence[GroupPlan], cache: Cache, jobs: int = 1) -> list[PreparedGroup]:
    """Make every group that is not in the cache, and map all into memory.

    Parameters
    ----------
    plans : sequence of GroupPlan
        What to make.
    cache : Cache
        Keeps them as ``prepared``.
    jobs : int
        Processes.

    Returns
    -------
    list of PreparedGroup
        Without the groups of which nothing could be made (a batch of slices none of which holds a lesion).
    """
    missing = [plan for plan in plans if not cache.holds("prepared", plan.key)]
    work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(_kept)(plan, cache) for plan in missing
    )
    for _ in tqdm(work, total=len(missing), desc="slices", unit="group"):
        pass
    groups = []
    for plan in plans:
        arrays = cache.get("prepared", plan.key, plan.make, mapped=True)
        if len(arrays["labels"]):
            tensors = {name: mapped_tensor(arrays[name], dtype) for name, dtype in _TYPES.items()}
            groups.append(PreparedGroup(plan.name, plan.kind, plan.fold, plan.bone, **tensors, key=plan.key))
    return groups


def _kept(plan: GroupPlan, cache: Cache) -> None:
    torch.set_num_threads(1)
    cache.get("prepared", plan.key, plan.make, mapped=True)
