"""The queue on disk: what has arrived, how far each study is, and what is still to be sent.

What a method has returned from survives a kill and a power cut (:mod:`scripts.dicom_node.queue_database`). UIDs are
stored as keys (:func:`scripts.dicom_node.identity.key_of`) alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from scripts.dicom_node.sent_objects import SentObjects


class State(str, Enum):
    """How far a study is. The last three are ends, all others go on by themselves."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    READING = "reading"
    READ = "read"
    SENDING = "sending"
    STORED = "stored"
    COMMITTING = "committing"
    SENT = "sent"
    NOT_EVALUABLE = "not_evaluable"
    FAILED = "failed"


IMAGES_ABSENT = "images_absent"
"""Reason of a study of which images were known and never came."""

STEPS = {State.READING: State.COMPLETE, State.SENDING: State.READ, State.COMMITTING: State.STORED}
"""What a study is during a step, and before it."""

ENDS = (State.SENT, State.NOT_EVALUABLE, State.FAILED)


@dataclass(frozen=True)
class QueuedStudy:
    """One study as the queue has it.

    Attributes
    ----------
    key : str
        Hash of its Study Instance UID; names its folders.
    state : State
        How far it is.
    revision : int
        Number of its images that are known: a step that began with fewer is void.
    attempts : int
        Failed attempts of the present step.
    since : float
        When it entered its state, or at an end last received an image again (seconds since 1970).
    reason : str or None
        Why it is not evaluable, has failed or waits.
    ends_as : State
        What it is once all has been sent: ``SENT``, or of a study without a result the end that the notice tells of.
    cause : str or None
        Why it has no result.
    """

    key: str
    state: State
    revision: int
    attempts: int
    since: float
    reason: str | None
    ends_as: State = State.SENT
    cause: str | None = None


_COLUMNS = "key, state, revision, attempts, since, reason, ends_as, cause"


