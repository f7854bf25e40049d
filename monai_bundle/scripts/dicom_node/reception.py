"""The node's port: C-ECHO, and C-STORE of CT images, for senders on the list alone."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
from socketserver import BaseServer
from typing import Any
from weakref import WeakSet

from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
    UncompressedTransferSyntaxes,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import A_RELEASE_RQ
from pynetdicom.transport import ThreadedAssociationServer

from scripts.dicom_node.commitment import PUSH_MODEL, SYNTAXES, CommitmentReports
from scripts.dicom_node.identity import fault_of, short
from scripts.dicom_node.received import CT_CLASSES, NotAnImageError, ReceivedStudies, StorageFullError
from scripts.dicom_node.secure_transport import server_context
from scripts.dicom_node.settings import NodeSettings
from scripts.dicom_node.study_queue import StudyQueue
from scripts.messages import ExpectedError

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, FAILURE = 0x0000, 0xA700, 0xC000, 0xC001
"""Status of C-STORE (PS3.4, table B.2-1); the last is one of the range of 0xC000."""

_SYNTAXES = [
    *UncompressedTransferSyntaxes,
    *JPEGTransferSyntaxes,
    *JPEGLSTransferSyntaxes,
    *JPEG2000TransferSyntaxes,
    *RLETransferSyntaxes,
]
_UNKNOWN_CALLER = (0x01, 0x01, 0x03)
"""Rejected permanently, by the service user, calling AE title not recognised (PS3.8, 9.3.4)."""

logger = logging.getLogger(__name__)


class ListedSendersServer(ThreadedAssociationServer):
    """Closes connections from addresses of nobody on the list unanswered, and lets no handshake hold up others."""

    addresses: frozenset[str] | None = None
    patience_seconds: float = 60.0

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its TLS handshake is left to its own thread."""
        connection, address = self.socket.accept()  # type: ignore[union-attr]
        connection.settimeout(self.patience_seconds)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401 - the base class's
        """Return whether a connection is answered at all."""
        known = self.addresses is None or _plain(client_address[0]) in self.addresses
        if not known:
            logger.warning("a connection from an address that is not on the list was closed")
        return known

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        """Complete the handshake, then begin the association; called in the connection's own thread."""
        if self.ssl_context is not None:
            try:
                request = self.ssl_context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError) as error:
                logger.warning("a connection without a trusted certificate was closed: %s", fault_of(error))
                request.close()
                return
        super().finish_request(request, client_address)

    def shutdown(self) -> None:
        """End the loop; pynetdicom's own looks for the server in a list that :meth:`AE.start_server` alone fills."""
        BaseServer.shutdown(self)


