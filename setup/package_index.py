"""Record what packages state about themselves, for the test that every stated minimum can be had together.

    python setup/package_index.py torch==2.8 monai==1.6 ...

adds those versions to ``Testing/slicer/package_index.json``: which Python they need, and which packages. Only pip is
asked, for wheels of the Python that Slicer 5.10 and 5.12 bring: a version without one is reported, and is no minimum.
Wheels of macOS are read, because there torch is small; what a package needs is stated alike for every platform.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

INDEX = Path(__file__).resolve().parents[1] / "Testing" / "slicer" / "package_index.json"
SLICER_PYTHON = "3.12"
PLATFORMS = ("macosx_10_9_universal2", "macosx_11_0_arm64", "macosx_12_0_arm64", "macosx_14_0_arm64")


def metadata_of(requirement: str) -> dict[str, Any]:
    """Ask pip for the metadata of one version.

    Parameters
    ----------
    requirement : str
        As pip reads it, for example ``monai==1.6``.

    Raises
    ------
    subprocess.CalledProcessError
        If there is no such version, or no wheel of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", SLICER_PYTHON, "--target", folder]
        command += [part for platform in PLATFORMS for part in ("--platform", platform)]
        subprocess.run([*command, "--report", str(report), requirement], check=True, capture_output=True)
        return dict(json.loads(report.read_text(encoding="utf-8"))["install"][0]["metadata"])


def main(requirements: list[str]) -> int:
    """Add the given versions to the index; return the number of those that could not be had."""
    index = json.loads(INDEX.read_text(encoding="utf-8")) if INDEX.exists() else {}
    failed = 0
    for requirement in requirements:
        try:
            metadata = metadata_of(requirement)
        except subprocess.CalledProcessError as error:
            failed += 1
            print(f"{requirement}: {error.stderr.decode().strip().splitlines()[-1]}", file=sys.stderr)
            continue
        # What only an extra needs is never asked for.
        needs = [line for line in metadata.get("requires_dist") or () if "extra ==" not in line]
        index.setdefault(metadata["name"], {})[metadata["version"]] = {
            "requires_python": metadata.get("requires_python"),
            "requires": needs,
        }
    INDEX.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
