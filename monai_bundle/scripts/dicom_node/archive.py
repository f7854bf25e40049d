"""A DICOMweb archive (PS3.18): QIDO finds studies, WADO fetches images, STOW stores objects."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
import requests

from scripts.dicom_node.received import CT_CLASSES
from scripts.dicom_node.sending import RefusedError, UnavailableError
from scripts.dicom_node.settings import ArchiveSettings
from scripts.dicomweb import (
    AS_STORED,
    CLASS_UID,
    IMAGE_UID,
    SERIES_UID,
    Attributes,
    all_matches,
    client_of,
    ct_studies,
    is_distrusted,
    value_of,
)

DISTRUSTED = "certificate_not_trusted, see archive.trusted"
"""Reason why nothing is asked of an archive by HTTPS: neither images nor reports go to somebody unknown."""

_SERVER_ERRORS = range(500, 600)
_BUSY = (408, 429)


@dataclass(frozen=True)
class FoundStudy:
    """A study that a search found; ``images`` is how many instances it has, None where the archive does not say."""

    uid: str
    images: int | None


@dataclass(frozen=True)
class FoundImage:
    """A CT image that a search found."""

    uid: str
    series_uid: str


class Archive:
    """What the node asks of an archive.

    Parameters
    ----------
    settings : ArchiveSettings
        Its address and how to authenticate.
    timeout : float
        Longest wait for a connection or for the next bytes (s).
    """

    def __init__(self, settings: ArchiveSettings, timeout: float) -> None:
        self._settings = settings
        session = requests.Session()
        # Proxies and passwords from the environment are not the node's settings.
        session.trust_env = False
        session.verify = str(settings.trusted) if settings.trusted else True
        if settings.certificate and settings.key:
            session.cert = (str(settings.certificate), str(settings.key))
        if settings.user and settings.password_file:
            session.auth = (settings.user, settings.password_file.read_text(encoding="utf-8").partition("\n")[0])
        # The queue repeats what failed.
        self._client = client_of(settings.url, session, timeout)

    def studies(self, today: datetime.date) -> Iterator[FoundStudy]:
        """Search for studies with CT.

        Raises
        ------
        UnavailableError
            If the archive does not answer as it should; of every method here.
        """
        filters: dict[str, str] = {}
        if self._settings.days is not None:
            first = today - datetime.timedelta(days=self._settings.days - 1)
            filters["StudyDate"] = f"{first:%Y%m%d}-{today:%Y%m%d}"
        with _answered():
            found = ct_studies(self._client, filters)
        for uid, images in found.items():
            yield FoundStudy(uid, int(images) if images else None)

    def images(self, study_uid: str) -> list[FoundImage]:
        """Search for the CT images of a study."""

        def search(offset: int | None) -> Sequence[Attributes]:
            return self._client.search_for_instances(study_uid, fields=["SOPClassUID"], offset=offset)

        with _answered():
            found = all_matches(search, IMAGE_UID)
        return [
            FoundImage(uid, value_of(entry, SERIES_UID))
            for uid, entry in found.items()
            if value_of(entry, CLASS_UID) in CT_CLASSES
        ]

    def fetch(self, study_uid: str, image: FoundImage) -> bytes:
        """Fetch one image as a DICOM file, in the transfer syntax that the archive holds."""
        with _answered():
            dataset = self._client.retrieve_instance(study_uid, image.series_uid, image.uid, media_types=AS_STORED)
        return _file_of(dataset)

    def store(self, file: Path) -> None:
        """Store one DICOM file.

        Raises
        ------
        UnavailableError
            If the archive does not answer.
        RefusedError
            If it does not take the object.
        """
        with _answered():
            answer = self._client.store_instances([pydicom.dcmread(file)])
        # 202 Accepted: not all were stored; one was sent.
        if answer.get("FailedSOPSequence"):
            reason = int(answer.FailedSOPSequence[0].get("FailureReason") or 0)
            raise RefusedError(f"status_{reason:04x}")


class _answered:  # noqa: N801 - reads as a statement: with _answered()
    """Turns what a request can raise into the errors of this package, without their texts: those hold UIDs."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            status = error.response.status_code
            if status in _SERVER_ERRORS or status in _BUSY:
                raise UnavailableError(f"http_{status}") from None
            raise RefusedError(f"http_{status}") from None
        if error is not None and is_distrusted(error):
            raise UnavailableError(DISTRUSTED) from None
        # ValueError: an answer that is no JSON or no multipart message, e.g. cut off by the archive's end.
        if isinstance(error, (requests.RequestException, OSError, ValueError)):
            raise UnavailableError(type(error).__name__) from None


def _file_of(dataset: pydicom.Dataset) -> bytes:
    with BytesIO() as stream:
        pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
        return stream.getvalue()
