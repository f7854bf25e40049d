"""What a printed document inside DICOM says."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pydicom.dataset import Dataset


def text_of(document: Dataset, folder: Path) -> str:
    """What an Encapsulated PDF says, its lines joined."""
    (folder / "document.pdf").write_bytes(document.EncapsulatedDocument[: document.EncapsulatedDocumentLength])
    command = ["pdftotext", "-layout", str(folder / "document.pdf"), "-"]
    return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
