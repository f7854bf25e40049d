"""Mutated studies: a short run of what ``make fuzz`` does, and that it would find a fault."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from research.fuzz import __main__ as command
from research.fuzz import outcome
from research.fuzz.__main__ import FAULTS, HangError, ended_after, fuzz, table
from research.fuzz.files import Head, save_series, slice_datasets, two_heads
from research.fuzz.mutations import MUTATIONS
from research.fuzz.outcome import Outcome, outcomes


@pytest.fixture(scope="module")
def heads() -> tuple[Head, Head]:
    return two_heads()


@pytest.mark.parametrize("kind", MUTATIONS)
def test_no_mutation_ends_the_run_or_gives_another_head_without_a_warning(heads: tuple[Head, Head], kind: str):
    counts = fuzz(3, 11, heads, kind)
    assert counts[kind].total() >= 3
    assert not [fault for fault in (*FAULTS, "hung") if counts[kind][fault]], counts


def test_an_unchanged_study_is_read_as_it_is(heads: tuple[Head, Head], tmp_path: Path):
    save_series(tmp_path, slice_datasets(heads[0]))
    assert outcomes(tmp_path, heads) == [Outcome.TRUE]


def test_the_same_seed_makes_the_same_files(heads: tuple[Head, Head], tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        MUTATIONS["header_byte"](random.Random("7"), heads, tmp_path / name)
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda voxels: voxels.__setitem__((10, 30, 30), 900), Outcome.SILENT),
        (lambda voxels: None, Outcome.TRUE),
    ],
)
def test_a_voxel_that_differs_is_found(heads, tmp_path: Path, change, expected: Outcome):
    voxels = heads[0].voxels.copy()
    change(voxels)
    save_series(tmp_path, slice_datasets(Head("ONE", voxels, heads[0].affine)))
    assert outcomes(tmp_path, heads) == [expected]


def test_another_spacing_is_found(heads: tuple[Head, Head], tmp_path: Path):
    longer = heads[0].affine @ np.diag([1, 1, 1.03, 1])
    save_series(tmp_path, slice_datasets(Head("ONE", heads[0].voxels, longer)))
    assert outcomes(tmp_path, heads) == [Outcome.SILENT]


def test_an_error_is_counted_and_the_command_says_so(heads, monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(outcome, "find_studies", fail)
    monkeypatch.setattr(command, "two_heads", lambda: heads)
    assert command.main(["--studies", "2", "--only", "repacked"]) == 1
    assert "| all | 0 | 0 | 0 | 0 | 0 | 2 | 0 |" in capsys.readouterr().out


def test_a_search_that_never_ends_is_ended():
    with pytest.raises(HangError), ended_after(1):
        while True:
            pass


def test_the_table_sums_its_rows(heads: tuple[Head, Head]):
    lines = table(fuzz(2, 3, heads, "added")).splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("| all |")
