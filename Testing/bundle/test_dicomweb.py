"""Searches of a DICOMweb archive: all matches of one that answers with a few at a time, or that knows no offset."""

from __future__ import annotations

import pytest
import requests
from requests.adapters import HTTPAdapter

from scripts.dicomweb import STUDY_UID, Attributes, all_matches, client_of, ct_studies, value_of

UIDS = [f"1.2.{number}" for number in range(11)]


class PagedArchive:
    """An archive that answers with as many studies as its limit allows, and notes what it was asked for."""

    def __init__(self, limit: int, knows_offset: bool) -> None:
        self.limit, self.knows_offset = limit, knows_offset
        self.asked: list[dict[str, object]] = []

    def search_for_studies(self, offset: int | None, **query: object) -> list[Attributes]:
        self.asked.append({"offset": offset, **query})
        first = (offset or 0) if self.knows_offset else 0
        uids = UIDS[first : first + self.limit]
        return [{STUDY_UID: {"vr": "UI", "Value": [uid]}, "00201208": {"vr": "IS", "Value": [30]}} for uid in uids]


@pytest.mark.parametrize(("limit", "knows_offset"), [(2, True), (5, True), (99, True), (99, False)])
def test_an_archive_that_answers_with_a_few_at_a_time_is_listed_whole(limit: int, knows_offset: bool):
    archive = PagedArchive(limit, knows_offset)
    assert ct_studies(archive, {}) == dict.fromkeys(UIDS, "30")
    assert archive.asked[0]["offset"] is None


def test_the_search_is_for_ct_unless_a_filter_says_otherwise():
    archive = PagedArchive(99, knows_offset=False)
    ct_studies(archive, {"StudyDate": "20260101"})
    assert archive.asked[0]["search_filters"] == {"ModalitiesInStudy": "CT", "StudyDate": "20260101"}
    ct_studies(archive, {"ModalitiesInStudy": "CT\\MR"})
    assert archive.asked[-1]["search_filters"] == {"ModalitiesInStudy": "CT\\MR"}


def test_a_match_without_identifier_is_passed_over_and_one_that_comes_twice_counts_once():
    twice: Attributes = {STUDY_UID: {"vr": "UI", "Value": ["1.2"]}}
    pages: dict[int | None, list[Attributes]] = {None: [{}, twice, twice], 3: [{STUDY_UID: {"vr": "UI"}}]}
    assert all_matches(lambda offset: pages[offset], STUDY_UID) == {"1.2": twice}


@pytest.mark.parametrize("entry", [{}, {STUDY_UID: {"vr": "UI"}}, {STUDY_UID: {"vr": "UI", "Value": []}}])
def test_an_attribute_without_value_is_empty(entry: Attributes):
    assert value_of(entry, STUDY_UID) == ""


@pytest.mark.parametrize("status", [None, 503])
def test_the_client_leaves_repeating_to_its_session(status: int | None):
    class Away(HTTPAdapter):
        asked = 0

        def send(self, *_: object, **__: object) -> requests.Response:
            self.asked += 1
            if status is None:
                raise requests.ConnectionError
            answer = requests.Response()
            answer.status_code = status
            return answer

    session, away = requests.Session(), Away()
    session.mount("http://", away)
    with pytest.raises(requests.RequestException):
        ct_studies(client_of("http://archive/dicom-web", session, 1.0), {})
    assert away.asked == 1
