"""The catalogue of every text that a user reads: a code, and its text in one language per file.

``en.json`` holds sections of codes, e.g. ``intake`` with ``no_head``, whose code is ``intake.no_head``; ``{name}`` in a
text is replaced by the value of that name. Another language is another file with the same codes.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGE = "en"


@cache
def catalogue(language: str = LANGUAGE) -> dict[str, str]:
    """Return every text of one language by its code, ``section.name``.

    Raises
    ------
    OSError
        If there is no catalogue in this language.
    """
    sections: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name(f"{language}.json").read_text("utf-8"))
    return {f"{section}.{name}": text for section, texts in sections.items() for name, text in texts.items()}


def message(code: str, /, **values: Any) -> str:
    """Return the text of one code with its values in place.

    Parameters
    ----------
    code : str
        ``section.name``.
    **values
        One per placeholder of the text.

    Raises
    ------
    KeyError
        If the catalogue has no such code, or a value is missing.
    """
    return catalogue()[code].format(**values)


class ExpectedError(Exception):
    """What a user can mend: one line that names the fault and the remedy, and its code.

    Parameters
    ----------
    code : str
        Of the catalogue, ``section.name``.
    **values
        One per placeholder of its text.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        super().__init__(message(code, **values))
        self.code = code
