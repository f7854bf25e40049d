"""The contract of all datasets: entries in the vocabulary's order, unknown as NaN, and folds that split no patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scripts.datasets.datalist import ReadLabelledStudyd, as_datalist, folds_by_patient
from scripts.intake.study import CTStudy, NotEvaluableError, Provenance

KEYS = ("any", "epidural", "subdural")


@dataclass(frozen=True)
class Scan:
    """A scan of three slices that is made when it is read."""

    name: str
    patient: str
    labels: Mapping[str, bool]
    slice_labels: Mapping[str, NDArray[np.bool_]] | None = None
    files: Sequence[Path] = field(default=())

    def read(self) -> CTStudy:
        return CTStudy(np.zeros((3, 4, 5), np.int16), np.eye(4), np.arange(3.0), Provenance(self.name, "phantom"))

    def mask(self, study: CTStudy) -> NDArray[np.bool_]:
        return study.voxels == 0


def scans(*labels: Mapping[str, bool]) -> list[Scan]:
    return [Scan(f"s{number}", f"p{number}", each) for number, each in enumerate(labels)]


def test_a_label_that_nobody_judged_is_not_a_number_and_never_negative():
    entries = as_datalist(scans({"any": True, "subdural": True}, {"any": False}), KEYS, folds=2)
    np.testing.assert_array_equal(entries[0]["label"], [1, np.nan, 1])
    np.testing.assert_array_equal(entries[1]["label"], [0, np.nan, np.nan])
    assert entries[0]["slice_labels"] is None


def test_slice_labels_follow_the_vocabulary_with_unknown_columns_between():
    shown = {"subdural": np.array([True, False, False]), "any": np.array([True, True, False])}
    known = Scan("a", "a", {"any": True}, shown)
    entry = as_datalist([known, *scans({"any": False})], KEYS, folds=2)[0]
    assert entry["slice_labels"].dtype == np.float32
    np.testing.assert_array_equal(entry["slice_labels"][:, 0], [1, 1, 0])
    assert np.isnan(entry["slice_labels"][:, 1]).all()
    np.testing.assert_array_equal(entry["slice_labels"][:, 2], [1, 0, 0])


def test_two_scans_of_one_name_are_refused():
    twice = [Scan("a", "p", {"any": True}), Scan("a", "q", {"any": False})]
    with pytest.raises(ValueError, match="names must be unique: a"):
        as_datalist(twice, KEYS, folds=2)


@given(
    patients=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60).filter(
        lambda drawn: len({patient for patient, _ in drawn}) >= 2
    ),
    data=st.data(),
)
def test_no_patient_is_split_and_positive_patients_are_shared_out_evenly(
    patients: list[tuple[int, bool]], data: st.DataObject
):
    names, positive = [str(patient) for patient, _ in patients], [found for _, found in patients]
    count = data.draw(st.integers(2, len(set(names))))
    folds = folds_by_patient(names, positive, count)
    assert (folds == folds_by_patient(names, positive, count)).all()
    of_patient = dict(zip(names, folds.tolist(), strict=True))
    assert all(of_patient[name] == fold for name, fold in zip(names, folds, strict=True))
    with_blood = {name for name, found in zip(names, positive, strict=True) if found}
    for group in (set(names), with_blood, set(names) - with_blood):
        sizes = np.bincount([of_patient[name] for name in group], minlength=count) if group else np.zeros(count)
        assert sizes.max() - sizes.min() <= 1


def test_another_seed_deals_other_folds():
    names, positive = [str(number) for number in range(50)], [number < 20 for number in range(50)]
    assert (folds_by_patient(names, positive, 5, seed=0) != folds_by_patient(names, positive, 5, seed=1)).any()


@pytest.mark.parametrize("count", [0, 1, 6])
def test_a_number_of_folds_that_leaves_one_side_empty_is_refused(count: int):
    with pytest.raises(ValueError, match=f"{count} folds of 5 patients"):
        folds_by_patient(["a", "b", "c", "d", "e"], [True, True, False, False, False], count)


def test_the_map_transform_reads_the_study_and_adds_the_mask_when_asked():
    entry = as_datalist(scans({"any": True}, {"any": False}), KEYS, folds=2)[0]
    assert "mask" not in ReadLabelledStudyd("study")(entry)
    read = ReadLabelledStudyd("study", with_mask=True)(entry)
    assert isinstance(read["study"], CTStudy)
    assert read["mask"].shape == (3, 4, 5)
    assert isinstance(entry["study"], Scan)


def test_labels_for_another_number_of_slices_are_refused():
    entry = {"study": Scan("a", "a", {"any": True}), "slice_labels": np.zeros((4, 3), dtype=np.float32)}
    with pytest.raises(NotEvaluableError, match="a: labels for 4 slices, but 3 were read") as raised:
        ReadLabelledStudyd("study")(entry)
    assert raised.value.code == "labels_do_not_fit"
