"""The pages of the evidence: every number from its place in the measured file, every gap with its reason."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
from evidence_files import PLAN, WEAK, write_run
from page_numbers import decimals_in_prose, misplaced_numbers, rows_of, unsupported_metrics

from research.evidence.formatting import difference, duration, listed, p_value, span, target_met, with_interval
from research.evidence.measure import measure
from research.evidence.measured_file import read_measured, write_measured
from research.evidence.plots import FILES, draw
from research.evidence.report import PAGES, TEMPLATES, main, pages, stale_lines, write_report

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "monai_bundle"
DOCS = BUNDLE / "docs"
MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def measured(run):
    return measure(run, PLAN, 30)


def test_every_number_in_a_table_belongs_to_its_row(measured):
    misplaced, traced = misplaced_numbers(measured)
    assert traced > 400
    assert not misplaced


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("parts.md.j2", "scans.roc[key].auc", "scans.roc[any].auc"),
        ("ablations.md.j2", "set row = source.rows[name]", "set row = shipped.row"),
        ("evidence.md.j2", "point.true_positive", "shipped.operating_points.balanced[key].true_positive"),
    ],
)
def test_a_number_of_another_row_is_noticed(measured, tmp_path, file, right, wrong):
    templates = shutil.copytree(TEMPLATES, tmp_path / "templates")
    text = (templates / file).read_text("utf-8")
    assert right in text
    (templates / file).write_text(text.replace(right, wrong), encoding="utf-8")
    assert misplaced_numbers(measured, templates)[0]


def test_templates_state_no_decimal_number_of_their_own():
    found = {path.name: decimals_in_prose(path.read_text("utf-8")) for path in TEMPLATES.glob("*.j2")}
    assert len(found) > 5
    assert not {name: numbers for name, numbers in found.items() if numbers}
    assert decimals_in_prose("AUC {{ auc | number(2) }} above 0.92 and .95") == ["0.92", ".95"]


def test_hand_written_pages_state_no_metric_without_its_place_in_the_measured_file():
    measured = read_measured(DOCS / "evidence.json")
    by_hand = [ROOT / "README.md", *(path for path in DOCS.glob("*.md") if path.name not in PAGES)]
    assert len(by_hand) > 5
    found = {path.name: unsupported_metrics(path.read_text("utf-8"), measured) for path in by_hand}
    assert not {name: lines for name, lines in found.items() if lines}
    place = "<!-- evidence.json: shipped.row.scan_auc.estimate -->"
    auc = measured["shipped"]["row"]["scan_auc"]["estimate"]
    assert not unsupported_metrics(f"Its AUC is {auc:.2f}. {place}", measured)
    quoted, cited = "Published: AUC .988 (the winner).", "## Winner\n\nWang et al., doi 10.1016/j.nicl.2021.102785."
    assert not unsupported_metrics(f"{cited}\n\n{quoted}", measured)
    for elsewhere in (quoted, f"{cited}\n\n## Ours\n\n{quoted}"):
        assert unsupported_metrics(elsewhere, measured) == [quoted]
    for line in (f"Its AUC is {auc:.2f}.", f"Its AUC is {auc + 0.01:.2f}. {place}"):
        assert unsupported_metrics(line, measured) == [line]


def test_another_value_gives_another_page(measured):
    other = copy.deepcopy(measured)
    other["shipped"]["scans"]["roc"]["any"]["auc"]["estimate"] = 0.123456
    for name in ("EVIDENCE.md", "MODEL_CARD.md"):
        assert "0.123 (" in pages(other)[name], name
        assert pages(other)[name] != pages(measured)[name]


def test_every_table_has_as_many_cells_in_each_row(measured):
    for name, text in pages(measured).items():
        tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert len(tables) >= 2, name
        for table in tables:
            lines = table.splitlines()
            assert set(lines[1]) == {"|", "-"}, lines[:2]
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, table


@pytest.mark.parametrize(
    "heading",
    [
        *("How it was measured", "Target and result", "Scans", "Operating points", "Single slices", "Key slices"),
        "DrCT2's tables and figures",
        *("Lesion maps", "Synthetic haemorrhage", "Phantoms"),
        *("Explanations", "Ablations", "Subgroups", "External test", "Failures", "Run times"),
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


def test_the_summary_is_short_and_has_every_part(measured):
    summary = pages(measured)["EVIDENCE_SUMMARY.md"]
    headings = ["What was asked", "On whom", "Six results", "Three images", "What to distrust"]
    assert re.findall("^## (.*)$", summary, re.MULTILINE) == headings
    assert len(summary.split()) < 800
    assert summary.count("![") == 3
    results = summary.split("## Six results")[1].split("## Three images")[0]
    assert len(list(rows_of(results))) == 2 + 6


def test_the_summary_states_the_six_results_of_the_measured_file(measured):
    summary, shipped = pages(measured)["EVIDENCE_SUMMARY.md"], measured["shipped"]
    area, balanced = shipped["row"]["scan_auc"], shipped["operating_points"]["balanced"]["any"]
    assert f"| {100 * area['estimate']:.0f} % ({100 * area['low']:.0f} to {100 * area['high']:.0f} %) |" in summary
    assert f"| {balanced['true_positive']} of {balanced['positive']}: " in summary
    assert f"| {balanced['true_negative']} of {balanced['negative']}: " in summary
    assert f"| {shipped['sizes'][0]['true_positive']} of {shipped['sizes'][0]['scans']}: " in summary
    first = shipped["attention"]["first_slice"]
    assert f"drawn at random: {100 * first['random_baseline']:.0f} % |" in summary
    lesions = measured["lesion_maps"]["quality"]["any"]["per_slice"]["pointing_game"]
    assert f"value of the lesion map lie inside the blood? | {100 * lesions['value']:.0f} % (" in summary
    without_decoder = pages(dict(measured, lesion_maps=None))["EVIDENCE_SUMMARY.md"]
    attribution = measured["explanations"]["quality"]["gradcam"]["any"]["per_slice"]["pointing_game"]
    assert f"value of the Grad-CAM lie inside the blood? | {100 * attribution['value']:.0f} % (" in without_decoder


def test_gaps_have_their_reason(measured):
    report = pages(measured)["EVIDENCE.md"]
    assert "| Never run | not measured | – |" in report
    assert "– (0 positives, 60 negatives)" in report
    assert "– (no slice classifier)" in report
    assert "| Localizer | nothing | not evaluated |" in report
    assert "(too few: 3 positives, 2 negatives)" in report
    assert "| 0.8392 |" in report


def test_a_run_without_optional_parts_has_pages_that_state_it(measured):
    parts = ("explanations", "external_test", "run", "lesion_maps", "synthetic", "phantoms")
    less = dict(measured, tables=[], **dict.fromkeys(parts))
    less["shipped"] = dict(measured["shipped"], slices={"reason": "no slice classifier"})
    report, summary, card = pages(less).values()
    for words in (
        "Not measured in this run.",
        "Not read in this run.",
        "No images were made in this run.",
        "Not recorded.",
        "Not measured in this run: the network has no lesion decoder.",
        "None of this version's network was measured in this run.",
    ):
        assert words in report
    assert "The network has no slice classifier." in report
    assert "No image of a missed haemorrhage" in summary
    assert "Grad-CAM against" not in card


def test_sensitivity_by_contrast_stands_beside_the_rows_by_volume(measured):
    report, summary, _ = pages(measured).values()
    contrast = measured["synthetic"]["contrast"]
    rows = {cells[0]: cells[1:] for cells in rows_of(report.split("## Synthetic haemorrhage")[1].split("\n## ")[0])}
    for name, row in contrast["any"]["from 1 ml"].items():
        found = [
            contrast[subtype][size][name] for subtype in ("any", "subdural") for size in ("from 1 ml", "from 5 ml")
        ]
        assert rows[name] == [text for one in found for text in (str(one["positive"]), with_interval(one, 2))]
        assert name == "not measurable" or row["positive"] > 0
    white, grey = (contrast["any"]["from 5 ml"][name]["estimate"] for name in ("from 20 HU", "-10 to 10 HU"))
    assert f"denser than the brain beside them, {100 * white:.0f} % (" in summary
    assert f"as dense as brain (within 10 HU), {100 * grey:.0f} % (" in summary


def test_a_measured_file_without_contrast_says_that_it_was_not_measured(measured):
    less = dict(measured, synthetic={key: part for key, part in measured["synthetic"].items() if key != "contrast"})
    report, summary, _ = pages(less).values()
    assert "Sensitivity by contrast was not measured in this run." in report
    assert "denser than the brain" not in report + summary
    assert "was not measured in this run" not in pages(measured)["EVIDENCE.md"]


def test_rows_on_other_scans_are_not_compared(measured):
    other = copy.deepcopy(measured)
    other["tables"][0]["comparisons"][WEAK] = {"reason": "not measured on the same scans and labels"}
    assert "| not measured on the same scans and labels | – | – | – | – |" in pages(other)["EVIDENCE.md"]


def test_plots_are_the_same_every_time_and_small(measured, tmp_path):
    files = draw(measured, tmp_path / "one")
    draw(measured, tmp_path / "other")
    # Figure 6 needs variants that this plan does not have.
    assert {path.name for path in files} == set(FILES.values()) - {FILES["key_slices"]}
    for path in files:
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    assert sum(path.stat().st_size for path in files) < MOST_BYTES / 2


def test_a_network_without_a_slice_classifier_leaves_no_old_plot(measured, tmp_path):
    draw(measured, tmp_path)
    without = dict(measured, shipped=dict(measured["shipped"], slices={"reason": "no slice classifier"}))
    assert tmp_path / FILES["roc_slices"] not in draw(without, tmp_path)
    assert not (tmp_path / FILES["roc_slices"]).exists()


def test_one_command_measures_and_another_writes_the_pages_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr("research.evidence.measure.read_plan", lambda: PLAN)
    (tmp_path / "configs").mkdir()
    (tmp_path / "docs").mkdir()
    shutil.copy(BUNDLE / "configs" / "metadata.json", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    write_report(run, 5)
    first = {path.name: path.read_text("utf-8") for path in (tmp_path / "docs").glob("*.md")}
    assert set(first) == set(PAGES)
    metrics = json.loads((tmp_path / "configs" / "metadata.json").read_text("utf-8"))["eval_metrics"]
    assert metrics["protocol"] == "60 made-up scans, 5 folds by patient"
    (tmp_path / "docs" / "MODEL_CARD.md").unlink()
    with pytest.raises(SystemExit):
        main(["--check"])
    main([])
    main(["--check"])
    assert {path.name: path.read_text("utf-8") for path in (tmp_path / "docs").glob("*.md")} == first


def test_the_pages_in_the_repository_are_those_of_its_measured_file():
    measured = read_measured(DOCS / "evidence.json")
    assert not stale_lines(measured, DOCS, BUNDLE / "configs" / "metadata.json")
    for name, text in pages(measured).items():
        for target in re.findall(r"\]\(([^)#:]+)", text):
            assert (DOCS / target).is_file(), f"{name} points at {target}"
    assert sum(path.stat().st_size for path in (DOCS / "evidence").iterdir()) < MOST_BYTES


@pytest.mark.parametrize(
    ("name", "written", "step"),
    [
        ("EVIDENCE.md", lambda area: f"{area:.3f}", 0.001),
        ("EVIDENCE_SUMMARY.md", lambda area: f"{100 * area:.0f} % (", 0.01),
        ("MODEL_CARD.md", lambda area: f"{area:.3f}", 0.001),
        ("README.md", lambda area: f"{area:.3f}", 0.001),
        ("../../README.md", lambda area: f"{area:.2f} (95".removeprefix("0"), 0.01),
    ],
)
def test_a_wrong_number_on_a_page_of_the_repository_is_noticed(name, written, step, tmp_path):
    docs = tmp_path / "monai_bundle" / "docs"
    docs.mkdir(parents=True)
    shutil.copy(ROOT / "README.md", tmp_path)
    for path in DOCS.glob("*.md"):
        shutil.copy(path, docs)
    measured, metadata = read_measured(DOCS / "evidence.json"), BUNDLE / "configs" / "metadata.json"
    assert not stale_lines(measured, docs, metadata)
    text = (docs / name).read_text("utf-8")
    area = measured["shipped"]["row"]["scan_auc"]["estimate"]
    right, wrong = written(area), written(area - step)
    assert right in text
    (docs / name).write_text(text.replace(right, wrong, 1), encoding="utf-8")
    (stale,) = stale_lines(measured, docs, metadata)
    assert wrong in stale


def test_wrong_metrics_in_the_metadata_are_noticed(tmp_path):
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text("utf-8"))
    metadata["eval_metrics"]["slice_auc"] += 0.001
    (tmp_path / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    measured = read_measured(DOCS / "evidence.json")
    assert stale_lines(measured, DOCS, tmp_path / "metadata.json") == ["metadata.json: eval_metrics"]


def test_the_measured_file_is_written_with_a_newline_at_its_end(measured, tmp_path):
    write_measured(measured, tmp_path / "evidence.json")
    assert (tmp_path / "evidence.json").read_text("utf-8").endswith("}\n")


def test_metrics_are_written_with_their_interval_or_reason():
    assert with_interval({"estimate": 0.5, "low": 0.4, "high": 0.6, "remark": None}) == "0.500 (0.400 to 0.600)"
    assert with_interval({"value": 0.5, "low": None, "high": None, "reason": None}) == "0.500 (no interval)"
    assert with_interval({"estimate": None, "remark": "a | b"}) == "– (a \\| b)"
    assert with_interval(None) == "–"
    assert p_value({"p": 0.0004}) == "< 0.001"
    assert p_value({"p": None, "remark": "the models rank the scans alike"}) == "– (the models rank the scans alike)"
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
