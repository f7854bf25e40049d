"""What kind of image a DICOM header names: localizer, reformat, projection, material map, energy."""

from __future__ import annotations

import re

from scripts.intake.slice_header import SliceHeader

_LOCALIZER_WORDS = {"LOCALIZER", "LOCALISER", "SCOUT", "SCOUTVIEW", "TOPOGRAM", "SURVIEW", "SCANOGRAM"}
_REFORMAT_WORDS = ("MPR", "REFORMAT", "PROJECTION", "MIP", "MINIP", "VOLREN", "VRT", "SSD", "3D", "SCREEN", "CURVED")
_CHANGED_VALUES = {
    *("MIP", "MINIP", "PROJECTION", "PROJECTIONIMAGE", "VOLREN", "VRT", "SSD", "SCREEN", "SCREENSHOT", "CURVED"),
    *("SUBTRACTION", "SUBTRACT", "DSA", "OVERLAY", "PERFUSION", "CBF", "CBV", "MTT", "TMAX"),
    *("MAXIMUM", "MINIMUM", "MULTIPLICATION", "DIVISION", "STD"),
}
"""Images whose values are no longer those of the tissue at their place."""
_MATERIAL_WORDS = {
    *("IODINE", "VNC", "VUE", "ZEFF", "RHO", "RHOZ", "CALCIUM", "VNCA", "WATER", "FAT", "MATERIAL", "MAT", "EFF"),
    *("ELECTRON", "PHOTOELECTRIC", "COMPTON", "SCATTER", "BASIS"),
}
_ENERGY_WORDS = ("VMI", "MONO", "MONOE", "MONOPLUS", "MONOENERGETIC", "MONOCHROMATIC", "SPECTRAL", "KEV")
_HOUNSFIELD_TYPES = {None, "HU", "US", "UNSPECIFIED"}
"""Rescale Type (0028,1054): ``US`` is "unspecified", which many writers put for Hounsfield units."""


def is_localizer(header: SliceHeader) -> bool:
    """Whether Image Type (0008,0008) names a localizer."""
    return any(word in _LOCALIZER_WORDS for word in header.image_type)


def is_reformat(header: SliceHeader) -> bool:
    """Whether Image Type (0008,0008) names a secondary image or a reformat derived from other images."""
    secondary = "SECONDARY" in header.image_type
    derived = "DERIVED" in header.image_type
    return secondary or (derived and any(word in part for part in header.image_type for word in _REFORMAT_WORDS))


def has_changed_values(header: SliceHeader) -> bool:
    """Whether Image Type names a projection, a rendering, a screenshot or a difference of images."""
    made_later = "DERIVED" in header.image_type or "SECONDARY" in header.image_type
    return made_later and not _CHANGED_VALUES.isdisjoint(_words(header))


def is_in_hounsfield_units(header: SliceHeader) -> bool:
    """Whether Rescale Type (0028,1054) and Image Type leave Hounsfield units possible: no map of a material."""
    is_material = "DERIVED" in header.image_type and not _MATERIAL_WORDS.isdisjoint(_words(header))
    return header.rescale_type in _HOUNSFIELD_TYPES and not is_material


def is_monoenergetic(header: SliceHeader) -> bool:
    """Whether Image Type names an image computed for one energy from several."""
    return any(word.startswith(_ENERGY_WORDS) for word in _words(header))


def _words(header: SliceHeader) -> set[str]:
    """Words of Image Type after the second value, which state no kind of image before it."""
    return {word for part in header.image_type for word in re.split(r"[^A-Z0-9]+", part) if word}
