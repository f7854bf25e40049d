"""Sensitivity by contrast, counted by hand: every haemorrhage stands in one row, and the threshold is that of all."""

from __future__ import annotations

import numpy as np

from research.metrics.contrast_sensitivity import sensitivity_by_contrast
from research.metrics.lesion_contrast import LesionContrast
from research.metrics.volume_sensitivity import ScoredScan, sensitivity_by_volume

FEW = 100


def blood(score: float, volume: float, contrast: float | None, subtype: str = "subdural", spread: float = 8.0):
    seen = None if contrast is None else LesionContrast(contrast, spread)
    return ScoredScan(f"host {score}", {"any": score}, subtype, volume, seen)


# Four of five negatives lie below 0.9 at specificity 0.8: the threshold is just above 0.4.
NEGATIVES = [ScoredScan(f"negative {score}", {"any": score}) for score in (0.1, 0.2, 0.3, 0.4, 0.9)]
POSITIVES = [
    blood(0.95, 40.0, -10.5),
    blood(0.2, 8.0, -10.0),
    blood(0.3, 3.0, 9.9),
    blood(0.6, 6.0, 10.0, "epidural"),
    blood(0.1, 2.0, 19.9),
    blood(0.7, 5.0, 20.0),
    blood(0.8, 9.0, 40.0, "epidural"),
    blood(0.25, 0.9, 40.0),
    blood(0.15, 70.0, 0.0, spread=28.0),
    blood(0.5, 1.0, None),
]


def test_every_haemorrhage_is_counted_in_the_row_of_its_contrast_and_in_no_other():
    found = sensitivity_by_contrast(NEGATIVES + POSITIVES, count=FEW)
    counts = {
        (subtype, size): {name: (each.true_positive, each.positive) for name, each in rows.items() if each.positive}
        for subtype, sizes in found.items()
        for size, rows in sizes.items()
    }
    assert counts == {
        ("any", "from 1 ml"): {
            "below -10 HU": (1, 1),
            "-10 to 10 HU": (0, 2),
            "10 to 20 HU": (1, 2),
            "from 20 HU": (2, 2),
            "mixed density": (0, 1),
            "not measurable": (1, 1),
        },
        ("any", "from 5 ml"): {
            "below -10 HU": (1, 1),
            "-10 to 10 HU": (0, 1),
            "10 to 20 HU": (1, 1),
            "from 20 HU": (2, 2),
            "mixed density": (0, 1),
        },
        ("subdural", "from 1 ml"): {
            "below -10 HU": (1, 1),
            "-10 to 10 HU": (0, 2),
            "10 to 20 HU": (0, 1),
            "from 20 HU": (1, 1),
            "mixed density": (0, 1),
            "not measurable": (1, 1),
        },
        ("subdural", "from 5 ml"): {
            "below -10 HU": (1, 1),
            "-10 to 10 HU": (0, 1),
            "from 20 HU": (1, 1),
            "mixed density": (0, 1),
        },
    }
    assert found["subdural"]["from 5 ml"]["10 to 20 HU"].remark == "no such scan"


def test_the_rows_together_are_what_the_volumes_count():
    scans = NEGATIVES + POSITIVES
    by_volume = sensitivity_by_volume(scans, count=FEW)
    for size, rows in sensitivity_by_contrast(scans, count=FEW)["any"].items():
        assert sum(each.positive for each in rows.values()) == by_volume[size].positive
        assert sum(each.true_positive for each in rows.values()) == by_volume[size].true_positive


def test_an_interval_holds_its_estimate_and_is_never_a_point():
    generator = np.random.default_rng(1)
    scans = [ScoredScan(f"host {number}", {"any": float(generator.normal())}) for number in range(40)]
    for number in range(40):
        dense = 30.0 * (number % 2)
        seen = LesionContrast(dense, 6.0)
        score = float(generator.normal(dense / 15.0))
        scans.append(ScoredScan(f"host {number}", {"any": score}, "subdural", 20.0, seen))
    rows = sensitivity_by_contrast(scans, count=FEW)["subdural"]["from 5 ml"]
    for name in ("-10 to 10 HU", "from 20 HU"):
        each = rows[name]
        assert each.positive == 20
        assert each.low <= each.estimate <= each.high
        assert each.low < each.high
    assert rows["from 20 HU"].estimate > rows["-10 to 10 HU"].estimate
