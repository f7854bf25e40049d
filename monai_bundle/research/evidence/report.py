"""Pages from the measured file: ``docs/EVIDENCE.md``, ``docs/MODEL_CARD.md``, plots, and the metadata's figures.

Nothing on them is typed by hand: every number comes from ``docs/evidence.json``.

    python -m research.evidence.report [--measured docs/evidence.json]    write the pages again, without measuring
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from research.metrics.classification import FEW
from research.metrics.confidence import RESAMPLES
from research.metrics.subgroups import FEWEST
from research.evidence.measure import measure
from research.evidence.measured_file import MEASURED, read_measured, write_measured
from research.evidence.plot_files import NAMES, draw
from research.evidence.tables import ANY
from research.evidence.formatting import FILTERS

BLOCKS = {"README.md": ("performance", "performance.md.j2"), "../../README.md": ("accuracy", "accuracy.md.j2")}
"""Pages, from the folder of the others, in which only a marked block is written: its name, its template."""

TEMPLATES = Path(__file__).with_name("templates")
DOCS = Path("docs")
PICTURES = "evidence"
"""Folder of the pictures, beside the pages."""
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
    """Return the pages of :data:`BLOCKS` that are there, with their blocks written anew."""
    rendered = _render(measured, {file: template for file, (_, template) in BLOCKS.items()})
    pages_there = {file: docs / file for file in BLOCKS if (docs / file).is_file()}
    return {
        path: filled(path.read_text("utf-8"), BLOCKS[file][0], rendered[file]) for file, path in pages_there.items()
    }


def pages(measured: Mapping[str, Any]) -> dict[str, str]:
    """Render the pages.

    Parameters
    ----------
    measured : mapping
        See :func:`~research.evidence.measure.measure`.

    Returns
    -------
    dict
        File name to Markdown.
    """
    return _render(measured, {"EVIDENCE.md": "evidence.md.j2", "MODEL_CARD.md": "model_card.md.j2"})


def _render(measured: Mapping[str, Any], templates: Mapping[str, str]) -> dict[str, str]:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
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
        "any": ANY,
        "pictures": PICTURES,
        "plots": NAMES,
        "few": FEW,
        "fewest": FEWEST,
        "rare": [
            key
            for key, label in shipped["scans"]["raw"]["labels"].items()
            if min(label["positive"], label["negative"]) < FEW
        ],
    }
    facts["data"] = shipped["data"]
    return {name: environment.get_template(template).render(facts) for name, template in templates.items()}


def write_pages(measured: Mapping[str, Any], docs: Path = DOCS, metadata: Path | None = METADATA) -> None:
    """Write pages and plots, and put the figures into the bundle's metadata.

    Parameters
    ----------
    measured : mapping
        See :func:`~research.evidence.measure.measure`.
    docs : Path
        Folder of the pages; pictures go into ``evidence`` below it.
    metadata : Path, optional
        The file whose ``eval_metrics`` are replaced; None leaves it alone.
    """
    draw(measured, docs / PICTURES)
    for name, text in pages(measured).items():
        (docs / name).write_text(text, encoding="utf-8", newline="\n")
    for path, text in blocks(measured, docs).items():
        path.write_text(text, encoding="utf-8", newline="\n")
    if metadata is not None:
        content = json.loads(metadata.read_text("utf-8"))
        content["eval_metrics"] = measured["shipped"]["eval_metrics"]
        metadata.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8", newline="\n")


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
    """Write the pages again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, default=MEASURED, help="what was measured")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    write_pages(read_measured(arguments.measured))


if __name__ == "__main__":
    main()
