"""The queue's part about objects: which were sent, and which an archive has committed itself to keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scripts.dicom_node.identity import key_of
from scripts.dicom_node.queue_database import QueueDatabase


class SentObjects(QueueDatabase):
    """What became of the objects of each study, by the names of their files."""

    def unsent_objects(self, study: str) -> list[str] | None:
        """Return the names of files still to be sent, or None where none were noted yet."""
        rows = self._ask("SELECT name, sent FROM objects WHERE study=? ORDER BY name", study)
        return [row[0] for row in rows if not row[1]] if rows else None

    def mark_sent(self, study: str, name: str) -> None:
        """Note that a peer has confirmed one file."""
        with self._change() as database:
            database.execute("UPDATE objects SET sent=1 WHERE study=? AND name=?", (study, name))

    # Storage commitment (PS3.4, annex J)

    def uncommitted_objects(self, study: str) -> list[str]:
        """Return the names of files that the archive has not committed itself to."""
        rows = self._ask("SELECT name FROM objects WHERE study=? AND committed IS NULL ORDER BY name", study)
        return [row[0] for row in rows]

    def note_request(self, study: str, request: str, objects: Mapping[str, str]) -> None:
        """Note a request before it is sent: its report may come before its response.

        Parameters
        ----------
        study : str
            Key.
        request : str
            Its Transaction UID (0008,1195).
        objects : mapping of str to str
            Name of the file to SOP Instance UID.
        """
        with self._change() as database:
            database.execute("INSERT INTO commitments (request, study) VALUES (?, ?)", (request, study))
            database.executemany(
                "UPDATE objects SET image=? WHERE study=? AND name=?",
                [(key_of(uid), study, name) for name, uid in objects.items()],
            )

    def note_report(self, request: str, committed: Collection[str], failed: Collection[str]) -> str | None:
        """Note what an archive reports: what it keeps, and what is to be sent again.

        Parameters
        ----------
        request : str
            Transaction UID of the request that it answers, the last one or an earlier one.
        committed, failed : collection of str
            SOP Instance UIDs.

        Returns
        -------
        str or None
            Key of the study; None where nothing was asked, or has been answered already.
        """
        with self._change() as database:
            found = self._ask("SELECT study FROM commitments WHERE request=?", request)
            if not found:
                return None
            study = found[0][0]
            statement = "UPDATE objects SET {} WHERE study=? AND image=? AND committed IS NULL"
            for change, uids in (("committed='1'", committed), ("sent=0", failed)):
                database.executemany(statement.format(change), [(study, key_of(uid)) for uid in uids])
            database.execute("DELETE FROM commitments WHERE request=?", (request,))
            database.execute("UPDATE studies SET due=0 WHERE key=? AND state='stored'", (study,))
        return study

    def hasten_answered(self, study: str, request: str) -> None:
        """Let a study go on at once of which the report came before it began to wait for it."""
        with self._change() as database:
            database.execute(
                "UPDATE studies SET due=0 WHERE key=? AND state='stored' "
                "AND NOT EXISTS (SELECT 1 FROM commitments WHERE request=?)",
                (study, request),
            )
