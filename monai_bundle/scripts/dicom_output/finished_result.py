"""A result folder that is finished, read back: its statements, and its maps as arrays."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from scripts.dicom_output.request import DicomOutputError
from scripts.output.folder import RESULT_FILE

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "result.schema.json"
REPORT_FILE = "report.html"

Document = dict[str, Any]


@dataclass(frozen=True)
class FinishedResult:
    """An evaluated study.

    Attributes
    ----------
    folder : Path
        Where its files lie.
    document : dict
        Content of ``result.json``, valid by its schema.
    """

    folder: Path
    document: Document

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns of the series that was read."""
        columns, rows, slices = self.document["study"]["shape"]
        return slices, rows, columns

    @property
    def findings(self) -> list[Document]:
        """One per label."""
        return list(self.document["findings"])

    @property
    def positive_keys(self) -> set[str]:
        """Keys of the labels at or above their threshold."""
        return {finding["key"] for finding in self.findings if finding["positive"]}

    @property
    def key_slices(self) -> list[Document]:
        """Entries of ``slices`` that are key slices, first rank first."""
        ranked = [entry for entry in self.document["slices"] if entry["key_rank"] is not None]
        return sorted(ranked, key=lambda entry: int(entry["key_rank"]))

    @property
    def stated_lesions(self) -> Document | None:
        """The lesions where a reader is told of them, else None."""
        lesions: Document | None = self.document.get("lesions")
        return lesions if lesions and lesions["stated"] else None

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the weights (of the first file by name), None where there were none."""
        digests: dict[str, str] = self.document["model"]["weights_sha256"]
        return digests[min(digests)] if digests else None

    @property
    def written(self) -> datetime:
        """When ``result.json`` was written, local time in whole seconds: the date of everything made of it."""
        return datetime.fromtimestamp(int((self.folder / RESULT_FILE).stat().st_mtime))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is exported: ``result.json``, the report and every map."""
        names = [RESULT_FILE, REPORT_FILE, *sorted(self._map_files())]
        return hashlib.sha256(b"".join(hashlib.sha256(self.content(name)).digest() for name in names)).hexdigest()

    def content(self, name: str) -> bytes:
        """Return the bytes of one of its files.

        Raises
        ------
        DicomOutputError
            If it is missing or no plain file of the folder.
        """
        path = self.folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            raise DicomOutputError("damaged_result", name=self.folder.name, file=name)
        return path.read_bytes()

    def voxels(self, name: str) -> NDArray[np.uint8]:
        """Return a map, uint8, shape (slices, rows, columns), as :mod:`scripts.output.map_files` wrote it.

        Raises
        ------
        DicomOutputError
            If the file is missing, damaged or of another shape.
        """
        try:
            image = nib.Nifti1Image.from_bytes(gzip.decompress(self.content(name)))
            stored = np.asarray(image.dataobj)
        except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
            raise DicomOutputError("damaged_result", name=self.folder.name, file=name) from error
        if stored.dtype != np.uint8 or stored.shape != self.shape[::-1]:
            raise DicomOutputError("damaged_result", name=self.folder.name, file=name)
        return stored.transpose(2, 1, 0)

    def _map_files(self) -> set[str]:
        lesions = self.document.get("lesions")
        names = {entry["file"] for entry in self.document["maps"]}
        return names | ({lesions["file"], lesions["subtypes_file"]} if lesions else set())


def read_finished(folder: Path) -> FinishedResult:
    """Read a result folder.

    Raises
    ------
    DicomOutputError
        If it is no result of this version, the study was not evaluated, or was not read from DICOM.
    """
    try:
        document = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DicomOutputError("no_result", name=folder.name) from error
    if not Draft202012Validator(schema).is_valid(document):
        raise DicomOutputError("no_result", name=folder.name)
    if document["status"] != "evaluated":
        raise DicomOutputError("not_evaluated", name=folder.name)
    if document["study"]["source_format"] != "dicom":
        raise DicomOutputError("no_dicom")
    return FinishedResult(folder, document)
