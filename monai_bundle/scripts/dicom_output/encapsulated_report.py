"""A printed document inside DICOM: an Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian

from scripts.dicom_output.identity import Identity, Program


@dataclass(frozen=True)
class DocumentSeries:
    """The series of one document, and what it is called.

    Attributes
    ----------
    study_uid, series_uid, instance_uid : UID
        The study's own; new ones of series and document.
    number : int
        Series Number (0020,0011).
    description : str
        Series Description (0008,103E): what a list of series shows.
    title : str
        Document Title (0042,0010).
    """

    study_uid: UID
    series_uid: UID
    instance_uid: UID
    number: int
    description: str
    title: str


class EncapsulatedPDF(hd.SOPClass):
    """A PDF in the study that it is about; highdicom has no class for it.

    Parameters
    ----------
    pdf : bytes
        The document; without an even length, which values have (PS3.5 section 7.1.1), it is padded.
    series : DocumentSeries
        Where it belongs.
    program : Program
        What made it.
    images : iterable of Dataset
        What it was derived from: SOP Class and SOP Instance UID; each is referred to once.
    """

    def __init__(self, pdf: bytes, series: DocumentSeries, program: Program, images: Iterable[Dataset]) -> None:
        super().__init__(
            study_instance_uid=str(series.study_uid),
            series_instance_uid=series.series_uid,
            series_number=series.number,
            sop_instance_uid=series.instance_uid,
            sop_class_uid=EncapsulatedPDFStorage,
            instance_number=1,
            modality="DOC",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description=series.description,
            **program,
        )
        self.ConversionType = "WSD"
        self.AcquisitionDateTime = ""
        self.BurnedInAnnotation = "NO"
        self.DocumentTitle = series.title
        self.ConceptNameCodeSequence = DicomSequence()
        self.VerificationFlag = "UNVERIFIED"
        self.SourceInstanceSequence = DicomSequence(_references(images))
        self.MIMETypeOfEncapsulatedDocument = "application/pdf"
        self.EncapsulatedDocumentLength = len(pdf)
        self.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)


def encapsulated_report(identity: Identity, pdf: bytes) -> EncapsulatedPDF:
    """Return the printed report of a result as an object of its study."""
    source = identity.source
    series = DocumentSeries(
        study_uid=UID(source.first.StudyInstanceUID),
        series_uid=identity.uid("report", "series"),
        instance_uid=identity.uid("report", "instance"),
        number=9905,
        description="ICHDiagnosis report (research use only)",
        title="ICHDiagnosis report, research use only",
    )
    return EncapsulatedPDF(pdf, series, identity.equipment(), source.instances)


def _references(images: Iterable[Dataset]) -> list[Dataset]:
    references = {}
    for image in images:
        reference = Dataset()
        reference.ReferencedSOPClassUID = image.SOPClassUID
        reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
        references[str(image.SOPInstanceUID)] = reference
    return list(references.values())
