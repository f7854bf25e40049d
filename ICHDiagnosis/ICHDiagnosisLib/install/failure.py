"""What an installation failed of, read from pip's own words. Pure functions; standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
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
    if _has(text, "ProxyError", "Cannot connect to proxy", "Tunnel connection failed", "Proxy Authentication"):
        return InstallationError("install.proxy", text, name=name, proxy=proxy_name(environment))
    if _has(text, "CERTIFICATE_VERIFY_FAILED", "SSLCertVerificationError", "SSLError"):
        return InstallationError("install.certificate", text, name=name)
    if _has(text, "No space left on device", r"\[Errno 28\]", r"\[WinError 112\]"):
        return InstallationError("install.disk_full", text, name=name)
    if _has(text, r"\[WinError 206\]", "enable-long-paths", "Long Path support"):
        return InstallationError("install.long_paths", text, name=name)
    if _has(text, r"\[WinError 5\]", r"\[WinError 32\]", "Access is denied", "being used by another process"):
        return InstallationError("install.in_use", text, name=name)
    if _has(text, r"\[Errno 13\]", r"\[Errno 30\]", "Permission denied", "Read-only file system"):
        return InstallationError("install.not_writable", text, name=name)
    if _has(text, "ResolutionImpossible", "conflicting dependencies", "contradictory"):
        return InstallationError("install.conflict", text, name=name)
    if _has(text, *_NO_NETWORK):
        return InstallationError("install.no_network", text, name=name)
    errors = [line for line in log if line.startswith("ERROR:")] or [line for line in log if line.strip()]
    error = errors[-1].removeprefix("ERROR:").strip() if errors else message("device.no_message")
    return InstallationError("install.failed", text, name=name, error=error)


_NO_NETWORK = (
    "NewConnectionError",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "getaddrinfo failed",
    "Network is unreachable",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Read timed out",
    "Connection refused",
    "Max retries exceeded",
    "ConnectionResetError",
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


def _has(text: str, *patterns: str) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)
