"""How metrics are written on the pages: numbers with their interval, and the reason where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

NOTHING = "–"

Metric = Mapping[str, Any]


def number(value: float | None, decimals: int = 3) -> str:
    """Write one number, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{decimals}f}"


def percent(value: float | None, decimals: int = 1) -> str:
    """Write a proportion as a percentage."""
    return NOTHING if value is None else f"{100 * value:.{decimals}f} %"


def with_interval(metric: Metric | None, decimals: int = 3) -> str:
    """Write an :class:`~research.metrics.confidence.Interval` or :class:`~.random_baseline.MeanMetric`.

    Without a value the reason; without an interval the value alone.
    """
    if metric is None:
        return NOTHING
    value = metric["estimate"] if "estimate" in metric else metric["value"]
    if value is None:
        return because(metric.get("remark") or metric.get("reason"))
    if metric.get("low") is None or metric.get("high") is None:
        return f"{number(value, decimals)} (no interval)"
    return f"{number(value, decimals)} ({number(metric['low'], decimals)} to {number(metric['high'], decimals)})"


def percent_with_interval(metric: Metric) -> str:
    """Write a proportion and its interval as percentages; without a value the reason."""
    value = metric["estimate"] if "estimate" in metric else metric["value"]
    if value is None:
        return because(metric.get("remark") or metric.get("reason"))
    if metric.get("low") is None or metric.get("high") is None:
        return f"{percent(value, 0)} (no interval)"
    return f"{percent(value, 0)} ({100 * metric['low']:.0f} to {percent(metric['high'], 0)})"


def because(reason: str | None) -> str:
    """Write a dash with the reason for it."""
    return f"{NOTHING} ({cell(reason)})" if reason else NOTHING


def p_value(test: Metric | None) -> str:
    """Write the p of a :class:`~research.metrics.comparison.Comparison`."""
    if test is None or test.get("p") is None:
        return because(test.get("remark") if test else None)
    return "< 0.001" if test["p"] < 0.001 else number(test["p"])


def difference(test: Metric | None) -> str:
    """Write a difference with its sign and interval."""
    if test is None or test.get("difference") is None:
        return NOTHING
    text = f"{test['difference']:+.3f}"
    return text if test.get("low") is None else f"{text} ({test['low']:+.3f} to {test['high']:+.3f})"


def span(values: Mapping[str, float]) -> str:
    """Write the smallest and the largest of several thresholds; one alone where they are equal."""
    low, high = number(min(values.values())), number(max(values.values()))
    return low if low == high else f"{low} to {high}"


def target_met(metric: Metric, target: float) -> str:
    """Return whether a target is reached, and else whether it lies within the interval."""
    value = metric["estimate"] if "estimate" in metric else metric["value"]
    if value is None:
        return "not measured"
    if value >= target:
        return "yes"
    high = metric.get("high")
    return "no; it lies within the interval" if high is not None and high >= target else "no"


def duration(seconds: float) -> str:
    """Write seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cell(text: str | None) -> str:
    """Escape a text for one cell of a table."""
    return NOTHING if not text else " ".join(text.replace("|", "\\|").split())


def label_name(key: str) -> str:
    """Write a label's key as a word."""
    return key.replace("_", " ")


def listed(words: Sequence[str]) -> str:
    """Write words as a list in a sentence."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "with_interval": with_interval,
    "percent_with_interval": percent_with_interval,
    "because": because,
    "p_value": p_value,
    "difference": difference,
    "span": span,
    "target_met": target_met,
    "duration": duration,
    "cell": cell,
    "label_name": label_name,
    "listed": listed,
}
