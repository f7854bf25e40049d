"""Studies of an archive by DICOMweb (DICOM PS3.18): listed by QIDO-RS, retrieved by WADO-RS.

Name and password come from the user's ``.netrc``, certificates from ``REQUESTS_CA_BUNDLE``: neither belongs on a
command line, which other users of the computer can list.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import requests
from dicomweb_client.api import DICOMwebClient
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from scripts.dicomweb import AS_STORED, SERIES_UID, Attributes, all_matches, client_of, ct_studies, is_distrusted
from scripts.intake.study_id import safe_name
from scripts.triage.tasks import Task, TriageError

_TIMEOUT_S = (10.0, 120.0)
_BUSY = (408, 429, 500, 502, 503, 504)
_UNREACHABLE = (requests.RequestException, OSError)

logger = logging.getLogger(__name__)


def archive_tasks(address: str) -> list[Task]:
    """Return a task for every study with CT in an archive.

    Parameters
    ----------
    address : str
        Of the service, e.g. ``https://pacs/dicom-web``; what follows a ``?`` narrows the search as QIDO-RS has it
        (PS3.18, section 8.3.4), e.g. ``StudyDate=20260101-20260131``.

    Raises
    ------
    TriageError
        If the archive does not answer, or has no such study.
    """
    service, filters = _without_query(address)
    try:
        found = ct_studies(_client(service), filters)
    except _UNREACHABLE as error:
        raise _unreachable(service, error) from error
    if not found:
        raise TriageError("triage.empty_archive", host=urlsplit(service).hostname)
    return [
        Task(safe_name(uid), f"{service}/studies/{uid}", state=f"{uid} {images}")
        for uid, images in sorted(found.items())
    ]


def retrieve_study(place: str, folder: Path) -> None:
    """Write the CT images of a study into an empty folder, in the transfer syntax in which the archive holds them.

    Parameters
    ----------
    place : str
        Address of the study, from :func:`archive_tasks`.
    folder : Path
        Its name is what the result calls the study's source.

    Raises
    ------
    TriageError
        If the archive does not answer.
    """
    service, _, uid = place.rpartition("/studies/")
    client = _client(service)

    def search(offset: int | None) -> Sequence[Attributes]:
        return client.search_for_series(uid, search_filters={"Modality": "CT"}, offset=offset)

    try:
        for number, series_uid in enumerate(all_matches(search, SERIES_UID)):
            images = client.iter_series(uid, series_uid, media_types=AS_STORED)
            for index, image in enumerate(images):
                image.save_as(folder / f"{number:03d}_{index:05d}.dcm", enforce_file_format=True)
    except _UNREACHABLE as error:
        raise _unreachable(service, error) from error


def _client(service: str) -> DICOMwebClient:
    session = requests.Session()
    # Other faults, a certificate that is not trusted among them, are the same when they are asked for again.
    retry = Retry(total=5, other=0, backoff_factor=1.0, status_forcelist=_BUSY, respect_retry_after_header=True)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return client_of(service, session, _TIMEOUT_S)


def _without_query(address: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise TriageError("triage.password")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), dict(parse_qsl(parts.query))


def _unreachable(service: str, error: Exception) -> TriageError:
    host = urlsplit(service).hostname
    if is_distrusted(error):
        return TriageError("triage.distrusted", host=host)
    return TriageError("triage.archive", host=host, fault=_fault(error))


def _fault(error: Exception) -> str:
    """Name an error without the address, which can hold a patient's name in its query."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return type(error).__name__ if status is None else f"HTTP {status}"
