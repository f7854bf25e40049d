"""A reader study with made-up cases, a clock that is set by hand, and a synthetic participant who reads it."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ICHDiagnosisLib.reader_study.protocol import SUBTYPES, Sitting, create_protocol
from ICHDiagnosisLib.reader_study.session import Phase, SittingSession
from ICHDiagnosisLib.reader_study.store import StudyStore

LATER = datetime.now(UTC).date() + timedelta(weeks=60)


class Clock:
    """A monotonic clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def truth_of(number: int) -> frozenset[str]:
    """Return what a case shows: every third nothing, the others one or two subtypes."""
    if number % 3 == 0:
        return frozenset()
    return frozenset({SUBTYPES[number % 5], SUBTYPES[number * 2 % 5]})


def a_study(folder: Path, count: int = 4, weeks: int = 4, with_truth: bool = True) -> StudyStore:
    """Make a reader study; its cases are empty files, for tests that show none."""
    cases = folder / "cases"
    cases.mkdir(parents=True)
    paths = [cases / f"head {number:03d}.nrrd" for number in range(count)]
    for path in paths:
        path.touch()
    truth = {path.name: truth_of(number) for number, path in enumerate(paths)}
    create_protocol(folder / "study", paths, truth if with_truth else None, weeks)
    return StudyStore(folder / "study")


def opened(
    store: StudyStore,
    participant: str = "R01",
    sitting: Sitting = Sitting.WITHOUT_AI,
    clock: Clock | None = None,
    today: date | None = None,
) -> SittingSession:
    """Open a sitting, with the clock that is given."""
    session = store.open_sitting(participant, sitting, today=today or LATER)
    if clock is not None:
        # Every study gets a stopwatch of its own, from this clock.
        session.clock = session._watch._clock = clock
    return session


def read_one(session: SittingSession, clock: Clock, seconds: int, labels: frozenset[str], confidence: int) -> None:
    """Read one study as a participant does: seconds pass, findings are ticked, the time is stopped, then rated."""
    session.begin_study()
    for passed in range(0, seconds, 9):
        clock.now += min(9, seconds - passed)
        session.count()
    for label in sorted(labels):
        session.tick(label, True)
    session.stop()
    session.rate(confidence)


def read_all(store: StudyStore, participant: str, sitting: Sitting, skill: float, seconds: int, sure: int) -> None:
    """Read a whole sitting: each finding of the truth is found with a probability, and times vary."""
    clock = Clock()
    session = opened(store, participant, sitting, clock)
    generator = random.Random(f"{participant} {sitting.value}")
    while session.phase is not Phase.COMPLETE:
        truth = store.protocol.case(session.case).truth or frozenset()
        found = frozenset(label for label in sorted(truth - {"any"}) if generator.random() < skill)
        if generator.random() < 0.1:
            found |= {"subdural"}
        read_one(session, clock, seconds + generator.randint(-5, 5), found, min(3, sure + generator.randint(0, 1)))
    session.leave()
