"""Writes a small CQ500 folder in the forms of the real download: several series per study, and the table of reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from dicom_files import Series, head_voxels, write_series

FINDINGS = (
    *("ICH", "IPH", "IVH", "SDH", "EDH", "SAH", "BleedLocation-Left", "BleedLocation-Right", "ChronicBleed"),
    *("Fracture", "CalvarialFracture", "OtherFracture", "MassEffect", "MidlineShift"),
)
"""Of the table, in its order."""
THICK = head_voxels(14)
THIN = head_voxels(28)


def write_reads(path: Path, votes: Mapping[int, Mapping[str, str]]) -> Path:
    """Write the votes of three readers, e.g. ``{7: {"ICH": "110"}}``; findings that are not named have none."""
    with path.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["name", "Category", *(f"R{reader}:{finding}" for reader in (1, 2, 3) for finding in FINDINGS)])
        for number, given in votes.items():
            row = [given.get(finding, "000")[reader] for reader in range(3) for finding in FINDINGS]
            writer.writerow([f"CQ500-CT-{number}", "B1", *row])
    return path


def write_study(folder: Path, uid: str) -> None:
    """Write a study as it unpacks: a localizer, a thick series, a thin one and one with a bone kernel."""
    below = folder / "Unknown Study"
    series = {
        "CT Localizer": Series(THICK[:2], number=1, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        "CT Plain": Series(THICK, number=2, step=(0.0, 0.0, 9.0)),
        "CT PLAIN THIN": Series(THIN, number=3, step=(0.0, 0.0, 4.5), thickness=0.625),
        "CT Bone": Series(THICK, number=4, step=(0.0, 0.0, 9.0), kernel="H70h"),
    }
    for name, each in series.items():
        each_of_study = Series(**{**vars(each), "study_uid": uid})
        write_series(below / name, each_of_study, names=[f"CT{index:06d}.dcm" for index in range(len(each.voxels))])
