"""The evaluation as one HTML page without network: table 8, changes with intervals and tests, pictures, cautions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from ..messages import message
from .evaluation import POOLED, SMALL, Change, Evaluation, SittingSummary
from .page_charts import confidence_chart, confidence_key, sitting_key, times_chart
from .paired_tests import LEVEL, PairedTest
from .protocol import Protocol, label_name

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d252c; max-width: 1080px; margin: 0 auto; padding: 0 16px 48px; }
.research { background: #2b3a4a; color: #fff; padding: 8px 12px; margin: 0 -16px 16px; }
h1 { font-size: 24px; margin: 16px 0 4px; } h2 { font-size: 18px; margin: 28px 0 6px; }
table { border-collapse: collapse; width: 100%; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #dde2e7; padding: 4px 8px; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; } th { background: #eef1f4; font-weight: 600; }
.warning { background: #fff3c4; color: #4d3c00; border-left: 4px solid #e0a800; padding: 6px 10px; margin: 8px 0; }
.quiet { color: #56616b; font-size: 13px; } svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
.key { margin-right: 16px; font-size: 13px; white-space: nowrap; }
.key i { display: inline-block; width: 11px; height: 11px; border-radius: 6px; margin-right: 5px; }
@media print { body { max-width: none; } h2 { break-after: avoid; } svg, tr { break-inside: avoid; } }
"""


def evaluation_page(evaluation: Evaluation, protocol: Protocol, made: datetime) -> str:
    """Return the page.

    Parameters
    ----------
    evaluation : Evaluation
        Of at least one reader with both sittings.
    protocol : Protocol
        The reader study.
    made : datetime
        When the page is made.
    """
    title = message("page.title")
    parts = [
        f'<p class="research">{escape(message("page.research"))}</p>',
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(_subtitle(evaluation, protocol, made))}</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in cautions(evaluation)),
        _section("page.table_title", _table_8(evaluation), _note(message("page.table_note"))),
        _section("page.changes_title", _changes(evaluation), _note(message("page.changes_note"))),
        *_pictures(evaluation),
        _section("page.method_title", *(f"<p>{escape(text)}</p>" for text in _method(evaluation, protocol))),
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def cautions(evaluation: Evaluation) -> tuple[str, ...]:
    """State what must be known before any number is read: few studies, few readers, studies left out, no reference."""
    texts = []
    fewest = min(len(reader.without_ai) for reader in evaluation.readers)
    if fewest < SMALL:
        texts.append(message("caution.few_studies", count=fewest, small=SMALL))
    number = len(evaluation.readers)
    texts.append(message("caution.one_reader") if number == 1 else message("caution.readers", count=number))
    texts += [message("caution.early", participant=who, reason=reason) for who, reason in evaluation.early]
    for participant, count in evaluation.left_out:
        texts.append(message("caution.left_out", participant=participant, count=count))
    if not evaluation.with_truth:
        texts.append(message("caution.no_truth"))
    return tuple(texts)


def statement(change: Change) -> str:
    """State in words what a test says and does not say; a p value above 0.05 is never passed over."""
    test = change.test
    if test is None:
        if change.difference.low is None or change.difference.high is None:
            return message("test.no_interval")
        excludes_zero = change.difference.low > 0 or change.difference.high < 0
        return message("test.interval_excludes") if excludes_zero else message("test.interval_includes")
    if test.p is None:
        return message("test.nothing_differs", pairs=test.pairs)
    if not test.can_be_significant:
        return message("test.too_few", differing=test.differing, smallest=number_text(test.smallest_p, 3))
    if change.adjusted_p is not None and change.adjusted_p < LEVEL:
        return message("test.significant")
    return message("test.only_unadjusted") if test.p < LEVEL else message("test.not_significant")


