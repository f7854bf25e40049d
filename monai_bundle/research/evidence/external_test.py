"""External test: the shipped weights on single studies of other scanners, by the bundle in a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.intake.dicom_series import choose_stack
from scripts.intake.discovery import find_studies

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExternalStudy:
    """A study that is in no training.

    Attributes
    ----------
    name, truth : str
        Its name and diagnosis.
    folder : Path
        Contains it alone.
    positive : bool
        Whether it shows a haemorrhage.
    labelled_slices : tuple of str
        File names (no suffix) of its positive slices, where they are labelled.
    """

    name: str
    truth: str
    folder: Path
    positive: bool
    labelled_slices: tuple[str, ...] = ()


def external_studies(data: Path, scratch: Path, pixels: int = 512) -> list[ExternalStudy]:
    """Return the real studies that exist, and write three phantoms.

    Parameters
    ----------
    data : Path
        Folder of real head CT.
    scratch : Path
        Empty folder for the phantoms.
    pixels : int
        Rows and columns of a phantom.
    """
    studies = []
    rsna = data / "rsna-series-iph-ivh"
    if rsna.is_dir():
        table = data / "labels" / "rsna_series_iph_ivh.csv"
        shown = _positive_slices(table) if table.is_file() else ()
        truth = "intraparenchymal and intraventricular haemorrhage"
        studies.append(ExternalStudy("RSNA 2019, one series", truth, rsna, True, shown))
    if (data / "ge-gantry-tilt").is_dir():
        folder = data / "ge-gantry-tilt"
        studies.append(ExternalStudy("GE, tilted gantry", "no haemorrhage, old infarct", folder, False))
    for name, kinds in (("none", ()), ("epidural", ("epidural",)), ("two", ("intraparenchymal", "subdural"))):
        command = [sys.executable, "-m", "scripts.phantom", "--format", "dicom", "--output", str(scratch / name)]
        command += ["--pixels", str(pixels)]
        for kind in kinds:
            command += ["--haemorrhage", kind]
        subprocess.run(command, check=True, capture_output=True)
        truth = " and ".join(kinds) + " haemorrhage, 30 ml each" if kinds else "no haemorrhage"
        studies.append(ExternalStudy("phantom", truth, scratch / name / "ct", bool(kinds)))
    return studies


def _positive_slices(table: Path) -> tuple[str, ...]:
    rows = pd.read_csv(table)
    positive = rows["ID"][rows["ID"].str.endswith("_any") & (rows["Label"] == 1)]
    return tuple(positive.str.removesuffix("_any"))


def read_external(data: Path) -> list[dict[str, Any]]:
    """Run the bundle on every study and return its results."""
    with tempfile.TemporaryDirectory() as scratch:
        studies = external_studies(data, Path(scratch))
        return [read_study(study, Path(scratch) / f"result-{number}") for number, study in enumerate(studies)]


def read_study(study: ExternalStudy, results: Path, settings: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Run the bundle on one study and return its result, or why there is none.

    Parameters
    ----------
    study : ExternalStudy
        What to read, and what is known of it.
    results : Path
        Folder for the result.
    settings : mapping, optional
        Of ``configs/inference.json``, where they are not the shipped ones.

    Raises
    ------
    RuntimeError
        If the bundle ends with neither a result nor a refusal.
    """
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(study.folder), "--output_dir", str(results)]
    command += [part for key, value in (settings or {}).items() for part in (f"--{key}", str(value))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    files = list(results.glob("*/result.json"))
    if done.returncode not in (0, 3) or len(files) != 1:
        raise RuntimeError(f"{study.name}: the bundle ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    result = json.loads(files[0].read_text("utf-8"))
    found: dict[str, Any] = {"study": study.name, "truth": study.truth, "truth_positive": study.positive}
    if result["status"] != "evaluated":
        return found | {"findings": None, "note": f"not evaluable: {result['reason']['message']}"}
    by_key = {finding["key"]: finding for finding in result["findings"]}
    return found | {
        "findings": {key: round(float(finding["probability"]), 3) for key, finding in by_key.items()},
        "any_threshold": by_key["any"]["threshold"],
        "positive": by_key["any"]["positive"],
        "key_slices_labelled_positive": _labelled_positive(study, result),
        "note": "; ".join(warning["code"] for warning in result["study"]["quality"]) or None,
    }


def _labelled_positive(study: ExternalStudy, result: dict[str, Any]) -> str | None:
    """Return how many key slices are labelled positive, where slices are labelled."""
    if not study.labelled_slices:
        return None
    order = _files_in_order(study.folder)
    keys = [entry["index"] for entry in result["slices"] if entry["key_rank"] is not None]
    positive = sum(order[index] in study.labelled_slices for index in keys)
    return f"{positive} of {len(keys)}"


def _files_in_order(folder: Path) -> list[str]:
    """File names (no suffix) in the order of the study's slices."""
    stack, _ = choose_stack(find_studies(folder)[0].headers)
    return [Path(header.location.name).stem for header in stack.headers]
