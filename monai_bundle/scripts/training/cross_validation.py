"""``make train``: honest figures on held-out patients first, then the shipped weights from all of them.

Every fold trains a network of its own that never sees the fold's patients; their probabilities, pooled over the folds,
give the figures and the operating points. The last training uses all patients and writes ``models/model.pt``, its
sha256 and figures into ``configs/metadata.json``, and ``configs/operating_points.json``.

    python -m scripts.training.cross_validation [--only-figures] [--set epochs 100] [--set seed 1] ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray

from scripts.evaluation.key_slices import top_h_share
from scripts.evaluation.operating_points import operating_points
from scripts.evaluation.scan_figures import FEW, label_figures
from scripts.labels import vocabulary
from scripts.training.cached_scans import LabelledFeatures, scan_probabilities
from scripts.weights import MODEL_FILE

CONFIGURATION = "configs/train.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """What networks say of patients that they have not seen.

    Attributes
    ----------
    probabilities, labels : ndarray, shape (scans, labels)
        Of every scan, from the network of its fold.
    top_h, top_h_chance : float
        Share of the h slices with most attention that are among the scan's h positive slices, mean over positive
        scans; and what a random choice would reach.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    top_h: float
    top_h_chance: float


def train(overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """Run one training of the configuration and return its workflow, for its network and its split."""
    workflow = ConfigWorkflow(CONFIGURATION, meta_file=None, logging_file=False, workflow_type="train", **overrides)
    workflow.initialize()
    workflow.run()
    return workflow


def cross_validate(overrides: Mapping[str, Any]) -> HeldOut:
    """Train one network per fold and read the patients that it has not seen."""
    probabilities, labels, shares, chances = [], [], [], []
    folds = 1
    fold = 0
    while fold < folds:
        workflow = train({**overrides, "held_out_fold": fold})
        folds = int(workflow.parser.get_parsed_content("folds"))
        network = workflow.parser.get_parsed_content("network_def")
        held_out: Sequence[LabelledFeatures] = workflow.parser.get_parsed_content("watched_scans")
        for entry, features in held_out:
            probability, attention = scan_probabilities(network, features)
            probabilities.append(probability.numpy())
            labels.append(entry["label"])
            positive = np.asarray(entry["slice_labels"])[:, 0]
            if positive.any():
                shares.append(top_h_share(attention.numpy(), positive))
                chances.append(float(positive.mean()))
        fold += 1
        logger.info("fold %d of %d done", fold, folds)
    return HeldOut(
        np.asarray(probabilities, dtype=np.float64),
        np.asarray(labels, dtype=np.int64),
        float(np.mean(shares)),
        float(np.mean(chances)),
    )


def write_shipped(overrides: Mapping[str, Any], held_out: HeldOut, keys: Sequence[str]) -> None:
    """Train on all patients and put weights, figures and operating points into the bundle.

    Raises
    ------
    ValueError
        If a label has no operating point; the bundle is then as it was.
    """
    points = operating_points(held_out.probabilities, held_out.labels, keys, fewest=FEW)
    workflow = train({**overrides, "held_out_fold": None, "model_path": MODEL_FILE})
    workflow.finalize()
    _write_json(Path("configs/operating_points.json"), points)
    path = Path("configs/metadata.json")
    metadata = json.loads(path.read_text("utf-8"))
    metadata["weights"][MODEL_FILE] = _sha256(Path(MODEL_FILE))
    metadata["eval_metrics"] = figures(held_out, keys)
    _write_json(path, metadata)


def figures(held_out: HeldOut, keys: Sequence[str]) -> dict[str, Any]:
    """Return the figures of the held-out patients, as they stand in the metadata."""
    return {
        "protocol": f"{len(held_out.labels)} CT-ICH scans, cross-validation by patient, held-out patients pooled",
        "labels": label_figures(held_out.probabilities, held_out.labels, keys),
        "key_slices_top_h": round(held_out.top_h, 3),
        "key_slices_top_h_chance": round(held_out.top_h_chance, 3),
    }


def table(metrics: Mapping[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    lines = [metrics["protocol"], f"{'label':<18}{'positive':>9}{'AUC':>7}{'AP':>7}   remark"]
    for key, row in metrics["labels"].items():
        auc, precision = (f"{row[name]:.3f}" if row[name] is not None else "-" for name in ("auc", "average_precision"))
        lines.append(f"{key:<18}{row['positive']:>9}{auc:>7}{precision:>7}   {row['remark'] or ''}")
    share, chance = metrics["key_slices_top_h"], metrics["key_slices_top_h_chance"]
    lines.append(f"share of the h positive slices among the h with most attention: {share:.3f} (chance {chance:.3f})")
    return "\n".join(lines)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Cross-validate, print the figures and, unless only those are wanted, train the shipped weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only-figures", action="store_true", help="leave models/ and configs/ as they are")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="of train.json")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    overrides = {key: json.loads(value) for key, value in arguments.set}
    keys = tuple(label.key for label in vocabulary(str(overrides.get("label_vocabulary", "rsna"))))
    held_out = cross_validate(overrides)
    sys.stdout.write(table(figures(held_out, keys)) + "\n")
    if not arguments.only_figures:
        write_shipped(overrides, held_out, keys)


if __name__ == "__main__":
    main()
