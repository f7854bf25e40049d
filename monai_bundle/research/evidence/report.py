"""Pages from the measured file: the evidence, its summary, the model card, blocks of the READMEs, plots, the metadata.

Every measured number on them comes from ``docs/evidence.json``; sentences are in ``templates/``.

    python -m research.evidence.report             write the pages again, without measuring
    python -m research.evidence.report --measure FOLDER    measure a run's files again, and write the pages
    python -m research.evidence.report --check     name the pages that are not what the file gives; exit status 1
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from research.evidence.formatting import FILTERS
from research.evidence.measure import measure
from research.evidence.measured_file import MEASURED, read_measured, write_measured
from research.evidence.plots import FILES, draw
from research.evidence.tables import ANY
from research.evidence.targets import read_earlier
from research.metrics.classification import FEW
from research.metrics.confidence import RESAMPLES
from research.metrics.eval_metrics import write_eval_metrics
from research.metrics.operating_points import BALANCED_SPECIFICITY
from research.metrics.subgroups import FEWEST
from scripts.operating_points import DEFAULT_THRESHOLD

PAGES = {
    "EVIDENCE.md": "evidence.md.j2",
    "EVIDENCE_SUMMARY.md": "summary.md.j2",
    "MODEL_CARD.md": "model_card.md.j2",
}
"""Pages that are written whole, and their templates."""

BLOCKS = {"README.md": ("performance", "performance.md.j2"), "../../README.md": ("accuracy", "accuracy.md.j2")}
"""Pages, from the folder of the others, in which only a marked block is written: its name, its template."""

TEMPLATES = Path(__file__).with_name("templates")
DOCS = Path("docs")
IMAGES = "evidence"
"""Folder of plots and images, beside the pages."""
METADATA = Path("configs/metadata.json")

logger = logging.getLogger(__name__)


def filled(page: str, name: str, text: str) -> str:
    """Put a text between a page's marks ``<!-- name: ... -->`` and ``<!-- end of name -->``.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    found = re.subn(
        rf"(<!-- {name}:[^>]*-->\n).*?(<!-- end of {name} -->)",
        lambda marks: marks.group(1) + text + marks.group(2),
        page,
        flags=re.DOTALL,
    )
    if found[1] != 1:
        raise ValueError(f"no place marked {name!r} in the page")
    return found[0]


def blocks(measured: Mapping[str, Any], docs: Path = DOCS) -> dict[Path, str]:
    """Return the pages of :data:`BLOCKS` that exist, with their blocks written again."""
    rendered = _render(measured, {file: template for file, (_, template) in BLOCKS.items()})
    existing = {file: docs / file for file in BLOCKS if (docs / file).is_file()}
    return {path: filled(path.read_text("utf-8"), BLOCKS[file][0], rendered[file]) for file, path in existing.items()}


def pages(measured: Mapping[str, Any], templates: Path = TEMPLATES) -> dict[str, str]:
    """Render the pages.

    Parameters
    ----------
    measured : mapping
        See :func:`~research.evidence.measure.measure`.
    templates : Path
        Folder of the templates.

    Returns
    -------
    dict
        File name to Markdown.
    """
    return _render(measured, PAGES, templates)


def stale_lines(measured: Mapping[str, Any], docs: Path = DOCS, metadata: Path = METADATA) -> list[str]:
    """Return every line of the written pages that is not what the measured file gives, as ``file:line: text``."""
    wanted = {docs / name: text for name, text in pages(measured).items()} | blocks(measured, docs)
    stale = []
    for path, text in wanted.items():
        written = path.read_text("utf-8").splitlines() if path.is_file() else []
        pairs = zip_longest(written, text.splitlines())
        stale += [f"{path.name}:{number}: {one}" for number, (one, other) in enumerate(pairs, 1) if one != other]
    if json.loads(metadata.read_text("utf-8"))["eval_metrics"] != measured["shipped"]["eval_metrics"]:
        stale.append(f"{metadata.name}: eval_metrics")
    return stale


def _render(measured: Mapping[str, Any], files: Mapping[str, str], templates: Path = TEMPLATES) -> dict[str, str]:
    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    shipped = measured["shipped"]
    facts = {
        "m": measured,
        "shipped": shipped,
        "earlier": read_earlier(),
        "any": ANY,
        "images": IMAGES,
        "plots": FILES,
        "default_threshold": DEFAULT_THRESHOLD,
        "few": FEW,
        "balanced_specificity": BALANCED_SPECIFICITY,
        "fewest": FEWEST,
        "rare": _without_threshold(shipped["operating_points"]),
        "data": shipped["data"],
    }
    return {name: environment.get_template(template).render(facts) for name, template in files.items()}


def _without_threshold(points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the labels that have the default threshold at every operating point: none could be chosen."""
    keys = list(next(iter(points.values())))
    return [key for key in keys if all(point[key]["threshold"] == DEFAULT_THRESHOLD for point in points.values())]


def write_pages(measured: Mapping[str, Any], docs: Path = DOCS, metadata: Path | None = METADATA) -> None:
    """Write pages and plots, and the metrics into the bundle's metadata.

    Parameters
    ----------
    measured : mapping
        See :func:`~research.evidence.measure.measure`.
    docs : Path
        Folder of the pages; plots go into ``evidence`` below it.
    metadata : Path, optional
        The file whose ``eval_metrics`` are replaced; None leaves it alone.
    """
    draw(measured, docs / IMAGES)
    for name, text in pages(measured).items():
        (docs / name).write_text(text, encoding="utf-8", newline="\n")
    for path, text in blocks(measured, docs).items():
        path.write_text(text, encoding="utf-8", newline="\n")
    if metadata is not None:
        write_eval_metrics(measured["shipped"]["eval_metrics"], metadata)


def write_report(folder: Path, count: int = RESAMPLES) -> None:
    """Measure a run's files and write everything; the working directory is the bundle's.

    Parameters
    ----------
    folder, count
        See :func:`~research.evidence.measure.measure`.
    """
    write_measured(measure(folder, count=count), MEASURED)
    write_pages(read_measured(MEASURED))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pages again, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; name what is not up to date")
    what.add_argument("--measure", type=Path, metavar="FOLDER", help="folder of a run, e.g. cache/evidence")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if arguments.measure is not None:
        write_report(arguments.measure)
        return
    measured = read_measured(MEASURED)
    if not arguments.check:
        write_pages(measured)
    elif stale := stale_lines(measured):
        for line in stale:
            logger.error("%s", line)
        sys.exit(1)


if __name__ == "__main__":
    main()
