"""The pages of the evidence: every number from the measured file, every gap said, and the same pages every time."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
from evidence_files import PLAN, SHIPPED, WEAK, write_run

from research.evidence.measure import measure
from research.evidence.measured_file import read_measured, write_measured
from research.evidence.plot_files import NAMES, draw
from research.evidence.report import main, pages, write_pages, write_report
from research.evidence.formatting import difference, duration, listed, p_value, span, target_met, with_interval

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"
DOCS = BUNDLE / "docs"
MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def measured(run):
    return measure(run, PLAN, 30)


def leaves(content):
    if isinstance(content, dict):
        for value in content.values():
            yield from leaves(value)
    elif isinstance(content, list):
        for value in content:
            yield from leaves(value)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content


def test_every_decimal_number_on_the_pages_stands_in_the_measured_file(measured):
    known = {form.format(value) for value in leaves(measured) for form in ("{:.2f}", "{:.3f}", "{:.4f}", "{:+.3f}")}
    # Fixed points of the curve, and what a p-value is compared with.
    known |= {"0.90", "0.95", "0.001", "0.05"}
    for name, text in pages(measured).items():
        written = set(re.findall(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.])", text))
        assert len(written) > 50
        versions = {part for version in measured["run"]["versions"].values() for part in (version, version[:-2])}
        assert not {figure for figure in written if figure not in known | versions and figure != "0.5"}, name


def test_another_figure_gives_another_page(measured):
    other = copy.deepcopy(measured)
    other["shipped"]["scans"]["roc"]["any"]["auc"]["estimate"] = 0.123456
    for name, text in pages(other).items():
        assert "0.123 (" in text, name
        assert text != pages(measured)[name]


def test_every_table_has_as_many_cells_in_each_row(measured):
    for name, text in pages(measured).items():
        tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert len(tables) >= 6, name
        for table in tables:
            lines = table.splitlines()
            assert set(lines[1]) == {"|", "-"}, lines[:2]
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, table


@pytest.mark.parametrize(
    "heading",
    [
        *("How the figures came about", "Target and what was reached", "Scans", "Operating points", "Single slices"),
        *("Key slices: does attention point at the disease?", "Explanations", "What makes the difference"),
        *("Subgroups", "Studies from elsewhere", "Where it fails", "Run times"),
    ],
)
def test_the_report_has_every_part(measured, heading):
    assert f"\n## {heading}\n" in pages(measured)["EVIDENCE.md"]


@pytest.mark.parametrize(
    "heading",
    [
        *("Intended use", "Out of scope", "Data", "Performance", "Performance by subgroup", "Explanations", "Failures"),
        "Limits",
    ],
)
def test_the_model_card_has_every_part(measured, heading):
    assert f"\n## {heading}\n" in pages(measured)["MODEL_CARD.md"]


def test_gaps_are_said(measured):
    report = pages(measured)["EVIDENCE.md"]
    assert "| Never run | not measured | – |" in report
    assert "– (0 positives, 60 negatives)" in report
    assert "– (says nothing of single slices)" in report
    assert "| Localizer | nothing | not evaluated |" in report
    assert "(too few: 3 positives, 2 negatives)" in report
    assert "83.92" not in report  # one way to write figures: 0.8392
    assert "| 0.8392 |" in report


def test_a_run_that_made_less_says_so(measured):
    less = dict(measured, explanations=None, outside=None, run=None)
    less["shipped"] = dict(measured["shipped"], slices={"reason": "says nothing of single slices"})
    report, card = pages(less).values()
    for words in (
        "Not measured in this run.",
        "Not read in this run.",
        "No pictures were made in this run.",
        "Not recorded.",
    ):
        assert words in report
    assert "The network says nothing of single slices." in report
    assert "Grad-CAM against" not in card


def test_rows_on_other_scans_are_not_compared(measured):
    other = copy.deepcopy(measured)
    other["tables"][0]["comparisons"][WEAK] = {"reason": "not measured on the same scans and labels"}
    assert "| not measured on the same scans and labels | – | – | – | – |" in pages(other)["EVIDENCE.md"]


def test_plots_are_the_same_every_time_and_small(measured, tmp_path):
    files = draw(measured, tmp_path / "one")
    draw(measured, tmp_path / "other")
    assert {path.name for path in files} == set(NAMES.values())
    for path in files:
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    assert sum(path.stat().st_size for path in files) < MOST_BYTES / 2


def test_a_model_silent_of_slices_leaves_no_old_plot(measured, tmp_path):
    draw(measured, tmp_path)
    silent = dict(measured, shipped=dict(measured["shipped"], slices={"reason": "says nothing of single slices"}))
    assert tmp_path / NAMES["roc_slices"] not in draw(silent, tmp_path)
    assert not (tmp_path / NAMES["roc_slices"]).exists()


def test_the_metadata_gets_its_figures_and_keeps_the_rest(measured, tmp_path):
    metadata = tmp_path / "metadata.json"
    metadata.write_text(json.dumps({"version": "1", "eval_metrics": {"old": 1}}), encoding="utf-8")
    write_pages(measured, tmp_path / "docs", metadata)
    assert json.loads(metadata.read_text("utf-8")) == {
        "version": "1",
        "eval_metrics": measured["shipped"]["eval_metrics"],
    }
    assert (tmp_path / "docs" / "EVIDENCE.md").read_text("utf-8") == pages(measured)["EVIDENCE.md"]


def test_one_command_measures_and_another_writes_the_pages_again(run, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "docs").mkdir()
    shutil.copy(BUNDLE / "configs" / "metadata.json", tmp_path / "configs")
    plan = {
        "shipped": SHIPPED,
        "variants": [{"name": name, "title": title} for name, title in PLAN.titles.items()],
        "tables": [],
    }
    (tmp_path / "configs" / "evidence.json").write_text(json.dumps(plan), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write_report(run, 5)
    first = (tmp_path / "docs" / "MODEL_CARD.md").read_text("utf-8")
    (tmp_path / "docs" / "MODEL_CARD.md").unlink()
    main(["--measured", "docs/evidence.json"])
    assert (tmp_path / "docs" / "MODEL_CARD.md").read_text("utf-8") == first


def test_the_pages_in_the_repository_are_those_of_its_measured_file():
    measured = read_measured(DOCS / "evidence.json")
    for name, text in pages(measured).items():
        assert (DOCS / name).read_text("utf-8") == text, f"{name} is not what evidence.json says"
        for target in re.findall(r"\]\(([^)#:]+)", text):
            assert (DOCS / target).is_file(), f"{name} points at {target}"
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text("utf-8"))
    assert metadata["eval_metrics"] == measured["shipped"]["eval_metrics"]
    assert sum(path.stat().st_size for path in (DOCS / "evidence").iterdir()) < MOST_BYTES


def test_the_measured_file_is_written_with_a_newline_at_its_end(measured, tmp_path):
    write_measured(measured, tmp_path / "evidence.json")
    assert (tmp_path / "evidence.json").read_text("utf-8").endswith("}\n")


def test_figures_are_written_with_what_is_known_of_them():
    assert with_interval({"estimate": 0.5, "low": 0.4, "high": 0.6, "remark": None}) == "0.500 (0.400 to 0.600)"
    assert with_interval({"value": 0.5, "low": None, "high": None, "reason": None}) == "0.500 (no interval)"
    assert with_interval({"estimate": None, "remark": "a | b"}) == "– (a \\| b)"
    assert with_interval(None) == "–"
    assert p_value({"p": 0.0004}) == "< 0.001"
    assert p_value({"p": None, "remark": "the models rank alike"}) == "– (the models rank alike)"
    assert difference({"difference": 0.02, "low": -0.01, "high": 0.05}) == "+0.020 (-0.010 to +0.050)"
    assert difference({"difference": None}) == "–"
    assert span({"0": 0.4, "1": 0.3}) == "0.300 to 0.400"
    assert span({"0": 0.5, "1": 0.5}) == "0.500"
    assert (duration(42), duration(600), duration(7200)) == ("42 s", "10 min", "2.0 h")
    assert (listed(["a", "b", "c"]), listed(["a"]), listed([])) == ("a, b and c", "a", "")


@pytest.mark.parametrize(
    ("value", "high", "words"),
    [
        (0.93, 0.97, "yes"),
        (0.9, 0.95, "no; it lies within the interval"),
        (0.8, 0.85, "no"),
        (None, None, "not measured"),
    ],
)
def test_a_target_is_met_or_not(value, high, words):
    assert target_met({"estimate": value, "low": None, "high": high}, 0.92) == words
