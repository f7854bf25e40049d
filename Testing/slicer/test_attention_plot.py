"""The attention plot: every slice has its bar, and the bars leave no gap for a click to fall into."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ICHDiagnosisLib.panel.attention_plot import bar_at, spans


@given(width=st.integers(20, 600), count=st.integers(1, 60))
def test_every_slice_has_a_bar_that_a_click_can_find(width: int, count: int):
    bars = spans(width, count)
    assert len(bars) == count
    assert all(before.end == after.begin for before, after in itertools.pairwise(bars))
    assert [bar_at(bar.begin, width, count) for bar in bars] == list(range(count))
    assert bar_at(bars[0].begin - 1, width, count) is None
    assert bar_at(bars[-1].end, width, count) is None
