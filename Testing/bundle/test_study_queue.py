"""The node's queue: every state is reached by what happened, and a step that was overtaken is void."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.dicom_node.housekeeping import Housekeeping
from scripts.dicom_node.received import ReceivedStudies
from scripts.dicom_node.settings import DiskSettings, KeepSettings
from scripts.dicom_node.step import Step, pause_after
from scripts.dicom_node.study_queue import QueuedStudy, State, StudyQueue

HOUR = 3600.0


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[StudyQueue]:
    opened = StudyQueue(tmp_path / "queue.sqlite", clock)
    yield opened
    opened.close()


def settled(queue: StudyQueue) -> list[str]:
    return [study.key for study in queue.settle((), HOUR, HOUR)]


def a_complete(queue: StudyQueue, key: str = "study", images: int = 2) -> QueuedStudy:
    for index in range(images):
        queue.add_image(key, f"image {index}", 10, 0.0)
    assert settled(queue) == [key]
    return queue.study(key)


def taken(queue: StudyQueue, waiting: State = State.COMPLETE, working: State = State.READING) -> QueuedStudy:
    found = queue.claim(waiting, working)
    assert found is not None
    return found


def test_a_study_is_complete_when_it_was_quiet_for_long_enough(queue: StudyQueue, clock: Clock):
    assert queue.add_image("study", "a", 10, 30.0)
    clock.now += 29
    assert settled(queue) == []
    # The same image again is nothing new, but somebody is still sending.
    assert not queue.add_image("study", "a", 10, 30.0)
    clock.now += 29
    assert settled(queue) == []
    clock.now += 1
    assert queue.settle({"study"}, HOUR, HOUR) == []
    assert settled(queue) == ["study"]
    assert settled(queue) == []


def test_a_clock_that_was_set_back_holds_no_study(queue: StudyQueue, clock: Clock):
    queue.add_image("study", "a", 10, 30.0)
    clock.now -= 10 * HOUR
    assert queue.settle((), 60.0, HOUR) == []
    clock.now += 60
    assert [study.key for study in queue.settle((), 60.0, HOUR)] == ["study"]


def test_a_study_of_which_images_are_known_but_absent_waits_for_them_and_then_is_not_evaluable(
    queue: StudyQueue, clock: Clock
):
    queue.expect_images("study", {"a", "b"}, 0.0)
    queue.add_image("study", "a", 10, 0.0)
    assert settled(queue) == []
    assert queue.absent_images("study") == {"b"}
    clock.now += HOUR
    assert settled(queue) == ["study"]
    # Its notice is sent before it is at its end.
    waiting = queue.study("study")
    assert (waiting.state, waiting.ends_as, waiting.cause) == (State.READ, State.NOT_EVALUABLE, "images_absent")
    sending = taken(queue, State.READ, State.SENDING)
    assert queue.finish(sending, sending.ends_as, sending.cause)
    assert (queue.study("study").state, queue.study("study").reason) == (State.NOT_EVALUABLE, "images_absent")
    # What came is known; what was missed makes it worth reading.
    queue.add_image("study", "a", 10, 0.0)
    assert queue.study("study").state is State.NOT_EVALUABLE
    queue.add_image("study", "b", 10, 0.0)
    assert settled(queue) == ["study"]
    assert queue.study("study").state is State.COMPLETE


def test_images_that_come_while_a_study_is_read_void_that_reading(queue: StudyQueue):
    a_complete(queue)
    reading = taken(queue)
    queue.add_image("study", "late", 10, 0.0)
    assert not queue.finish(reading, State.READ)
    assert not queue.postpone(reading, State.COMPLETE, 1.0, "fault")
    assert queue.study("study").state is State.RECEIVING
    assert settled(queue) == ["study"]
    assert queue.finish(taken(queue), State.READ)


def test_images_that_come_while_objects_are_sent_make_new_objects(queue: StudyQueue):
    a_complete(queue)
    queue.finish(taken(queue), State.READ)
    sending = taken(queue, State.READ, State.SENDING)
    assert queue.set_objects(sending, ["a", "b"])
    queue.mark_sent("study", "a")
    assert queue.unsent_objects("study") == ["b"]
    queue.add_image("study", "late", 10, 0.0)
    assert queue.unsent_objects("study") is None
    assert not queue.set_objects(sending, ["a"])
    assert not queue.finish(sending, State.SENT)


def test_a_killed_node_goes_on_and_takes_what_it_was_at_last(tmp_path: Path, clock: Clock):
    queue = StudyQueue(tmp_path / "queue.sqlite", clock)
    a_complete(queue, "first")
    clock.now += 1
    a_complete(queue, "second")
    assert taken(queue).key == "first"
    queue.add_image("third", "a", 10, 1.0)
    # No close: a kill has none.
    again = StudyQueue(tmp_path / "queue.sqlite", clock)
    again.recover(interrupted_seconds=50.0)
    assert [taken(again).key, taken(again).key] == ["second", "first"]
    clock.now += 49
    assert settled(again) == []
    clock.now += 1
    assert settled(again) == ["third"]


def test_a_queue_of_an_earlier_version_goes_on(tmp_path: Path, clock: Clock):
    file = tmp_path / "queue.sqlite"
    queue = StudyQueue(file, clock)
    a_complete(queue)
    queue.close()
    with closing(sqlite3.connect(file)) as database, database:
        for table, column in (
            ("studies", "ends_as"),
            ("studies", "cause"),
            ("objects", "image"),
            ("objects", "committed"),
        ):
            database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        database.execute("DROP TABLE commitments")
    again = StudyQueue(file, clock)
    assert again.finish(taken(again), State.READ, "no_head", ends_as=State.NOT_EVALUABLE)
    assert again.study("study").cause == "no_head"
    assert again.uncommitted_objects("study") == []
    again.close()


def test_a_report_counts_once_for_what_was_asked_alone(queue: StudyQueue, clock: Clock):
    a_complete(queue)
    assert queue.finish(taken(queue), State.READ)
    sending = taken(queue, State.READ, State.SENDING)
    assert queue.set_objects(sending, ["a.dcm", "b.dcm"])
    for name in ("a.dcm", "b.dcm"):
        queue.mark_sent("study", name)
    assert queue.finish(sending, State.STORED)
    asking = taken(queue, State.STORED, State.COMMITTING)
    queue.note_request("study", "1.2", {"a.dcm": "1.2.1", "b.dcm": "1.2.2"})
    assert queue.postpone(asking, State.STORED, HOUR, "waits")
    assert queue.note_report("9.9", ["1.2.1"], []) is None
    queue.hasten_answered("study", "1.2")
    assert queue.claim(State.STORED, State.COMMITTING) is None
    assert queue.note_report("1.2", ["1.2.1", "7.7"], ["1.2.2"]) == "study"
    assert queue.note_report("1.2", ["1.2.2"], []) is None
    assert (queue.uncommitted_objects("study"), queue.unsent_objects("study")) == (["b.dcm"], ["b.dcm"])
    # At once, not after an hour; and a kill at this moment changes nothing.
    assert taken(queue, State.STORED, State.COMMITTING).key == "study"
    queue.recover(0.0)
    assert taken(queue, State.STORED, State.COMMITTING).key == "study"


def test_a_step_that_failed_waits_and_lets_others_pass(queue: StudyQueue, clock: Clock):
    a_complete(queue, "failing")
    clock.now += 1
    a_complete(queue, "good")
    failing = taken(queue)
    assert failing.key == "failing"
    queue.postpone(failing, State.COMPLETE, 60.0, "fault")
    assert taken(queue).key == "good"
    assert queue.claim(State.COMPLETE, State.READING) is None
    clock.now += 60
    again = taken(queue)
    assert (again.key, again.attempts, again.reason) == ("failing", 1, "fault")
    assert queue.finish(again, State.FAILED, "fault")
    assert queue.studies(State.FAILED)[0].reason == "fault"


def test_failed_studies_begin_anew_unless_their_images_are_gone(queue: StudyQueue):
    for key in ("kept", "gone"):
        a_complete(queue, key)
        queue.finish(taken(queue), State.FAILED, "fault")
    assert queue.forget_files("gone")
    assert queue.retry_failed() == 1
    assert queue.counts() == {State.COMPLETE: 1, State.FAILED: 1}


def test_images_of_a_study_under_way_are_not_forgotten(queue: StudyQueue):
    a_complete(queue)
    assert not queue.forget_files("study")
    assert queue.absent_images("study") == set()
    assert queue.stored_bytes() == 20


def test_a_step_that_ended_without_a_state_is_put_back(queue: StudyQueue):
    a_complete(queue)
    step = Step(queue, State.COMPLETE, State.READING)
    with step.claimed():
        step.put_back_stray()
        assert queue.counts() == {State.READING: 1}
    step.put_back_stray()
    assert queue.counts() == {State.COMPLETE: 1}
    assert queue.study("study").attempts == 0


def test_a_change_that_fails_leaves_nothing_half(queue: StudyQueue):
    a_complete(queue)
    with pytest.raises(sqlite3.OperationalError), queue._change() as database:
        database.execute("DELETE FROM studies")
        database.execute("no SQL")
    assert queue.study("study").state is State.COMPLETE


def test_pauses_double_up_to_the_longest():
    assert [pause_after(attempts, 5.0, 60.0) for attempts in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert pause_after(10_000, 5.0, 900.0) == 900.0


@pytest.fixture
def kept(tmp_path: Path, queue: StudyQueue, clock: Clock) -> tuple[Housekeeping, Path]:
    """A study that was sent, one that failed, with images, results and objects."""
    received = ReceivedStudies(tmp_path / "received", queue, 0.0, DiskSettings(0.0))
    for key, end in (("sent", State.SENT), ("failed", State.FAILED)):
        a_complete(queue, key)
        queue.finish(taken(queue), end)
        for folder in (f"received/{key}", f"results/{key}", f"objects/{key}-2"):
            (tmp_path / folder).mkdir(parents=True)
    keep = KeepSettings(received_hours=1.0, results_hours=2.0, failed_hours=None)
    return Housekeeping(queue, received, tmp_path / "results", tmp_path / "objects", keep, clock), tmp_path


def test_what_was_sent_is_removed_after_its_hours_and_what_failed_stays(
    kept: tuple[Housekeeping, Path], queue: StudyQueue, clock: Clock
):
    housekeeping, folder = kept

    def left() -> list[str]:
        housekeeping.tidy()
        return sorted(path.name for path in folder.glob("*/*") if path.name != ".arriving")

    assert left() == ["failed", "failed", "failed-2", "sent", "sent", "sent-2"]
    clock.now += HOUR
    assert left() == ["failed", "failed", "failed-2", "sent", "sent-2"]
    assert queue.absent_images("sent") == queue.known_images("sent")
    clock.now += HOUR
    assert left() == ["failed", "failed", "failed-2"]
    assert queue.study("sent").state is State.SENT


def test_images_that_come_again_are_kept_as_long_as_at_first(queue: StudyQueue, clock: Clock):
    a_complete(queue)
    queue.finish(taken(queue), State.SENT)
    queue.forget_files("study")
    clock.now += 10 * HOUR
    assert not queue.add_image("study", "image 0", 10, 0.0)
    assert queue.study("study").since == clock.now
    assert queue.stored_images("study") == {"image 0"}
