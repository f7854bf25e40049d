"""The lesions of a result: groups of subtypes, their codes, colours and volumes. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

UNSPECIFIED_SUBTYPE = 255
"""Value of a lesion's voxel in the subtypes' file whose subtype the network does not tell."""


@dataclass(frozen=True)
class Code:
    """One coded concept, as in DICOM's Code Sequence Macro (PS3.3, table 8.8-1)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class LesionGroup:
    """Subtypes whose blood is measured together, by the keys of their labels; ``colour`` is in 0..255.

    Without labels it is haemorrhage whose subtype the network does not tell.
    """

    key: str
    name: str
    labels: tuple[str, ...]
    finding: Code
    region: Code
    colour: tuple[int, int, int]

    def values(self, labels: tuple[str, ...]) -> list[int]:
        """Return the values of its voxels in the subtypes' file: places among the model's labels."""
        if not self.labels:
            return [UNSPECIFIED_SUBTYPE]
        return [labels.index(label) for label in self.labels if label in labels]


@dataclass(frozen=True)
class LesionVolume:
    """How much blood a group of subtypes holds, ml, and between which limits; ``"total"`` is the group of all."""

    group: str
    ml: float
    low_ml: float | None
    high_ml: float | None


@dataclass(frozen=True)
class Lesions:
    """Where the network finds haemorrhage, and how much.

    Attributes
    ----------
    file, subtypes_file : str
        Names of the map files: probability, and the place of the subtype among the model's labels.
    level : float
        Fraction of true volumes that limits enclose.
    spacing_assumed : bool
        Whether the size of the voxels was assumed.
    stated : bool
        Whether a reader is told of the lesions; false where no haemorrhage is positive.
    volumes : tuple of LesionVolume
        The total first, then the groups, the largest first.
    groups : tuple of LesionGroup
        All groups, measured or not.
    volumes_left_out : str or None
        Why no volume is stated of lesions that were found; None where volumes are.
    """

    file: str
    subtypes_file: str
    level: float
    spacing_assumed: bool
    stated: bool
    volumes: tuple[LesionVolume, ...]
    groups: tuple[LesionGroup, ...]
    volumes_left_out: str | None = None

    def group(self, key: str) -> LesionGroup | None:
        """Return a group by its key; None for the total."""
        return next((group for group in self.groups if group.key == key), None)
