"""The figure of the systems shows each measured one where it belongs, with names that cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.systems.cost import Cost
from research.systems.figure import Dot, dots, draw, figure_of, short_name
from research.systems.label_placement import POINT, Box, placed
from research.systems.measured import MeasuredSystem, Value
from scripts.systems import System, systems

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
QUALITY = {"pointing_game": Value(0.2, 0.1, 0.3, 0.01)}
MEASURED = MeasuredSystem(
    *((0,), 17, 8, Value(0.7, 0.5, 0.9), Value(0.8, 0.6, 0.9), Value(0.5, 0.3, 0.7, 0.3), "slice_gradcam", QUALITY),
    *("240 steps", "scans", "random weights"),
)
COST = Cost(1_000_000, 50.0, 0.4, 1, "1 x 128 x 128")


def with_auc(value: float, low: float) -> MeasuredSystem:
    return replace(MEASURED, slice_auc=Value(value, low, 0.95))


def all_systems() -> list[System]:
    return systems(BUNDLE)


def test_what_has_no_answer_for_slices_or_no_time_is_not_shown():
    known = [each for each in all_systems() if each.name in {"shipped", "radnet", "densenet40", "drct1_rsna"}]
    scans_alone = replace(MEASURED, slice_auc=Value(None, None, None))
    measured = {"shipped": MEASURED, "radnet": MEASURED, "drct1_rsna": scans_alone}
    costs = dict.fromkeys((each.name for each in known), COST) | {"radnet": replace(COST, seconds=None)}
    assert [dot.name for dot in dots(measured, costs, known)] == ["shipped DrCT2"]


def test_of_the_ich_apps_networks_the_best_alone_is_named():
    known = [each for each in all_systems() if each.name.startswith("ich_app_resnet")]
    measured = {each.name: with_auc(0.6 + 0.05 * number, 0.5) for number, each in enumerate(known)}
    shown = dots(measured, {each.name: COST for each in known}, known)
    assert [dot.name for dot in shown] == ["ICH app, ResNet50", "", "", ""]
    assert shown[0].accuracy == pytest.approx(0.75)


def test_names_are_short_and_of_one_system_each_outside_the_ich_app():
    names = [short_name(each) for each in all_systems() if not each.name.startswith("ich_app")]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 28
    assert {"RSNA 2019 winner", "ResNet18", "DrCT1 (RSNA)", "DenseNet-A"} <= set(names)


def test_what_the_height_alone_tells_is_shaded_with_its_value():
    heights = [replace(dot, chance=0.82) for dot in crowd()]
    texts = [text.get_text() for text in figure_of(heights).axes[0].texts]
    assert "shaded: no better than a slice's height alone tells (0.82); grey names: may be" in texts
    assert "shaded: no better than chance; grey names: may be" in [
        text.get_text() for text in figure_of(crowd()).axes[0].texts
    ]


def crowd() -> list[Dot]:
    return [
        Dot(f"system {number}", "other", 0.4 + 0.01 * number, 0.7 + 0.004 * number, 0.5, 0.9, 0.1, number % 2 == 0)
        for number in range(12)
    ]


def overlaps(boxes: Sequence[Box]) -> float:
    return sum(a.overlap(b) for number, a in enumerate(boxes) for b in boxes[number + 1 :])


def test_names_of_a_crowd_do_not_cover_each_other():
    figure = figure_of(crowd())
    texts = [text for text in figure.axes[0].texts if text.get_text().startswith("system")]
    extents = [text.get_window_extent() for text in texts]
    assert len(extents) == 12
    assert overlaps([Box(each.x0, each.y0, each.x1, each.y1) for each in extents]) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(50, 350), st.floats(50, 350)), min_size=1, max_size=8))
def test_places_are_free_where_there_is_room(points: list[tuple[float, float]]):
    inside = Box(0.0, 0.0, 400.0, 400.0)
    boxes = placed(points, [(40.0, 10.0)] * len(points), points, inside)
    assert overlaps(boxes) == pytest.approx(0, abs=1e-6)
    for box in boxes:
        assert box.overlap(inside) == pytest.approx(box.area)
        for x, y in points:
            assert box.overlap(Box(x - POINT, y - POINT, x + POINT, y + POINT)) == pytest.approx(0, abs=1e-6)


def test_the_same_numbers_give_the_same_file_and_none_leave_none(tmp_path: Path):
    known = [each for each in all_systems() if each.name in {"shipped", "radnet"}]
    costs = {each.name: COST for each in known}
    measured = {"shipped": MEASURED, "radnet": with_auc(0.6, 0.45)}
    for name in ("a.svg", "b.svg"):
        draw(measured, costs, known, tmp_path / name)
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert text == (tmp_path / "b.svg").read_text("utf-8")
    assert "<svg" in text
    draw({}, costs, known, tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()
