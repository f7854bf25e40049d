"""HTTPS before an archive, as hospitals have it: a front that ends TLS and hands the bytes on."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class _Front(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, context: ssl.SSLContext, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context, self.target = context, target


class _Connection(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        # Whoever distrusts the certificate, or has none of his own, leaves during the handshake.
        with (
            suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self.server.target)) as archive,
        ):
            back = threading.Thread(target=_hand_on, args=(archive, client), daemon=True)
            back.start()
            _hand_on(client, archive)
            back.join()


def _hand_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def https_before(target: int, context: ssl.SSLContext) -> Iterator[str]:
    """Answer by HTTPS for the server at a port of this machine; yield the root of its addresses."""
    with _Front(context, target) as front:
        threading.Thread(target=front.serve_forever, args=(0.1,), daemon=True).start()
        yield f"https://127.0.0.1:{front.server_address[1]}"
        front.shutdown()
