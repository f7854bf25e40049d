"""Quality of the attribution maps of held-out scans: against annotations, and with randomised weights.

The shipped variant's networks, one per fold, read their held-out scans from the cached block-4 features; everything
behind them is what inference runs.
"""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor

from research.evidence.sanity_check import sanity_check, study_maps
from research.metrics.attribution_quality import MapQuality, map_quality, mask_of_label, summarise_labels
from research.metrics.map_agreement import Agreement
from research.metrics.map_agreement import summarise as summarise_agreement
from research.metrics.random_baseline import MeanMetric, by_patient
from scripts.explanation.maps import as_stored_map
from scripts.explanation.methods import METHODS
from scripts.inferer import StudyInferer, StudyReading
from scripts.intake.study import CTStudy
from scripts.networks.drct import DrCT1
from scripts.networks.vgg16 import VGG16Features
from scripts.training.masks import MASKED_HU, masked_cells
from scripts.training.stage_maps import StageMaps

logger = logging.getLogger(__name__)

Quality = dict[str, list[tuple[str, MapQuality]]]

UPPER_BOUND = "upper_bound"
"""Listed among the methods: the annotation itself, averaged over the maps' cells; no map can be much better."""


class TrainedStageBackbone(VGG16Features):
    """VGG16 whose input is the cached block-4 features in place of images."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature maps (slices, 512, h, w) of maps (slices, 512, h, w)."""
        maps: Tensor = self.trained_stage()(image.float())
        return maps


def reading_from_maps(network: DrCT1) -> DrCT1:
    """Return a copy of a network whose input is cached block-4 features; weights keep their names."""
    changed = copy.deepcopy(network).eval()
    backbone = TrainedStageBackbone()
    backbone.load_state_dict(network.backbone.state_dict())
    changed.backbone = backbone.requires_grad_(False)
    return changed


@dataclass(frozen=True)
class HeldOutScan:
    """One scan, loaded for explaining.

    Attributes
    ----------
    name, patient : str
        As in the datalist.
    inputs : dict
        As :class:`~scripts.inferer.StudyInferer` takes them, with block-4 features in place of images.
    study : CTStudy
        The original voxels.
    mask : ndarray of bool or None, shape (slices, rows, columns)
        Annotation of all haemorrhage.
    slice_labels : ndarray, shape (original slices, labels)
        0 or 1.
    label : tuple of float
        Of the scan.
    """

    name: str
    patient: str
    inputs: dict[str, Any]
    study: CTStudy
    mask: NDArray[np.bool_] | None
    slice_labels: NDArray[np.float32]
    label: tuple[float, ...]

    @property
    def head(self) -> NDArray[np.bool_]:
        """Voxels of the head."""
        head: NDArray[np.bool_] = self.inputs["head"]
        return head


def load_scan(entry: Mapping[str, Any], maps: StageMaps, load: Compose) -> HeldOutScan:
    """Read a scan's voxels, head, geometry and annotation, and take its cached block-4 features in place of images."""
    loaded = load(dict(entry))
    if maps.high_res is None:
        raise ValueError(f"{entry['name']}: no high-resolution features")
    return HeldOutScan(
        name=entry["name"],
        patient=entry["patient"],
        inputs={
            "image": maps.image[0].permute(3, 0, 1, 2),
            "high_res": maps.high_res[0].permute(3, 0, 1, 2),
            "geometry": loaded["geometry"],
            "head": loaded["head"],
        },
        study=loaded["study"],
        mask=loaded["mask"],
        slice_labels=entry["slice_labels"],
        label=tuple(entry["label"]),
    )


def measure_quality(scan: HeldOutScan, network: DrCT1, keys: Sequence[str], into: dict[str, Quality]) -> StudyReading:
    """Explain one scan by every method, measure the maps of its labels, and return the first method's reading."""
    first: StudyReading | None = None
    for method in METHODS:
        reading = explain(scan, network, method)
        first = first or reading
        for column, key in enumerate(keys):
            if scan.label[column] != 1 or scan.mask is None:
                continue
            mask = mask_of_label(scan.mask, scan.slice_labels[:, column] == 1)
            if reading is first:
                best = map_quality(coarsened(mask, scan), mask, scan.head)
                into[UPPER_BOUND][key].append((scan.patient, best))
            quality = map_quality(reading.label_maps[column].voxels, mask, scan.head)
            into[method][key].append((scan.patient, quality))
    assert first is not None
    return first


def explain(scan: HeldOutScan, network: DrCT1, method: str) -> StudyReading:
    """Read and explain one scan from its cached features, in float32."""
    inferer = StudyInferer(precision="float32", method=method, micro_batch=32)
    return inferer(scan.inputs, network)


def coarsened(mask: NDArray[np.bool_], scan: HeldOutScan) -> NDArray[np.uint8]:
    """Return a mask at the maps' resolution: its proportion of each cell, at both resolutions, added up."""
    painted = np.where(mask, np.int16(MASKED_HU), np.int16(0))
    geometry = scan.inputs["geometry"]
    layers = []
    for key in ("image", "high_res"):
        cells = scan.inputs[key].shape[-1]
        layers.append(masked_cells(geometry.resample(painted, cells * VGG16Features.stride), VGG16Features.stride))
    return as_stored_map(geometry.resample_back(*layers), scan.head).voxels


def check_sanity(scan: HeldOutScan, network: DrCT1, method: str) -> dict[str, tuple[Agreement, ...]]:
    """Randomise the network part by part and compare the maps of the labels of one scan."""
    inferer = StudyInferer(precision="float32", method=method, micro_batch=32)
    maps_of, shown = study_maps(scan.inputs, inferer), np.flatnonzero(np.asarray(scan.label) == 1)
    return sanity_check(network, lambda changed: maps_of(changed)[shown], scan.head)


def no_qualities() -> dict[str, Quality]:
    """Return an empty record: method (and the upper bound), label, maps."""
    return {method: defaultdict(list) for method in (*METHODS, UPPER_BOUND)}


def summary(
    qualities: dict[str, Quality], checks: Mapping[str, Sequence[dict[str, tuple[Agreement, ...]]]]
) -> dict[str, Any]:
    """Return all metrics as plain data; ``checks`` are those of each method's maps."""
    quality = {method: _as_plain(summarise_labels(found, by_patient())) for method, found in qualities.items()}
    maps = sum(len(entries) for entries in next(iter(qualities.values())).values())
    stages = {method: [asdict(stage) for stage in summarise_agreement(found)] for method, found in checks.items()}
    return {"quality": quality, "sanity_check": stages, "maps": maps}


def _as_plain(labels: dict[str, dict[str, dict[str, MeanMetric]]]) -> dict[str, Any]:
    return {
        key: {scale: {name: asdict(metric) for name, metric in metrics.items()} for scale, metrics in scales.items()}
        for key, scales in labels.items()
    }
