"""worklist.html, worklist.csv and worklist.json: the worklist for readers, spreadsheets and programs."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scripts.messages import ENGLISH, Translation
from scripts.output.folder import write_whole_file
from scripts.worklist.entries import WorklistEntry, collect
from scripts.worklist.urgency import Urgency, by_urgency, urgency_of

WORKLIST_SCHEMA = "ich-diagnosis-worklist/1"
PAGE_FILE, TABLE_FILE, DATA_FILE = "worklist.html", "worklist.csv", "worklist.json"
ROWS_OF_A_PAGE = 20_000
"""A browser holds so many rows at ease; what is less urgent goes on in ``worklist_2.html`` and so on."""

TEMPLATES = Path(__file__).parent / "templates"
REPORT_TEMPLATES = Path(__file__).parents[1] / "output" / "templates"

_COLUMNS = ("rank", "study_id", "urgency", "probability", "volume_ml", "status", "impression", "report")
# What a spreadsheet would run as a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEXTS = (
    "count",
    "page_of",
    "no_match",
    "open_report",
    "no_report",
    "thumbnail",
    "no_thumbnail",
    *(f"urgency_{urgency.value}" for urgency in Urgency),
    *(f"status_{status}" for status in ("evaluated", "not_evaluable", "failed")),
)


def write_worklist(root: Path, language: str = ENGLISH) -> list[WorklistEntry]:
    """Write page, table and data of all results in a folder, each file whole or not at all.

    Parameters
    ----------
    root : Path
        Folder of results, see :func:`scripts.worklist.entries.collect`.
    language : str
        Of the page.

    Returns
    -------
    list of WorklistEntry
        The most urgent first.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    entries = by_urgency(collect(root))
    rows = worklist_rows(entries)
    write_whole_file(root / DATA_FILE, _json(worklist_document(rows, language)).encode(errors="replace"))
    write_whole_file(root / TABLE_FILE, worklist_table(rows).encode(errors="replace"))
    parts = [rows[first : first + ROWS_OF_A_PAGE] for first in range(0, max(1, len(rows)), ROWS_OF_A_PAGE)]
    names = [page_name(number) for number in range(1, len(parts) + 1)]
    for number, (name, part) in enumerate(zip(names, parts, strict=True), start=1):
        html = render_worklist(part, len(rows), language, names, number)
        write_whole_file(root / name, html.encode(errors="replace"))
    for stale in root.glob("worklist_*.html"):
        if stale.name not in names:
            stale.unlink()
    return entries


def page_name(number: int) -> str:
    """Return the name of the n-th page, counted from 1."""
    return PAGE_FILE if number == 1 else f"worklist_{number}.html"


def worklist_rows(entries: Sequence[WorklistEntry]) -> list[dict[str, Any]]:
    """Return the lines as plain values; ``rank`` counts from 1."""
    return [
        {
            "rank": rank,
            "study_id": entry.study_id,
            "folder": entry.folder,
            "urgency": urgency_of(entry).value,
            "status": entry.status,
            "text": entry.text,
            "probability": entry.probability,
            "volume_ml": entry.volume_ml,
            "thumbnail": entry.thumbnail,
        }
        for rank, entry in enumerate(entries, start=1)
    ]


def worklist_document(rows: Sequence[dict[str, Any]], language: str = ENGLISH) -> dict[str, Any]:
    """Return the content of ``worklist.json``: rows in the order of urgency, and the rule behind it."""
    translate = Translation(language)
    rule, notice = translate("worklist.rule"), translate("report.notice")
    return {"schema": WORKLIST_SCHEMA, "notice": notice, "rule": rule, "rows": list(rows)}


def worklist_table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the lines out as CSV (RFC 4180, with the byte order mark that spreadsheets want).

    The page's own export writes the same text.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        report = "" if row["folder"] is None else f"{row['folder']}/report.html"
        values = [row["rank"], row["study_id"], row["urgency"], _decimals(row["probability"], 4)]
        values += [_decimals(row["volume_ml"], 2), row["status"], row["text"], report]
        writer.writerow([_shown(str(value)) for value in values])
    return f"\ufeff{stream.getvalue()}"


def render_worklist(
    rows: Sequence[dict[str, Any]],
    total: int,
    language: str = ENGLISH,
    pages: Sequence[str] = (PAGE_FILE,),
    number: int = 1,
) -> str:
    """Write one page.

    Parameters
    ----------
    rows : sequence of dict
        From :func:`worklist_rows`.
    total : int
        Lines of all pages.
    language : str
        Of its texts.
    pages : sequence of str
        Names of all pages.
    number : int
        Which of them this is, counted from 1.

    Returns
    -------
    str
        HTML that asks the network for nothing. Its content security policy allows its one script, by its hash, and
        images from disk alone; what came from files enters the page as text.
    """
    translate = Translation(language)
    script = (TEMPLATES / "worklist.js").read_text(encoding="utf-8")
    tokens = {name: f"{{{name}}}" for name in ("shown", "all", "page", "pages", "study")}
    texts = {name: translate(f"worklist.{name}", **tokens) for name in _TEXTS}
    counts = {urgency: sum(row["urgency"] == urgency.value for row in rows) for urgency in Urgency}
    return (
        _environment()
        .get_template("worklist.html.j2")
        .render(
            t=translate,
            title=translate("worklist.title"),
            total=total,
            pages=list(enumerate(pages, start=1)),
            number=number,
            groups=[(each.value, translate(f"worklist.urgency_{each.value}"), counts[each]) for each in Urgency],
            columns=list(_COLUMNS),
            data=_inside_html({"columns": _COLUMNS, "texts": texts, "rows": rows}),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _inside_html(value: object) -> Markup:
    """Return JSON for a script element, which ends at the first ``</script`` whatever it stands in."""
    return Markup(_json(value).replace("<", "\\u003c"))


def _decimals(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _shown(text: str) -> str:
    """Return a text that a spreadsheet shows as it is."""
    return f"'{text}" if text.startswith(_FORMULA) else text
