"""Table 6 and figure 7 of DrCT2 by hand, and chance against every possible ranking."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from research.metrics.interpretive_tasks import AttendedScan
from research.metrics.picked_slices import picked_per_label, picked_positions
from research.metrics.predictions import Predictions, ScanPrediction

KEYS = ("any", "subdural", "epidural")


def a_scan(name: str, attention: list[float], shown: list[list[float]] | None) -> ScanPrediction:
    labels = np.zeros(len(KEYS)) if shown is None else np.array(shown).max(axis=0)
    return ScanPrediction(name, name, 0, labels, labels, attention, None if shown is None else np.array(shown))


def predictions_of(*scans: ScanPrediction) -> Predictions:
    return Predictions(KEYS, scans, "model", "by hand")


BY_HAND = predictions_of(
    # Three slices show any haemorrhage, so three are picked: 0, 1 and 3. One of the two subdural ones is among them.
    a_scan("x", [0.4, 0.3, 0.1, 0.2], [[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]),
    # One slice is picked, the last; the subdural slice is the first.
    a_scan("y", [0.2, 0.1, 0.7], [[1, 1, 0], [0, 0, 0], [0, 0, 0]]),
    a_scan("negative", [0.5, 0.5], [[0, 0, 0], [0, 0, 0]]),
    a_scan("unlabelled", [0.5, 0.5], None),
)


def test_each_label_counts_its_own_slices_among_those_picked_for_any():
    found = picked_per_label(BY_HAND, 50)
    assert (found["any"].slices, found["subdural"].slices, found["epidural"].slices) == (4, 3, 0)
    assert found["any"].picked.value == pytest.approx(2 / 4)
    assert found["subdural"].picked.value == pytest.approx(1 / 3)
    assert found["any"].picked.random_baseline == pytest.approx((3 * 3 / 4 + 1 / 3) / 4)
    assert found["subdural"].picked.random_baseline == pytest.approx((2 * 3 / 4 + 1 / 3) / 3)
    assert found["epidural"].picked.reason == "no slice shows it"
    assert (found["subdural"].picked.scans, found["subdural"].picked.patients) == (2, 2)


def test_the_interval_draws_patients_with_all_their_slices():
    picked = picked_per_label(BY_HAND, 500)["any"].picked
    # Two patients: (x, x), (x, y) and (y, y) give 2/3, 1/2 and 0.
    assert (picked.low, picked.high) == (0.0, pytest.approx(2 / 3))


def test_chance_is_the_mean_over_every_ranking():
    shown = [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    every = [a_scan(str(order), list(order), shown) for order in itertools.permutations((1.0, 2.0, 3.0, 4.0))]
    for key in ("any", "subdural"):
        picked = picked_per_label(predictions_of(*every), 5)[key].picked
        assert picked.value == pytest.approx(picked.random_baseline)


def test_the_five_slices_with_most_attention_are_counted_where_they_lie():
    attention = np.array([0.0, 0.0, 0.0, 0.1, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0])
    positive = np.zeros(10, dtype=bool)
    positive[4] = True
    scan = AttendedScan("s", "p", attention, positive, True)
    negative = AttendedScan("n", "q", attention, np.zeros(10, dtype=bool), False)
    found = picked_positions([scan, scan, negative], 5)
    # Slices 3 to 7 of 10: one in the second fifth, two in each of the next.
    assert found.counts == pytest.approx((0, 2, 4, 4, 0))
    assert (found.random_baseline, found.scans) == (2.0, 2)


def test_a_slice_across_two_positions_is_divided_and_a_short_scan_gives_what_it_has():
    scan = AttendedScan("s", "p", np.array([0.2, 0.5, 0.3]), np.array([False, True, False]), True)
    found = picked_positions([scan], 2)
    assert found.counts == pytest.approx((1.5, 1.5))
    assert found.random_baseline == pytest.approx(1.5)
    assert sum(picked_positions([], 4).counts) == 0
