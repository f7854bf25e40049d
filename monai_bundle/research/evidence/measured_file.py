"""The one file between measuring and writing: ``docs/evidence.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | float | None"

FORMAT = "ich-evidence/5"
"""Value of ``schema`` in the file."""

MEASURED = Path("docs/evidence.json")
DIGITS = 7
"""Significant digits of a number in the file: what is written from it is the same on every machine."""


def jsonable(content: object) -> Plain:
    """Return metrics as JSON has them: dataclasses as objects, numbers rounded, NaN as null, keys as text.

    Raises
    ------
    TypeError
        If something is no number, text, collection or dataclass.
    """
    if is_dataclass(content) and not isinstance(content, type):
        return jsonable(asdict(content))
    if isinstance(content, Mapping):
        return {str(key): jsonable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [jsonable(value) for value in content]
    if isinstance(content, str | bool | int) or content is None:
        return content
    if isinstance(content, float):
        return None if math.isnan(content) else float(f"{content:.{DIGITS}g}")
    raise TypeError(f"no metric: {type(content).__name__}")


def write_measured(measured: dict[str, Any], path: Path = MEASURED) -> None:
    """Write the file; a list of numbers stands on one line, so that a change of one metric is a change of one line."""
    path.write_text(_laid_out(measured, "") + "\n", encoding="utf-8", newline="\n")


def read_measured(path: Path = MEASURED) -> dict[str, Any]:
    """Read the file.

    Raises
    ------
    ValueError
        If it is not one of these.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["schema"] != FORMAT:
            raise ValueError(f"{path.name}: schema {content['schema']!r}, expected {FORMAT!r}")
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: no measured evidence ({type(error).__name__}: {error})") from error
    return content


def _laid_out(content: Plain, indent: str) -> str:
    if isinstance(content, dict) and content and any(isinstance(value, dict | list) for value in content.values()):
        inner = indent + " "
        rows = (
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_laid_out(value, inner)}" for key, value in content.items()
        )
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(content, list) and any(isinstance(value, dict) for value in content):
        inner = indent + " "
        return "[\n" + ",\n".join(inner + _laid_out(value, inner) for value in content) + f"\n{indent}]"
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
