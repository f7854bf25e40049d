"""RSNA 2019's table of labels: long format, duplicated rows, and the rows that must stop the reading."""

from __future__ import annotations

from pathlib import Path

import pytest
from rsna_files import KINDS, THREE_PATIENTS, write_rsna

from research.datasets import rsna_labels
from research.datasets.rsna_labels import ConflictingLabelsError, LabelTableError, read_labels
from scripts.labels import RSNA

SLICE = "ID_0123456ab"
SIX_ROWS = [f"{SLICE}_{kind},{int(kind in ('any', 'subdural'))}" for kind in KINDS]


def write_table(folder: Path, rows: list[str], header: str = "ID,Label") -> Path:
    path = folder / "stage_2_train.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_six_rows_become_one_row_of_the_vocabulary(tmp_path: Path):
    labels = read_labels(write_table(tmp_path, SIX_ROWS))
    assert list(labels.columns) == [label.key for label in RSNA]
    assert labels.loc[SLICE].to_dict() == {label.key: label.key in ("any", "subdural") for label in RSNA}


def test_duplicated_rows_with_the_same_value_count_once(tmp_path: Path):
    labels = read_labels(write_table(tmp_path, [*SIX_ROWS, *SIX_ROWS[2:4], *SIX_ROWS]))
    assert list(labels.index) == [SLICE]


def test_duplicated_rows_are_found_across_the_parts_that_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rsna_labels, "_ROWS_AT_ONCE", 4)
    assert len(read_labels(write_table(tmp_path, SIX_ROWS * 3))) == 1
    with pytest.raises(ConflictingLabelsError):
        read_labels(write_table(tmp_path, [*SIX_ROWS, f"{SLICE}_any,0"]))


def test_rows_that_contradict_each_other_stop_the_reading_by_name(tmp_path: Path):
    with pytest.raises(ConflictingLabelsError, match=f"{SLICE}_subdural stands there as 0 and as 1"):
        read_labels(write_table(tmp_path, [*SIX_ROWS, f"{SLICE}_subdural,0"]))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (f"{SLICE}_any,0.5", "_any,0.5 is no row"),
        (f"{SLICE}_any,", "_any, is no row"),
        (f"{SLICE}_fracture,1", "_fracture,1 is no row"),
        ("ID_0123_any,1", "ID_0123_any,1 is no row"),
    ],
)
def test_a_row_that_is_none_of_rsnas_is_named(tmp_path: Path, row: str, complaint: str):
    with pytest.raises(LabelTableError, match=complaint):
        read_labels(write_table(tmp_path, [*SIX_ROWS, row]))


def test_a_slice_without_one_of_its_labels_is_named(tmp_path: Path):
    with pytest.raises(LabelTableError, match=f"has no row {SLICE}_epidural"):
        read_labels(write_table(tmp_path, SIX_ROWS[1:]))


def test_a_table_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(LabelTableError, match="columns are not ID,Label"):
        read_labels(write_table(tmp_path, ["a,1"], header="ID,PredictionString"))


def test_an_empty_table_is_refused(tmp_path: Path):
    with pytest.raises(LabelTableError, match="holds no rows"):
        read_labels(write_table(tmp_path, []))


def test_every_slice_of_a_tree_has_its_own_labels(tmp_path: Path):
    labels = read_labels(write_rsna(tmp_path) / "stage_2_train.csv")
    for series in THREE_PATIENTS:
        for index, name in enumerate(series.names):
            if index not in series.missing:
                assert labels.loc[name].to_dict() == {kind: bool(series.truth(kind)[index]) for kind in KINDS}


def test_the_real_series_has_the_counts_that_its_description_states(ich_data: Path):
    labels = read_labels(ich_data / "labels" / "rsna_series_iph_ivh.csv")
    assert len(labels) == 36
    assert {key: int(count) for key, count in labels.sum().items() if count} == {
        "any": 11,
        "intraparenchymal": 9,
        "intraventricular": 8,
    }
