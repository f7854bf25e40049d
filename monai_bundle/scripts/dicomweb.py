"""What every reader of a DICOMweb archive (DICOM PS3.18) shares: its client, and searches that find all there is.

How to authenticate, whether to repeat and what an error means differ above. Somebody waits for a triage: it takes their
``.netrc``, repeats at once and ends with a sentence. The node takes its own configuration alone; its queue repeats
later, and tells an archive that is away from one that refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient

# PS3.6, table 6-1.
STUDY_UID, SERIES_UID, IMAGE_UID, CLASS_UID = "0020000D", "0020000E", "00080018", "00080016"
_STUDY_IMAGES = "00201208"

AS_STORED = (("application/dicom", "*"),)
"""Media type that asks for images in the transfer syntax in which the archive holds them (PS3.18, 8.7.3.5.2)."""

Attributes = Mapping[str, Any]
"""One match of a search, in the DICOM JSON model (PS3.18, F.2)."""


def client_of(service: str, session: requests.Session, timeout: float | tuple[float, float]) -> DICOMwebClient:
    """Return the client of an archive, which asks also for UIDs that break the rules: archives hold such.

    It repeats nothing by itself: its repeats would multiply those of the session or of a queue.

    Parameters
    ----------
    service : str
        Address, e.g. ``https://pacs/dicom-web``.
    session : requests.Session
        Knows how to authenticate, and whether to repeat.
    timeout : float or tuple of float
        Longest wait for a connection and for the next bytes (s).
    """
    client = DICOMwebClient(service, session=session, timeout=timeout, permissive_uid=True)
    client.set_http_retry_params(retry=False)
    return client


def is_distrusted(error: BaseException) -> bool:
    """Return whether a request ended because the certificate is of no trusted authority, or of another host."""
    return isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def ct_studies(client: DICOMwebClient, filters: Mapping[str, str]) -> dict[str, str]:
    """Search for studies with CT (QIDO-RS).

    Parameters
    ----------
    client : DICOMwebClient
        From :func:`client_of`.
    filters : mapping of str to str
        What else narrows the search (PS3.18, section 8.3.4), e.g. ``StudyDate``.

    Returns
    -------
    dict
        Study Instance UID to the number of images as the archive states it; empty where it does not.
    """
    narrowed = {"ModalitiesInStudy": "CT", **filters}

    def search(offset: int | None) -> Sequence[Attributes]:
        return client.search_for_studies(search_filters=narrowed, fields=[_STUDY_IMAGES], offset=offset)

    return {uid: value_of(entry, _STUDY_IMAGES) for uid, entry in all_matches(search, STUDY_UID).items()}


def all_matches(search: Callable[[int | None], Sequence[Attributes]], identifier: str) -> dict[str, Attributes]:
    """Ask for the matches after those that came already, until no new one comes.

    Asked without a limit, an archive answers with all, or with as many as its own limit allows and with the rest from
    an offset on (PS3.18, section 8.3.4.4). One that knows no offset answers the same again, which ends the search.

    Parameters
    ----------
    search : callable
        Returns the matches from an offset on, None for all.
    identifier : str
        Attribute that tells them apart; a match without it is passed over.

    Returns
    -------
    dict
        The matches by that attribute.
    """
    found: dict[str, Attributes] = {}
    asked = 0
    while True:
        page = search(asked or None)
        new = {uid: entry for entry in page if (uid := value_of(entry, identifier)) and uid not in found}
        if not new:
            return found
        found |= new
        asked += len(page)


def value_of(entry: Attributes, tag: str) -> str:
    """Return the first value of an attribute of a match; empty where there is none."""
    values = entry.get(tag, {}).get("Value") or [""]
    return str(values[0])
