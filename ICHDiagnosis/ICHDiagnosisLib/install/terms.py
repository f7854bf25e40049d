"""The terms on which the weights may be used, and whether the user has accepted them. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path

from ..bundle.location import METADATA_FILE

ACCEPTED_TERMS_SETTING = "ICHDiagnosis/AcceptedTerms"
"""Setting of the application that holds the terms which the user accepted: others are asked for again."""


def weights_terms(bundle_root: Path) -> str:
    """Return the terms of the bundle's weights, for example ``"non-commercial research and education"``.

    Parameters
    ----------
    bundle_root : Path
        Folder of the bundle.

    Returns
    -------
    str
        Key ``terms`` of its metadata; empty where the weights carry none, or there is no such file.
    """
    try:
        metadata = json.loads((bundle_root / METADATA_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(metadata.get("terms") or "") if isinstance(metadata, dict) else ""