def p_text(p: float | None) -> str:
    """Write a p value: ``"0.031"``, ``"< 0.001"``, or a dash where there is none."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number_text(value: float | None, digits: int) -> str:
    """Write a number; a dash where it is not known."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def duration_text(seconds: float) -> str:
    """Write a time as the paper does: ``"3h9m27s"``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h{minutes}m{left}s" if hours else f"{minutes}m{left}s"


def measure_name(measure: str) -> str:
    """Return the name of a measure with its unit."""
    return {
        "precision": message("measure.precision"),
        "recall": message("measure.recall"),
        "f1": message("measure.f_score"),
        "any_correct": message("measure.any_correct"),
        "all_correct": message("measure.all_correct"),
        "seconds": message("measure.seconds"),
        "confidence": message("measure.confidence"),
    }[measure]


def reader_name(participant: str) -> str:
    """Return a pseudonym, or the name of all readers together."""
    return message("page.pooled") if participant == POOLED else participant


def _subtitle(evaluation: Evaluation, protocol: Protocol, made: datetime) -> str:
    date = made.astimezone().strftime("%Y-%m-%d %H:%M")
    readers = len(evaluation.readers)
    return message("page.subtitle", cases=len(protocol.cases), readers=readers, date=date, digest=protocol.digest[:12])


def _section(title: str, *parts: str) -> str:
    # The codes are named here for the check that none is unused.
    titles = {
        "page.table_title": message("page.table_title"),
        "page.changes_title": message("page.changes_title"),
        "page.method_title": message("page.method_title"),
        "page.times_heading": message("page.times_heading"),
        "page.confidence_title": message("page.confidence_title"),
    }
    return f"<h2>{escape(titles[title])}</h2>{''.join(parts)}"


def _note(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'


def _table(header: Iterable[str], rows: Iterable[Sequence[str]], texts: tuple[int, ...] = ()) -> str:
    """Return a table; columns in ``texts`` are set like text, not like numbers."""
    body = []
    for row in rows:
        classes = (' class="text"' if place in texts else "" for place in range(len(row)))
        cells = (
            f"<td{kind}>{escape(cell) if kind else _unbroken(cell)}</td>"
            for kind, cell in zip(classes, row, strict=True)
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    names = enumerate(header)
    head = "".join(f"<th{' class=text' if place in texts else ''}>{escape(name)}</th>" for place, name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _unbroken(text: str) -> str:
    """Return a number with its signs and units on one line; names may break after their comma."""
    return escape(text).replace(", ", ",<br>").replace(" ", "&nbsp;").replace(",<br>", ", ")


def _table_8(evaluation: Evaluation) -> str:
    """Return table 8, turned: a row per reader and sitting, for there may be many readers."""
    header = [
        message("page.reader"),
        message("page.date"),
        message("page.studies"),
        message("measure.precision"),
        message("measure.recall"),
        message("measure.f_score"),
        message("measure.confidence"),
        message("page.total_time"),
        message("page.time_per_study"),
    ]
    rows = [
        _row_of(summary, f"{reader_name(summary.participant)}, {summary.sitting.label()}")
        for summary in evaluation.summaries
    ]
    if evaluation.ai is not None:
        rows.append(_row_of(evaluation.ai, message("page.ai_alone")))
    return _table(header, rows)


def _row_of(summary: SittingSummary, name: str) -> list[str]:
    found = summary.accuracy
    scores = ["–"] * 3 if found is None else [number_text(v, 4) for v in (found.precision, found.recall, found.f1)]
    return [
        name,
        summary.date or "–",
        str(summary.studies),
        *scores,
        number_text(summary.confidence, 2),
        duration_text(summary.total_seconds),
        f"{summary.seconds_per_study:.2f} s",
    ]


def _changes(evaluation: Evaluation) -> str:
    header = [
        message("page.reader"),
        message("page.measure"),
        message("sitting.without_ai"),
        message("sitting.with_ai"),
        message("page.difference"),
        message("page.interval"),
        message("page.p"),
        message("page.adjusted_p"),
        message("page.pairs"),
        message("page.statement"),
    ]
    rows = []
    for change in evaluation.changes:
        digits = 2 if change.measure in ("seconds", "confidence") else 3
        rows.append(
            [
                reader_name(change.participant),
                measure_name(change.measure),
                number_text(change.without_ai, digits),
                number_text(change.with_ai, digits),
                *_difference(change, digits),
                p_text(None if change.test is None else change.test.p),
                p_text(change.adjusted_p),
                _pairs(change.test),
                statement(change),
            ]
        )
    return _table(header, rows, texts=(1, 9))


def _difference(change: Change, digits: int) -> tuple[str, str]:
    value, low, high = change.difference.value, change.difference.low, change.difference.high
    text = "–" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")
    limits = message("page.no_limits")
    if low is not None and high is not None:
        limits = f"{low:+.{digits}f} … {high:+.{digits}f}".replace("-", "−")
    return text, limits


def _pairs(test: PairedTest | None) -> str:
    return "–" if test is None else message("page.pairs_of", differing=test.differing, pairs=test.pairs)


def _pictures(evaluation: Evaluation) -> list[str]:
    names = [
        message("confidence.uncertain"),
        message("confidence.slightly"),
        message("confidence.probable"),
        message("confidence.certain"),
    ]
    times = [f"<h3>{escape(reader.participant)}</h3>{times_chart(reader)}" for reader in evaluation.readers]
    return [
        _section("page.times_heading", sitting_key(), *times),
        _section("page.confidence_title", confidence_key(names), confidence_chart(evaluation.readers)),
    ]


def _method(evaluation: Evaluation, protocol: Protocol) -> list[str]:
    texts = [message("method.design", weeks=protocol.washout_weeks), message("method.time")]
    first = evaluation.summaries[0].accuracy
    if first is not None:
        labels = ", ".join(label_name(label) for label in first.labels)
        texts.append(message("method.accuracy", labels=labels or "–"))
    texts += [message("method.tests"), message("method.intervals")]
    if len(evaluation.readers) > 1:
        texts.append(message("method.pooled"))
    return texts
