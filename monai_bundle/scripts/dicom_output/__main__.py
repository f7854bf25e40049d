"""DICOM objects of a finished result, written beside it or into another folder.

    python -m scripts.dicom_output RESULT SERIES [--output FOLDER] [--language en]

``RESULT`` is a result folder, ``SERIES`` the folder (or zip) with the original images of the series that was read. Ends
with 0 where all objects were written, with 1 and one line where none was, with 130 where it was cancelled.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.dicom_output.request import FOLDER, require_packages
from scripts.messages import ENGLISH, ExpectedError, message

WRITTEN, FAILED, CANCELLED = 0, 1, 130

logger = logging.getLogger(__name__)


def export(result: Path, series: Path, output: Path, language: str = ENGLISH) -> int:
    """Write the objects of a finished result, all or none; an earlier export in the same place is replaced.

    Parameters
    ----------
    result, series : Path
        Result folder; original images.
    output : Path
        Folder of the objects; made new.
    language : str
        Language of the printed report's headings.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    ExpectedError
        If packages are missing, the result or the series cannot be used, or the folder cannot be written.
    """
    require_packages()
    from scripts.dicom_output.finished_result import read_finished  # noqa: PLC0415 - each takes its time to import

    finished = read_finished(result)
    from scripts.dicom_output.export import dicom_files, write_files  # noqa: PLC0415 - optional packages
    from scripts.intake.discovery import find_studies  # noqa: PLC0415
    from scripts.output.folder import whole_folder  # noqa: PLC0415

    headers = [header for source in find_studies(series) for header in source.headers]
    files = dicom_files(finished, headers, language)
    with whole_folder(output.parent, output.name, replaces=holds_objects_alone) as folder:
        write_files(files, folder)
    return len(files)


def holds_objects_alone(folder: Path) -> bool:
    """Whether a folder holds nothing but what an earlier export wrote."""
    return all(path.suffix == ".dcm" and path.is_file() for path in folder.iterdir())


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the command line asks; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.dicom_output", description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="result folder")
    parser.add_argument("series", type=Path, help="folder or zip of the original images")
    parser.add_argument("--output", type=Path, help="folder of the objects; RESULT/dicom unless given")
    parser.add_argument("--language", default=ENGLISH, help="of the printed report's headings")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output = (options.output or options.result / FOLDER).absolute()
    try:
        count = export(options.result.absolute(), options.series, output, options.language)
    except ExpectedError as error:
        logger.error("%s", error)
        return FAILED
    except KeyboardInterrupt:
        logger.warning(message("run.cancelled"))
        return CANCELLED
    logger.info(message("dicom_output.written", count=count, name=output.name))
    return WRITTEN


if __name__ == "__main__":
    sys.exit(main())
