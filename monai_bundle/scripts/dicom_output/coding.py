"""Codes of a result as DICOM's objects hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes

from scripts.labels import OWN_SCHEME

CATEGORY = codes.SCT.MorphologicallyAbnormalStructure
PROCEDURE = codes.SCT.ComputedTomographyOfHead

QUANTITIES = {
    "gradcam": codes.DCM.GradientWeightedClassActivation,
    "gradcam++": codes.DCM.GradientWeightedClassActivation,
    "slice_gradcam": codes.DCM.GradientWeightedClassActivation,
}
"""What a map's values are, by its kind (CID 7180); another method is a visual explanation of some kind."""
OTHER_EXPLANATION = codes.DCM.Saliency

Stated = Mapping[str, str]
"""A code of ``result.json``: scheme, value, meaning."""


def concept(code: Stated) -> hd.sr.CodedConcept:
    """Return a code of the result."""
    return hd.sr.CodedConcept(code["value"], code["scheme"], code["meaning"])


def sites(code: Mapping[str, Stated]) -> list[hd.sr.FindingSite]:
    """Return where a finding lies, with the side of the region where that is stated."""
    modifier = code.get("region_modifier")
    return [
        hd.sr.FindingSite(
            anatomic_location=concept(code["region"]), topographical_modifier=concept(modifier) if modifier else None
        )
    ]


def own_scheme(findings: Iterable[Mapping[str, Any]]) -> list[CodingSchemeIdentificationItem] | None:
    """Return the item that describes our own coding scheme (PS3.3, table C.12-1); None where no finding needs it."""
    if not any(finding["code"]["finding"]["scheme"] == OWN_SCHEME for finding in findings):
        return None
    return [
        CodingSchemeIdentificationItem(
            designator=OWN_SCHEME, name="ICHDiagnosis findings", responsible_organization="ICHDiagnosis developers"
        )
    ]