class Reception:
    """Receives images.

    Parameters
    ----------
    settings : NodeSettings
        Port, title, TLS and the list of callers.
    received : ReceivedStudies
        Keeps the images.
    queue : StudyQueue
        Is told of senders that broke off.
    """

    def __init__(self, settings: NodeSettings, received: ReceivedStudies, queue: StudyQueue) -> None:
        self._settings = settings
        self._received = received
        self._queue = queue
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._arriving: dict[Association, set[str]] = {}
        self._released: WeakSet[Association] = WeakSet()
        self._reports = CommitmentReports(queue)
        self._server: ThreadedAssociationServer | None = None

    @property
    def port(self) -> int:
        """The port that is listened at: the settings' own, or a free one where that is 0."""
        return int(self._server.server_address[1]) if self._server else self._settings.port

    def arriving(self) -> set[str]:
        """Return the keys of studies that open associations have brought images of."""
        with self._lock:
            return set().union(*self._arriving.values())

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises
        ------
        ExpectedError
            If the port is taken or the certificates cannot be used.
        """
        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.maximum_associations = settings.most_associations
        entity.require_called_aet = True
        # An empty list would admit everybody: without callers nobody is listened to (see Node).
        entity.require_calling_aet = sorted({caller.ae_title for caller in settings.callers})
        entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = settings.wait.network
        entity.add_supported_context(VERIFICATION)
        others = (str(context.abstract_syntax) for context in AllStoragePresentationContexts)
        for sop_class in {*CT_CLASSES, *(others if settings.discard_others else ())}:
            entity.add_supported_context(sop_class, _SYNTAXES)
        if settings.send_to is not None and settings.send_to.commitment:
            # A peer that reports is the provider of the service, and the one that calls.
            entity.add_supported_context(PUSH_MODEL, list(SYNTAXES), scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._check_caller),
            (evt.EVT_REJECTED, _log_rejected),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_N_EVENT_REPORT, self._reports.handle),
            (evt.EVT_PDU_RECV, self._note_release),
            (evt.EVT_RELEASED, self._end),
            (evt.EVT_ABORTED, self._end),
            (evt.EVT_CONN_CLOSE, self._end),
        ]
        context = server_context(settings.tls) if settings.tls else None
        try:
            self._server = entity.make_server(
                (settings.host, settings.port),
                ssl_context=context,
                evt_handlers=handlers,
                server_class=ListedSendersServer,
            )
        except OSError as error:
            raise ExpectedError("node.port", host=settings.host, port=settings.port, fault=error.strerror) from None
        self._server.addresses = _addresses(settings)  # type: ignore[attr-defined]
        self._server.patience_seconds = settings.wait.network  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="reception", daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and break off what is under way: its senders send it again."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort()
        self._server = None

    def _check_caller(self, event: Event) -> None:
        """Reject a title that calls from another address than its own; titles on no list pynetdicom rejects."""
        asked = event.assoc.requestor
        title = str(asked.primitive.calling_ae_title).strip()  # type: ignore[union-attr]
        address = _plain(str(asked.address))
        callers = [caller for caller in self._settings.callers if caller.ae_title == title]
        if callers and not any(caller.address is None or _plain(caller.address) == address for caller in callers):
            event.assoc.acse.send_reject(*_UNKNOWN_CALLER)
            _log_rejected(event)
            event.assoc.kill()

    def _store(self, event: Event) -> int:
        if event.request.AffectedSOPClassUID not in CT_CLASSES:
            # Reports and other series of a study that is sent whole, the node's own objects among them.
            return SUCCESS
        try:
            study = self._received.add(event.encoded_dataset())
        except StorageFullError:
            logger.error("an image was refused: the disk is full")
            return OUT_OF_RESOURCES
        except NotAnImageError:
            logger.warning("an image was refused: it cannot be read, or names no study")
            return CANNOT_UNDERSTAND
        # Whatever else it is, the sender has to know that the image was not kept.
        except Exception as error:
            logger.error("an image was not kept: %s", fault_of(error))
            return FAILURE
        with self._lock:
            self._arriving.setdefault(event.assoc, set()).add(study)
        return SUCCESS

    def _note_release(self, event: Event) -> None:
        """Note that a sender says it has sent all.

        pynetdicom tells of the release and of the connection's end in threads of their own: on a busy machine the end
        comes first, and a sender that has taken its leave would look like one that broke off.
        """
        if isinstance(event.pdu, A_RELEASE_RQ):
            with self._lock:
                self._released.add(event.assoc)

    def _end(self, event: Event) -> None:
        # Of one association several events come, and from two threads at once.
        with self._ending:
            while study := self._still_arriving(event.assoc):
                try:
                    # Before the study counts as arrived: the node may settle what has arrived at any moment.
                    if event.assoc not in self._released:
                        logger.warning("study %s: its sender broke off", short(study))
                        self._queue.wait_for_rest(study, self._settings.wait.interrupted)
                finally:
                    with self._lock:
                        self._arriving[event.assoc].discard(study)

    def _still_arriving(self, association: Association) -> str | None:
        """Return a study of an association; its last image may be stored while others are dealt with."""
        with self._lock:
            studies = self._arriving.get(association, set())
            if not studies:
                self._arriving.pop(association, None)
            return next(iter(studies), None)


def _log_rejected(event: Event) -> None:
    # Not the title: whoever calls chooses it, and it stays out of the log.
    logger.warning("an association was rejected")


def _addresses(settings: NodeSettings) -> frozenset[str] | None:
    """Return the addresses that are answered, None where some caller may have any."""
    if any(caller.address is None for caller in settings.callers):
        return None
    return frozenset(_plain(str(caller.address)) for caller in settings.callers)


def _plain(address: str) -> str:
    """Return an address in one form, IPv4 within IPv6 as IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
