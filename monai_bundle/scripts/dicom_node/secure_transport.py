"""TLS by certificates on both sides (PS3.15, B.9): who has none of a trusted authority is not connected."""

from __future__ import annotations

import ssl

from scripts.dicom_node.settings import Certificates
from scripts.messages import ExpectedError


def server_context(files: Certificates) -> ssl.SSLContext:
    """Return what the node's own port answers with: TLS 1.2 or newer, and a certificate asked of each sender.

    Raises
    ------
    ExpectedError
        If the certificate, its key or the authorities cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, files)


def client_context(files: Certificates) -> ssl.SSLContext:
    """Return what objects are sent with: the peer's certificate must be trusted and name its host.

    Raises
    ------
    ExpectedError
        As :func:`server_context`.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _loaded(context: ssl.SSLContext, files: Certificates) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a callback OpenSSL would ask the terminal for the password of an encrypted key, and wait.
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
        context.load_verify_locations(files.trusted)
    except (ssl.SSLError, OSError) as error:
        raise ExpectedError("node.certificates", fault=getattr(error, "reason", None) or type(error).__name__) from None
    return context
