"""A shown result as DICOM objects: into a folder, and from there into Slicer's DICOM database. No Qt.

Usage, from a panel::

    export.start(input_node, result_folder, chosen_folder, into_database=True)
    ...
    ending = export.poll()                  # from a timer, every 100 ms or so
    if ending is not None:
        show(ending.text)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import slicer

from .analysis import CannotStartError, PackagesMissingError
from .bundle.command import BundleMissingError
from .bundle.dicom_process import DicomProcess
from .bundle.exit_status import Ending
from .bundle.input_folder import TemporaryInputFolder
from .bundle.process import AlreadyRunningError, ProcessStartError
from .install.requirements import DICOM_REQUIREMENTS_FILE, MissingPackage, find_missing, read_requirements
from .messages import message
from .scene.volume_input import FileDatabase, link_original_files

FindMissing = Callable[[], tuple[MissingPackage, ...]]
Import = Callable[[Path], None]

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportEnding:
    """How an export ended: what to tell the user, and the folder of the objects where there is one."""

    text: str
    folder: Path | None = None


def missing_for_dicom() -> tuple[MissingPackage, ...]:
    """Return the packages that exporting as DICOM needs and that are not there."""
    return find_missing(read_requirements(DICOM_REQUIREMENTS_FILE))


def import_into_database(folder: Path) -> None:
    """Copy the objects of a folder into Slicer's DICOM database, beside the study that they belong to."""
    from DICOMLib import DICOMUtils  # noqa: PLC0415 - part of the application

    DICOMUtils.importDicom(str(folder), slicer.dicomDatabase, copyFiles=True)


class DicomExport:
    """Exports one result at a time.

    Parameters
    ----------
    process : DicomProcess
        Writes the objects.
    database : FileDatabase or None
        Finds the original files (``slicer.dicomDatabase``).
    find_missing : callable
        Returns the packages that are missing.
    import_objects : callable
        Takes a folder of objects into the DICOM database.
    """

    def __init__(
        self,
        process: DicomProcess,
        database: FileDatabase | None,
        find_missing: FindMissing = missing_for_dicom,
        import_objects: Import = import_into_database,
    ) -> None:
        self._process = process
        self._database = database
        self._find_missing = find_missing
        self._import = import_objects
        self._originals: TemporaryInputFolder | None = None
        self._output = Path()
        self._into_database = False

    @property
    def running(self) -> bool:
        """Whether an export has been started and its ending not yet reported."""
        return self._process.running

    @property
    def has_database(self) -> bool:
        """Whether there is a DICOM database to import into."""
        return self._database is not None

    def start(
        self, input_node: slicer.vtkMRMLScalarVolumeNode, result: Path, chosen: Path, into_database: bool = False
    ) -> Path:
        """Start an export into a folder of its own inside the chosen one; return that folder.

        Raises
        ------
        PackagesMissingError
            If packages must be installed first.
        CannotStartError
            If the volume's original files are not there, or the process cannot be started.
        """
        packages = self._find_missing()
        if packages:
            raise PackagesMissingError(packages)
        originals = TemporaryInputFolder()
        try:
            if not link_original_files(input_node, originals.path, self._database):
                raise CannotStartError("dicom.no_original_files")
            self._output = chosen / _UNSAFE.sub("_", f"{result.name} DICOM")
            self._process.start(result, originals.path, self._output)
        except OSError as error:
            originals.remove()
            raise CannotStartError("input.not_written", error=error.strerror or error) from error
        except (BundleMissingError, AlreadyRunningError, ProcessStartError) as error:
            originals.remove()
            raise CannotStartError(error.code, **error.values) from error
        except CannotStartError:
            originals.remove()
            raise
        self._originals, self._into_database = originals, into_database
        return self._output

    def poll(self) -> ExportEnding | None:
        """Return how the export ended, once; the objects are in the database then, if that was asked for."""
        outcome = self._process.poll()
        if outcome is None:
            return None
        self._clear_up()
        if outcome.ending is not Ending.EVALUATED:
            return ExportEnding(message("dicom.failed", reason=outcome.message))
        return ExportEnding(self._imported(), self._output)

    def close(self) -> None:
        """End the export, if there is one, and wait for that."""
        self._process.close()
        self._clear_up()

    def _imported(self) -> str:
        count = len(list(self._output.glob("*.dcm")))
        if not self._into_database:
            return message("dicom.written", count=count, folder=self._output)
        try:
            self._import(self._output)
        except Exception as error:
            # Whatever the application's importer raises: the objects are there, and can be imported by hand.
            _log.warning("the DICOM objects were not imported: %s", type(error).__name__)
            return message("dicom.not_imported", count=count, folder=self._output)
        return message("dicom.imported", count=count, folder=self._output)

    def _clear_up(self) -> None:
        if self._originals is not None:
            self._originals.remove()
            self._originals = None
