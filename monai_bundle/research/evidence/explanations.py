"""Quality of the attribution maps of held-out scans: against annotations, and with randomised weights.

The networks of the folds read their held-out scans as inference does; all methods explain one and the same pass.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from research.evidence.network_reading import NetworkReader
from research.evidence.sanity_check import sanity_check
from research.metrics.attribution_quality import MapQuality, map_quality, mask_of_label, summarise_labels
from research.metrics.map_agreement import Agreement
from research.metrics.map_agreement import summarise as summarise_agreement
from research.metrics.random_baseline import MeanMetric, by_patient
from scripts.datasets.datalist import LabelledScan
from scripts.explanation.maps import StoredMap, as_stored_map
from scripts.explanation.methods import METHODS
from scripts.intake.study import CTStudy
from scripts.networks.study_network import StudyOutput
from scripts.training.masks import MASKED_HU, masked_cells

logger = logging.getLogger(__name__)

Quality = dict[str, list[tuple[str, MapQuality]]]

UPPER_BOUND = "upper_bound"
"""Listed among the methods: the annotation itself, averaged over the maps' cells; no map can be much better."""


@dataclass(frozen=True)
class HeldOutScan:
    """One scan, loaded for explaining.

    Attributes
    ----------
    name, patient : str
        As in the datalist.
    inputs : dict
        As :class:`~scripts.inferer.StudyInferer` takes them.
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


def load_scan(entry: Mapping[str, Any], reader: NetworkReader) -> HeldOutScan:
    """Read a scan's voxels, images, geometry and annotation."""
    scan: LabelledScan = entry["study"]
    study = scan.read()
    return HeldOutScan(
        name=entry["name"],
        patient=entry["patient"],
        inputs=reader.inputs(study),
        study=study,
        mask=scan.mask(study),
        slice_labels=entry["slice_labels"],
        label=tuple(entry["label"]),
    )


def measure_quality(
    scan: HeldOutScan, reader: NetworkReader, into: dict[str, Quality]
) -> tuple[StudyOutput, StoredMap]:
    """Explain one scan by every method, measure the maps of its labels; return the pass and the first map."""
    output = reader.pass_with_graph(scan.inputs)
    first: StoredMap | None = None
    for method in METHODS:
        for column, key in enumerate(reader.labels):
            shown = scan.label[column] == 1 and scan.mask is not None
            if not shown and first is not None:
                continue
            stored = label_map(output, scan, method, column)
            first = first or stored
            if not shown or scan.mask is None:
                continue
            mask = mask_of_label(scan.mask, scan.slice_labels[:, column] == 1)
            into[method][key].append((scan.patient, map_quality(stored.voxels, mask, scan.head)))
            if method == next(iter(METHODS)):
                best = map_quality(coarsened(mask, scan, reader.network.backbone.stride), mask, scan.head)
                into[UPPER_BOUND][key].append((scan.patient, best))
    assert first is not None
    return output, first


def label_map(output: StudyOutput, scan: HeldOutScan, method: str, column: int) -> StoredMap:
    """Explain one label of one pass, on the original voxels."""
    with torch.enable_grad():
        layers = METHODS[method].explain(output, column)
    return as_stored_map(scan.inputs["geometry"].resample_back(*layers), scan.head)


def coarsened(mask: NDArray[np.bool_], scan: HeldOutScan, stride: int) -> NDArray[np.uint8]:
    """Return a mask at the maps' resolution: its proportion of each cell, at every resolution, added up."""
    painted = np.where(mask, np.int16(MASKED_HU), np.int16(0))
    geometry = scan.inputs["geometry"]
    sizes = [scan.inputs[key].shape[-1] for key in ("image", "high_res") if key in scan.inputs]
    layers = [masked_cells(geometry.resample(painted, size // stride * stride), stride) for size in sizes]
    return as_stored_map(geometry.resample_back(*layers), scan.head).voxels


def check_sanity(scan: HeldOutScan, reader: NetworkReader, method: str) -> dict[str, tuple[Agreement, ...]]:
    """Randomise the network part by part and compare the maps of the labels of one scan."""
    shown = np.flatnonzero(np.asarray(scan.label) == 1)

    def maps_of(changed: nn.Module) -> NDArray[np.number]:
        output = reader.pass_with_graph(scan.inputs, changed)
        return np.stack([label_map(output, scan, method, int(column)).voxels for column in shown])

    return sanity_check(reader.network, maps_of, scan.head)


def no_qualities() -> dict[str, Quality]:
    """Return an empty record: method (and the upper bound), label, maps."""
    return {method: defaultdict(list) for method in (*METHODS, UPPER_BOUND)}


def summary(
    qualities: dict[str, Quality], checks: Mapping[str, Sequence[dict[str, tuple[Agreement, ...]]]]
) -> dict[str, Any]:
    """Return all metrics as plain data; ``checks`` are those of each method's maps."""
    quality = {method: as_plain(summarise_labels(found, by_patient())) for method, found in qualities.items()}
    maps = sum(len(entries) for entries in next(iter(qualities.values())).values())
    stages = {method: [asdict(stage) for stage in summarise_agreement(found)] for method, found in checks.items()}
    return {"quality": quality, "sanity_check": stages, "maps": maps}


def as_plain(labels: dict[str, dict[str, dict[str, MeanMetric]]]) -> dict[str, Any]:
    """Return summaries of :func:`~research.metrics.attribution_quality.summarise_labels` as plain data."""
    return {
        key: {scale: {name: asdict(metric) for name, metric in metrics.items()} for scale, metrics in scales.items()}
        for key, scales in labels.items()
    }
