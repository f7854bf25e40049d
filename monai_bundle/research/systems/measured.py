"""What was measured of every system, compact and committed: ``docs/systems_measured.json``.

The cache, where ``make evaluate`` writes, is in no clone: what pages and figure state must not depend on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from research.evidence.measured_file import jsonable, write_measured
from research.metrics.confidence import RESAMPLES, Interval, auc_interval
from research.metrics.interpretive_tasks import attended_scans, interpretive_tasks
from research.metrics.predictions import Predictions
from research.metrics.random_baseline import by_patient
from research.systems.training import training_length
from scripts.systems import System

MEASURED = Path("docs/systems_measured.json")
DIGITS = 4
CHANCE = 0.5
MAP_MEASURES = ("pointing_game", "diff_gradcam", "effective_heat_ratio_auc")


@dataclass(frozen=True)
class Value:
    """A metric with its 95 % interval, patients resampled.

    Attributes
    ----------
    value : float or None
        None where it could not be measured.
    low, high : float or None
        None where there is no interval.
    random_baseline : float or None
        What chance gives on the same scans.
    """

    value: float | None
    low: float | None
    high: float | None
    random_baseline: float | None = None

    def above_chance(self) -> bool | None:
        """Whether the interval lies above chance; None where that is not known."""
        chance = CHANCE if self.random_baseline is None else self.random_baseline
        return None if self.low is None else self.low > chance


NOTHING = Value(None, None, None)


@dataclass(frozen=True)
class MeasuredSystem:
    """One system on held-out patients.

    Attributes
    ----------
    folds : tuple of int
        Held out in turn, each read by the network that has not seen it.
    scans, positive : int
        How many were read, and how many of them show haemorrhage.
    scan_auc, slice_auc : Value
        Of any haemorrhage. A system that answers for scans alone has no value for slices. The baseline of slices is
        what their height alone gives (:mod:`research.metrics.slice_height`).
    key_slices : Value
        Share of positive slices among the h with most attention, h being their number (DrCT2, comprehensive task).
    map_method : str
        How its maps are computed.
    maps : dict
        Measure (see :mod:`research.metrics.attribution_quality`) of the maps of any haemorrhage, by slice.
    length : str
        How long it was trained.
    trained_on, start : str
        What it learnt from, and what weights it began with.
    erased_blood : Value
        By how much the logits of slices with haemorrhage change when the blood is taken out of the image; baseline 0.
    """

    folds: tuple[int, ...]
    scans: int
    positive: int
    scan_auc: Value
    slice_auc: Value
    key_slices: Value
    map_method: str
    maps: dict[str, Value]
    length: str
    trained_on: str
    start: str
    erased_blood: Value = NOTHING

    def learnt(self) -> bool | None:
        """Whether it tells haemorrhage from none better than its baseline; None where there is no interval to tell by.

        By slices, where it answers for them: better than their height alone does; else by scans.
        """
        return (self.slice_auc if self.slice_auc.value is not None else self.scan_auc).above_chance()


def measured_in(folder: Path, system: System, count: int = RESAMPLES) -> MeasuredSystem | None:
    """Return what ``evaluate`` left of a system, or None where it left nothing.

    Parameters
    ----------
    folder : Path
        Of the system: ``evaluation.json`` and ``predictions.json``.
    system : System
        Says how long it is trained, where the evaluation does not.
    count : int
        Resamples of the intervals that the evaluation does not hold.
    """
    if not (folder / "evaluation.json").is_file():
        return None
    content: dict[str, Any] = json.loads((folder / "evaluation.json").read_text("utf-8"))
    predictions = Predictions.from_json(folder / "predictions.json")
    column = predictions.keys.index("any")
    truth = predictions.labels[:, column]
    scan_auc = _of_interval(auc_interval(truth, predictions.logits[:, column], predictions.patients, count))
    slice_auc = NOTHING
    if predictions.has_slice_logits:
        labels, logits, patients = predictions.slice_level()
        interval = auc_interval(labels[:, column], logits[:, column], patients, count)
        slice_auc = replace(_of_interval(interval), random_baseline=content.get("slice_auc_by_height"))
    top_h = interpretive_tasks(attended_scans(predictions, "any"), interval=by_patient(count))["comprehensive"]
    qualities = content["map_quality"].get("any", content["map_quality"]["overall"])["per_slice"]
    trained_on = next(iter(content["trained"].values()))
    return MeasuredSystem(
        folds=tuple(content["folds"]),
        scans=len(predictions.scans),
        positive=int(np.nansum(truth)),
        scan_auc=scan_auc,
        slice_auc=slice_auc,
        key_slices=_of_metric(asdict(top_h)),
        map_method=content["map_method"],
        maps={name: _of_metric(qualities[name]) for name in MAP_MEASURES},
        length=content.get("length") or training_length(system, {}),
        trained_on=trained_on,
        start=starts_of(trained_on),
        erased_blood=_of_metric(content["erased_blood"]) if "erased_blood" in content else NOTHING,
    )


def starts_of(trained_on: str) -> str:
    """Return what weights began with, of every member where they are an ensemble's, each stated once."""
    found = dict.fromkeys(re.findall(r", from ([^;]+)", trained_on))
    return ", ".join(found) or "not known"


def read_measured_systems(path: Path = MEASURED) -> dict[str, MeasuredSystem]:
    """Return what the committed file holds, by system; nothing where there is no file.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    if not path.is_file():
        return {}
    try:
        return {name: _system(content) for name, content in json.loads(path.read_text("utf-8")).items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name}: no file of measured systems ({type(error).__name__}: {error})") from error


def write_measured_systems(measured: dict[str, MeasuredSystem], path: Path = MEASURED) -> None:
    """Write the committed file, whole or not at all."""
    partial = path.with_suffix(".partial")
    write_measured({name: jsonable(_rounded(asdict(each))) for name, each in sorted(measured.items())}, partial)
    partial.replace(path)


def renewed(kept: dict[str, MeasuredSystem], known: Sequence[System], folder: Path) -> dict[str, MeasuredSystem]:
    """Return what was kept, with whatever the cache holds of a system in its place; of systems that there still are."""
    found = {system.name: measured_in(folder / system.name, system) for system in known}
    return {system.name: each for system in known if (each := found[system.name] or kept.get(system.name)) is not None}


def _of_interval(found: Interval) -> Value:
    return Value(found.estimate, found.low, found.high)


def _of_metric(found: dict[str, Any]) -> Value:
    return Value(found["value"], found["low"], found["high"], found["random_baseline"])


def _system(content: dict[str, Any]) -> MeasuredSystem:
    named = ("scan_auc", "slice_auc", "key_slices", "erased_blood")
    values = {name: Value(**content[name]) for name in named if name in content}
    maps = {name: Value(**each) for name, each in content["maps"].items()}
    return MeasuredSystem(**{**content, **values, "maps": maps, "folds": tuple(content["folds"])})


def _rounded(content: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, DIGITS) if isinstance(value, float) else value
        for key, value in content.items()
    }
