"""The evaluation of a reader study: metrics and tests against SciPy and scikit-learn; what page and tables state."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support

from ICHDiagnosisLib.reader_study.accuracy import accuracy, counts
from ICHDiagnosisLib.reader_study.conclusion import ConclusionError, conclude
from ICHDiagnosisLib.reader_study.evaluation import POOLED, Change, evaluate
from ICHDiagnosisLib.reader_study.evaluation_page import duration_text, p_text, statement
from ICHDiagnosisLib.reader_study.journal import JournalError
from ICHDiagnosisLib.reader_study.paired_tests import PairedTest, holm, mcnemar, sign_flip_test, wilcoxon
from ICHDiagnosisLib.reader_study.protocol import LABELS, Sitting
from ICHDiagnosisLib.reader_study.resampling import Interval, MeasureSamples, interval, resample
from ICHDiagnosisLib.reader_study.store import StudyStore
from reader_study_cases import Clock, a_study, opened, read_all, read_one


@pytest.fixture(scope="module")
def of_two_readers(tmp_path_factory: pytest.TempPathFactory) -> StudyStore:
    """Two readers with both sittings of 40 studies: faster, surer and better with AI; and one with the first alone."""
    store = a_study(tmp_path_factory.mktemp("reader study"), count=40)
    for reader, skill in (("R01", 0.8), ("R02", 0.6)):
        read_all(store, reader, Sitting.WITHOUT_AI, skill, 40, 1)
        read_all(store, reader, Sitting.WITH_AI, skill + 0.15, 32, 2)
    session, clock = opened(store, "R03"), Clock()
    session.clock = clock
    for _ in range(3):
        read_one(session, clock, 9, frozenset(), 1)
    session.leave()
    return store


def evaluated(store: StudyStore):
    sittings = [tuple(store.record(reader, sitting) for sitting in Sitting) for reader in store.participants]
    return evaluate(store.protocol, sittings)


# Numbers


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_is_the_exact_binomial_test(pairs: list[tuple[bool, bool]]):
    first, second = [one for one, _ in pairs], [two for _, two in pairs]
    test = mcnemar(first, second)
    better = sum(two and not one for one, two in pairs)
    worse = sum(one and not two for one, two in pairs)
    assert (test.pairs, test.differing) == (len(pairs), better + worse)
    if better + worse == 0:
        assert test.p is None
    else:
        assert test.p == pytest.approx(stats.binomtest(better, better + worse).pvalue)


@settings(deadline=None)
@given(st.lists(st.integers(-400, 400), min_size=1, max_size=40, unique_by=abs))
def test_wilcoxon_without_ties_is_scipys_exact_one(differences: list[int]):
    differences = [difference for difference in differences if difference]
    test = wilcoxon([0.0] * len(differences), [difference / 10 for difference in differences])
    if differences:
        assert test.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    else:
        assert test.p is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_ties_are_tested_exactly_too_by_all_sign_patterns(differences: list[int]):
    nonzero = np.array([difference for difference in differences if difference], dtype=float)
    test = wilcoxon([0.0] * len(differences), differences)
    assert test.differing == nonzero.size
    if nonzero.size:
        ranks = stats.rankdata(np.abs(nonzero))
        patterns = np.array(np.meshgrid(*[[-1, 1]] * nonzero.size)).reshape(nonzero.size, -1).T
        found = abs((np.sign(nonzero) * ranks).sum())
        assert test.p == pytest.approx((np.abs(patterns @ ranks) >= found - 1e-9).mean())


def test_many_studies_are_tested_exactly_in_reasonable_memory():
    generator = np.random.default_rng(5)
    first = generator.normal(60, 10, 400)
    second = first - generator.normal(1, 9, 400)
    test = wilcoxon(first.tolist(), second.tolist())
    assert test.p == pytest.approx(stats.wilcoxon(first, second).pvalue, rel=0.05)


def test_the_sum_of_several_readers_is_tested_by_flipping_signs():
    assert sign_flip_test([2, 1, 1, 0]).p == pytest.approx(2 / 8)
    assert sign_flip_test([2, -2]).p == 1.0
    assert sign_flip_test([]).p is None


def test_holm_is_as_published_and_leaves_out_what_was_not_tested():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06], nan_ok=True)
    assert holm([None]) == [None]


def test_few_differing_studies_are_known_to_be_too_few():
    assert not PairedTest(40, 5, 0.0625).can_be_significant
    assert PairedTest(40, 6, 0.03125).can_be_significant


@settings(deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=20))
def test_precision_recall_and_f1_are_scikit_learns_macro_averages(pairs: list[tuple[set, set]]):
    truth, ticked = [frozenset(one) for one, _ in pairs], [frozenset(two) for _, two in pairs]
    found = accuracy(counts(truth, ticked))
    shown, said = (np.array([[label in labels for label in LABELS] for labels in side]) for side in (truth, ticked))
    present = [place for place in range(len(LABELS)) if shown[:, place].any()]
    assert found.labels == tuple(LABELS[place] for place in present)
    if not present:
        assert np.isnan([found.precision, found.recall, found.f1]).all()
        return
    expected = precision_recall_fscore_support(shown[:, present], said[:, present], average="macro", zero_division=0)
    assert (found.precision, found.recall, found.f1) == pytest.approx(expected[:3])


def test_intervals_hold_the_value_and_are_left_out_where_studies_are_few():
    generator = np.random.default_rng(1)
    differences = generator.normal(-5, 10, 60)
    samples = MeasureSamples(60.0, 60.0 + differences.mean(), resample(60) @ differences / 60, 60)
    found = interval(samples)
    assert found.low < found.value < found.high
    expected = stats.bootstrap((differences,), np.mean, random_state=3, method="percentile").confidence_interval
    assert (found.low, found.high) == pytest.approx(expected, abs=0.4)
    few = MeasureSamples(1.0, 2.0, np.ones(2000), 4)
    assert interval(few) == Interval(1.0, None, None)


# The evaluation


def test_table_8_has_every_reader_in_both_sittings_and_all_together(of_two_readers: StudyStore):
    evaluation = evaluated(of_two_readers)
    columns = [(summary.participant, summary.sitting) for summary in evaluation.summaries]
    assert columns == [(reader, sitting) for reader in ("R01", "R02", POOLED) for sitting in Sitting]
    first = evaluation.summaries[0]
    readings = of_two_readers.record("R01", Sitting.WITHOUT_AI).readings
    assert first.studies == 40
    assert first.total_seconds == pytest.approx(sum(reading.seconds for reading in readings))
    assert first.seconds_per_study == pytest.approx(first.total_seconds / 40)
    assert first.confidence == pytest.approx(np.mean([reading.confidence for reading in readings]))
    truth = [of_two_readers.protocol.case(reading.case).truth for reading in readings]
    assert first.accuracy == accuracy(counts(truth, [reading.labels for reading in readings]))
    pooled = evaluation.summaries[4]
    assert pooled.confidence == pytest.approx(np.mean([s.confidence for s in evaluation.summaries[:4:2]]))
    assert pooled.total_seconds == pytest.approx(sum(s.total_seconds for s in evaluation.summaries[:4:2]))
    assert evaluation.left_out == (("R03", 3),)


def test_what_became_faster_and_surer_is_found_and_its_p_values_are_adjusted(of_two_readers: StudyStore):
    changes = {(change.participant, change.measure): change for change in evaluated(of_two_readers).changes}
    assert len(changes) == 21
    for reader in ("R01", "R02", POOLED):
        seconds = changes[reader, "seconds"]
        assert seconds.difference.value == pytest.approx(seconds.with_ai - seconds.without_ai)
        assert seconds.difference.high < 0
        assert seconds.test.p <= seconds.adjusted_p < 0.05
        assert changes[reader, "confidence"].difference.low > 0
        assert changes[reader, "f1"].test is None
    assert changes[POOLED, "f1"].without_ai == pytest.approx(
        np.mean([changes[reader, "f1"].without_ai for reader in ("R01", "R02")])
    )


def test_only_studies_read_in_both_sittings_are_compared(tmp_path: Path):
    store, clock = a_study(tmp_path, count=6), Clock()
    read_all(store, "R01", Sitting.WITHOUT_AI, 0.8, 20, 1)
    session = opened(store, sitting=Sitting.WITH_AI, clock=clock)
    read_one(session, clock, 11, frozenset(), 3)
    session.leave()
    evaluation = evaluated(store)
    assert [summary.studies for summary in evaluation.summaries] == [1, 1]
    assert evaluation.left_out == (("R01", 5),)
    case = session.record.order[0]
    assert evaluation.readers[0].without_ai[0].case == case == evaluation.readers[0].with_ai[0].case


def test_without_a_reference_standard_accuracy_is_not_stated(tmp_path: Path):
    store = a_study(tmp_path, with_truth=False)
    for sitting in Sitting:
        read_all(store, "R01", sitting, 0.8, 20, 1)
    page = conclude(store).read_text(encoding="utf-8")
    assert "No reference standard: accuracy is not stated." in page
    assert "Precision</td>" not in page
    (line, *_) = csv.DictReader((store.folder / "evaluation" / "readings.csv").read_text("utf-8-sig").splitlines())
    assert line["truth_any"] == line["any_correct"] == ""


# Page and tables


def test_the_page_states_all_of_it_and_loads_nothing(of_two_readers: StudyStore):
    page = conclude(of_two_readers).read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=|url\(|https?://", page)
    assert "Research use only" in page
    assert page.count("<circle") == 160
    text = re.sub(r"<[^>]+>", " ", page).replace("&nbsp;", " ")
    for stated in ("R01, without AI", "R02, with AI", "All readers", "2 readers: what is found holds for them"):
        assert stated in text
    assert "R03: 3 studies were read in one sitting only" in text
    assert "Few studies" not in text
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    statements = [re.findall(r"<td[^>]*>(.*?)</td>", row)[-1] for row in rows if row.count("<td") == 10]
    assert all(statements), "every line says what it means"
    assert any("also after the adjustment" in found for found in statements)


def test_few_studies_and_one_reader_are_called_so(tmp_path: Path):
    store = a_study(tmp_path)
    # Times vary by 5 s and meet other studies in each drawn order: 20 s apart, every study differs in any order.
    for sitting, seconds in ((Sitting.WITHOUT_AI, 40), (Sitting.WITH_AI, 20)):
        read_all(store, "R01", sitting, 0.8, seconds, 1)
    page = re.sub(r"<[^>]+>", " ", conclude(store).read_text(encoding="utf-8")).replace("&nbsp;", " ")
    assert "Few studies: 4 read in both sittings (fewer than 30)" in page
    assert "One reader: what is found holds for this reader alone." in page
    assert "no outcome could have a p value below 0.125. No statement." in page
    assert "too few studies" in page
    assert "Differs at 5 %" not in page


@pytest.mark.parametrize(
    ("test", "adjusted", "limits", "text"),
    [
        (PairedTest(40, 0, None), None, (0, 0), "All 40 studies are alike"),
        (PairedTest(40, 20, 0.4), 1.0, (-1, 1), "No difference is shown; that is no proof"),
        (PairedTest(40, 20, 0.02), 0.2, (-1, 1), "may be chance"),
        (PairedTest(40, 20, 0.001), 0.01, (1, 2), "also after the adjustment"),
        (PairedTest(40, 3, 0.25), 0.25, (1, 2), "Too few: 3 studies differ"),
        (None, None, (1, 2), "does not hold 0; no test was made"),
        (None, None, (-1, 2), "The interval holds 0: no difference is shown"),
        (None, None, (None, None), "Too few studies to say anything"),
    ],
)
def test_nothing_is_significant_by_silence(test, adjusted, limits, text: str):
    change = Change("R01", "seconds", 1.0, 2.0, Interval(1.0, *limits), test, adjusted)
    assert text in statement(change)


def test_numbers_are_written_as_the_paper_writes_them():
    assert [duration_text(seconds) for seconds in (11367, 121, 3600)] == ["3h9m27s", "2m1s", "1h0m0s"]
    assert [p_text(p) for p in (0.0004, 0.05, None)] == ["< 0.001", "0.050", "–"]


def test_tables_hold_every_reading_and_every_measure(of_two_readers: StudyStore):
    folder = conclude(of_two_readers).parent
    readings = list(csv.DictReader((folder / "readings.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert len(readings) == 4 * 40 + 3
    record = of_two_readers.record("R02", Sitting.WITH_AI)
    lines = [line for line in readings if (line["reader"], line["sitting"]) == ("R02", "with_ai")]
    assert [(line["case"], float(line["seconds"])) for line in lines] == [
        (reading.case, reading.seconds) for reading in record.readings
    ]
    case = of_two_readers.protocol.case(lines[0]["case"])
    assert {label for label in LABELS if lines[0][f"truth_{label}"] == "1"} == case.truth
    measures = list(csv.DictReader((folder / "measures.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert len(measures) == 21
    assert {line["reader"] for line in measures} == {"R01", "R02", "all"}
    assert [path.name for path in sorted(folder.iterdir())] == ["evaluation.html", "measures.csv", "readings.csv"]


def test_there_is_nothing_to_evaluate_before_anybody_has_read_twice(tmp_path: Path):
    store = a_study(tmp_path)
    with pytest.raises(ConclusionError, match="nothing to evaluate"):
        conclude(store)
    read_all(store, "R01", Sitting.WITHOUT_AI, 0.8, 20, 1)
    with pytest.raises(ConclusionError, match="nothing to evaluate"):
        conclude(store)


def test_a_damaged_journal_stops_the_evaluation_and_a_folder_in_the_way_too(tmp_path: Path):
    store = a_study(tmp_path)
    for sitting in Sitting:
        read_all(store, "R01", sitting, 0.8, 20, 1)
    (store.folder / "evaluation").touch()
    with pytest.raises(ConclusionError, match="cannot be written"):
        conclude(store)
    journal = store.folder / "readers" / "R01" / "with_ai.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"stopped"', b'"topped"', 1))
    with pytest.raises(JournalError, match="unknown event topped"):
        conclude(store)
