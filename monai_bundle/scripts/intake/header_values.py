"""Values of DICOM attributes as they are written in practice: what cannot be parsed counts as absent."""

from __future__ import annotations

import math
import re
from typing import Any

from pydicom.dataset import Dataset

_NEGATIONS = frozenset(
    {
        *("NO", "NONE", "N", "NON", "NOT", "NULL", "NIL", "FALSE", "NEG", "NEGATIVE", "WITHOUT", "UNENHANCED", "PLAIN"),
        *("OHNE", "NATIV", "NATIVE", "KEIN", "KEINE", "KEINES", "NEIN", "SANS", "AUCUN", "SIN", "NINGUNO", "NINGUNA"),
        *("SENZA", "NESSUNO", "NESSUN", "SEM", "NAO", "NENHUM", "GEEN", "ZONDER", "UTAN", "UDEN", "BEZ", "NIHIL"),
        *("NA", "NC", "UNKNOWN", "NCCT", "NECT", "NOCON", "NONCON", "NOCONTRAST", "NONCONTRAST", "NONENHANCED", "OKM"),
    }
)
_OF_NO_MEDIUM = re.compile(
    r"CONTRAST\w*|KONTRAST\w*|CON|KM|CM|CE|C|MDC|PCI|PDC|CTE|PRODUIT|MEDIUM|MEDIA|AGENTS?|BOLUS|DYE|INJ\w*|ENHANCE\w*|"
    r"IV|EV|ORAL|INTRAVENOUS|ANY|LE|DE|SE|OR|AND|NOR|GIVEN|USED|APPLIED|ADMINIST\w*|APPLICABLE|APLICA\w*|STUDY|SCAN|CT|"
    r"HEAD|BRAIN|ML|CC|O|A|\d+(ML|CC)?"
)
"""Words that name no medium of their own: with a negation among them, a text of these alone names none."""
_NOT_LATIN = ("НЕТ", "БЕЗ", "无", "無", "未", "なし", "없음")  # noqa: RUF001 (Russian, as written)
_ZERO = re.compile(r"0+([.,]0+)?\s*(ML|CC|G|MG|MGI/ML)?")
_MINUS = re.compile(r"[-−]\s*(C|CM|KM|CE|IV)|(C|CM|KM|CE|IV)\s*[-−]")


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
        return any(character.isalpha() for character in plain) and not any(word in plain for word in _NOT_LATIN)
    if letters in _NEGATIONS or _ZERO.fullmatch(plain) or _MINUS.fullmatch(plain):
        return False
    spelt_out = re.sub(r"\b(W/?O|S/)(?![A-Z])|\bS/(?=[A-Z])", "WITHOUT ", plain).replace("I.V", "IV")
    words = re.findall(r"\w+", spelt_out)
    others = [word for word in words if word not in _NEGATIONS]
    is_negated = len(others) < len(words)
    return not is_negated or not all(_OF_NO_MEDIUM.fullmatch(word) for word in others)
