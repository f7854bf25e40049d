"""Whatever an installation fails of, the user reads cause and remedy in one line, and keeps pip's log."""

from __future__ import annotations

import pytest

from ICHDiagnosisLib.install.failure import explain_failure, proxy_name

# Lines as pip 25 and 26 write them.
FAILURES = {
    "install.proxy": "WARNING: Retrying (Retry(total=0)) after connection broken by 'ProxyError('Cannot connect to "
    "proxy.', OSError('Tunnel connection failed: 403 Forbidden'))': /simple/monai/",
    "install.certificate": "Could not fetch URL: There was a problem confirming the ssl certificate: "
    "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate')))",
    "install.no_network": "WARNING: Retrying after connection broken by 'NewConnectionError: Failed to establish a new "
    "connection: [Errno 11001] getaddrinfo failed'",
    "install.disk_full": "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    "install.long_paths": "HINT: This error might have occurred since this system does not have Windows Long Path "
    "support enabled. You can find information on how to enable this at https://pip.pypa.io/warnings/enable-long-paths",
    "install.in_use": "ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'c10.dll'",
    "install.not_writable": "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/opt'",
    "install.conflict": "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/",
    "install.failed": "ERROR: No matching distribution found for monai>=1.6",
}


@pytest.mark.parametrize("code", FAILURES)
def test_the_cause_is_found_in_pips_output(code):
    log = (
        ["Collecting monai>=1.6", FAILURES[code], "ERROR: pip exited"] if code != "install.failed" else [FAILURES[code]]
    )
    error = explain_failure("monai>=1.6", log, {})
    assert error.code == code
    assert error.log == "\n".join(log)
    assert "\n" not in str(error)
    assert str(error).startswith("monai>=1.6 could not be installed")


def test_without_a_known_cause_pips_last_error_is_stated():
    log = [
        "Collecting monai",
        "ERROR: first",
        "ERROR: No matching distribution found for monai>=1.6",
        "WARNING: a newer pip",
    ]
    assert str(explain_failure("monai>=1.6", log, {})).endswith(": No matching distribution found for monai>=1.6")
    assert str(explain_failure("monai>=1.6", [], {})).endswith(": no message")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"HTTPS_PROXY": "http://somebody:secret@proxy.hospital.example:3128"}, "proxy.hospital.example:3128"),
        ({"http_proxy": "proxy.hospital.example"}, "proxy.hospital.example"),
        ({"https_proxy": "http://proxy.hospital.example:port"}, "proxy.hospital.example"),
        ({}, "of this network"),
    ],
)
def test_a_proxy_that_blocks_is_named_without_its_password(environment, name):
    error = explain_failure("torch>=2.8", [FAILURES["install.proxy"]], environment)
    assert proxy_name(environment) == name
    assert f"the proxy {name} let nothing through" in str(error)
    assert "secret" not in str(error)
