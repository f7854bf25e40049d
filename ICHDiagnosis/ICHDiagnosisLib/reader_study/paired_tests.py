"""Exact paired tests: McNemar's, Wilcoxon's signed rank, and the sign-flip test that both are cases of.

Under the hypothesis that the sittings do not differ, each study's difference could as well have had the other sign. The
p value is the share of all sign patterns whose sum is at least as far from 0 as the one that was found (R. A. Fisher,
The Design of Experiments, section 21). With differences of ±1 that is McNemar's exact test; with signed ranks it is
Wilcoxon's (Biometrics Bulletin 1945), midranks for ties, differences of 0 left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test.

    Attributes
    ----------
    pairs : int
        Studies that were read in both sittings.
    differing : int
        Those of them that differ between the sittings; the others say nothing.
    p : float or None
        p value; None where nothing differs, for there is nothing to test.
    """

    pairs: int
    differing: int
    p: float | None

    @property
    def smallest_p(self) -> float:
        """The smallest p value that so many differing studies can give, all in the same direction."""
        return min(1.0, 2.0 * 0.5**self.differing)

    @property
    def can_be_significant(self) -> bool:
        """Whether any outcome with so many differing studies could have had a p value below 0.05."""
        return self.smallest_p < LEVEL


def sign_flip_test(differences: Sequence[int]) -> PairedTest:
    """Test whether whole-numbered differences of studies are symmetric around 0, exactly.

    The distribution of the sum is built study by study (shift and add), so the cost grows with the number of studies
    times the sum of the absolute differences.
    """
    sizes = [abs(int(difference)) for difference in differences if difference]
    if not sizes:
        return PairedTest(len(differences), 0, None)
    total = sum(sizes)
    # probability[s]: that the positive differences sum to s.
    probability = np.zeros(total + 1)
    probability[0] = 1.0
    reach = 0
    for size in sizes:
        reach += size
        probability[size : reach + 1] = 0.5 * (probability[size : reach + 1] + probability[: reach + 1 - size])
        probability[:size] *= 0.5
    positive = sum(difference for difference in differences if difference > 0)
    distances = np.abs(2 * np.arange(total + 1) - total)
    p = float(probability[distances >= abs(2 * positive - total)].sum())
    return PairedTest(len(differences), len(sizes), min(1.0, p))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """Test whether studies are read correctly more often in one sitting than in the other (McNemar's exact test)."""
    return sign_flip_test([int(after) - int(before) for before, after in zip(first, second, strict=True)])


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Test whether values of the second sitting lie above or below those of the first (Wilcoxon's signed rank)."""
    differences = np.round(np.subtract(second, first, dtype=np.float64), 9)
    nonzero = differences[differences != 0]
    values, inverse, number = np.unique(np.abs(nonzero), return_inverse=True, return_counts=True)
    # Twice the midrank is whole.
    last = np.cumsum(number)
    doubled = 2 * last - number + 1
    ranks = doubled[inverse] if values.size else np.zeros(0, dtype=np.int64)
    test = sign_flip_test([int(rank) for rank in np.sign(nonzero).astype(np.int64) * ranks])
    return PairedTest(len(differences), test.differing, test.p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for the number of tests (Holm, Scandinavian Journal of Statistics 1979); None stays."""
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p))
        adjusted[index] = largest
    return adjusted
