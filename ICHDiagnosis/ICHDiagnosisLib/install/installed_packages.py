"""What is installed, read from the packages' metadata: nothing is imported. Standard library only."""

from __future__ import annotations

import csv
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


def canonical(name: str) -> str:
    """Return a distribution's name as the Python packaging guide compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_at_least(version: str, minimum: str) -> bool:
    """Tell whether a version reaches a minimum (PEP 440)."""
    version_of = _packaging("version").Version
    return bool(version_of(version) >= version_of(minimum))


def applies_here(marker: str) -> bool:
    """Tell whether a marker (PEP 508), such as ``sys_platform == "win32"``, is true of this Python."""
    return bool(_packaging("markers").Marker(marker).evaluate({"sys_platform": sys.platform}))


@dataclass(frozen=True)
class InstalledPackages:
    """The distributions on a search path.

    Attributes
    ----------
    search_path : tuple of Path or None
        Folders of packages; None for those of this Python.
    """

    search_path: tuple[Path, ...] | None = None

    def versions(self) -> dict[str, str]:
        """Return name and version of every distribution, as they are on disk now."""
        importlib.invalidate_caches()
        return {
            canonical(distribution.metadata["Name"]): distribution.version
            for distribution in self._distributions()
            if distribution.metadata["Name"] and distribution.version
        }

    def absent_dependencies(self, name: str) -> tuple[str, ...]:
        """Find what an installed distribution needs, directly or not, and what is not there in any version.

        Parameters
        ----------
        name : str
            An installed distribution.

        Returns
        -------
        tuple of str
            Names, sorted. Optional dependencies (extras) and those of other platforms are not asked for.
        """
        needs = {
            canonical(distribution.metadata["Name"]): tuple(_required(distribution.requires or ()))
            for distribution in self._distributions()
            if distribution.metadata["Name"]
        }
        seen: set[str] = set()
        unseen = [canonical(name)]
        while unseen:
            current = unseen.pop()
            if current not in seen:
                seen.add(current)
                unseen.extend(needs.get(current, ()))
        return tuple(sorted(seen - needs.keys()))

    def absent_file(self, name: str) -> str:
        """Find whether an installation of a distribution was cut short: its metadata are there, its code is not.

        pip writes the list of files last, and Windows refuses long paths half-way through torch.

        Parameters
        ----------
        name : str
            An installed distribution.

        Returns
        -------
        str
            The first file of code that is listed and not there, of those in its upper two folders (torch has twelve
            thousand below); ``"RECORD"`` where there is no list; empty where all is whole.
        """
        # Found by its name alone: to read the metadata of every other package would take a second.
        where = sys.path if self.search_path is None else [str(folder) for folder in self.search_path]
        found = list(importlib.metadata.distributions(name=name, path=where))
        if not found or found[0].read_text("METADATA") is None:
            # None at all, or of an older kind (egg-info), which has no such list.
            return ""
        # Not by "files", which since Python 3.12 leaves out what is not there.
        record = found[0].read_text("RECORD")
        if not record:
            return "RECORD"
        for line in csv.reader(record.splitlines()):
            parts = tuple(line[0].split("/")) if line else ()
            if 0 < len(parts) <= 3 and _is_code(parts) and not Path(str(found[0].locate_file(line[0]))).exists():
                return line[0]
        return ""

    def import_names(self, name: str) -> frozenset[str]:
        """Return the top-level names under which a distribution is imported."""
        tops = set()
        for distribution in self._distributions():
            if canonical(distribution.metadata["Name"] or "") == canonical(name):
                tops |= {file.parts[0].partition(".")[0] for file in distribution.files or () if _is_code(file.parts)}
        return frozenset(tops)

    def _distributions(self) -> Iterator[importlib.metadata.Distribution]:
        if self.search_path is None:
            yield from importlib.metadata.distributions()
        else:
            yield from importlib.metadata.distributions(path=[str(folder) for folder in self.search_path])


# The packages of the Python that runs this.
THIS_PYTHON = InstalledPackages()


def _packaging(module: str) -> ModuleType:
    """Import a module of ``packaging``: late, and from pip where Slicer (before 5.11) does not bring it itself."""
    try:
        return importlib.import_module(f"packaging.{module}")
    except ModuleNotFoundError:
        return importlib.import_module(f"pip._vendor.packaging.{module}")


def _is_code(parts: tuple[str, ...]) -> bool:
    return (
        parts[-1].endswith((".py", ".so", ".pyd", ".dll", ".dylib"))
        and parts[0] != ".."
        and not parts[0].endswith(".data")
    )


def _required(lines: Iterable[str]) -> Iterator[str]:
    """Yield the names of the dependencies that apply here, from ``Requires-Dist`` lines."""
    parse = _packaging("requirements").Requirement
    for line in lines:
        requirement = parse(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonical(requirement.name)
