"""``make train``: honest metrics on held-out patients first, then weights from all of them.

Every fold trains networks of its own that never see the fold's patients; what they say of them, pooled over the folds,
gives the metrics, the calibration and the operating points. The last training uses all patients.

    python -m research.training.cross_validation                         the shipped weights, into the bundle
    python -m research.training.cross_validation --only-metrics          metrics alone
    python -m research.training.cross_validation --studies <folder> --labels <csv> --output <folder>    your own data

A value after ``--set`` or ``--set-finetuning`` is read as JSON: ``--set epochs 30``, ``--set device '"cuda:0"'``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

import research.datasets.cq500
import research.datasets.rsna  # noqa: F401 (datasets that --set may name)
from research.metrics.calibration import platt_where_it_helps
from research.metrics.class_counts import class_counts, pooled_keys
from research.metrics.classification import FEW
from research.metrics.eval_metrics import eval_metrics, write_eval_metrics
from research.metrics.operating_points import held_out_probabilities, operating_points
from research.metrics.predictions import Predictions
from research.training.protocol import Variant, cross_validated, trained
from scripts.calibration import Calibration
from scripts.intake.study import IntakeError
from scripts.messages import ExpectedError
from scripts.training.inference_settings import INFERENCE_FILE, inference_settings
from scripts.weights import MODEL_FILE, WeightsError

SHIPPED = "DrCT2, EfficientNet-Lite0 trained end to end on real and synthetic slices"
FINE_TUNED = "DrCT2, last block fine-tuned on slices"
FROZEN = "DrCT2, VGG16 as ImageNet left it"
OWN_DATA = "DrCT2, heads trained on from the shipped weights"
OWN_DATA_FINE_TUNED = "DrCT2, last layers and heads trained on from the shipped weights"
OPERATING_POINTS_FILE = "operating_points.json"
CALIBRATION_FILE = "calibration.json"

logger = logging.getLogger(__name__)


def table(metrics: Mapping[str, Any]) -> str:
    """Lay the metrics out for a terminal."""
    lines = [metrics["protocol"], f"{'label':<18}{'positive':>9}{'AUC':>7}{'AP':>7}   remark"]
    for key, row in metrics["labels"].items():
        auc, precision = (f"{row[name]:.3f}" if row[name] is not None else "-" for name in ("auc", "average_precision"))
        lines.append(f"{key:<18}{row['positive']:>9}{auc:>7}{precision:>7}   {row['remark'] or ''}")
    top_h, baseline = metrics["key_slices_top_h"], metrics["key_slices_top_h_random_baseline"]
    if top_h is None:
        lines.append("no slice labels: whether slice attention finds the positive slices is not known")
    else:
        lines.append(f"positive among the h slices with most attention: {top_h:.3f} (random baseline {baseline:.3f})")
    return "\n".join(lines)


def decisions(predictions: Predictions) -> tuple[Calibration, dict[str, dict[str, float]]]:
    """Fit the calibration on held-out patients, and choose the operating points where nobody is seen by his own.

    Thresholds are those of :func:`research.metrics.operating_points.achieved_points`, which also judges them.

    Raises
    ------
    ValueError
        If a probability is no number.
    """
    if not np.isfinite(predictions.logits).all():
        raise ValueError("probabilities that are no numbers; the training has gone astray")
    held_out = (predictions.logits, predictions.labels, predictions.keys, predictions.folds)
    fit = platt_where_it_helps(*held_out)
    probabilities = held_out_probabilities(*held_out, fit)
    points = operating_points(probabilities, predictions.labels, predictions.keys, fewest=FEW)
    fitted = fit(predictions.logits, predictions.labels, predictions.keys)
    return replace(fitted, slices=slice_calibration(predictions)), points


def slice_calibration(predictions: Predictions) -> Calibration | None:
    """Fit the calibration of the slice classifier on slices of held-out patients; None where their labels are unknown.

    Most slices show no haemorrhage, and training draws those that do more often: probabilities come out too large.
    """
    scans = [scan for scan in predictions.scans if scan.slice_logits is not None and scan.slice_labels is not None]
    if not scans:
        return None
    logits = np.concatenate([np.asarray(scan.slice_logits) for scan in scans])
    labels = np.concatenate([np.asarray(scan.slice_labels) for scan in scans])
    folds = np.repeat([scan.fold for scan in scans], [len(scan.slice_attention) for scan in scans])
    read = np.isfinite(logits).all(axis=1)
    held_out = (logits[read], labels[read], predictions.keys, folds[read])
    return platt_where_it_helps(*held_out)(*held_out[:3])


def stated_points(
    points: Mapping[str, Mapping[str, float]], predictions: Predictions
) -> dict[str, dict[str, float | None]]:
    """Return operating points as their file has them: null for a label that too few scans show."""
    counts = zip(predictions.keys, predictions.labels.T, strict=True)
    few = {key for key, labels in counts if class_counts(labels).rarest < FEW}
    few -= set(pooled_keys(predictions.labels, predictions.keys, FEW))
    return {
        name: {key: None if key in few else threshold for key, threshold in thresholds.items()}
        for name, thresholds in points.items()
    }


def write_model(predictions: Predictions, variant: Variant, base: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Train on all patients and write weights, calibration, operating points and metrics into a folder.

    Raises
    ------
    ValueError
        If a probability is no number; nothing is written then.
    """
    calibration, points = decisions(predictions)
    folder.mkdir(parents=True, exist_ok=True)
    workflow = trained(variant, None, {**base, "model_path": str(folder / "model.pt")})
    workflow.finalize()
    _write_json(folder / OPERATING_POINTS_FILE, stated_points(points, predictions))
    _write_json(folder / CALIBRATION_FILE, asdict(calibration))
    metrics = eval_metrics(predictions)
    _write_json(folder / "metrics.json", metrics)
    return metrics


