"""Which systems this bundle can read with: every configuration that states one, and whether its weights are there.

    python -m scripts.systems             a table
    python -m scripts.systems --json      the same as JSON, for programs

A system is a file of ``configs`` with a key ``system``, laid over ``configs/inference.json``. It is installed when its
weights exist; the shipped one always is. Standard library only, so that it answers at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SHIPPED_CONFIGURATION = "inference.json"


@dataclass(frozen=True)
class System:
    """One system.

    Attributes
    ----------
    name : str
        As commands and ``make`` have it.
    title : str
        As a person reads it, and as results state it.
    paper : str
        What it implements.
    configuration : str
        File that is laid over ``configs/inference.json``, from the bundle's folder; the latter itself for the shipped
        system.
    model_file : str
        Weights, from the bundle's folder.
    installed : bool
        Whether they exist.
    """

    name: str
    title: str
    paper: str
    configuration: str
    model_file: str
    installed: bool


def systems(bundle_root: str | Path) -> list[System]:
    """List a bundle's systems: the shipped one first, the others by name."""
    found = []
    for file in sorted((Path(bundle_root) / "configs").glob("*.json")):
        content = json.loads(file.read_text("utf-8"))
        stated = content.get("system") if isinstance(content, dict) else None
        if not isinstance(stated, dict) or not isinstance(content.get("model_file"), str):
            continue
        weights: str = content["model_file"]
        found.append(
            System(
                name=str(stated["name"]),
                title=str(stated["title"]),
                paper=str(stated.get("paper", "")),
                configuration=f"configs/{file.name}",
                model_file=weights,
                installed=(Path(bundle_root) / weights).is_file(),
            )
        )
    return sorted(found, key=lambda system: (not system.configuration.endswith(SHIPPED_CONFIGURATION), system.name))


def system_of(bundle_root: str | Path, model_file: str) -> System | None:
    """Return the system whose weights a file is, or None for weights of nobody's."""
    return next((system for system in systems(bundle_root) if system.model_file == model_file), None)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the systems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--bundle_root", default=Path(__file__).resolve().parents[1], type=Path)
    arguments = parser.parse_args(argv)
    found = systems(arguments.bundle_root)
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(system) for system in found], indent=4) + "\n")
        return
    width = max(len(system.name) for system in found)
    for system in found:
        state = "installed" if system.installed else "not installed"
        sys.stdout.write(f"{system.name:<{width}}  {state:<13}  {system.title}\n")


if __name__ == "__main__":
    main()
