"""Read the demo's heads on the versions of packages that a Slicer brings, or on the lowest that are stated.

    python3.12 setup/package_sets.py 5.10 [--torch 2.8.0] [--folder FOLDER]
    python3.12 setup/package_sets.py lowest

makes a virtual environment with the Python that runs it, lets pip install ``requirements.txt`` beside those versions,
and runs ``python -m scripts.demo`` there. It prints what was installed and what was found, and ends with the demo's
status. Some gigabytes are downloaded; without ``--folder`` nothing of it stays. Slicer 5.10 and 5.12 have Python 3.12.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "ICHDiagnosis" / "Resources" / "requirements.txt"
BUNDLE = ROOT / "monai_bundle"
LOWEST = "lowest"
SLICER = {
    "5.10": {"numpy": "2.0.2", "scipy": "1.13.1", "packaging": "25.0", "setuptools": "80.9.0", "requests": "2.32.3"},
    "5.12": {"numpy": "2.4.6", "scipy": "1.17.1", "packaging": "26.2", "setuptools": "82.0.1", "requests": "2.34.2"},
}
"""What each Slicer brings of what is needed (``SuperBuild/External_python-*.cmake``)."""


def pins(package_set: str, requirements: Iterable[str], torch: str | None = None) -> list[str]:
    """Return what pip is held to.

    Parameters
    ----------
    package_set : str
        A key of :data:`SLICER`, or :data:`LOWEST`.
    requirements : iterable of str
        Lines such as ``torch>=2.8,<2.13; sys_platform == "win32"``.
    torch : str, optional
        Version of torch.

    Returns
    -------
    list of str
        Lines such as ``numpy==2.0.2``, with the marker of the requirement.
    """
    if package_set == LOWEST:
        held = [_at_its_minimum(line) for line in requirements]
    else:
        held = [f"{name}=={version}" for name, version in SLICER[package_set].items()]
    return held if torch is None else [*(line for line in held if not line.startswith("torch==")), f"torch=={torch}"]


def _at_its_minimum(requirement: str) -> str:
    versions, _, marker = requirement.partition(";")
    name, _, bounds = versions.strip().partition(">=")
    pinned = f"{name}=={bounds.split(',')[0]}"
    return f"{pinned}; {marker.strip()}" if marker else pinned


def stated_requirements() -> list[str]:
    """Return the lines of ``requirements.txt`` that are neither empty nor a remark."""
    lines = (line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def make_environment(folder: Path, held: Sequence[str]) -> Path:
    """Make a virtual environment and install what is needed; return its Python.

    Raises
    ------
    subprocess.CalledProcessError
        If pip finds no versions that go together.
    """
    venv.create(folder, with_pip=True, clear=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    constraints = folder / "held.txt"
    constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
    # What Slicer brings is there before the extension asks for anything.
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([*command, *held, "--requirement", str(REQUIREMENTS), "--constraint", str(constraints)], check=True)
    return python


def read_demo(python: Path, output: Path) -> int:
    """Print the installed versions and run the demo; return its exit status."""
    subprocess.run([str(python), "--version"], check=True)
    subprocess.run([str(python), "-m", "pip", "list", "--format", "freeze"], check=True)
    environment = {**os.environ, "PYTHONPATH": str(BUNDLE), "PYTHONUTF8": "1"}
    command = [str(python), "-m", "scripts.demo", "--output", str(output)]
    return subprocess.run(command, env=environment, check=False).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the environment, read the heads in it, and return the status of that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package_set", choices=[*SLICER, LOWEST], help="a Slicer, or the lowest versions stated")
    parser.add_argument("--torch", help="version of torch; by default the newest, or the lowest")
    parser.add_argument("--folder", type=Path, help="keeps the environment and the results here")
    options = parser.parse_args(arguments)
    held = pins(options.package_set, stated_requirements(), options.torch)
    with tempfile.TemporaryDirectory(prefix="package-sets-") as temporary:
        folder = Path(temporary) if options.folder is None else options.folder.resolve()
        return read_demo(make_environment(folder / "venv", held), folder / "demo")


if __name__ == "__main__":
    sys.exit(main())
