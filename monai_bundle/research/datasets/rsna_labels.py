"""RSNA 2019's table of labels (``stage_2_train.csv``): six rows per slice, some of them twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.labels import RSNA

LABEL_KEYS = tuple(label.key for label in RSNA)

_ROW = r"^ID_([0-9a-f]{9})_([a-z]+)$"
_ROWS_AT_ONCE = 500_000


class LabelTableError(ValueError):
    """The table of labels cannot be trusted; the message is one line that names the row."""


class ConflictingLabelsError(LabelTableError):
    """The same label of the same slice stands in the table with both values."""


def read_labels(table: str | Path) -> pd.DataFrame:
    """Read the labels of every slice.

    The table has 4.5 million rows, ``ID_<9 hex digits>_<label>,<0 or 1>``. It is read in parts and kept as numbers,
    which takes half a gigabyte at most. Rows that stand in it twice with the same value count once.

    Parameters
    ----------
    table : path
        ``stage_2_train.csv``.

    Returns
    -------
    DataFrame of bool, shape (slices, 6)
        Index ``slice``: ``ID_<9 hex digits>``, in order; one column per key of RSNA's vocabulary.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ConflictingLabelsError
        If a label of a slice has both values.
    LabelTableError
        If a row is none of RSNA's, or a slice lacks a label.
    """
    path = Path(table)
    with pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=_ROWS_AT_ONCE) as parts:
        rows = pd.concat([_as_numbers(part, path.name) for part in parts], ignore_index=True).drop_duplicates()
    if rows.empty:
        raise LabelTableError(f"{path.name}: holds no rows; download the table again")
    both = rows.duplicated(["slice", "label"])
    if both.any():
        where = _row_name(rows[both].iloc[0])
        raise ConflictingLabelsError(f"{path.name}: {where} stands there as 0 and as 1; download the table again")
    values = rows.pivot(index="slice", columns="label", values="value").reindex(columns=range(len(LABEL_KEYS)))
    if (lacking := values.isna()).to_numpy().any():
        slice_, label = np.argwhere(lacking.to_numpy())[0]
        name = f"{_slice_name(values.index[slice_])}_{LABEL_KEYS[label]}"
        raise LabelTableError(f"{path.name}: has no row {name}; download the table again")
    names = pd.Index([_slice_name(number) for number in values.index], name="slice")
    return pd.DataFrame(values.to_numpy(dtype=np.bool_), index=names, columns=list(LABEL_KEYS))


def _as_numbers(part: pd.DataFrame, table_name: str) -> pd.DataFrame:
    """Turn rows of text into numbers: slice (its hexadecimal digits), label (place in the vocabulary), value."""
    if list(part.columns) != ["ID", "Label"]:
        raise LabelTableError(f"{table_name}: its columns are not ID,Label; give RSNA's stage_2_train.csv")
    found = part["ID"].str.extract(_ROW)
    labels = pd.Index(LABEL_KEYS).get_indexer(pd.Index(found[1])).astype(np.int8)
    strange = found[0].isna().to_numpy() | (labels < 0) | ~part["Label"].isin(["0", "1"]).to_numpy()
    if strange.any():
        row = part[strange].iloc[0]
        raise LabelTableError(f"{table_name}: {row['ID']},{row['Label']} is no row of RSNA's; download the table again")
    numbers = np.array([int(digits, 16) for digits in found[0]], dtype=np.int64)
    return pd.DataFrame({"slice": numbers, "label": labels, "value": (part["Label"] == "1").to_numpy(np.int8)})


def _row_name(row: pd.Series[int]) -> str:
    return f"{_slice_name(row['slice'])}_{LABEL_KEYS[row['label']]}"


def _slice_name(number: int) -> str:
    return f"ID_{number:09x}"
