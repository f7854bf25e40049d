"""Label vocabularies: key, name, codes and colour of everything the bundle can find.

Codes are SNOMED CT (coding scheme designator ``SCT``, DICOM PS3.16 section 8), and of SNOMED CT those that the tables
of DICOM PS3.16 hold, which every receiver of DICOM has. A haemorrhage is coded as the general finding (CID 7194)
together with the region that it occupies (CID 7192) and, beside the dura mater, the side on which it lies (CID 2): no
table of the standard names the epidural and the subdural space. A fracture is not in the tables, but in every edition
of SNOMED CT; mass effect and midline shift are coded in a scheme of our own (:data:`OWN_SCHEME`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OWN_SCHEME = "99ICHDX"
"""Coding Scheme Designator (0008,0102) of concepts that no table of PS3.16 holds; private ones begin with 99."""


@dataclass(frozen=True)
class Code:
    """One coded concept, as in DICOM's Code Sequence Macro (PS3.3, table 8.8-1)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One thing the network can find.

    Attributes
    ----------
    key : str
        Name used in files, configuration and datasets, e.g. ``"subdural"``.
    name : str
        Name shown to a person, e.g. ``"Subdural haemorrhage"``.
    finding, region : Code
        What it is and where it lies.
    colour : tuple of int
        Red, green, blue, 0..255; the same in the report and in 3D Slicer.
    region_modifier : Code or None
        On which side of the region it lies; None where the region alone says it.
    """

    key: str
    name: str
    finding: Code
    region: Code
    colour: tuple[int, int, int]
    region_modifier: Code | None = None

    @property
    def is_haemorrhage(self) -> bool:
        """Whether it is an intracranial haemorrhage, and not a fracture, a mass effect or the like."""
        return self.finding == _HAEMORRHAGE


_HAEMORRHAGE = Code("SCT", "50960005", "Hemorrhage")
_FRACTURE = Code("SCT", "125605004", "Fracture of bone")
_MASS_EFFECT = Code(OWN_SCHEME, "MASS_EFFECT", "Mass effect")
_MIDLINE_SHIFT = Code(OWN_SCHEME, "MIDLINE_SHIFT", "Midline shift")
_INTRACRANIAL = Code("SCT", "1101003", "Intracranial")
_BRAIN = Code("SCT", "12738006", "Brain")
_VENTRICLE = Code("SCT", "35764002", "Brain ventricle")
_SUBARACHNOID_SPACE = Code("SCT", "35951006", "Subarachnoid space")
_DURA_MATER = Code("SCT", "18545000", "Dura mater")
_EXTERNAL = Code("SCT", "261074009", "External")
_INTERNAL = Code("SCT", "260521003", "Internal")
_SKULL = Code("SCT", "89546000", "Skull")
_MENINGES = Code("SCT", "1231004", "Meninges")

_ANY = Label("any", "Any intracranial haemorrhage", _HAEMORRHAGE, _INTRACRANIAL, (230, 75, 53))
_EPIDURAL = Label("epidural", "Epidural haemorrhage", _HAEMORRHAGE, _DURA_MATER, (240, 160, 40), _EXTERNAL)
_INTRAPARENCHYMAL = Label("intraparenchymal", "Intraparenchymal haemorrhage", _HAEMORRHAGE, _BRAIN, (190, 60, 160))
_INTRAVENTRICULAR = Label("intraventricular", "Intraventricular haemorrhage", _HAEMORRHAGE, _VENTRICLE, (70, 130, 210))
_SUBARACHNOID = Label("subarachnoid", "Subarachnoid haemorrhage", _HAEMORRHAGE, _SUBARACHNOID_SPACE, (40, 175, 160))
_SUBDURAL = Label("subdural", "Subdural haemorrhage", _HAEMORRHAGE, _DURA_MATER, (120, 190, 60), _INTERNAL)

RSNA: tuple[Label, ...] = (_ANY, _EPIDURAL, _INTRAPARENCHYMAL, _INTRAVENTRICULAR, _SUBARACHNOID, _SUBDURAL)
"""RSNA 2019's six labels, in the alphabetical order of its label file."""

CQ500: tuple[Label, ...] = (
    _ANY,
    _INTRAPARENCHYMAL,
    _INTRAVENTRICULAR,
    _SUBDURAL,
    _EPIDURAL,
    _SUBARACHNOID,
    Label("calvarial_fracture", "Calvarial fracture", _FRACTURE, _SKULL, (150, 110, 80)),
    Label("mass_effect", "Mass effect", _MASS_EFFECT, _BRAIN, (130, 130, 130)),
    Label("midline_shift", "Midline shift", _MIDLINE_SHIFT, _BRAIN, (90, 90, 170)),
)
"""CQ500's nine labels, in the order of its table of reads."""

VOCABULARIES: dict[str, tuple[Label, ...]] = {"rsna": RSNA, "cq500": CQ500}


def vocabulary(name: str) -> tuple[Label, ...]:
    """Return the labels of one vocabulary.

    Raises
    ------
    ValueError
        If no vocabulary has this name.
    """
    try:
        return VOCABULARIES[name]
    except KeyError:
        raise ValueError(f"unknown label vocabulary {name!r}; choose one of {', '.join(VOCABULARIES)}") from None


@dataclass(frozen=True)
class LesionGroup:
    """Subtypes whose blood is measured together: what lies in one compartment.

    Attributes
    ----------
    key : str
        Name used in files, e.g. ``"extra_axial"``.
    labels : tuple of str
        Keys of its subtypes; none for haemorrhage whose subtype is not told.
    finding, region : Code
        What it is and where it lies.
    colour : tuple of int
        Red, green, blue, 0..255; the same in the report and in 3D Slicer.
    """

    key: str
    labels: tuple[str, ...]
    finding: Code
    region: Code
    colour: tuple[int, int, int]

    def values(self, vocabulary: Sequence[str]) -> list[int]:
        """Return the values that its voxels have in a map of subtypes: places among the keys of a vocabulary."""
        if not self.labels:
            return [UNSPECIFIED_SUBTYPE]
        return [vocabulary.index(key) for key in self.labels if key in vocabulary]


LESION_GROUPS: tuple[LesionGroup, ...] = (
    LesionGroup("parenchymal", ("intraparenchymal",), _HAEMORRHAGE, _BRAIN, (240, 60, 200)),
    LesionGroup("ventricular", ("intraventricular",), _HAEMORRHAGE, _VENTRICLE, (60, 160, 255)),
    LesionGroup("subarachnoid", ("subarachnoid",), _HAEMORRHAGE, _SUBARACHNOID_SPACE, (20, 220, 200)),
    LesionGroup("extra_axial", ("epidural", "subdural"), _HAEMORRHAGE, _MENINGES, (150, 230, 40)),
)
"""Compartments of a lesion map, their colours brighter than the labels' so that a thin contour is seen on grey."""

UNSPECIFIED_SUBTYPE = 255
"""Value of a lesion's voxel, in masks and maps of subtypes, whose subtype nobody states."""

UNSPECIFIED_GROUP = LesionGroup("unspecified", (), _HAEMORRHAGE, _INTRACRANIAL, (255, 120, 80))
"""The one compartment of a network that finds haemorrhage in pixels without its subtype."""

TOTAL_GROUP = "total"
"""Key of the volume of all compartments together."""
