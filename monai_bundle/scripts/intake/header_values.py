"""Values of DICOM attributes as they are written in practice: what cannot be parsed counts as absent."""

from __future__ import annotations

import math
import re
from typing import Any

from pydicom.dataset import Dataset

_NEGATIONS = frozenset(
    {
        *("NO", "NONE", "N", "NON", "NOT", "NULL", "NIL", "FALSE", "0", "WITHOUT", "OHNE", "SANS", "SIN", "SENZA"),
        *("NATIV", "NATIVE", "PLAIN", "KEIN", "KEINE", "KEINES", "AUCUN", "NINGUNO", "NESSUNO", "NEIN", "GEEN", "NAO"),
        *("NA", "NC", "UNKNOWN", "UNENHANCED", "NONCONTRAST", "NCCT", "NECT", "NIHIL"),
    }
)
_NEGATED_FIRST = re.compile(
    r"^(NO|NON|NOT|NONE|W/?O|WITHOUT|OHNE|SANS|SIN|SENZA|KEIN|KEINE|SEM|ZONDER|UTAN|UDEN|BEZ)\b[\s_-]*"
    r"(IV|I\.V\.?|ORAL|ANY|LE)?[\s_-]*"
    r"(CONTRAST\w*|KONTRAST\w*|CONTRASTE|CONTRASTO|PRODUIT|KM|CM|MEDIUM|AGENT|ENHANCE\w*|GIVEN|USED|APPLIED|ADMINISTERED|$)"
)


def several(value: Any) -> list[str]:  # noqa: ANN401 (DICOM values have many types)
    """Return the parts of a value as text; none where it is empty."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def numbers(value: Any, count: int) -> tuple[float, ...] | None:  # noqa: ANN401 (as above)
    """Return exactly ``count`` finite numbers, else None."""
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
        return None
    parts = [number(part) for part in value]
    found = tuple(part for part in parts if part is not None)
    return found if len(found) == count else None


def number(value: object) -> float | None:
    """Return one finite number, else None: also for several values, units and decimal commas."""
    try:
        parsed = float(str(value).strip())
    except ValueError:
        return None
    return parsed if math.isfinite(parsed) else None


def positive(value: object) -> float | None:
    """Return one number above 0, else None."""
    parsed = number(value)
    return parsed if parsed is not None and parsed > 0 else None


def integer(value: object) -> int | None:
    """Return a whole number of at most 15 digits, else None."""
    parsed = number(value)
    return int(parsed) if parsed is not None and parsed == int(parsed) and abs(parsed) < 1e15 else None


def text(value: object) -> str:
    """Return a value as text without what surrounds or ends it."""
    return "" if value is None else str(value).split("\0", 1)[0].strip()


def has_contrast(dataset: Dataset) -> bool:
    """Whether Contrast/Bolus Agent (0018,0010) or its sequence (0018,0012) names a medium.

    Negations in the usual spellings ("NO CONTRAST", "N/A", "-", "ohne KM", "0 ml") name none; a volume of zero neither.
    """
    if any(_names_a_medium(item) for item in dataset.get("ContrastBolusAgentSequence") or []):
        return True
    agents = several(dataset.get("ContrastBolusAgent"))
    return any(names_contrast(agent) for agent in agents) and number(dataset.get("ContrastBolusVolume")) != 0


def _names_a_medium(item: Dataset) -> bool:
    meaning = text(item.get("CodeMeaning")) or text(item.get("ContrastBolusAgent"))
    return names_contrast(meaning) if meaning else True


def names_contrast(agent: str) -> bool:
    """Whether free text names a contrast medium rather than its absence."""
    plain = " ".join(text(agent).upper().replace("_", " ").split())
    letters = re.sub(r"[^A-Z]", "", plain)
    if not letters:
        return any(character.isalpha() for character in plain)
    if letters in _NEGATIONS:
        return False
    if re.fullmatch(r"0+([.,]0+)?\s*(ML|CC|G|MG|MGI/ML)?", plain):
        return False
    return _NEGATED_FIRST.match(plain) is None and not re.fullmatch(
        r"NON[\s-]?(CONTRAST|ENHANCED|IONIC NOT GIVEN).*", plain
    )
