"""Limits of measured lesion volumes, from scans whose true volumes are known.

    python -m research.metrics.volume_calibration volumes.csv --output configs/volume_calibration.json

The table has one line per scan and compartment, in the columns scan, group (``total`` or a key of
:data:`scripts.labels.LESION_GROUPS`), measured_ml and true_ml. The network must not have learnt from the scans, and
measured_ml is the volume of the mask (``mask_ml`` of ``result.json``), before any calibration.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scripts.labels import LESION_GROUPS, TOTAL_GROUP
from scripts.volume_calibration import VolumeBand

LEVEL = 0.9
FEWEST = 20
"""Scans that a band needs: the 5 % at either end of fewer is less than one."""

WIDEST = 10.0
"""Upper over lower limit from which a band says nothing that a reader could use: it is left out and named."""

GROUPS = (TOTAL_GROUP, *(group.key for group in LESION_GROUPS))
COLUMNS = ("scan", "group", "measured_ml", "true_ml")


@dataclass(frozen=True)
class VolumePair:
    """One compartment of one scan, ml."""

    scan: str
    group: str
    measured_ml: float
    true_ml: float


def read_pairs(table: Path) -> list[VolumePair]:
    """Read a table of volumes.

    Raises
    ------
    ValueError
        If a column is missing, a group is unknown, or a volume is negative or no number.
    """
    rows = pd.read_csv(table, dtype={"scan": str, "group": str})
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise ValueError(f"{table.name} has no column {', '.join(missing)}")
    unknown = sorted(set(rows["group"]) - set(GROUPS))
    if unknown:
        raise ValueError(f"unknown group {', '.join(map(str, unknown))}; known are {', '.join(GROUPS)}")
    volumes = rows[["measured_ml", "true_ml"]].to_numpy(dtype=np.float64)
    if not (np.isfinite(volumes).all() and (volumes >= 0).all()):
        raise ValueError("volumes must be numbers not below 0")
    return [VolumePair(*row) for row in rows[list(COLUMNS)].itertuples(index=False, name=None)]


def calibrate(pairs: Iterable[VolumePair], edges_ml: Sequence[float] = (0.0, 5.0, 20.0)) -> dict[str, Any]:
    """Measure the limits between which 90 % of true volumes lie, relative to the measured ones.

    Limits are order statistics of true / measured volume, at ranks that leave at most 5 % beyond either (split
    conformal prediction: Vovk et al. 2005), so that they cover what they claim also with few scans. Bands of measured
    volume that hold fewer than 20 scans are merged with the next smaller one.

    Parameters
    ----------
    pairs : iterable of VolumePair
        Scans that the network did not learn from.
    edges_ml : sequence of float
        Where bands begin, ascending from 0.

    Returns
    -------
    dict
        Content of ``configs/volume_calibration.json``: the level, bands by group, and remarks: how many bleedings were
        missed or made up, for which no limit holds, and the median of measured / true volume.
    """
    bands: dict[str, list[dict[str, Any]]] = {}
    remarks: dict[str, str] = {}
    by_group: dict[str, list[VolumePair]] = {}
    for pair in pairs:
        by_group.setdefault(pair.group, []).append(pair)
    for group, found in sorted(by_group.items(), key=lambda entry: GROUPS.index(entry[0])):
        measured = np.array([pair.measured_ml for pair in found])
        true = np.array([pair.true_ml for pair in found])
        both = (measured > 0) & (true > 0)
        remarks[group] = _remark(measured, true, both)
        if both.sum() >= FEWEST:
            every = _bands(measured[both], true[both], edges_ml)
            bands[group] = [asdict(band) for band in every if band.high < WIDEST * band.low]
            remarks[group] += "".join(
                f"; from {band.from_ml:g} ml {band.low:.2g} to {band.high:.2g} fold, which is too wide to state"
                for band in every
                if band.high >= WIDEST * band.low
            )
    return {"level": LEVEL, "bands": bands, "remarks": remarks}


def coverage(pairs: Sequence[VolumePair], edges_ml: Sequence[float] = (0.0, 5.0, 20.0)) -> dict[str, tuple[int, int]]:
    """Count, group by group, how many true volumes lie within limits measured on every second other scan.

    Returns
    -------
    dict
        Group to (inside, all); groups without enough scans are left out.
    """
    counted: dict[str, tuple[int, int]] = {}
    scans = sorted({pair.scan for pair in pairs})
    for half in (set(scans[::2]), set(scans[1::2])):
        bands = calibrate((pair for pair in pairs if pair.scan in half), edges_ml)["bands"]
        for pair in pairs:
            limits = _limits(bands.get(pair.group, ()), pair)
            if pair.scan not in half and limits is not None:
                inside, count = counted.get(pair.group, (0, 0))
                counted[pair.group] = inside + (limits[0] <= pair.true_ml <= limits[1]), count + 1
    return counted


def _limits(bands: Sequence[Mapping[str, Any]], pair: VolumePair) -> tuple[float, float] | None:
    fitting = [band for band in bands if band["from_ml"] <= pair.measured_ml]
    if not fitting or pair.measured_ml == 0 or pair.true_ml == 0:
        return None
    return pair.measured_ml * fitting[-1]["low"], pair.measured_ml * fitting[-1]["high"]


def _bands(measured: NDArray[np.float64], true: NDArray[np.float64], edges_ml: Sequence[float]) -> list[VolumeBand]:
    starts = list(edges_ml)
    while len(starts) > 1:
        counts = np.histogram(measured, [*starts, np.inf])[0]
        short = np.flatnonzero(counts < FEWEST)
        if not short.size:
            break
        # The first band has no smaller neighbour: it takes the next one in.
        del starts[max(1, int(short[-1]))]
    bands = []
    for start, end in zip(starts, [*starts[1:], np.inf], strict=True):
        inside = (measured >= start) & (measured < end)
        ratios = true[inside] / measured[inside]
        low, high = _order_limits(ratios)
        bands.append(VolumeBand(float(start), low, high, int(inside.sum()), float(np.median(ratios))))
    return bands


def _order_limits(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """Return the order statistics that leave at most (1 - level) / 2 of a further scan beyond either."""
    ordered, tail = np.sort(ratios), (1 - LEVEL) / 2
    beyond = max(1, int(np.floor(tail * (len(ordered) + 1))))
    return float(ordered[beyond - 1]), float(ordered[-beyond])


def _remark(measured: NDArray[np.float64], true: NDArray[np.float64], both: NDArray[np.bool_]) -> str:
    missed, made_up = int(((true > 0) & (measured == 0)).sum()), int(((measured > 0) & (true == 0)).sum())
    parts = [f"{int(both.sum())} scans measured", f"{missed} bleedings missed", f"{made_up} made up"]
    if both.any():
        parts.append(f"median of measured / true volume {float(np.median(measured[both] / true[both])):.2f}")
    if both.sum() < FEWEST:
        parts.append(f"no limits, {FEWEST} scans needed")
    return ", ".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the calibration of one table and print what it covers."""
    parser = argparse.ArgumentParser(prog="python -m research.metrics.volume_calibration", description=__doc__)
    parser.add_argument("volumes", type=Path, help="table of measured and true volumes (CSV)")
    parser.add_argument("--output", type=Path, default=Path("configs/volume_calibration.json"))
    options = parser.parse_args(argv)
    pairs = read_pairs(options.volumes)
    content = calibrate(pairs)
    options.output.write_text(f"{json.dumps(content, indent=4)}\n", encoding="utf-8")
    for group, (inside, count) in coverage(pairs).items():
        sys.stdout.write(f"{group}: {inside} of {count} true volumes within limits of other scans\n")
    sys.stdout.write("\n".join(f"{group}: {remark}" for group, remark in content["remarks"].items()) + "\n")


if __name__ == "__main__":
    main()
