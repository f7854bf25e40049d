"""The evaluation of a reader study: the paper's table 8 per reader and sitting, with intervals and paired tests.

Of two sittings only the studies that were read in both are compared. Several readers are pooled by study: the mean over
readers of a study is one value, and studies are what is resampled and tested. What is found so holds for these readers
on studies like these; it says nothing of other readers (that would take a model of readers and cases, such as
Obuchowski and Rockette's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import accuracy
from .paired_tests import PairedTest, holm, mcnemar, sign_flip_test, wilcoxon
from .protocol import ANY, Protocol, Sitting
from .record import Reading, SittingRecord
from .resampling import Interval, MeasureSamples, interval, resample

POOLED = ""
"""In the place of a pseudonym: all readers together."""
SMALL = 30
"""Fewer paired studies than this are called few."""


@dataclass(frozen=True)
class SittingSummary:
    """One column of table 8.

    Attributes
    ----------
    participant : str
        Pseudonym; empty for all readers together (means of the readers' values, times summed).
    sitting : Sitting
        Without or with AI.
    date : str
        Day on which it was begun (ISO 8601); empty for all readers together.
    studies : int
        Number of studies that count.
    accuracy : Accuracy or None
        None where there is no reference standard.
    confidence : float
        Mean, 0..3.
    total_seconds, seconds_per_study : float
        Time.
    """

    participant: str
    sitting: Sitting
    date: str
    studies: int
    accuracy: accuracy.Accuracy | None
    confidence: float
    total_seconds: float
    seconds_per_study: float


@dataclass(frozen=True)
class Change:
    """One measure, with AI against without, of one reader or of all together.

    Attributes
    ----------
    participant : str
        Pseudonym; empty for all readers together.
    measure : str
        ``"precision"``, ``"recall"``, ``"f1"``, ``"any_correct"``, ``"all_correct"``, ``"seconds"`` or
        ``"confidence"``.
    without_ai, with_ai : float
        The measure in both sittings.
    difference : Interval
        With minus without; 95 % bootstrap interval over studies.
    test : PairedTest or None
        None for precision, recall and F1, which have an interval alone.
    adjusted_p : float or None
        The test's p value after Holm's correction for all tests of the evaluation.
    """

    participant: str
    measure: str
    without_ai: float
    with_ai: float
    difference: Interval
    test: PairedTest | None = None
    adjusted_p: float | None = None


@dataclass(frozen=True)
class PairedReadings:
    """One reader's two sittings, on the studies that were read in both."""

    participant: str
    dates: tuple[str, str]
    without_ai: tuple[Reading, ...]
    with_ai: tuple[Reading, ...]

    def of(self, sitting: Sitting) -> tuple[Reading, ...]:
        """Return the readings of one sitting."""
        return self.without_ai if sitting is Sitting.WITHOUT_AI else self.with_ai


@dataclass(frozen=True)
class Evaluation:
    """All that is stated of a reader study.

    Attributes
    ----------
    readers : tuple of PairedReadings
        Readers with at least one study in both sittings.
    summaries : tuple of SittingSummary
        Reader by reader, without AI first; then, where there are several, all together.
    changes : tuple of Change
        Likewise.
    left_out : tuple of (str, int)
        Pseudonyms with the number of studies that only one of their sittings holds.
    early : tuple of (str, str)
        Pseudonyms of those who began the second sitting before the wash-out was over, with the reason that they gave.
    with_truth : bool
        Whether there is a reference standard.
    ai : SittingSummary or None
        The network alone, as the last column of table 8; None where its results are not known.
    """

    readers: tuple[PairedReadings, ...]
    summaries: tuple[SittingSummary, ...]
    changes: tuple[Change, ...]
    left_out: tuple[tuple[str, int], ...]
    early: tuple[tuple[str, str], ...]
    with_truth: bool
    ai: SittingSummary | None


def paired_readings(first: SittingRecord, second: SittingRecord) -> PairedReadings:
    """Return the readings of both sittings of a reader, in the order of the cases; others are left out."""
    by_case = [{reading.case: reading for reading in record.finished} for record in (first, second)]
    cases = sorted(by_case[0].keys() & by_case[1].keys())
    dates = tuple(record.begun.astimezone().date().isoformat() for record in (first, second))
    readings = [tuple(of_sitting[case] for case in cases) for of_sitting in by_case]
    return PairedReadings(first.participant, (dates[0], dates[1]), readings[0], readings[1])


def evaluate(
    protocol: Protocol,
    sittings: Sequence[tuple[SittingRecord, SittingRecord | None]],
    ai_readings: Sequence[Reading] = (),
) -> Evaluation:
    """Evaluate a reader study.

    Parameters
    ----------
    protocol : Protocol
        Its cases and their reference standard.
    sittings : sequence of (SittingRecord, SittingRecord or None)
        Each reader's sittings without and with AI.
    ai_readings : sequence of Reading
        What the network finds, as if it were a reader (:func:`ICHDiagnosisLib.reader_study.ai_results.ai_readings`).
    """
    pairs = [paired_readings(first, second) for first, second in sittings if second is not None]
    readers = tuple(pair for pair in pairs if pair.without_ai)
    with_truth = all(case.truth is not None for case in protocol.cases)
    changes = [change for reader in readers for change in _changes(protocol, (reader,), with_truth, reader.participant)]
    summaries = [_summary(protocol, (reader,), sitting, with_truth) for reader in readers for sitting in Sitting]
    if len(readers) > 1:
        changes += _changes(protocol, readers, with_truth, POOLED)
        summaries += [_summary(protocol, readers, sitting, with_truth) for sitting in Sitting]
    ai = _summary_of_ai(protocol, ai_readings, with_truth) if ai_readings else None
    left_out = _left_out(sittings, readers)
    seconds = (second for _, second in sittings if second is not None)
    early = tuple((second.participant, second.override_reason) for second in seconds if second.override_reason)
    return Evaluation(readers, tuple(summaries), _with_adjusted_p(changes), left_out, early, with_truth, ai)


def correct(protocol: Protocol, reading: Reading) -> tuple[bool, bool]:
    """Return whether ``any`` is as in the reference standard, and whether every label is; for studies with one."""
    truth = protocol.case(reading.case).truth
    if truth is None:
        raise ValueError(f"case {reading.case} has no reference standard")
    return (ANY in truth) == (ANY in reading.labels), truth == reading.labels


def _counts(protocol: Protocol, readings: Sequence[Reading]) -> accuracy.Counts:
    truth = [protocol.case(reading.case).truth or frozenset() for reading in readings]
    return accuracy.counts(truth, [reading.labels for reading in readings])


def _summary(
    protocol: Protocol, readers: Sequence[PairedReadings], sitting: Sitting, with_truth: bool
) -> SittingSummary:
    of_readers = [reader.of(sitting) for reader in readers]
    readings = [reading for of_reader in of_readers for reading in of_reader]
    alone = readers[0] if len(readers) == 1 else None
    date = "" if alone is None else alone.dates[0 if sitting is Sitting.WITHOUT_AI else 1]
    found = None
    if with_truth:
        each = [accuracy.accuracy(_counts(protocol, of_reader)) for of_reader in of_readers]
        means = np.mean([[one.precision, one.recall, one.f1] for one in each], axis=0)
        found = accuracy.Accuracy(float(means[0]), float(means[1]), float(means[2]), each[0].labels)
    total = sum(reading.seconds for reading in readings)
    confidence = float(np.mean([reading.confidence for reading in readings]))
    participant = POOLED if alone is None else alone.participant
    return SittingSummary(participant, sitting, date, len(readings), found, confidence, total, total / len(readings))


def _summary_of_ai(protocol: Protocol, readings: Sequence[Reading], with_truth: bool) -> SittingSummary:
    found = accuracy.accuracy(_counts(protocol, readings)) if with_truth else None
    total = sum(reading.seconds for reading in readings)
    number = len(readings)
    return SittingSummary(POOLED, Sitting.WITH_AI, "", number, found, float("nan"), total, total / number)


def _changes(protocol: Protocol, readers: Sequence[PairedReadings], with_truth: bool, participant: str) -> list[Change]:
    """Compare the sittings of one reader, or of several on the studies that all of them have read twice."""
    common = sorted(set.intersection(*({reading.case for reading in reader.without_ai} for reader in readers)))
    if not common:
        return []
    kept = [
        [[reading for reading in reader.of(sitting) if reading.case in common] for sitting in Sitting]
        for reader in readers
    ]
    changes = []
    if with_truth:
        of_sittings = [np.array([_counts(protocol, pair[place]) for pair in kept]) for place in range(2)]
        for measure, samples in zip(("precision", "recall", "f1"), _accuracy_samples(*of_sittings), strict=True):
            changes.append(Change(participant, measure, samples.first, samples.second, interval(samples)))
        for place, measure in enumerate(("any_correct", "all_correct")):
            right = [[[correct(protocol, r)[place] for r in readings] for readings in pair] for pair in kept]
            changes.append(_tested(participant, measure, np.array(right, dtype=np.float64)))
    seconds = [[[reading.seconds for reading in readings] for readings in pair] for pair in kept]
    confidence = [[[reading.confidence for reading in readings] for readings in pair] for pair in kept]
    changes.append(_tested(participant, "seconds", np.array(seconds)))
    changes.append(_tested(participant, "confidence", np.array(confidence, dtype=np.float64)))
    return changes


def _tested(participant: str, measure: str, values: np.ndarray) -> Change:
    """Compare values of shape (readers, sittings, studies)."""
    first, second = values.mean(axis=0)
    weights = resample(values.shape[2])
    studies = values.shape[2]
    samples = MeasureSamples(float(first.mean()), float(second.mean()), weights @ (second - first) / studies, studies)
    if measure in ("seconds", "confidence"):
        test = wilcoxon(first.tolist(), second.tolist())
    elif len(values) == 1:
        test = mcnemar((first > 0).tolist(), (second > 0).tolist())
    else:
        # How many readers more were right: one whole number per study.
        test = sign_flip_test([round(n) for n in (values[:, 1] - values[:, 0]).sum(axis=0)])
    return Change(participant, measure, samples.first, samples.second, interval(samples), test)


def _accuracy_samples(first: np.ndarray, second: np.ndarray) -> list[MeasureSamples]:
    """Return precision, recall and F1, means over readers, of counts of shape (readers, studies, labels, 3)."""
    weights = resample(first.shape[1])
    everything = np.ones((1, first.shape[1]), dtype=np.int64)
    found, resampled = (
        [
            np.mean([accuracy.macro_averages(np.tensordot(w, of_reader, axes=1)) for of_reader in sitting], axis=0)
            for sitting in (first, second)
        ]
        for w in (everything, weights)
    )
    return [
        MeasureSamples(float(found[0][m][0]), float(found[1][m][0]), resampled[1][m] - resampled[0][m], first.shape[1])
        for m in range(3)
    ]


def _with_adjusted_p(changes: Sequence[Change]) -> tuple[Change, ...]:
    adjusted = holm([None if change.test is None else change.test.p for change in changes])
    return tuple(
        Change(c.participant, c.measure, c.without_ai, c.with_ai, c.difference, c.test, p)
        for c, p in zip(changes, adjusted, strict=True)
    )


def _left_out(
    sittings: Sequence[tuple[SittingRecord, SittingRecord | None]], readers: Sequence[PairedReadings]
) -> tuple[tuple[str, int], ...]:
    paired = {reader.participant: len(reader.without_ai) for reader in readers}
    left = []
    for first, second in sittings:
        cases = {reading.case for record in (first, second) if record is not None for reading in record.finished}
        number = len(cases) - paired.get(first.participant, 0)
        if number:
            left.append((first.participant, number))
    return tuple(left)
