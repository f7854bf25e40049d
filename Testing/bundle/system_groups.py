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
