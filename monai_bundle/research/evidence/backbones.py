"""Backbones by evidence: each is trained end to end alike, and read against single slices of patients held out.

All learn from the single slices and phantoms that ``configs/train_base.json`` begins with, but for one fold of RSNA's
patients, whose real slices they are then measured on: no scan of CT-ICH is looked at to choose a backbone.

    python -m research.evidence.backbones [--output FOLDER] [--only lite0 lite1 ...] [--batches 200]

A backbone that was measured is not trained again; a training that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from torch.utils.flop_counter import FlopCounterMode

from research.metrics.class_counts import class_counts
from research.metrics.confidence import RESAMPLES, Interval, auc_interval
from research.training.protocol import BASE, HEADS, PREPARED, SLICES, data_key, prepared, settings_of
from scripts.cache import Cache
from scripts.labels import RSNA
from scripts.training.slice_reading import HeldOutSlices, SliceReading

OUTPUT = Path("cache/evidence")
MEASURED_FILE = "backbones.json"
HELD_OUT_FOLD = 3
"""Of RSNA's patients: its slices teach no backbone that is compared here."""
SCAN = {"image": (32, 192), "high_res": (16, 288)}
"""Slices and image size of each pass over a scan."""
_BATCH = 32

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A backbone that is compared.

    Attributes
    ----------
    title : str
        As a person reads it.
    backbone : mapping
        Overrides ``backbone`` of ``configs/train.json``.
    part : float
        Of the batches that the others are trained with: for one that cannot be trained as long.
    overrides : mapping
        More of the same configuration.
    """

    title: str
    backbone: Mapping[str, Any]
    part: float = 1.0
    overrides: Mapping[str, Any] = field(default_factory=dict)


CANDIDATES: dict[str, Candidate] = {
    "lite0": Candidate("EfficientNet-Lite0", {"_target_": "scripts.networks.efficientnet_lite.EfficientNetLite0"}),
    "lite1": Candidate("EfficientNet-Lite1", {"_target_": "scripts.networks.efficientnet_lite.EfficientNetLite1"}),
    "lite2": Candidate("EfficientNet-Lite2", {"_target_": "scripts.networks.efficientnet_lite.EfficientNetLite2"}),
    "alexnet": Candidate(
        "AlexNet",
        {"_target_": "research.evidence.other_backbones.AlexNetFeatures", "fetch": True},
        overrides={"learning_rate": 1e-4},
    ),
    "vgg16": Candidate(
        "VGG16, the paper's",
        {"_target_": "scripts.networks.vgg16.VGG16Features", "fetch": True},
        part=0.25,
        overrides={"learning_rate": 1e-4},
    ),
}
"""Those without batch normalisation are given a lower learning rate, as is usual for them; a batch of VGG16's takes ten
times as long."""


def overrides_of(candidate: Candidate, batches: int) -> dict[str, Any]:
    """Return the overrides that train one backbone; 20 batches make an epoch."""
    epochs = max(1, round(candidate.part * batches / 20))
    return {
        "backbone": dict(candidate.backbone),
        "epochs": epochs,
        "steps_per_epoch": 20,
        "train#dataset#held_out": {"slices": [HELD_OUT_FOLD]},
        "validate#dataset#kinds": ["slices"],
        "validation_fold": HELD_OUT_FOLD,
        **candidate.overrides,
    }


def measured(name: str, batches: int, base: Mapping[str, Any], cache: Cache) -> dict[str, Any]:
    """Train one backbone and measure it, or take what was measured before.

    Parameters
    ----------
    name : str
        Of :data:`CANDIDATES`.
    batches : int
        Training batches.
    base : mapping
        Overrides of every configuration.
    cache : Cache
        Keeps what was measured, under settings and data.

    Returns
    -------
    dict
        ``title``, ``batches``, and ``auc``: with interval, of each label, and their ``mean``.
    """
    candidate = CANDIDATES[name]
    files = [HEADS, PREPARED, SLICES, BASE]
    overrides = {**base, **overrides_of(candidate, batches)}
    key = [settings_of(*files), overrides, data_key(files, overrides)]
    found: dict[str, Any] = cache.get("backbones", key, lambda: _measure(candidate, files, overrides))
    return found


def _measure(candidate: Candidate, files: list[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    logger.info("%s: training", candidate.title)
    workflow = prepared(files, {**overrides, "resume": True})
    content = workflow.parser.get_parsed_content
    workflow.run()
    network: SliceReading = content("average").ema_model
    network.eval()
    steps = int(content("epochs")) * int(content("steps_per_epoch"))
    labels, logits = slice_logits(network, content("validate#dataset"))
    _discard(workflow)
    return {
        "title": candidate.title,
        "batches": steps,
        "auc": {name: vars(each) for name, each in label_aucs(labels, logits).items()},
    }


def _discard(workflow: ConfigWorkflow) -> None:
    workflow.parser.get_parsed_content("train#checkpoints").discard()


@torch.inference_mode()
def slice_logits(network: SliceReading, slices: HeldOutSlices) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and logits (slices, labels) of single slices, read as inference reads them."""
    labels, logits = [], []
    for first in range(0, len(slices), _BATCH):
        batch = [slices[place] for place in range(first, min(first + _BATCH, len(slices)))]
        labels.append(torch.stack([each["label"] for each in batch]))
        logits.append(network(torch.stack([each["image"] for each in batch]))["logits"])
    return torch.cat(labels).numpy(), torch.cat(logits).float().numpy()


