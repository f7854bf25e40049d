"""What installed packages leave on disk, for the tests of the Slicer module's environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def put_distribution(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> None:
    """Write what an installed package leaves: its code and its metadata."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True, exist_ok=True)
    (folder / module / "__init__.py").write_text(f"VERSION = {version!r}\n", encoding="utf-8")
    for old in folder.glob(f"{module}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(metadata_text(name, version, requires), encoding="utf-8")
    (info / "RECORD").write_text(f"{module}/__init__.py,,\n", encoding="utf-8")


def metadata_text(name: str, version: str, requires: Sequence[str] = ()) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)]) + "\n"


def nothing(*_arguments: object) -> None:
    return
