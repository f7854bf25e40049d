"""Typed access to parsed JSON: every complaint names the field by its full path. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .content import ResultError


class FieldError(ResultError):
    """A field is missing, of the wrong type, or outside its range."""


class Fields:
    """Typed access to one JSON object; every complaint names the field by its full path."""

    def __init__(self, fields: Mapping[str, Any], path: str) -> None:
        """Wrap one JSON object that stands at ``path`` in its document."""
        self._fields = fields
        self._path = path

    def _value(self, key: str, *types: type) -> Any:  # noqa: ANN401 - what JSON holds
        if key not in self._fields:
            raise FieldError("field.missing", field=f"{self._path}.{key}")
        value = self._fields[key]
        # bool is an int in Python, but never a number in the contract.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise FieldError("field.wrong_type", field=f"{self._path}.{key}", type=type(value).__name__)
        return value

    def _is_null(self, key: str) -> bool:
        return key in self._fields and self._fields[key] is None

    def text(self, key: str) -> str:
        """Return a text."""
        return self._value(key, str)

    def optional_text(self, key: str) -> str | None:
        """Return a text, or None where the field is null."""
        return None if self._is_null(key) else self.text(key)

    def text_if_stated(self, key: str) -> str | None:
        """Return a text, or None where the field is absent: one that later bundles write."""
        return self.text(key) if key in self._fields else None

    def boolean(self, key: str) -> bool:
        """Return a truth value."""
        return self._value(key, bool)

    def boolean_if_stated(self, key: str) -> bool | None:
        """Return a truth value, or None where the field is null or absent: one that later bundles write."""
        return self.boolean(key) if self._fields.get(key) is not None else None

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number within ``low..high``."""
        value = float(self._value(key, int, float))
        if not math.isfinite(value) or not low <= value <= high:
            raise FieldError("field.outside", field=f"{self._path}.{key}", value=value, low=low, high=high)
        return value

    def optional_number(self, key: str, low: float = -math.inf) -> float | None:
        """Return a finite number not below ``low``, or None where the field is null."""
        return None if self._is_null(key) else self.number(key, low)

    def integer(self, key: str, low: int) -> int:
        """Return a whole number not below ``low``."""
        value = self._value(key, int)
        if value < low:
            raise FieldError("field.below", field=f"{self._path}.{key}", value=value, low=low)
        return value

    def optional_integer(self, key: str, low: int) -> int | None:
        """Return a whole number, or None where the field is null."""
        return None if self._is_null(key) else self.integer(key, low)

    def three_integers(self, key: str) -> tuple[int, int, int] | None:
        """Return three whole numbers, or None where the field is null."""
        if self._is_null(key):
            return None
        values = self._value(key, list)
        if len(values) != 3 or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise FieldError("field.not_three_integers", field=f"{self._path}.{key}")
        return values[0], values[1], values[2]

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self._value(key, list)
        if not all(isinstance(value, str) for value in values):
            raise FieldError("field.not_texts", field=f"{self._path}.{key}")
        return tuple(values)

    def numbers(self, high: float = math.inf) -> dict[str, float]:
        """Return the whole object as names with numbers within ``0..high``."""
        return {key: self.number(key, 0, high) for key in self._fields}

    def all_texts(self) -> dict[str, str]:
        """Return the whole object as names with texts."""
        return {key: self.text(key) for key in self._fields}

    def child(self, key: str) -> Fields:
        """Return a nested object."""
        return Fields(self._value(key, dict), f"{self._path}.{key}")

    def optional_child(self, key: str) -> Fields | None:
        """Return a nested object, or None where the field is null or absent."""
        return None if self._fields.get(key) is None else self.child(key)

    def optional_children(self, key: str) -> list[Fields]:
        """Return a list of nested objects; none where the field is missing, as in results of earlier versions."""
        return self.children(key) if key in self._fields else []

    def children(self, key: str) -> list[Fields]:
        """Return a list of nested objects."""
        values = self._value(key, list)
        if not all(isinstance(value, dict) for value in values):
            raise FieldError("field.not_objects", field=f"{self._path}.{key}")
        return [Fields(value, f"{self._path}.{key}[{index}]") for index, value in enumerate(values)]
