"""The record of which scans can be read: each is read once, and again only where a file changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from scripts.cache import Cache
from scripts.datasets.reading_record import Reading, leave_out_refused, read_each
from scripts.intake.study import CTStudy, NotEvaluableError, Provenance


@dataclass(frozen=True)
class Scan:
    """A scan of one file that counts how often it is read."""

    name: str
    file: Path
    upwards: bool = True
    fault: NotEvaluableError | None = None
    reads: list[str] = field(default_factory=list)
    patient: str = "p"
    labels: dict[str, bool] = field(default_factory=dict)
    slice_labels: None = None

    @property
    def files(self) -> list[Path]:
        return [self.file]

    def read(self) -> CTStudy:
        self.reads.append(self.name)
        if self.fault:
            raise self.fault
        affine = np.diag([1.0, 1.0, 1.0 if self.upwards else -1.0, 1.0])
        return CTStudy(np.zeros((3, 4, 5), np.int16), affine, np.arange(3.0), Provenance(self.name, "phantom"))

    def mask(self, study: CTStudy) -> None:
        return None


@pytest.fixture
def scans(tmp_path: Path) -> list[Scan]:
    for name in "abc":
        (tmp_path / name).write_text(name, encoding="utf-8")
    refusal = NotEvaluableError("too_few_slices", slices=3, least=12).within("b")
    return [
        Scan("a", tmp_path / "a"),
        Scan("b", tmp_path / "b", fault=refusal),
        Scan("c", tmp_path / "c", upwards=False),
    ]


def test_slices_direction_and_refusal_are_found(scans: list[Scan]):
    assert read_each(scans) == {
        "a": Reading(3, upwards=True),
        "b": Reading(0, code="too_few_slices", reason="b: 3 slices, at least 12 needed"),
        "c": Reading(3, upwards=False),
    }


def test_a_cached_scan_is_read_again_only_when_its_file_changes(scans: list[Scan], tmp_path: Path):
    cache = Cache(tmp_path / "made")
    first = read_each(scans, cache)
    assert read_each(scans, cache) == first
    assert [scan.reads for scan in scans] == [["a"], ["b"], ["c"]]
    os.utime(tmp_path / "b", ns=(1, 1))
    read_each(scans, cache)
    assert [len(scan.reads) for scan in scans] == [1, 2, 1]


def test_without_a_cache_everything_is_read_each_time(scans: list[Scan]):
    read_each(scans)
    read_each(scans)
    assert [len(scan.reads) for scan in scans] == [2, 2, 2]


def test_an_interrupted_reading_goes_on_where_it_stopped(scans: list[Scan], tmp_path: Path):
    cache = Cache(tmp_path / "made")
    broken = Scan("c", tmp_path / "gone")
    object.__setattr__(broken, "fault", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        read_each([*scans[:2], broken], cache)
    read_each(scans, cache)
    assert [len(scan.reads) for scan in scans] == [1, 1, 1]


def test_refused_scans_are_left_out_and_named(scans: list[Scan], caplog: pytest.LogCaptureFixture):
    assert [scan.name for scan in leave_out_refused(scans, read_each(scans), "own")] == ["a", "c"]
    assert "own: b is left out: b: 3 slices, at least 12 needed" in caplog.text


def test_no_scan_left_is_an_error_with_the_first_reason(scans: list[Scan]):
    with pytest.raises(ValueError, match="own: none of 1 scans can be read; the first: b: 3 slices"):
        leave_out_refused(scans[1:2], read_each(scans), "own")
