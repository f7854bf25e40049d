"""The dataclasses that a result folder is read into. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class ResultError(Exception):
    """The folder is no complete result of this module; the message is one line for a person."""


@dataclass(frozen=True)
class Code:
    """One coded concept, as in DICOM's Code Sequence Macro (PS3.3, table 8.8-1)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Finding:
    """One label's probability (0..1) against its operating point; ``colour`` is red, green, blue in 0..255.

    Where too few patients had or lacked the label, no threshold was chosen (``threshold_chosen``): 0.5 stands in.
    """

    key: str
    name: str
    finding: Code
    region: Code
    colour: tuple[int, int, int]
    probability: float
    threshold: float
    positive: bool
    threshold_chosen: bool = True


@dataclass(frozen=True)
class OriginalSlice:
    """What the network made of one stored slice: 0-based index, position in mm, share of attention, rank if key."""

    index: int
    position_mm: float
    attention: float
    key_rank: int | None
    read: bool


@dataclass(frozen=True)
class ResultMap:
    """One map file: its kind, the label it belongs to (None for attention), its name and what 255 stands for."""

    kind: str
    label: str | None
    file: str
    scale: float


@dataclass(frozen=True)
class Notice:
    """A named statement: a quality warning, or the reason of a refusal."""

    name: str
    message: str


@dataclass(frozen=True)
class Study:
    """What was read. ``shape`` is that of every map file, ``spacing_mm`` is column, row, slice."""

    source_name: str
    source_format: str | None
    study_uid: str | None
    series_uid: str | None
    slices: int | None
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    orientation: str | None
    tilt_degrees: float | None
    kernel: str | None
    slice_thickness_mm: float | None
    series_choice: tuple[str, ...]
    quality: tuple[Notice, ...]


@dataclass(frozen=True)
class Model:
    """Which model spoke; ``weights_sha256`` maps a file's name to its hash."""

    name: str
    version: str
    network: str
    weights_sha256: Mapping[str, str]
    labels: tuple[str, ...]
    trained_on: str
    notice: str


@dataclass(frozen=True)
class Result:
    """One study's result.

    Attributes
    ----------
    reason : Notice or None
        Why the study was not evaluated; None when it was.
    folder : Path or None
        Where the files lie; None when the result came out of a saved scene.
    document : str
        The text of ``result.json``, so that a scene can carry the whole result.
    """

    reason: Notice | None
    study: Study
    model: Model
    operating_point: str | None
    findings: tuple[Finding, ...]
    slices: tuple[OriginalSlice, ...]
    maps: tuple[ResultMap, ...]
    device: str | None
    precision: str | None
    seconds: Mapping[str, float]
    document: str
    folder: Path | None = None

    @property
    def evaluated(self) -> bool:
        """Whether there are findings to show."""
        return self.reason is None

    @property
    def positive_findings(self) -> tuple[Finding, ...]:
        """Findings at or above their threshold, in the order of the vocabulary."""
        return tuple(finding for finding in self.findings if finding.positive)

    @property
    def key_slices(self) -> tuple[OriginalSlice, ...]:
        """The key slices, the one with most attention first."""
        return tuple(sorted((s for s in self.slices if s.key_rank is not None), key=lambda s: s.key_rank or 0))

    @property
    def report(self) -> Path | None:
        """The report to open in a browser, where the folder holds one."""
        path = None if self.folder is None else self.folder / "report.html"
        return path if path is not None and path.is_file() else None

    def finding(self, key: str) -> Finding:
        """Return the finding of one label.

        Raises
        ------
        KeyError
            If the result has no such label.
        """
        for finding in self.findings:
            if finding.key == key:
                return finding
        raise KeyError(key)

    def map_path(self, evidence: ResultMap) -> Path:
        """Return the path of a map's file.

        Raises
        ------
        ResultError
            If the result has no folder, or the file lies outside it or is missing.
        """
        if self.folder is None:
            raise ResultError("this result was restored from a scene and has no folder of map files")
        return _plain_file(self.folder, evidence.file)


def _plain_file(folder: Path, name: str) -> Path:
    """Return the file of that name directly inside the folder; a name that could lead elsewhere is refused."""
    if not name or name.startswith(".") or any(character in name for character in "/\\:\0"):
        raise ResultError(f"result.json names a file outside its folder: {name!r}")
    path = folder / name
    if path.is_symlink():
        raise ResultError(f"{name!r} in {folder.name!r} is a link, not a file of the result")
    if not path.is_file():
        raise ResultError(f"{name!r} is missing from {folder.name!r}: the folder is not whole")
    return path
