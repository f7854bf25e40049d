"""Who made the objects, and their unique identifiers.

Identifiers are derived from what is exported, never random and never the source's: the same result gives the same
objects, byte for byte, so that an archive which receives them twice holds them once; a new run of the same study gives
new ones. They are UUIDs (PS3.5 section B.2) by name (RFC 9562, version 5).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TypedDict

import highdicom as hd
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from scripts.dicom_output.finished_result import FinishedResult
from scripts.dicom_output.source_series import SourceSeries

_NAMESPACE = uuid.UUID("7d5b2f0e-3f0c-5a43-9d4f-6a9c1c6f2b11")
EXPORTER = "1"
"""Changes whenever the same result gives other objects."""

LONGEST_TEXT = 64
"""Characters of a Long String, LO (PS3.5, table 6.2-1)."""

MANUFACTURER = "ICHDiagnosis developers"
UNTRAINED = "no trained weights"


class Program(TypedDict):
    """Keyword arguments of highdicom's objects that name the equipment (General Equipment Module, PS3.3 C.7.5.1)."""

    manufacturer: str
    manufacturer_model_name: str
    software_versions: str


class Equipment(Program):
    """The same, of a network with its weights."""

    device_serial_number: str


@dataclass(frozen=True)
class Identity:
    """Equipment and identifiers of the objects of one result.

    Attributes
    ----------
    result : FinishedResult
        What is exported.
    source : SourceSeries
        What the objects refer to.
    """

    result: FinishedResult
    source: SourceSeries

    def uid(self, *name: str) -> UID:
        """Return the identifier of one object or part of it, the same for the same result."""
        series = str(self.source.first.SeriesInstanceUID)
        state = (EXPORTER, hd.__version__, series, self.result.digest, self.result.written.isoformat())
        return named_uid(*state, *name)

    @property
    def model_name(self) -> str:
        """Name of the model and its network, e.g. ``"ICHDiagnosis DrCT2"``."""
        model = self.result.document["model"]
        return f"{model['name']} {model['network']}"[:LONGEST_TEXT]

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return str(self.result.document["model"]["version"])

    @property
    def serial_number(self) -> str:
        """SHA-256 of the weights: 64 characters, as many as Device Serial Number (0018,1000) holds."""
        return self.result.weights_sha256 or UNTRAINED

    @property
    def device_uid(self) -> UID:
        """Device UID (0018,1002) of the observer: of this model with these weights."""
        return named_uid("device", self.model_name, self.version, self.serial_number)

    @property
    def parameters(self) -> dict[str, str]:
        """What else a reader needs to tell this algorithm from another."""
        return {
            "weights_sha256": self.serial_number,
            "operating_point": str(self.result.document["operating_point"]),
            "use": "research use only",
        }

    def equipment(self) -> Equipment:
        """Return the keyword arguments of highdicom's objects that name the equipment."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.model_name,
            "software_versions": self.version,
            "device_serial_number": self.serial_number,
        }

    def algorithm(self) -> hd.AlgorithmIdentificationSequence:
        """Return the Algorithm Identification Macro (PS3.3, table 10-19)."""
        return hd.AlgorithmIdentificationSequence(
            name=self.model_name,
            family=codes.DCM.ArtificialIntelligence,
            version=self.version,
            source=MANUFACTURER,
            parameters=self.parameters,
        )

    def observer(self) -> hd.sr.ObserverContext:
        """Return the device as observer (TID 1002, 1004)."""
        return hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=self.device_uid,
                name="ICHDiagnosis",
                manufacturer_name=MANUFACTURER,
                model_name=self.model_name,
                serial_number=self.serial_number,
            ),
        )


def named_uid(*name: str) -> UID:
    """Return the identifier that follows from a name: the same for the same name."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(name)).int}")