class StudyQueue(SentObjects):
    """The queue of one node; all methods may be called from any thread."""

    # Arrival

    def add_image(self, study: str, image: str, size: int, quiet: float) -> bool:
        """Note an image that lies on the disk; return whether it was unknown, so that its study is to be read anew.

        Parameters
        ----------
        study, image : str
            Keys.
        size : int
            Bytes.
        quiet : float
            The study settles so many seconds from now, unless more arrives.
        """
        with self._change() as database:
            missed = self._was_missed(study, image)
            new = self._know(database, study, {image}, quiet) > 0
            database.execute("UPDATE instances SET bytes=?, stored=1 WHERE study=? AND key=?", (size, study, image))
            if missed:
                self._enter(database, study, State.RECEIVING)
                self._forget_objects(database, study)
            if not new:
                self._postpone_settling(database, study, quiet)
                ends = ", ".join(f"'{state.value}'" for state in ENDS)
                # Images that come again are kept as long as when they came first: more may follow them.
                database.execute(
                    f"UPDATE studies SET since=? WHERE key=? AND state IN ({ends})", (self._clock(), study)
                )
        return new

    def expect_images(self, study: str, images: Collection[str], quiet: float) -> None:
        """Note images that a study has elsewhere: it is not complete without them."""
        with self._change() as database:
            self._know(database, study, images, quiet)

    def _know(self, database: sqlite3.Connection, study: str, images: Collection[str], quiet: float) -> int:
        """Add unknown images; a study that gains some is receiving again, whatever it was. Return how many are new."""
        rows = [(study, image) for image in images]
        insert = "INSERT OR IGNORE INTO instances (study, key, bytes, stored) VALUES (?, ?, 0, 0)"
        added = database.executemany(insert, rows).rowcount
        if added > 0:
            now = self._clock()
            database.execute(
                "INSERT INTO studies (key, state, revision, settles, due, attempts, interruptions, since) "
                "VALUES (?, 'receiving', ?, ?, 0, 0, 0, ?) ON CONFLICT (key) DO UPDATE SET "
                "since=CASE state WHEN 'receiving' THEN since ELSE excluded.since END, state='receiving', reason=NULL, "
                "revision=revision + excluded.revision, settles=excluded.settles, attempts=0, interruptions=0, due=0, "
                "ends_as=NULL, cause=NULL",
                (study, added, now + quiet, now),
            )
            self._forget_objects(database, study)
        return added

    def _was_missed(self, study: str, image: str) -> bool:
        """Return whether a study has no result because, among others, this image never came."""
        absent = self._ask("SELECT 1 FROM instances WHERE study=? AND key=? AND stored=0", study, image)
        found = self.study(study) if absent else None
        return found is not None and found.state is State.NOT_EVALUABLE and str(found.reason).startswith(IMAGES_ABSENT)

    def _forget_objects(self, database: sqlite3.Connection, study: str) -> None:
        for table in ("objects", "commitments"):
            database.execute(f"DELETE FROM {table} WHERE study=?", (study,))

    def _postpone_settling(self, database: sqlite3.Connection, study: str, seconds: float) -> None:
        statement = "UPDATE studies SET settles=max(settles, ?) WHERE key=? AND state='receiving'"
        database.execute(statement, (self._clock() + seconds, study))

    def wait_for_rest(self, study: str, seconds: float) -> None:
        """Give a sender that broke off time to send the rest of a study."""
        with self._change() as database:
            self._postpone_settling(database, study, seconds)

    def settle(self, still_arriving: Collection[str], longest: float, incomplete_seconds: float) -> list[QueuedStudy]:
        """Move studies on that have been quiet for long enough.

        Parameters
        ----------
        still_arriving : collection of str
            Keys of studies that an open association or the archive is delivering.
        longest : float
            No study has more than so many seconds to wait: a clock that was set back must not hold any.
        incomplete_seconds : float
            For how long known but absent images are waited for.

        Returns
        -------
        list of QueuedStudy
            Studies that are complete now, or without a result because images stayed away.
        """
        now, moved = self._clock(), []
        with self._change() as database:
            database.execute("UPDATE studies SET settles=min(settles, ?) WHERE state='receiving'", (now + longest,))
            quiet = self._ask("SELECT key FROM studies WHERE state='receiving' AND settles <= ?", now)
            for (key,) in quiet:
                if key in still_arriving:
                    continue
                absent = self.absent_images(key)
                since = float(self._ask("SELECT since FROM studies WHERE key=?", key)[0][0])
                if absent and now - since < incomplete_seconds:
                    continue
                if absent:
                    self._enter(database, key, State.READ, IMAGES_ABSENT, State.NOT_EVALUABLE)
                else:
                    self._enter(database, key, State.COMPLETE)
                moved.append(key)
        return [study for key in moved if (study := self.study(key)) is not None]

    def known_images(self, study: str) -> set[str]:
        """Return the keys of all images of a study, on the disk or not."""
        return {row[0] for row in self._ask("SELECT key FROM instances WHERE study=?", study)}

    def absent_images(self, study: str) -> set[str]:
        """Return the keys of images that belong to a study and are not on the disk."""
        return {row[0] for row in self._ask("SELECT key FROM instances WHERE study=? AND stored=0", study)}

    def stored_images(self, study: str) -> set[str]:
        """Return the keys of images that lie on the disk."""
        return self.known_images(study) - self.absent_images(study)

    def stored_bytes(self) -> int:
        """Return how much all received images take."""
        return int(self._ask("SELECT coalesce(sum(bytes), 0) FROM instances WHERE stored=1")[0][0])

    def forget_files(self, study: str) -> bool:
        """Note that the images of a study are no longer on the disk; False, and nothing changes, unless it ended."""
        with self._change() as database:
            found = self.study(study)
            if found is not None and found.state not in ENDS:
                return False
            database.execute("UPDATE instances SET stored=0 WHERE study=?", (study,))
        return True

    # Steps

    def claim(self, waiting: State, working: State) -> QueuedStudy | None:
        """Take the study that has waited longest; those during which the node was killed come last."""
        with self._change() as database:
            found = self._ask(
                "SELECT key FROM studies WHERE state=? AND due <= ? ORDER BY interruptions, since, key LIMIT 1",
                waiting.value,
                self._clock(),
            )
            if not found:
                return None
            key = found[0][0]
            database.execute("UPDATE studies SET state=? WHERE key=?", (working.value, key))
        return self.study(key)

    def finish(
        self, study: QueuedStudy, state: State, reason: str | None = None, *, ends_as: State | None = None
    ) -> bool:
        """Enter the next state; False, and nothing changes, where images came meanwhile and the step is void.

        ``ends_as`` is what a study without a result will be once its notice was sent; ``reason`` then is the cause.
        """
        with self._change() as database:
            if not self._is_current(study):
                return False
            self._enter(database, study.key, state, reason, ends_as)
        return True

    def postpone(self, study: QueuedStudy, state: State, seconds: float, reason: str, *, counts: bool = True) -> bool:
        """Give a step back to be tried again after some seconds; ``counts`` where it was an attempt of the study's."""
        with self._change() as database:
            if not self._is_current(study):
                return False
            database.execute(
                "UPDATE studies SET state=?, due=?, attempts=attempts + ?, reason=? WHERE key=?",
                (state.value, self._clock() + seconds, int(counts), reason, study.key),
            )
        return True

    def _is_current(self, study: QueuedStudy) -> bool:
        found = self.study(study.key)
        return found is not None and (found.state, found.revision) == (study.state, study.revision)

    def _enter(
        self,
        database: sqlite3.Connection,
        key: str,
        state: State,
        reason: str | None = None,
        ends_as: State | None = None,
    ) -> None:
        cause = reason if ends_as else None
        database.execute(
            "UPDATE studies SET state=?, since=?, due=0, attempts=0, reason=?, ends_as=?, cause=? WHERE key=?",
            (state.value, self._clock(), reason, ends_as.value if ends_as else None, cause, key),
        )

    def recover(self, interrupted_seconds: float) -> None:
        """Put back what a killed node was at; senders that it interrupted have time to send the rest."""
        settles = self._clock() + interrupted_seconds
        with self._change() as database:
            for working, waiting in STEPS.items():
                database.execute(
                    "UPDATE studies SET state=?, due=0, interruptions=interruptions + 1 WHERE state=?",
                    (waiting.value, working.value),
                )
            database.execute("UPDATE studies SET settles=max(settles, ?) WHERE state='receiving'", (settles,))

    def retry_failed(self) -> int:
        """Begin failed studies anew; return how many there were. Those whose images are gone stay as they are."""
        with self._change() as database:
            condition = "state='failed' AND NOT EXISTS (SELECT 1 FROM instances WHERE study=studies.key AND stored=0)"
            for table in ("objects", "commitments"):
                database.execute(f"DELETE FROM {table} WHERE study IN (SELECT key FROM studies WHERE {condition})")
            return database.execute(
                f"UPDATE studies SET state='complete', since=?, due=0, attempts=0, reason=NULL, "
                f"ends_as=NULL, cause=NULL WHERE {condition}",
                (self._clock(),),
            ).rowcount

    # Objects

    def set_objects(self, study: QueuedStudy, names: Iterable[str]) -> bool:
        """Note the files that are to be sent of a study; False where images came meanwhile."""
        with self._change() as database:
            if not self._is_current(study):
                return False
            rows = [(study.key, name) for name in names]
            database.executemany("INSERT OR IGNORE INTO objects (study, name, sent) VALUES (?, ?, 0)", rows)
        return True

    # What there is

    def study(self, key: str) -> QueuedStudy | None:
        """Return one study, None where it is unknown."""
        return next(iter(self._studies("key=?", key)), None)

    def studies(self, *states: State) -> list[QueuedStudy]:
        """Return all studies in some states (all without any), longest in them first."""
        places = ", ".join("?" for _ in states)
        return self._studies(f"state IN ({places})" if states else "1", *(state.value for state in states))

    def _studies(self, condition: str, *values: str) -> list[QueuedStudy]:
        rows = self._ask(f"SELECT {_COLUMNS} FROM studies WHERE {condition} ORDER BY since, key", *values)
        return [
            QueuedStudy(
                row[0],
                State(row[1]),
                int(row[2]),
                int(row[3]),
                float(row[4]),
                row[5] or None,
                State(row[6]) if row[6] else State.SENT,
                row[7] or None,
            )
            for row in rows
        ]

    def counts(self) -> dict[State, int]:
        """Return how many studies are in each state that has any."""
        rows = self._ask("SELECT state, count(*) FROM studies GROUP BY state")
        return {State(state): int(count) for state, count in rows}
