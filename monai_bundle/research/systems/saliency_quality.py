"""Quality of predicted saliency, and what each part of the network adds (Qiu, thesis 2024, 4.3.4, 4.3.5, 4.4).

    python -m research.systems.saliency_quality                          the network and its ablations, one fold
    python -m research.systems.saliency_quality --trained cache/systems  the full network from there
    python -m research.systems.saliency_quality --gaze_dir FOLDER        against gaze (scripts/datasets/gaze_maps.py)
    python -m research.systems.saliency_quality --only full plain_unet --set image_size 64 --set epochs 1

Every variant is the system ``saliency_multitask`` with other keys of its configuration. What was trained or read before
is not made again, and an interrupted run goes on. Writes ``cache/systems/saliency_quality.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import ttest_rel

from research.evidence.formatting import number, p_value, with_interval
from research.evidence.measured_file import jsonable
from research.metrics.saliency import SaliencyAgreement
from research.systems.gradcam_quality import slice_diagnosis, write
from research.systems.saliency_slices import EVEN, SliceMeasure, Variant, measured_slices
from research.systems.training import FOLDER, KeptTraining, SystemTraining, published_system
from scripts.explanation.saliency import RECORDED, STAND_IN
from scripts.messages import ExpectedError

SYSTEM = "saliency_multitask"
UNET = "scripts.networks.residual_se_unet.ResidualSEUNet"
VARIANTS = {
    "full": Variant("full network", ("triplets", "encoder", "saliency", "fusion"), maps=True, answers=True),
    "without_encoder": Variant(
        "Res_SE-UNet, without the encoder", ("saliency",), {"backbone#unet": {"_target_": UNET}}, maps=True
    ),
    "plain_unet": Variant(
        "UNet_S, without the encoder",
        ("saliency",),
        {"backbone#unet": {"_target_": UNET, "residual": False}},
        maps=True,
    ),
    "encoder_triplets": Variant("DenseNet-201 with triplets", ("triplets", "encoder"), answers=True),
    "encoder": Variant("DenseNet-201 without triplets", ("encoder",), answers=True),
}
ABLATIONS = (
    ("residual and squeeze-and-excitation blocks", "without_encoder", "plain_unet"),
    ("the encoder's maps in the UNet", "full", "without_encoder"),
    ("fusion of both networks' maps", "full", "encoder_triplets"),
    ("triplets before classification", "encoder_triplets", "encoder"),
)
"""What is examined, the variant with it and the one without (4.3.5); measured by what both of them have."""
MEASURES = {"divergence": "KL", "correlation": "CC", "similarity": "HS"}
PUBLISHED = {
    "full": {"divergence": 0.706, "correlation": 0.576, "similarity": 0.552, "accuracy": 0.800, "auc": 0.925},
    "without_encoder": {"divergence": 0.747, "correlation": 0.560, "similarity": 0.539},
    "plain_unet": {"divergence": 0.781, "correlation": 0.531, "similarity": 0.527},
    "encoder_triplets": {"accuracy": 0.750, "auc": 0.889},
    "encoder": {"accuracy": 0.690, "auc": 0.880},
}
"""Tables 4.1 and 4.2: chest X-rays, gaze, three classes."""
RESULT = FOLDER / "saliency_quality.json"

logger = logging.getLogger(__name__)


def agreement(measures: Sequence[SliceMeasure], even: bool = False) -> dict[str, Any]:
    """Return slices, scans, and mean and standard deviation over the slices of each measure: table 4.2."""
    found = [each.even if even else each.agreement for each in measures]
    known = [each for each in found if each is not None]
    summary: dict[str, Any] = {"slices": len(known), "scans": len({each.scan for each in measures if each.agreement})}
    for key in MEASURES:
        values = _values(known, key)
        summary[key] = {
            "mean": fmean(values) if values else None,
            "standard_deviation": stdev(values) if len(values) > 1 else None,
        }
    return summary


def per_scan(measures: Sequence[SliceMeasure], key: str) -> dict[str, float]:
    """Return the mean of one measure over the slices of each scan."""
    by_scan: dict[str, list[SaliencyAgreement]] = {}
    for each in measures:
        if each.agreement is not None:
            by_scan.setdefault(each.scan, []).append(each.agreement)
    return {scan: fmean(values) for scan, found in by_scan.items() if (values := _values(found, key))}


def _values(found: Sequence[SaliencyAgreement], key: str) -> list[float]:
    return [value for each in found if (value := getattr(each, key)) is not None]


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Any]:
    """Return the mean difference of scans that both have, and the p of a two-sided paired t-test (4.3.4).

    The thesis pairs images; slices of one scan are not independent, so that scans are paired here.
    """
    shared = sorted(first.keys() & second.keys())
    one, other = [first[scan] for scan in shared], [second[scan] for scan in shared]
    if not shared:
        return {"scans": 0, "difference": None, "p": None, "remark": "no scan in common"}
    difference = fmean(one) - fmean(other)
    if len(shared) < 2 or len({a - b for a, b in zip(one, other, strict=True)}) == 1:
        return {"scans": len(shared), "difference": difference, "p": None, "remark": "too few scans"}
    return {"scans": len(shared), "difference": difference, "p": float(ttest_rel(one, other).pvalue), "remark": None}


def compared(measured: Mapping[str, Sequence[SliceMeasure]], gaze: bool) -> dict[str, Any]:
    """Put the variants beside one another.

    Parameters
    ----------
    measured : mapping
        Name of a variant to its held-out slices.
    gaze : bool
        Whether the true maps are recorded gaze, and not readers' masks.

    Returns
    -------
    dict
        ``truth`` (what the true maps are), ``saliency`` (table 4.2, with an even map), ``diagnosis`` (table 4.1, of any
        haemorrhage), ``ablations`` (4.4.2; of those whose variants were measured).
    """
    with_maps = {name: slices for name, slices in measured.items() if VARIANTS[name].maps}
    saliency = {name: agreement(slices) for name, slices in with_maps.items()}
    if with_maps:
        saliency[EVEN] = agreement(next(iter(with_maps.values())), even=True)
    diagnosis = {
        name: slice_diagnosis(
            [each.label for each in slices], [each.logit for each in slices], [each.patient for each in slices]
        )
        for name, slices in measured.items()
        if VARIANTS[name].answers
    }
    plain = {name: jsonable(part) for name, part in diagnosis.items()}
    return {
        "truth": RECORDED if gaze else STAND_IN,
        "saliency": saliency,
        "diagnosis": plain,
        "ablations": [
            {"examined": examined, "with": one, "without": other, **_ablation(measured, plain, one, other)}
            for examined, one, other in ABLATIONS
            if one in measured and other in measured
        ],
    }


def _ablation(
    measured: Mapping[str, Sequence[SliceMeasure]], diagnosis: Mapping[str, Any], one: str, other: str
) -> dict[str, Any]:
    if VARIANTS[one].maps and VARIANTS[other].maps:
        return {key: paired(per_scan(measured[one], key), per_scan(measured[other], key)) for key in MEASURES}
    first, second = diagnosis[one], diagnosis[other]
    aucs = first["auc"]["estimate"], second["auc"]["estimate"]
    return {
        "accuracy": {"difference": first["accuracy"] - second["accuracy"]},
        "auc": {"difference": None if None in aucs else aucs[0] - aucs[1]},
    }


def page(found: Mapping[str, Any]) -> str:
    """Write plain results as tables in Markdown: figures of this run, for research use."""
    lines = [
        "# Quality of predicted saliency",
        "",
        f"Research use only. Slices of held-out patients. **Here {found['truth']}.** In brackets the thesis's figures, "
        "of gaze on chest X-rays: they show an order, not a goal.",
        "",
    ]
    return "\n".join(lines) + "\n" + tables(found)


def tables(found: Mapping[str, Any]) -> str:
    """Write plain results as three tables in Markdown: maps, answers and ablations."""
    lines = [
        "| saliency map | slices | scans | KL (less is better) | CC | HS |",
        "|" + "---|" * 6,
    ]
    for name, row in found["saliency"].items():
        cells = [f"{number(row[key]['mean'])} ± {number(row[key]['standard_deviation'])}" for key in MEASURES]
        cells = [cell + _published(name, key) for cell, key in zip(cells, MEASURES, strict=True)]
        lines.append(f"| {_title(name)} | {row['slices']} | {row['scans']} | {' | '.join(cells)} |")
    lines += [
        "",
        "| diagnosis | slices | accuracy | always negative | precision | recall | AUC |",
        "|" + "---|" * 7,
    ]
    for name, row in found["diagnosis"].items():
        cells = [number(row["accuracy"]) + _published(name, "accuracy"), number(row["always_negative"])]
        cells += [number(row["precision"]), number(row["recall"]), with_interval(row["auc"]) + _published(name, "auc")]
        lines.append(f"| {_title(name)} | {row['slices']} | {' | '.join(cells)} |")
    lines += ["", "| ablation | with | without | with minus without |", "|" + "---|" * 4]
    for row in found["ablations"]:
        differences = ", ".join(_difference(key, row[key]) for key in (*MEASURES, "accuracy", "auc") if key in row)
        lines.append(f"| {row['examined']} | {_title(row['with'])} | {_title(row['without'])} | {differences} |")
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    return VARIANTS[name].title if name in VARIANTS else name


def _published(name: str, key: str) -> str:
    value = PUBLISHED.get(name, {}).get(key)
    return "" if value is None else f" ({number(value)})"


def _difference(key: str, row: Mapping[str, Any]) -> str:
    value = "not measured" if row["difference"] is None else f"{row['difference']:+.3f}"
    return f"{MEASURES.get(key, key)} {value}" + (f" (p {p_value(row)})" if "p" in row else "")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, read and compare the variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="some of them")
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="held out in turn (default: 0)")
    parser.add_argument("--gaze_dir", help="folder of gaze maps; readers' masks, blurred, stand in without it")
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="take the full network from there, by its name")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="of training")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    overrides: dict[str, Any] = {key: json.loads(value) for key, value in arguments.set}
    if arguments.gaze_dir is not None:
        overrides["gaze_dir"] = str(Path(arguments.gaze_dir).absolute())
    system = published_system(SYSTEM)
    measured: dict[str, list[SliceMeasure]] = {}
    try:
        for number_of, name in enumerate(arguments.only, 1):
            logger.info("%s (%d of %d)", name, number_of, len(arguments.only))
            variant = VARIANTS[name]
            training = SystemTraining({**overrides, **variant.overrides})
            measured[name] = []
            for fold in arguments.folds:
                if name == "full" and arguments.trained is not None:
                    weights = KeptTraining(overrides, arguments.trained).trained(system, fold)
                else:
                    weights = training.trained_in(system, fold, variant.stages)
                measured[name] += measured_slices(system, variant, weights, fold, overrides)
    except ExpectedError as error:
        parser.exit(1, f"{error}\n")
    found = compared(measured, gaze="gaze_dir" in overrides)
    write(RESULT, json.dumps(found, indent=1) + "\n")
    write(RESULT.with_suffix(".md"), page(found))
    logger.info("%s and %s are written", RESULT, RESULT.with_suffix(".md"))


if __name__ == "__main__":
    main()
