"""The datasets that a configuration may name: a new one is one file with a function, and one line here.

Datasets that only research uses register themselves when ``research.datasets`` is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.datasets import ct_ich, own_data
from scripts.messages import ExpectedError

Datalist = Callable[..., list[dict[str, Any]]]
"""From a folder, label keys, a number of folds and settings of its own to MONAI data entries of labelled scans."""

DATASETS: dict[str, Datalist] = {
    "ct_ich": ct_ich.datalist,
    "own": own_data.datalist,
}


def datalist(
    dataset: str, folder: str | Path, labels: Sequence[str], folds: int, **settings: Any
) -> list[dict[str, Any]]:
    """List the scans of a dataset; see :func:`scripts.datasets.datalist.as_datalist`.

    Parameters
    ----------
    dataset : str
        Name of the dataset.
    folder : path
        Where it lies.
    labels : sequence of str
        Keys of the vocabulary, in its order.
    folds : int
        Number of folds.
    **settings
        Further arguments of the dataset's own function.

    Raises
    ------
    ExpectedError
        ``datasets.unknown`` if no dataset has this name, and whatever the dataset's own function raises.
    """
    if dataset not in DATASETS:
        raise ExpectedError("datasets.unknown", dataset=dataset, known=", ".join(sorted(DATASETS)))
    return DATASETS[dataset](folder, labels=labels, folds=folds, **settings)
