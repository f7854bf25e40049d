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
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from scripts.cache import Cache, files_key, mapped_tensor
from scripts.datasets.datalist import LabelledScan
from scripts.datasets.rsna_slices import read_slice
from scripts.datasets.slice_batches import ReadSliceBatchd, SliceBatch
from scripts.intake.head import head_mask
from scripts.intake.study import AIR_HU, CTStudy
from scripts.labels import RSNA
from scripts.reading_geometry import ReadingGeometry, head_centred_crop, slabs_of
from scripts.synthesis.anatomy import find_anatomy
from scripts.synthesis.lesion import LABEL_VALUES
from scripts.synthesis.random_phantom import draw_phantom
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.slice_sampler import RSNA_PIXEL_MM
from scripts.synthesis.synthesis import Synthesis
from scripts.synthesis.working_grid import SynthesisError

UNKNOWN_SUBTYPE = 255
"""Value of a mask where there is blood whose subtype nobody stated."""

_VERSION = 1
_KEYS = tuple(label.key for label in RSNA)
_TYPES = {"image": torch.int16, "mask": torch.uint8, "labels": torch.float32, "mask_known": torch.bool}
Arrays = dict[str, NDArray[Any]]


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
        0, a subtype's value (:data:`~scripts.synthesis.lesion.LABEL_VALUES`) or :data:`UNKNOWN_SUBTYPE`.
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
        make = partial(_real_scan, scan, entry["slice_labels"], size)
        plans.append(GroupPlan(entry["name"], "scan", entry["fold"], True, key, make))
        for draw in range(1 if positive else draws + mimic_draws):
            haemorrhage = draw < draws
            origin = [seed, draw, entry["name"]]
            made = partial(_synthetic_scan, scan, entry["slice_labels"], size, settings, origin, haemorrhage)
            name = f"{entry['name']}-{draw}"
            plans.append(
                GroupPlan(name, "synthetic scan", entry["fold"], True, [key, settings, origin, haemorrhage], made)
            )
    return plans


def slice_plans(
    entries: Sequence[Mapping[str, Any]],
    size: int,
    settings: SynthesisSettings | None = None,
    seed: int = 0,
) -> list[GroupPlan]:
    """Plan batches of single slices: as they are, and the same with synthetic haemorrhage in those without any.

    Parameters
    ----------
    entries : sequence of mapping
        From :func:`scripts.datasets.slice_batches.slice_datalist`.
    size, settings, seed
        As for :func:`scan_plans`.
    """
    settings = settings or SynthesisSettings()
    plans = []
    for entry in entries:
        batch: SliceBatch = entry["study"]
        key = [_VERSION, size, files_key(batch.files)]
        make = partial(_real_slices, batch, entry["slice_labels"], size)
        plans.append(GroupPlan(entry["name"], "slices", entry["fold"], False, key, make))
        for draw, haemorrhage in enumerate((True, False)):
            origin = [seed, draw, entry["name"]]
            made = partial(_synthetic_slices, batch, entry["slice_labels"], size, settings, origin, haemorrhage)
            name = f"{entry['name']}-{draw}"
            plans.append(GroupPlan(name, "synthetic slices", entry["fold"], False, [key, settings, origin], made))
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
            partial(_phantom, size, settings, [seed, number], number % 3 != 0),
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


def _real_scan(scan: LabelledScan, labels: NDArray[np.float32], size: int) -> Arrays:
    study = scan.read()
    mask = scan.mask(study)
    known = np.full(len(labels), mask is not None) | (labels[:, 0] == 0)
    return _scan_arrays(study, _host_mask(study, mask, labels), labels, known, size)


def _synthetic_scan(
    scan: LabelledScan,
    labels: NDArray[np.float32],
    size: int,
    settings: SynthesisSettings,
    origin: list[Any],
    haemorrhage: bool,
) -> Arrays:
    study = scan.read()
    try:
        made = draw_synthesis(study, generator_of(origin), settings, haemorrhage=haemorrhage)
    except SynthesisError:
        return _nothing(size)
    mask = scan.mask(study)
    known = np.full(len(labels), mask is not None) | (labels[:, 0] == 0)
    inside = np.where(made.label_map > 0, made.label_map, _host_mask(study, mask, labels))
    return _scan_arrays(made.study, inside, np.maximum(labels, _labels(made)), known, size)


def _phantom(size: int, settings: SynthesisSettings, origin: list[Any], haemorrhage: bool) -> Arrays:
    generator = generator_of(origin)
    study = draw_phantom(generator)
    anatomy = find_anatomy(study)
    made = draw_synthesis(study, generator, settings, haemorrhage=haemorrhage, anatomy=anatomy)
    labels = _labels(made)
    return _scan_arrays(made.study, made.label_map, labels, np.ones(len(labels), bool), size)


