"""A copy of a result's report without the names of study and files, which may tell what is to be found."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

from ..messages import MessageError

_SHORTEST_WITHIN_TEXT = 5
_PARTS = re.compile(r"(<(?:script|style)\b.*?</(?:script|style)>|<title>.*?</title>|<[^>]*>)", re.DOTALL)


class ReportMissingError(MessageError):
    """A result has no report that could be shown; the message is one line for the user."""


def write_blinded_report(report: Path, names: Iterable[str], neutral: str, folder: Path) -> Path:
    """Write a copy of a report in which names are replaced.

    Parameters
    ----------
    report : Path
        ``report.html`` of a result folder: one file without others.
    names : iterable of str
        What must not be read: wherever one stands alone, and within a text where it is long enough not to be a word or
        a number of the report itself.
    neutral : str
        What stands in their place.
    folder : Path
        Where the copy is written, under a name that says nothing.

    Raises
    ------
    ReportMissingError
        If there is no report, or the copy cannot be written.
    """
    wanted = sorted({name for name in names if name}, key=len, reverse=True)
    try:
        parts = _PARTS.split(report.read_text(encoding="utf-8"))
        # Every second part is markup.
        parts[::2] = [_without(text, wanted, neutral) for text in parts[::2]]
        parts[1::2] = [_title(part, neutral) for part in parts[1::2]]
        copy = folder / "report.html"
        copy.write_text("".join(parts), encoding="utf-8")
    except OSError as error:
        raise ReportMissingError("reading.no_report", error=error.strerror or error) from error
    return copy


def _without(text: str, names: list[str], neutral: str) -> str:
    if html.unescape(text).strip() in names:
        return html.escape(neutral)
    for name in names:
        if len(name) >= _SHORTEST_WITHIN_TEXT and not name.isdecimal():
            text = re.sub(rf"(?<!\w){re.escape(html.escape(name))}(?!\w)", html.escape(neutral), text)
    return text


def _title(markup: str, neutral: str) -> str:
    return f"<title>{html.escape(neutral)}</title>" if markup.startswith("<title>") else markup
