"""What a result folder holds, as plain dataclasses. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..messages import MessageError
from .lesions import Code, Lesions

CLOSE = 0.05


class ResultError(MessageError):
    """The folder is no complete result of this module; the message is one line for the user."""


class Certainty(Enum):
    """How firm an impression is."""

    POSITIVE = "positive"
    BORDERLINE = "borderline"
    NEGATIVE = "negative"


@dataclass(frozen=True)
class Impression:
    """The result in one sentence, as the bundle wrote it; nobody composes it anew.

    Attributes
    ----------
    code : str
        Which kind of sentence it is.
    text : str
        The sentence.
    certainty : Certainty
        How firm it is.
    caution : str
        What a reader must bear in mind about it.
    """

    code: str
    text: str
    certainty: Certainty
    caution: str


@dataclass(frozen=True)
class Finding:
    """One label's probability (0..1) against its operating point; ``colour`` is red, green, blue in 0..255.

    ``region_modifier`` is the side of the region on which it lies, where the region alone does not say it.

    Where too few patients had or lacked the label, no threshold was chosen: 0.5 is the default (``default_threshold``).
    """

    key: str
    name: str
    finding: Code
    region: Code
    colour: tuple[int, int, int]
    probability: float
    threshold: float
    positive: bool
    default_threshold: bool
    region_modifier: Code | None = None

    @property
    def close_to_threshold(self) -> bool:
        """Whether the probability lies within 0.05 of a threshold of 0.5, in proportion less towards 0 and 1.

        A threshold of 0.0009 would otherwise call every negative scan close.
        """
        margin = 2 * CLOSE * min(self.threshold, 1 - self.threshold)
        return abs(self.probability - self.threshold) <= margin

    @property
    def short_name(self) -> str:
        """The name where space is short: ``"Subdural haemorrhage"`` becomes ``"Subdural"``."""
        return self.name.removesuffix(" haemorrhage")


@dataclass(frozen=True)
class OriginalSlice:
    """One original slice: 0-based index, position in mm, attention weight (0..1), rank if it is a key slice.

    ``sop_instance_uid`` is that of its DICOM instance (0008,0018), where the study came from DICOM. ``probabilities``
    (0..1, by the key of a label) are the slice classifier's; None where the network has none or did not
    read the slice, and in results of earlier bundles.
    """

    index: int
    position_mm: float
    attention: float
    key_rank: int | None
    sop_instance_uid: str | None
    probabilities: Mapping[str, float] | None = None

    @property
    def haemorrhage(self) -> float | None:
        """The slice classifier's probability of any haemorrhage, if it is known."""
        return None if self.probabilities is None else self.probabilities.get("any")


@dataclass(frozen=True)
class ResultMap:
    """One map file: its kind, the label it belongs to (None for attention) and its name."""

    kind: str
    label: str | None
    file: str


@dataclass(frozen=True)
class Notice:
    """A coded statement: a quality warning, or the reason of a refusal."""

    code: str
    message: str


@dataclass(frozen=True)
class Considered:
    """What was read or passed over (``outcome``): a series or a range of slices, and why."""

    item: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Study:
    """What was read; ``shape`` is that of every map file."""

    source_name: str
    study_uid: str | None
    series_uid: str | None
    slices: int | None
    shape: tuple[int, int, int] | None
    orientation: str | None
    quality: tuple[Notice, ...]
    considered: tuple[Considered, ...] = ()


@dataclass(frozen=True)
class Model:
    """Which model made the result; ``weights_sha256`` maps a file's name to its hash."""

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
    impression : Impression or None
        The result in one sentence; None when the study was not evaluated.
    seconds : mapping of str to float
        Time of each stage, s.
    document : str
        The text of ``result.json``, so that a scene can carry the whole result.
    lesions : Lesions or None
        None where the network has no lesion decoder, or an earlier version made the result.
    mirrored_views : bool or None
        Whether the network read every slice from both sides; None where nothing was read, or an earlier version made
        the result.
    folder : Path or None
        Where the files lie; None when the result came out of a saved scene.
    """

    reason: Notice | None
    impression: Impression | None
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
    lesions: Lesions | None = None
    mirrored_views: bool | None = None
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
    def stated_lesions(self) -> Lesions | None:
        """The lesions that a reader is told of, if any."""
        return self.lesions if self.lesions is not None and self.lesions.stated else None

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

    def map_path(self, result_map: ResultMap) -> Path:
        """Return the path of a map's file; see :meth:`file_path`."""
        return self.file_path(result_map.file)

    def file_path(self, name: str) -> Path:
        """Return the path of a file that the result names.

        Raises
        ------
        ResultError
            If the result has no folder, or the file lies outside it or is missing.
        """
        if self.folder is None:
            raise ResultError("result.without_folder")
        return _plain_file(self.folder, name)


def _plain_file(folder: Path, name: str) -> Path:
    """Return the file of that name directly inside the folder; a name that could lead elsewhere is refused."""
    if not name or name.startswith(".") or any(character in name for character in "/\\:\0"):
        raise ResultError("result.file_outside", file=name)
    path = folder / name
    if path.is_symlink():
        raise ResultError("result.file_is_link", file=name, folder=folder.name)
    if not path.is_file():
        raise ResultError("result.file_missing", file=name, folder=folder.name)
    return path


def percent(probability: float) -> str:
    """Write a probability as a percentage that never claims certainty: ``"87 %"``, ``"> 99 %"``, ``"< 1 %"``."""
    if probability * 100 < 1:
        return "< 1 %"
    if probability * 100 > 99:
        return "> 99 %"
    return f"{probability * 100:.0f} %"


def millilitres(ml: float) -> str:
    """Write a volume without its unit, with no more digits than it is worth: ``"28"``, ``"2.4"``, ``"0.36"``."""
    return f"{ml:.0f}" if ml >= 9.95 else f"{ml:.1f}" if ml >= 0.995 else f"{ml:.2f}"
