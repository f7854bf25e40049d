"""The printed report inside DICOM: an Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from scripts.dicom_output.identity import Identity


class EncapsulatedPDF(hd.SOPClass):
    """A PDF in the study that it reports on; highdicom has no class for it.

    Parameters
    ----------
    identity : Identity
        Who made it, and of what.
    pdf : bytes
        The document; without an even length, which values have (PS3.5 section 7.1.1), it is padded.
    """

    def __init__(self, identity: Identity, pdf: bytes) -> None:
        source = identity.source
        super().__init__(
            study_instance_uid=str(source.first.StudyInstanceUID),
            series_instance_uid=identity.uid("report", "series"),
            series_number=9905,
            sop_instance_uid=identity.uid("report", "instance"),
            sop_class_uid=EncapsulatedPDFStorage,
            instance_number=1,
            modality="DOC",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description="ICHDiagnosis report (research use only)",
            **identity.equipment(),
        )
        self.ConversionType = "WSD"
        self.AcquisitionDateTime = ""
        self.BurnedInAnnotation = "NO"
        self.DocumentTitle = "ICHDiagnosis report, research use only"
        self.ConceptNameCodeSequence = DicomSequence()
        self.VerificationFlag = "UNVERIFIED"
        self.SourceInstanceSequence = DicomSequence(_references(identity))
        self.MIMETypeOfEncapsulatedDocument = "application/pdf"
        self.EncapsulatedDocumentLength = len(pdf)
        self.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)


def _references(identity: Identity) -> list[Dataset]:
    references = {}
    for instance in identity.source.instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID = instance.SOPClassUID
        reference.ReferencedSOPInstanceUID = instance.SOPInstanceUID
        references[str(instance.SOPInstanceUID)] = reference
    return list(references.values())
