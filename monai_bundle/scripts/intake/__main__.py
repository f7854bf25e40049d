"""Say which series of each study in a folder or file would be read, and why; nothing else is done.

    python -m scripts.intake --study FOLDER|FILE [--output FILE.json]

It ends with 0, or with 1 where no study is found.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.intake.discovery import StudySource, find_studies, read_study
from scripts.intake.study import IntakeError, NotEvaluableError

FOUND, FAILED = 0, 1

logger = logging.getLogger(__name__)


def choice_of(source: StudySource) -> dict[str, Any]:
    """Return which series of a study is read.

    Returns
    -------
    dict
        ``source_name``; ``series_uid`` (None where none is read, or the study is no DICOM); ``sentences``, one per
        series, and last the reason where none is read.
    """
    try:
        study = read_study(source)
    except NotEvaluableError as fault:
        sentences = [*map(str, fault.series_choice), str(fault.message)]
        return {"source_name": source.source_name, "series_uid": None, "sentences": sentences}
    provenance = study.provenance
    sentences = [str(sentence) for sentence in provenance.series_choice]
    return {"source_name": source.source_name, "series_uid": provenance.series_uid, "sentences": sentences}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and state the choice of every study; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.intake", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, required=True, help="folder or file")
    parser.add_argument("--output", type=Path, help="file for the answer as JSON; else it is logged")
    options = parser.parse_args(arguments)
    try:
        choices = [choice_of(source) for source in find_studies(options.study)]
    except IntakeError as error:
        logger.error("%s", error)
        return FAILED
    for choice in choices:
        logger.info("%s\n  %s", choice["source_name"], "\n  ".join(choice["sentences"]))
    if options.output is not None:
        options.output.write_text(json.dumps(choices), encoding="utf-8")
    return FOUND


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main())
