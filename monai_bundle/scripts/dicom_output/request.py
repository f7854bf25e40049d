"""What goes before any DICOM object: the named error, and whether the optional packages are there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from scripts.messages import ExpectedError

FOLDER = "dicom"
"""Name of the folder of DICOM objects inside a result folder."""

_PACKAGES = {"highdicom": "highdicom", "fpdf2": "fpdf"}
"""Name to install, and to import, of what the extra ``dicom`` of pyproject.toml holds."""


class DicomOutputError(ExpectedError):
    """No DICOM object can be written; the message is one line that names the fault and the remedy.

    Parameters
    ----------
    code : str
        Name in the catalogue's section ``dicom_output``, e.g. ``"no_dicom"``.
    **values
        One per placeholder of its text.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        super().__init__(f"dicom_output.{code}", **values)


def require_packages() -> None:
    """Check that the optional packages can be imported, without importing them.

    Raises
    ------
    DicomOutputError
        If one is missing; it says what to install.
    """
    missing = [name for name, module in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise DicomOutputError("packages", packages=" ".join(missing))
