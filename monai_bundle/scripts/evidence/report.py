"""Pages from the measured file: ``docs/EVIDENCE.md``, ``docs/MODEL_CARD.md``, plots, and the metadata's figures.

Nothing on them is typed by hand: every number comes from ``docs/evidence.json``.

    python -m scripts.evidence.report [--measured docs/evidence.json]    write the pages again, without measuring
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.evaluation.classification import FEW
from scripts.evaluation.confidence import RESAMPLES
from scripts.evaluation.subgroups import FEWEST
from scripts.evidence.measure import measure
from scripts.evidence.measured_file import MEASURED, read_measured, write_measured
from scripts.evidence.pictures import NAMES, draw
from scripts.evidence.tables import ANY
from scripts.evidence.wording import FILTERS

TEMPLATES = Path(__file__).with_name("templates")
DOCS = Path("docs")
PICTURES = "evidence"
"""Folder of the pictures, beside the pages."""
METADATA = Path("configs/metadata.json")

logger = logging.getLogger(__name__)


def pages(measured: Mapping[str, Any]) -> dict[str, str]:
    """Render the pages.

    Parameters
    ----------
    measured : mapping
        See :func:`~scripts.evidence.measure.measure`.

    Returns
    -------
    dict
        File name to Markdown.
    """
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
        "rare": [key for key, counts in shipped["data"]["labels"].items() if counts["scans"] < FEW],
    }
    names = {"EVIDENCE.md": "evidence.md.j2", "MODEL_CARD.md": "model_card.md.j2"}
    return {name: environment.get_template(template).render(facts) for name, template in names.items()}


def write_pages(measured: Mapping[str, Any], docs: Path = DOCS, metadata: Path | None = METADATA) -> None:
    """Write pages and plots, and put the figures into the bundle's metadata.

    Parameters
    ----------
    measured : mapping
        See :func:`~scripts.evidence.measure.measure`.
    docs : Path
        Folder of the pages; pictures go into ``evidence`` below it.
    metadata : Path, optional
        The file whose ``eval_metrics`` are replaced; None leaves it alone.
    """
    draw(measured, docs / PICTURES)
    for name, text in pages(measured).items():
        (docs / name).write_text(text, encoding="utf-8", newline="\n")
    if metadata is not None:
        content = json.loads(metadata.read_text("utf-8"))
        content["eval_metrics"] = measured["shipped"]["eval_metrics"]
        metadata.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8", newline="\n")


def write_report(folder: Path, count: int = RESAMPLES) -> None:
    """Measure a run's files and write everything; the working directory is the bundle's.

    Parameters
    ----------
    folder, count
        See :func:`~scripts.evidence.measure.measure`.
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
