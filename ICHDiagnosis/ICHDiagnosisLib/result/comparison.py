"""Two results of one patient side by side: the change of each finding and of each volume. Standard library only.

A volume has limits that enclose a stated fraction of true volumes. Where the limits of both time points overlap, the
volumes may as well be the same: that is called no change, however far apart the numbers are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .content import Finding, Result
from .lesions import Lesions, LesionVolume

TOTAL = "total"


class FindingChange(Enum):
    """What became of a finding."""

    NEW = "new"
    GONE = "gone"
    BOTH = "both"
    NEITHER = "neither"
    NOT_KNOWN = "not_known"


class VolumeChange(Enum):
    """What became of a volume."""

    LARGER = "larger"
    SMALLER = "smaller"
    WITHIN_LIMITS = "within_limits"
    NO_LIMITS = "no_limits"
    NOT_STATED = "not_stated"


@dataclass(frozen=True)
class ComparedFinding:
    """A label at both time points; None where a result does not know it."""

    name: str
    earlier: Finding | None
    later: Finding | None

    @property
    def change(self) -> FindingChange:
        """What became of it."""
        if self.earlier is None or self.later is None:
            return FindingChange.NOT_KNOWN
        if self.earlier.positive != self.later.positive:
            return FindingChange.NEW if self.later.positive else FindingChange.GONE
        return FindingChange.BOTH if self.later.positive else FindingChange.NEITHER

    @property
    def close_to_threshold(self) -> bool:
        """Whether a probability lies so close to its threshold that the change may be none."""
        return any(finding is not None and finding.close_to_threshold for finding in (self.earlier, self.later))


@dataclass(frozen=True)
class ComparedVolume:
    """A compartment (or ``"total"``) at both time points; None where no lesion is stated in it."""

    group: str
    name: str
    earlier: LesionVolume | None
    later: LesionVolume | None

    @property
    def difference_ml(self) -> float | None:
        """Later minus earlier, ml; None where one of them is not stated."""
        return None if self.earlier is None or self.later is None else self.later.ml - self.earlier.ml

    @property
    def change(self) -> VolumeChange:
        """What became of it, by the limits."""
        if self.earlier is None or self.later is None:
            return VolumeChange.NOT_STATED
        before, after = _limits(self.earlier), _limits(self.later)
        if before is None or after is None:
            return VolumeChange.NO_LIMITS
        if after[0] > before[1]:
            return VolumeChange.LARGER
        return VolumeChange.SMALLER if after[1] < before[0] else VolumeChange.WITHIN_LIMITS


@dataclass(frozen=True)
class Comparison:
    """Both results side by side.

    Attributes
    ----------
    findings : tuple of ComparedFinding
        In the order of the later result's vocabulary, then what only the earlier one knows.
    volumes : tuple of ComparedVolume
        The total first; empty where neither result states lesions.
    same_model : bool
        Whether model, weights and operating point are the same: else a change may come from those.
    """

    findings: tuple[ComparedFinding, ...]
    volumes: tuple[ComparedVolume, ...]
    same_model: bool


def compare(earlier: Result, later: Result) -> Comparison:
    """Compare two results of one patient, both of which were evaluated."""
    keys = dict.fromkeys(finding.key for finding in (*later.findings, *earlier.findings))
    sides = [{finding.key: finding for finding in result.findings} for result in (earlier, later)]
    findings = []
    for key in keys:
        before, after = sides[0].get(key), sides[1].get(key)
        known = after or before
        assert known is not None
        findings.append(ComparedFinding(known.short_name, before, after))
    return Comparison(tuple(findings), _volumes(earlier.stated_lesions, later.stated_lesions), _same(earlier, later))


def _volumes(earlier: Lesions | None, later: Lesions | None) -> tuple[ComparedVolume, ...]:
    sides = [{v.group: v for v in ([] if lesions is None else lesions.volumes)} for lesions in (earlier, later)]
    names = {group.key: group.name for lesions in (earlier, later) if lesions is not None for group in lesions.groups}
    groups = sorted(dict.fromkeys([*sides[1], *sides[0]]), key=lambda group: group != TOTAL)
    return tuple(
        ComparedVolume(group, names.get(group, group), sides[0].get(group), sides[1].get(group)) for group in groups
    )


def _limits(volume: LesionVolume) -> tuple[float, float] | None:
    return None if volume.low_ml is None or volume.high_ml is None else (volume.low_ml, volume.high_ml)


def _same(earlier: Result, later: Result) -> bool:
    return all(
        one == other
        for one, other in (
            (earlier.model.version, later.model.version),
            (dict(earlier.model.weights_sha256), dict(later.model.weights_sha256)),
            (earlier.operating_point, later.operating_point),
        )
    )