def _real_slices(batch: SliceBatch, labels: NDArray[np.float32], size: int) -> Arrays:
    image = ReadSliceBatchd("study", {"image": size})({"study": batch})["image"][0]
    return {
        "image": image.round().to(torch.int16).numpy(),
        "mask": np.zeros(image.shape, np.uint8),
        "labels": labels,
        "mask_known": labels[:, 0] == 0,
    }


def _synthetic_slices(
    batch: SliceBatch,
    labels: NDArray[np.float32],
    size: int,
    settings: SynthesisSettings,
    origin: list[Any],
    haemorrhage: bool,
) -> Arrays:
    reader = ReadSliceBatchd("study", {"image": size})
    generator = generator_of(origin)
    rows: list[tuple[Tensor, Tensor, NDArray[np.float32]]] = []
    for number, each in enumerate(batch.slices):
        # Of those without haemorrhage every one is host to a haemorrhage; every fourth to what resembles it alone.
        if labels[number, 0] != 0 or (not haemorrhage and number % 4 != 0):
            continue
        hounsfield, head = read_slice(each)
        try:
            study = slice_study(hounsfield, RSNA_PIXEL_MM, name=each.name)
            made = draw_synthesis(study, generator, settings, haemorrhage=haemorrhage)
        except SynthesisError:
            continue
        changed = made.study.voxels[0] != study.voxels[0]
        plane = np.where(changed, made.study.voxels[0].astype(np.float32), hounsfield)
        crop = reader.plane(head)
        image = crop.resample(torch.from_numpy(np.where(head, plane, np.float32(AIR_HU))), size)
        rows.append((image, _resampled_labels(crop.resample, made.label_map[0], size), _labels(made)[0]))
    if not rows:
        return _nothing(size)
    return {
        "image": torch.stack([image for image, _, _ in rows]).round().to(torch.int16).numpy(),
        "mask": torch.stack([mask for _, mask, _ in rows]).numpy(),
        "labels": np.stack([each for _, _, each in rows]),
        "mask_known": np.ones(len(rows), bool),
    }


def _scan_arrays(
    study: CTStudy, mask: NDArray[np.uint8], labels: NDArray[np.float32], known: NDArray[np.bool_], size: int
) -> Arrays:
    head = head_mask(study.voxels, study.spacing_mm)
    slabs = slabs_of(study, 5.0)
    geometry = ReadingGeometry(head_centred_crop(study, head, 1.1), slabs, study.voxels.shape)
    image = geometry.resample(np.where(head, study.voxels, np.int16(AIR_HU)), size)
    inside = [_resampled_labels(geometry.plane.resample, mask[list(slab)].max(axis=0), size) for slab in slabs]
    return {
        "image": image.round().to(torch.int16).numpy(),
        "mask": torch.stack(inside).numpy(),
        "labels": np.stack([labels[list(slab)].max(axis=0) for slab in slabs]).astype(np.float32),
        "mask_known": np.stack([known[list(slab)].all() for slab in slabs]),
    }


def _resampled_labels(resample: Callable[[Tensor, int], Tensor], mask: NDArray[np.uint8], size: int) -> Tensor:
    """Bring a label map to an image size: each label where it covers most of a pixel that is mostly covered."""
    found = torch.zeros(size, size, dtype=torch.uint8)
    most = torch.full((size, size), 0.4)
    for value in np.unique(mask[mask > 0]):
        covered = resample(torch.from_numpy((mask == value).astype(np.float32)), size)
        found[covered > most] = int(value)
        most = torch.maximum(most, covered)
    return found


def _host_mask(study: CTStudy, mask: NDArray[np.bool_] | None, labels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give a mask of all haemorrhage the subtype of slices that show one alone."""
    inside = np.zeros(study.voxels.shape, dtype=np.uint8)
    if mask is None:
        return inside
    for number, row in enumerate(labels):
        subtypes = [key for key, value in zip(_KEYS, row, strict=True) if key != "any" and value == 1]
        value = LABEL_VALUES[subtypes[0]] if len(subtypes) == 1 else UNKNOWN_SUBTYPE
        inside[number][mask[number]] = value
    return inside


def _labels(made: Synthesis) -> NDArray[np.float32]:
    return np.stack([made.slice_labels[key] for key in _KEYS], axis=1).astype(np.float32)


def _nothing(size: int) -> Arrays:
    return {
        "image": np.zeros((0, size, size), np.int16),
        "mask": np.zeros((0, size, size), np.uint8),
        "labels": np.zeros((0, len(_KEYS)), np.float32),
        "mask_known": np.zeros(0, bool),
    }


def generator_of(origin: list[Any]) -> np.random.Generator:
    """Return a generator of its own for every origin, the same in every process."""
    return np.random.default_rng([ord(letter) for letter in repr(origin)])
