"""Pictures of the evaluation as SVG: the time of every study in both sittings, and how often a confidence was given."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..messages import message
from .evaluation import PairedReadings
from .protocol import Sitting
from .record import CONFIDENCE

WIDTH = 760
_LEFT, _RIGHT, _AXIS = 60, 20, 34
_COLOURS = {Sitting.WITHOUT_AI: "#7a8794", Sitting.WITH_AI: "#1f6fb4"}
_LEVELS = ("#d9dee3", "#a9c7e2", "#5c9bd1", "#1f6fb4")
_ON_LEVELS = ("#222", "#222", "#fff", "#fff")


def times_chart(reader: PairedReadings) -> str:
    """Draw a row per study, the longest without AI on top: a dot per sitting, joined by a line."""
    pairs = [(one.case, one.seconds, two.seconds) for one, two in zip(reader.without_ai, reader.with_ai, strict=True)]
    pairs.sort(key=lambda pair: -pair[1])
    row = max(5.0, min(18.0, 600 / len(pairs)))
    longest = max(max(first, second) for _, first, second in pairs) or 1.0
    step = _round_step(longest)
    end = step * -(-longest // step)
    scale = (WIDTH - _LEFT - _RIGHT) / end
    height = 12 + row * len(pairs)
    parts = []
    for mark in range(round(end / step) + 1):
        x = _LEFT + mark * step * scale
        parts.append(f'<line x1="{x:.1f}" y1="8" x2="{x:.1f}" y2="{height:.1f}" stroke="#dde2e7"/>')
        parts.append(_text(x, height + 14, f"{mark * step:g}", "middle"))
    for place, (case, first, second) in enumerate(pairs):
        y = 12 + row * (place + 0.5)
        ends = _LEFT + first * scale, _LEFT + second * scale
        parts.append(f'<line x1="{ends[0]:.1f}" y1="{y:.1f}" x2="{ends[1]:.1f}" y2="{y:.1f}" stroke="#b9c2cb"/>')
        for x, sitting in zip(ends, Sitting, strict=True):
            radius = min(4.5, row / 2 - 0.5)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{_COLOURS[sitting]}"/>')
        if row >= 11:
            parts.append(_text(_LEFT - 8, y + 4, case, "end"))
    parts.append(_text(WIDTH - _RIGHT, height + 28, message("page.seconds_axis"), "end"))
    return _svg(height + _AXIS, parts, message("page.times_title", reader=reader.participant))


def confidence_chart(readers: Sequence[PairedReadings]) -> str:
    """Draw a bar per reader and sitting, divided by how often each level of confidence was given."""
    parts, y, left = [], 6.0, 190
    for reader in readers:
        for sitting in Sitting:
            given = [reading.confidence for reading in reader.of(sitting)]
            parts.append(_text(left - 8, y + 15, f"{reader.participant}, {sitting.label()}", "end"))
            x = float(left)
            for level in CONFIDENCE:
                share = given.count(level) / len(given)
                width = (WIDTH - left - _RIGHT) * share
                parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="22" fill="{_LEVELS[level]}"/>')
                if width > 18:
                    count = str(given.count(level))
                    parts.append(_text(x + width / 2, y + 15, count, "middle", _ON_LEVELS[level]))
                x += width
            y += 26
        y += 8
    return _svg(y, parts, message("page.confidence_title"))


def sitting_key() -> str:
    """Return the key of the dots as HTML."""
    return " ".join(
        f'<span class="key"><i style="background:{_COLOURS[sitting]}"></i>{escape(sitting.label())}</span>'
        for sitting in Sitting
    )


def confidence_key(names: Sequence[str]) -> str:
    """Return the key of the levels as HTML; ``names`` holds one text per level."""
    return " ".join(
        f'<span class="key"><i style="background:{_LEVELS[level]}"></i>{level}: {escape(name)}</span>'
        for level, name in zip(CONFIDENCE, names, strict=True)
    )


def _round_step(longest: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides an axis into at most ten parts."""
    power = 1.0
    while True:
        for factor in (1, 2, 5):
            if longest <= 10 * factor * power:
                return factor * power
        power *= 10


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#3c4650") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
