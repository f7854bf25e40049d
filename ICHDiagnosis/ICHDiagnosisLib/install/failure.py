"""What an installation failed of, read from pip's own words. Pure functions; standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from ..messages import MessageError, message


class InstallationError(MessageError):
    """An installation failed; nothing was tried after it.

    Attributes
    ----------
    log : str
        The output of pip.
    """

    def __init__(self, code: str, log: str, **values: object) -> None:
        super().__init__(code, **values)
        self.log = log


def explain_failure(name: str, log: Sequence[str], environment: Mapping[str, str] = os.environ) -> InstallationError:
    """Find in pip's output why an installation failed.

    Parameters
    ----------
    name : str
        What was being installed.
    log : sequence of str
        Lines of pip's output.
    environment : mapping of str to str
        The environment that pip ran in: it may name a proxy.

    Returns
    -------
    InstallationError
        With a message that states cause and remedy; where none is known, pip's last error.
    """
    text = "\n".join(log)
    if _has(text, _PROXY):
        return InstallationError("install.proxy", text, name=name, proxy=proxy_name(environment))
    for patterns, error in _CAUSES:
        if _has(text, patterns):
            return error(text, name)
    errors = [line for line in log if line.startswith("ERROR:")] or [line for line in log if line.strip()]
    last = errors[-1].removeprefix("ERROR:").strip() if errors else message("device.no_message")
    return InstallationError("install.failed", text, name=name, error=last)


_PROXY = ("ProxyError", "Cannot connect to proxy", "Tunnel connection failed", "Proxy Authentication")
# The first that fits is the cause: an error of the connection also brings that of what then was not found.
_CAUSES: tuple[tuple[tuple[str, ...], Callable[[str, str], InstallationError]], ...] = (
    (
        ("CERTIFICATE_VERIFY_FAILED", "SSLCertVerificationError", "SSLError"),
        lambda log, name: InstallationError("install.certificate", log, name=name),
    ),
    (
        ("No space left on device", r"\[Errno 28\]", r"\[WinError 112\]"),
        lambda log, name: InstallationError("install.disk_full", log, name=name),
    ),
    (
        (r"\[WinError 206\]", "enable-long-paths", "Long Path support"),
        lambda log, name: InstallationError("install.long_paths", log, name=name),
    ),
    (
        (r"\[WinError 5\]", r"\[WinError 32\]", "Access is denied", "being used by another process"),
        lambda log, name: InstallationError("install.in_use", log, name=name),
    ),
    (
        (r"\[Errno 13\]", r"\[Errno 30\]", "Permission denied", "Read-only file system"),
        lambda log, name: InstallationError("install.not_writable", log, name=name),
    ),
    (
        ("ResolutionImpossible", "conflicting dependencies", "contradictory"),
        lambda log, name: InstallationError("install.conflict", log, name=name),
    ),
    (
        (
            *("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ReadTimeoutError", "Read timed out"),
            *("Temporary failure in name resolution", "getaddrinfo failed", "Network is unreachable"),
            *("Connection refused", "ConnectionResetError", "Max retries exceeded"),
        ),
        lambda log, name: InstallationError("install.no_network", log, name=name),
    ),
)


def proxy_name(environment: Mapping[str, str]) -> str:
    """Return the proxy that an environment names, without the user's name and password in it."""
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY", "PIP_PROXY"):
        value = environment.get(variable, "")
        if value:
            parts = urlsplit(value if "//" in value else f"//{value}")
            try:
                return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
            except ValueError:
                return str(parts.hostname)
    return message("install.unnamed_proxy")


def _has(text: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
