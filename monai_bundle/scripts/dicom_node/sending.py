"""Sending objects: by C-STORE to a peer, or by STOW to the archive. Sent twice, an object is the same object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, evt
from pynetdicom.association import Association

from scripts.dicom_node.secure_transport import client_context
from scripts.dicom_node.settings import Certificates, Peer

_STORED = (0x0000, 0x0107, 0xB000, 0xB006, 0xB007)
"""Success, and warnings with which the object was stored (PS3.4, table B.2-1; PS3.7, C.4.2)."""

logger = logging.getLogger(__name__)

Confirmed = Callable[[Path], None]
"""Is called for each file that the other side has confirmed."""


class UnavailableError(Exception):
    """Nobody takes anything at present: nothing is wrong with the object."""


class RefusedError(Exception):
    """The other side does not take this object; the text is a reason without any of its values."""


class Destination(Protocol):
    """Where objects go."""

    def send(self, files: Sequence[Path], confirmed: Confirmed) -> None:
        """Send files one after the other.

        Raises
        ------
        UnavailableError
            If the other side does not answer or rejects the association.
        RefusedError
            If it does not take an object.
        """


class PeerDestination:
    """A peer that takes C-STORE.

    Parameters
    ----------
    peer : Peer
        Its title, address, and whether by TLS.
    ae_title : str
        The node's own title.
    certificates : Certificates or None
        The node's own, for TLS.
    timeout : float
        Longest wait for an answer (s).
    """

    def __init__(self, peer: Peer, ae_title: str, certificates: Certificates | None, timeout: float) -> None:
        self._peer = peer
        self._ae_title = ae_title
        self._timeout = timeout
        self._context = client_context(certificates) if peer.tls and certificates else None

    def send(self, files: Sequence[Path], confirmed: Confirmed) -> None:
        """Send files within one association; see :meth:`Destination.send`."""
        association = self.associated({kind_of(file) for file in files})
        try:
            for file in files:
                self._send(association, file)
                confirmed(file)
        finally:
            if association.is_established:
                association.release()

    def associated(
        self, contexts: Collection[tuple[str, str]], handlers: Sequence[evt.EventHandlerType] = ()
    ) -> Association:
        """Begin an association with the peer.

        Parameters
        ----------
        contexts : collection of tuple of str
            SOP class and transfer syntax of each presentation context.
        handlers : sequence, optional
            Of events within the association.

        Raises
        ------
        UnavailableError
            If the peer does not answer or rejects it.
        """
        entity = AE(ae_title=self._ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._timeout
        entity.connection_timeout = self._timeout
        for sop_class, syntax in sorted(contexts):
            entity.add_requested_context(sop_class, syntax)
        peer, tls = self._peer, (self._context, self._peer.host) if self._context else None
        association = entity.associate(
            peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls, evt_handlers=list(handlers)
        )
        if not association.is_established:
            raise UnavailableError("rejected" if association.is_rejected else "no_answer")
        return association

    def _send(self, association: Association, file: Path) -> None:
        try:
            status = association.send_c_store(file)
        except ValueError as error:
            # No presentation context was accepted for this class and transfer syntax.
            raise RefusedError("class_not_accepted") from error
        except RuntimeError as error:
            raise UnavailableError("association_lost") from error
        if "Status" not in status:
            raise UnavailableError("association_lost")
        code = int(status.Status)
        if 0xA700 <= code <= 0xA7FF:
            raise UnavailableError("peer_out_of_resources")
        if code not in _STORED:
            raise RefusedError(f"status_{code:04x}")


def kind_of(file: Path) -> tuple[str, str]:
    """Return SOP class and transfer syntax of a DICOM file."""
    meta = read_file_meta_info(file)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


class ArchiveDestination:
    """An archive that takes STOW (:class:`scripts.dicom_node.archive.Archive`)."""

    def __init__(self, store: Callable[[Path], None]) -> None:
        self._store = store

    def send(self, files: Sequence[Path], confirmed: Confirmed) -> None:
        """Send files in one request each; see :meth:`Destination.send`."""
        for file in files:
            self._store(file)
            confirmed(file)