def ship(predictions: Predictions, variant: Variant, base: Mapping[str, Any]) -> None:
    """Train on all patients and put weights, metrics, calibration and operating points into the bundle."""
    made = Path("cache/shipped")
    metrics = write_model(predictions, variant, base, made)
    Path(MODEL_FILE).parent.mkdir(exist_ok=True)
    (made / "model.pt").replace(MODEL_FILE)
    for name in (OPERATING_POINTS_FILE, CALIBRATION_FILE):
        (made / name).replace(Path("configs") / name)
    path = Path("configs/metadata.json")
    metadata = json.loads(path.read_text("utf-8"))
    metadata["weights"][MODEL_FILE] = hashlib.sha256(Path(MODEL_FILE).read_bytes()).hexdigest()
    _write_json(path, metadata)
    write_eval_metrics(metrics, path)


def own_data(studies: str, labels: str) -> dict[str, Any]:
    """Return the overrides that train on a user's own studies, from the shipped weights on."""
    return {
        "dataset": "own",
        "dataset_dir": str(Path(studies).absolute()),
        "datalist#table": str(Path(labels).absolute()),
        "datalist#cache": "@cache",
        "start_from": MODEL_FILE,
        "cache#folder": "cache/own",
        "cache_root": "cache/own",
        "variants": 2,
    }


