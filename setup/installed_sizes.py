"""Measure how much room each package that Slicer must install takes, with what it alone brings along.

    .venv/bin/python setup/installed_sizes.py

prints a line per package (MB on disk) and the sum. A package that several bring is counted with the first of the list;
what Slicer brings itself, and what is installed when DICOM objects are first wanted, is left out of the sum.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# What Slicer 5.10 and 5.12 bring in versions that will do.
OF_SLICER = {"numpy", "scipy"}


def size_of(name: str) -> float:
    """Return the size (MB) of the files that an installed distribution lists."""
    files = importlib.metadata.distribution(name).files or ()
    paths = (Path(str(file.locate())) for file in files if ".." not in file.parts)
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def needs_of(name: str) -> list[str]:
    """Return what a distribution needs on this platform."""
    needed = map(Requirement, importlib.metadata.distribution(name).requires or ())
    return [
        canonicalize_name(each.name) for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})
    ]


def main() -> int:
    """Print the table."""
    sys.path.insert(0, str(ROOT / "ICHDiagnosis"))
    from ICHDiagnosisLib.install.requirements import (  # noqa: PLC0415 - found by the line above
        DICOM_REQUIREMENTS_FILE,
        read_requirements,
    )

    on_demand = {canonicalize_name(requirement.name) for requirement in read_requirements(DICOM_REQUIREMENTS_FILE)}
    names = [*(canonicalize_name(requirement.name) for requirement in read_requirements()), *sorted(on_demand)]
    counted = {*names, *(canonicalize_name(name) for name in OF_SLICER)}
    print(f"{'package':<20}MB")
    total = 0.0
    for name in names:
        size, unseen = size_of(name), needs_of(name)
        while unseen:
            needed = unseen.pop()
            if needed not in counted:
                counted.add(needed)
                size += size_of(needed)
                unseen += needs_of(needed)
        print(f"{name:<20}{size:.1f}")
        total += 0 if name in OF_SLICER | on_demand else size
    print(f"{'sum':<20}{total:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
