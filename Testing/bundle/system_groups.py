"""Prepared slices made by hand, as a configuration may name them: enough for a system to learn from."""

from __future__ import annotations

from prepared_groups import a_group

from scripts.training.prepared_slices import PreparedGroup


def some_groups() -> list[PreparedGroup]:
    """Return scans of two folds, single slices, a synthetic scan and a phantom."""
    return [
        a_group("scan", 0, (1, 2), name="first"),
        a_group("scan", 1, (3, 4), name="second"),
        a_group("scan", 1, (), name="third"),
        a_group("slices", 0, (0,), bone=False),
        a_group("synthetic scan", 1, (2, 3)),
        a_group("phantom", -1, (1,)),
    ]


def groups_of_patients() -> list[PreparedGroup]:
    """Return scans of two folds with the names of a dataset's, so that something else of them can be found by name."""
    return [
        a_group("scan", 0, (1, 2), name="049"),
        a_group("scan", 1, (3, 4), name="050"),
        a_group("scan", 1, (2,), name="051"),
        a_group("synthetic scan", 1, (2, 3)),
    ]
