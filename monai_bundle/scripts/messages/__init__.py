"""The catalogue of every text that a user reads: a code, and its text in one language per file.

``en.json`` holds sections of codes, e.g. ``intake`` with ``no_head``, whose code is ``intake.no_head``; ``{name}`` in a
text is replaced by the value of that name, formatted as Python does (``{mm:.1f}``). Another language is another file
with the same codes, e.g. ``de.json``; the configuration's key ``language`` chooses it. A translation may add the
sections ``label`` and ``label_short`` (names of labels, whole and within a sentence, by key); without them the English
names stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ENGLISH = "en"
CATALOGUES = Path(__file__).parent


class Translation:
    """All texts in one language.

    Parameters
    ----------
    language : str
        Name of a file of the catalogue, without its suffix.

    Raises
    ------
    ExpectedError
        If there is no catalogue in this language.
    """

    def __init__(self, language: str = ENGLISH) -> None:
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, code: str, /, **values: Any) -> str:
        """Return the text of one code with its values in place.

        Parameters
        ----------
        code : str
            ``section.name``.
        **values
            One per placeholder of the text. A :class:`Message` is put into this language first, several are listed.

        Raises
        ------
        KeyError
            If the catalogue has no such code, or a value is missing.
        """
        return self._texts[code].format(**{name: self._plain(value) for name, value in values.items()})

    def optional(self, code: str, otherwise: str) -> str:
        """Return the text of a code that a language need not have."""
        return self._texts.get(code, otherwise)

    def _plain(self, value: Any) -> Any:  # noqa: ANN401 (values have any type that can be formatted)
        if isinstance(value, Message):
            return value.text(self)
        if isinstance(value, tuple):
            return ", ".join(str(self._plain(part)) for part in value)
        return value


class Message:
    """One text of the catalogue with its values, not yet in any language; as ``str`` it is English.

    Parameters
    ----------
    code : str
        ``section.name``.
    **values
        One per placeholder of its text; a Message, or a tuple of them, may be among them.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        self.message_code = code
        self.values = values

    def text(self, translation: Translation | None = None) -> str:
        """Return the text in a language, English unless another is given."""
        return (translation or Translation())(self.message_code, **self.values)

    def __str__(self) -> str:
        """Return the English text."""
        return self.text()

    def __repr__(self) -> str:
        """Return code and English text."""
        return f"{type(self).__name__}({self.message_code!r}: {self.text()!r})"

    def __eq__(self, other: object) -> bool:
        """Two messages are equal where code and values are."""
        return isinstance(other, Message) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Hash the code: values need not be hashable."""
        return hash(self.message_code)


@cache
def catalogue(language: str = ENGLISH) -> Mapping[str, str]:
    """Return every text of one language by its code, ``section.name``; English where a translation lacks one.

    Raises
    ------
    ExpectedError
        If there is no catalogue in this language.
    """
    languages = sorted(file.stem for file in CATALOGUES.glob("*.json"))
    if language not in languages:
        raise ExpectedError("settings.language", language=language, languages=", ".join(languages))
    sections: dict[str, dict[str, str]] = json.loads((CATALOGUES / f"{language}.json").read_text("utf-8"))
    texts = {f"{section}.{name}": text for section, entries in sections.items() for name, text in entries.items()}
    return texts if language == ENGLISH else {**catalogue(), **texts}


def message(code: str, /, **values: Any) -> str:
    """Return the English text of one code with its values in place; see :meth:`Translation.__call__`."""
    return Translation()(code, **values)


class ExpectedError(Exception):
    """What a user can mend: one line that names the fault and the remedy, and its code.

    Parameters
    ----------
    code : str
        Of the catalogue, ``section.name``.
    **values
        One per placeholder of its text.

    Attributes
    ----------
    code : str
        As given.
    message : Message
        The text, in any language.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        self.message = Message(code, **values)
        self.code = self.message.message_code
        super().__init__(str(self.message))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle for data loaders and pools, which would call the constructor with the text."""
        return _restored, (type(self), self.args), vars(self)


def _restored(kind: type[ExpectedError], arguments: tuple[Any, ...]) -> ExpectedError:
    error = kind.__new__(kind)
    error.args = arguments
    return error
