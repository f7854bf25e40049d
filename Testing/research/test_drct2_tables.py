"""DrCT2's tables and figures on the page: from predictions where there are any, and said where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence_files import PLAN, SHIPPED, made_up, write_run

from research.evidence.drct2_tables import drct2_tables, read_published
from research.evidence.measure import measure
from research.evidence.measured_file import jsonable, read_measured
from research.evidence.plan import read_plan
from research.evidence.plots import FILES, draw
from research.evidence.report import pages
from research.metrics.interpretive_tasks import attended_scans, interpretive_tasks
from scripts.labels import RSNA

DOCS = Path(__file__).resolve().parents[2] / "monai_bundle" / "docs"


@pytest.fixture(scope="module")
def tables():
    found = {SHIPPED: made_up("good", 1.2), "drct1": made_up("weak", 0.3, seed=1)}
    found |= {name: made_up(name, 0.8, seed=2) for name in ("key_slices_4", "key_slices_random_4", "not_in_a_table")}
    found["single_view"] = made_up("one side", 1.0, seed=3)
    return drct2_tables(found, 30)


def test_the_plan_has_a_variant_for_every_row_of_the_paper():
    published = read_published()
    rows = [row for table in published["tables"] for row in table["rows"]]
    named = {row["variant"] for row in rows}
    named |= {name for variants in published["key_slices"].values() for name in variants.values()}
    assert named <= set(read_plan().titles)
    assert set(published["picked"]) == {label.key for label in RSNA}


def test_the_papers_numbers_fit_each_other():
    published = read_published()
    easy, difficult, all_positive = (
        published["tasks"][name]["scans"] for name in ("easy", "difficult", "comprehensive")
    )
    assert easy + difficult >= all_positive
    for table in published["tables"]:
        for row in table["rows"]:
            for precision, recall, f1 in row["published"].values():
                assert f1 <= max(precision, recall)


def test_every_number_is_that_of_its_variant(tables):
    assert set(tables["scores"]) == {"single_view", "drct1", "key_slices_4", "key_slices_random_4"}
    assert set(tables["tasks"]) == set(tables["picked"]) == {SHIPPED, "drct1"}
    wanted = interpretive_tasks(attended_scans(made_up("weak", 0.3, seed=1), "any"))
    assert tables["tasks"]["drct1"]["difficult"].value == wanted["difficult"].value
    assert tables["tasks"][SHIPPED]["comprehensive"].value > tables["tasks"]["drct1"]["comprehensive"].value
    assert tables["f1_by_key_slices"]["attention"] == [
        [4, tables["scores"]["key_slices_4"]["f1"]],
        [16, tables["scores"]["single_view"]["f1"]],
    ]
    assert [number for number, _ in tables["f1_by_key_slices"]["random"]] == [4]
    assert sum(tables["picked_positions"].counts) == pytest.approx(5 * tables["picked_positions"].scans)


def test_the_page_and_its_figures_show_what_was_measured(tables, tmp_path):
    measured = measure(write_run(tmp_path / "run"), PLAN, 20)
    without = pages(measured)["EVIDENCE.md"]
    assert FILES["positions"] in without
    assert FILES["key_slices"] not in without
    assert "| easy | " in without
    assert "| DrCT1 | without | CT-ICH, ours | not measured | – | – | – |" in without
    assert tmp_path / FILES["key_slices"] not in draw(measured, tmp_path)
    whole = dict(measured, drct2=json.loads(json.dumps(jsonable(tables))))
    page = pages(whole)["EVIDENCE.md"]
    score = tables["scores"]["drct1"]["f1"]
    assert f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f}) | {score.random_baseline:.3f} |" in page
    assert (
        f"![F1 over the number of key slices, chosen by attention and drawn at random](evidence/{FILES['key_slices']})"
        in page
    )
    assert tmp_path / FILES["key_slices"] in draw(whole, tmp_path)


def test_a_measured_file_without_these_tables_says_so_and_leaves_no_old_figure(tmp_path):
    measured = dict(measure(write_run(tmp_path / "run"), PLAN, 5))
    for name in ("positions", "key_slices"):
        (tmp_path / FILES[name]).write_text("old", encoding="utf-8")
    measured["drct2"] = None
    page = pages(measured)["EVIDENCE.md"].split("## DrCT2's tables and figures")[1].split("\n## ")[0]
    assert page.count("Not measured in this run") == 4
    assert page.count("| CT-ICH, ours | not measured |") == 9
    draw(measured, tmp_path)
    assert not any((tmp_path / FILES[name]).exists() for name in ("positions", "key_slices"))


def test_the_committed_file_has_the_tasks_of_algorithm_1_or_none():
    measured = read_measured(DOCS / "evidence.json")
    assert "key_slices" not in measured["shipped"]
    assert measured["published"]["drct2"] == read_published()
    if measured["drct2"] is not None:
        assert list(measured["drct2"]["tasks_predicted_positive"]) == ["easy", "difficult", "comprehensive"]
