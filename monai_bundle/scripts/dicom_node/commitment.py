"""Storage commitment (PS3.4, annex J): a peer is asked to take charge of objects, and reports later which it keeps."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt

from scripts.dicom_node.identity import fault_of, short
from scripts.dicom_node.sending import PeerDestination, RefusedError, UnavailableError
from scripts.dicom_node.study_queue import StudyQueue

PUSH_MODEL, PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
"""SOP class and well-known SOP instance (PS3.4, J.3.5)."""

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_REQUEST = 1
_SUCCESS, _PROCESSING_FAILURE, _INVALID_ARGUMENT = 0x0000, 0x0110, 0x0115
"""Status of N-EVENT-REPORT and N-ACTION (PS3.7, annex C)."""

logger = logging.getLogger(__name__)


def new_request() -> UID:
    """Return a Transaction UID (0008,1195) that no other request has."""
    return UID(f"2.25.{uuid.uuid4().int}")


def instance_of(file: Path) -> str:
    """Return the SOP Instance UID of a DICOM file."""
    return str(read_file_meta_info(file).MediaStorageSOPInstanceUID)


class CommitmentReports:
    """Notes the reports that come, on the node's own port or within the association that asked for them.

    Parameters
    ----------
    queue : StudyQueue
        Knows what was asked.
    """

    def __init__(self, queue: StudyQueue) -> None:
        self._queue = queue

    def handle(self, event: evt.Event) -> tuple[int, None]:
        """Note one N-EVENT-REPORT (PS3.4, J.3.3); return its status."""
        try:
            report = event.event_information
            kept, failed = (_instances(report.get(name)) for name in ("ReferencedSOPSequence", "FailedSOPSequence"))
            study = self._queue.note_report(str(report.TransactionUID), kept, failed)
        # Whatever else it is, the archive has to know that its report was not taken.
        except Exception as error:
            logger.error("a commitment report was not taken: %s", fault_of(error))
            return _PROCESSING_FAILURE, None
        if study is None:
            logger.warning("a commitment report answers nothing that was asked")
            return _INVALID_ARGUMENT, None
        logger.info("study %s: %d objects committed, %d not", short(study), len(kept), len(failed))
        return _SUCCESS, None


class PeerCommitment:
    """Asks a peer for commitment.

    Parameters
    ----------
    peer : PeerDestination
        Has the objects.
    reports : CommitmentReports
        Takes a report that comes at once.
    """

    def __init__(self, peer: PeerDestination, reports: CommitmentReports) -> None:
        self._peer = peer
        self._reports = reports

    def ask(self, request: UID, files: Sequence[Path]) -> None:
        """Ask by N-ACTION (PS3.4, J.3.2) whether the peer keeps some files; what it keeps it reports later.

        Raises
        ------
        UnavailableError
            If the peer does not answer or rejects the association.
        RefusedError
            If it offers no storage commitment, or does not take the request.
        """
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._reports.handle)]
        association = self._peer.associated([(PUSH_MODEL, syntax) for syntax in SYNTAXES], handlers)
        try:
            status, _ = association.send_n_action(_request(request, files), _REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        except ValueError as error:
            raise RefusedError("no_storage_commitment") from error
        except RuntimeError as error:
            raise UnavailableError("association_lost") from error
        finally:
            if association.is_established:
                association.release()
        if "Status" not in status:
            raise UnavailableError("association_lost")
        if int(status.Status) != _SUCCESS:
            raise RefusedError(f"commitment_status_{int(status.Status):04x}")


def _request(request: UID, files: Sequence[Path]) -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = request
    dataset.ReferencedSOPSequence = []
    for file in files:
        meta, reference = read_file_meta_info(file), Dataset()
        reference.ReferencedSOPClassUID = meta.MediaStorageSOPClassUID
        reference.ReferencedSOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.ReferencedSOPSequence.append(reference)
    return dataset


def _instances(references: Sequence[Dataset] | None) -> list[str]:
    return [str(reference.ReferencedSOPInstanceUID) for reference in references or ()]
