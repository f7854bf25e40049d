"""Where the numbers on a page come from: each number of the measured file is made unique, and found on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from research.evidence.formatting import label_name
from research.evidence.report import TEMPLATES, pages

FIRST = 100_000
"""The whole part of the first unique number; no page has a real number so large."""

METRIC = re.compile(r"\b(AUC|ROC|area under|sensitivity|specificity|average precision|top h)\b", re.IGNORECASE)
DECIMAL = re.compile(r"(?<![\w.])[+-]?\d*\.\d+(?!\w|\.\d)")


def unique_numbers(measured: Mapping[str, Any]) -> tuple[dict[str, Any], dict[int, tuple[str, ...]]]:
    """Return the measured file with a number of its own at each place, and the place of each number."""
    places: dict[int, tuple[str, ...]] = {}

    def replaced(content: Any, path: tuple[str, ...]) -> Any:
        if isinstance(content, dict):
            return {key: replaced(value, (*path, key)) for key, value in content.items()}
        if isinstance(content, list):
            return [replaced(value, (*path, str(place))) for place, value in enumerate(content)]
        if isinstance(content, bool) or not isinstance(content, int | float):
            return content
        number = FIRST + len(places)
        places[number] = path
        return number if isinstance(content, int) else number + 0.125

    return replaced(measured, ()), places


def rows_of(page: str) -> Iterator[list[str]]:
    """Return the cells of every row of every table of a page."""
    for line in re.findall(r"^\|(.*)\|$", page, re.MULTILINE):
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]


def keys_of_row(cells: list[str], measured: Mapping[str, Any]) -> set[str]:
    """Return the keys of the measured file that a row's first cells name: label, variant, task, method, subgroup."""
    shipped, explanations = measured["shipped"], measured["explanations"]
    named = {label_name(key): {key} for key in shipped["scans"]["raw"]["labels"]}
    named |= {title: {name} for name, title in measured["titles"].items()}
    named |= {task: {task} for task in measured["drct2"]["tasks_predicted_positive"]}
    named |= {label_name(point): {point} for point in shipped["operating_points"]}
    named |= {f"`{method}`": {method} for method in explanations["quality"]}
    named |= {method: {method} for method in explanations["quality"]}
    for name, members in shipped["subgroups"].items():
        named |= {f"{name}: {value}": {name, value} for value in members}
    first, second = cells[0].removesuffix(r" \*"), cells[1] if len(cells) > 1 else ""
    keys = named.get(first, set())
    if first in {*explanations["quality"], *map(label_name, shipped["operating_points"])}:
        keys = keys | named.get(second, set())
    return keys


def misplaced_numbers(measured: Mapping[str, Any], templates: Path = TEMPLATES) -> tuple[list[str], int]:
    """Return each number of a table that belongs to another row, and how many numbers were traced to their row."""
    unique, places = unique_numbers(measured)
    misplaced, traced = [], 0
    for name, page in pages(unique, templates).items():
        for cells in rows_of(page):
            keys = keys_of_row(cells, measured)
            numbers = [int(text) for text in re.findall(rf"(?<!\d){str(FIRST)[0]}\d{{5}}(?!\d)", " ".join(cells))]
            for number in numbers if keys else ():
                traced += 1
                if not keys <= set(places[number]):
                    misplaced.append(f"{name}, row {cells[0]}: {'.'.join(places[number])}")
    return misplaced, traced


LICENCES = ("CC BY 4\\.0", "Apache-2\\.0")
"""Patterns of names that hold a decimal number."""

CITATION = re.compile(r"\bdoi 10\.|\barXiv \d|, sections? \d|, chapter \d")
"""Of a paper, as pages write it."""


def decimals_in_prose(template: str) -> list[str]:
    """Return the decimal numbers that a template states itself, in place of the measured file."""
    prose = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", "", template, flags=re.DOTALL)
    return DECIMAL.findall(re.sub("|".join(LICENCES), "", prose))


def unsupported_metrics(page: str, measured: Mapping[str, Any]) -> list[str]:
    """Return the lines of a hand-written page that state a metric which the measured file does not have.

    Such a line ends with ``<!-- evidence.json: key.key ... -->``, one place for each of its decimal numbers.
    A line that begins with "Published" quotes the paper that its section has cited before it.
    """
    by_hand = re.sub(r"<!-- (\w+): written by.*?<!-- end of \1 -->", "", page, flags=re.DOTALL)
    unsupported, cited = [], False
    for line in by_hand.splitlines():
        cited = bool(CITATION.search(line)) or (cited and not line.startswith("#"))
        if cited and line.startswith("Published"):
            continue
        text, _, comment = line.partition("<!-- evidence.json:")
        numbers = DECIMAL.findall(text) if METRIC.search(text) else []
        found = [_at(measured, place) for place in comment.removesuffix("-->").split()]
        stated = [f"{value:.{len(number.split('.')[1])}f}" for number, value in zip(numbers, found, strict=False)]
        if len(numbers) != len(found) or any(float(one) != float(other) for one, other in zip(numbers, stated)):  # noqa: B905
            unsupported.append(line)
    return unsupported


def _at(measured: Mapping[str, Any], place: str) -> float:
    content: Any = measured
    for key in place.split("."):
        content = content[int(key)] if isinstance(content, list) else content[key]
    return float(content)