def label_aucs(labels: np.ndarray, logits: np.ndarray, count: int = RESAMPLES) -> dict[str, Interval]:
    """Return the AUC of each label and the mean of all that have one.

    The release of single slices names no patients: slices are resampled, not patients, so that intervals are a little
    too narrow.

    Parameters
    ----------
    labels, logits : ndarray, shape (slices, labels)
        0, 1 or NaN; and what was predicted.
    count : int
        Resamples.
    """
    slices = np.array([str(number) for number in range(len(labels))])
    found = {
        label.key: auc_interval(labels[:, column], logits[:, column], slices, count)
        for column, label in enumerate(RSNA)
        if class_counts(labels[:, column]).rarest
    }
    values = [each.estimate for each in found.values() if each.estimate is not None]
    found["mean"] = Interval(float(np.mean(values)), None, None, 0.95, 0, None)
    return found


@torch.inference_mode()
def scan_cost(name: str, repeats: int = 3) -> dict[str, float]:
    """Return a backbone's ``parameters_million``, and ``gflop`` and ``seconds`` (float32) of both passes over one scan.

    With slice classifiers and, where it has one, lesion decoder; trained weights would take as long.
    """
    overrides = {"backbone": dict(CANDIDATES[name].backbone), "start_from": None}
    content = prepared([HEADS, PREPARED, SLICES], overrides, initialize=False).parser.get_parsed_content
    network: SliceReading = content("network").eval().to(memory_format=torch.channels_last)
    gflop, seconds = 0.0, 0.0
    for slices, size in SCAN.values():
        image = torch.zeros(slices, 3, size, size).contiguous(memory_format=torch.channels_last)
        with FlopCounterMode(display=False) as counter:
            network(image[:1])
        gflop += slices * counter.get_total_flops() / 1e9
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            network(image)
            times.append(time.perf_counter() - start)
        seconds += statistics.median(times)
    millions = sum(each.numel() for each in network.backbone.parameters()) / 1e6
    return {"parameters_million": millions, "gflop": gflop, "seconds": seconds}


def main(argv: Sequence[str] | None = None) -> None:
    """Train and measure the backbones, and write ``backbones.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the evidence run")
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), help="these backbones alone")
    parser.add_argument("--batches", type=int, default=200, help="training batches of each")
    parser.add_argument("--prepared", help="folder of the prepared training slices; the bundle's cache by default")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    base = {} if arguments.prepared is None else {"cache#folder": arguments.prepared}
    arguments.output.mkdir(parents=True, exist_ok=True)
    cache, path = Cache(str(arguments.output / "cache")), arguments.output / MEASURED_FILE
    rows: dict[str, Any] = json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else {}
    for name in arguments.only or CANDIDATES:
        rows[name] = measured(name, arguments.batches, base, cache) | scan_cost(name)
        machine = {"threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability()}
        content = {"held_out_fold": HELD_OUT_FOLD, **machine, "rows": rows}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
