"""Write the worklist of result folders that are there, also while a triage is still under way.

python -m scripts.worklist --results FOLDER
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.messages import ENGLISH, ExpectedError, message
from scripts.worklist.page import PAGE_FILE, write_worklist

WRITTEN, FAILED = 0, 1

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the worklist; return 0, or 1 where it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m scripts.worklist", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="folder of result folders")
    parser.add_argument("--language", default=ENGLISH, help="of the page")
    options = parser.parse_args(arguments)
    if not options.results.is_dir():
        logger.error("%s", message("worklist.no_folder", folder=options.results))
        return FAILED
    try:
        entries = write_worklist(options.results, options.language)
    except ExpectedError as error:
        logger.error("%s", error)
        return FAILED
    except OSError as error:
        logger.error("%s", message("worklist.not_written", fault=error.strerror or error))
        return FAILED
    logger.info("%s", message("worklist.written", studies=len(entries), page=options.results / PAGE_FILE))
    return WRITTEN


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sys.exit(main())