def vgg16() -> dict[str, Any]:
    """Return the overrides that train the paper's backbone."""
    overrides: dict[str, Any] = json.loads(Path("configs/vgg16.json").read_text("utf-8"))
    return {key: value for key, value in overrides.items() if key != "model_file"}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8", newline="\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only-metrics", "--only-figures", action="store_true", help="train no network on all patients"
    )
    parser.add_argument(
        "--vgg16", action="store_true", help="the paper's backbone, its last block fine-tuned on slices"
    )
    parser.add_argument("--frozen", action="store_true", help="VGG16 as ImageNet left it: no fine-tuning on slices")
    parser.add_argument(
        "--studies", help="folder of your own studies; the backbone stays as shipped, unless --fine-tune"
    )
    parser.add_argument("--labels", help="their labels, a CSV file")
    parser.add_argument(
        "--fine-tune", action="store_true", help="train the backbone's last layers on your slice labels, too"
    )
    parser.add_argument("--output", type=Path, help="folder for the weights; without it they go into the bundle")
    for name, target in (
        ("--set", "train.json"),
        ("--set-finetuning", "finetune.json"),
        ("--set-slices", "train_slices.json"),
    ):
        parser.add_argument(name, nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help=f"of {target}")
    arguments = parser.parse_args(argv)
    try:
        arguments.set, arguments.set_finetuning, arguments.set_slices = (
            {key: json.loads(value) for key, value in pairs}
            for pairs in (arguments.set, arguments.set_finetuning, arguments.set_slices)
        )
    except json.JSONDecodeError as error:
        parser.error(f"{error.doc} is not JSON (a text needs quotation marks of its own): {error}")
    if (arguments.studies is None) != (arguments.labels is None):
        parser.error("--studies and --labels belong together")
    if arguments.fine_tune and (arguments.studies is None or arguments.frozen):
        parser.error("--fine-tune belongs to --studies; without them the whole backbone is trained unless --frozen")
    if arguments.set_finetuning and arguments.studies is not None and not arguments.fine_tune:
        parser.error("--set-finetuning belongs to --fine-tune: without it your studies train the heads alone")
    if arguments.set_finetuning and not (arguments.fine_tune or arguments.vgg16):
        parser.error("--set-finetuning belongs to --fine-tune or --vgg16: nothing else is fine-tuned")
    if arguments.set_slices and (arguments.studies is not None or arguments.frozen or arguments.vgg16):
        parser.error("--set-slices belongs to the shipped network's training: nothing else is trained end to end")
    if arguments.studies is not None and arguments.output is None and not arguments.only_metrics:
        parser.error("--studies needs --output: your weights are not to replace the shipped ones")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Cross-validate, print the metrics and, unless only those are wanted, train on all patients."""
    arguments = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    base: dict[str, Any] = {}
    variant = Variant("shipped", SHIPPED, arguments.set, None, slices=arguments.set_slices)
    if arguments.studies is not None:
        base = own_data(arguments.studies, arguments.labels)
        variant = Variant("own_data", OWN_DATA, arguments.set, None)
        if arguments.fine_tune:
            # Other people's slices stay out: the shipped block has learnt from them already.
            finetuning = {"slices_dir": None, **arguments.set_finetuning}
            variant = Variant("own_data_fine_tuned", OWN_DATA_FINE_TUNED, arguments.set, finetuning)
    elif arguments.frozen:
        base, variant = vgg16(), Variant("frozen", FROZEN, arguments.set, None)
    elif arguments.vgg16:
        base, variant = vgg16(), Variant("fine_tuned", FINE_TUNED, arguments.set, arguments.set_finetuning)
    _measure_and_train(variant, base, arguments.output, arguments.only_metrics)


def _measure_and_train(variant: Variant, base: Mapping[str, Any], output: Path | None, only_metrics: bool) -> None:
    # Before hours of training, not after them.
    told = None if output is None or only_metrics else inference_settings({**base, **variant.heads}, output)
    predictions = cross_validated(variant, base)
    sys.stdout.write(table(eval_metrics(predictions)) + "\n")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        predictions.to_json(output / "predictions.json")
    if only_metrics:
        return
    if output is None:
        ship(predictions, variant, base)
    else:
        write_model(predictions, variant, base, output)
        _write_json(output / INFERENCE_FILE, told or {})


def _one_line(error: BaseException) -> str | None:
    """Return what a person did wrong, where that is what ended the run: MONAI wraps it in errors of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    expected = (ValueError, OSError, ExpectedError, IntakeError, WeightsError)
    return str(error) if isinstance(error, expected) else None


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        logger.error("%s", line)
        sys.exit(1)
