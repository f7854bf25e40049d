"""A journal: one JSON object per line, only ever added to, on the disk before the next step begins.

A program or computer that dies while it writes leaves at most half a line at the end, of a step that had not been
confirmed; that half is cut off when the journal is opened again. Anything else that does not fit is refused.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from ..messages import MessageError

Entry = dict[str, Any]

_log = logging.getLogger(__name__)


class JournalError(MessageError):
    """The journal cannot be read or written; the message is one line for the user."""


def read_entries(path: Path) -> list[Entry]:
    """Read every whole line of a journal; nothing is changed.

    Raises
    ------
    JournalError
        If it cannot be read, or a line other than an unfinished last one is damaged or out of its place.
    """
    return _parsed(path)[0]


def _parsed(path: Path) -> tuple[list[Entry], int]:
    """Return the entries and the length, in bytes, of what holds them."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise JournalError("journal.unreadable", name=path.name, error=error.strerror or error) from error
    length = raw.rfind(b"\n") + 1
    entries = []
    for number, line in enumerate(raw[:length].splitlines(), start=1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or entry["number"] != number or "event" not in entry:
                raise ValueError("out of place")
        except (ValueError, KeyError) as error:
            raise JournalError("journal.damaged", name=path.name, line=number) from error
        entries.append(entry)
    return entries, length


class Journal:
    """A journal that is open for writing.

    Parameters
    ----------
    path : Path
        The file; made where there is none.

    Raises
    ------
    JournalError
        As :func:`read_entries`, or if it cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise JournalError("journal.not_written", name=path.name, error=error.strerror or error) from error
        try:
            self.entries, self._length = _parsed(path)
            if self._file.seek(0, os.SEEK_END) > self._length:
                _log.warning("the last line of %s was unfinished and is left out", path.name)
                self._file.truncate(self._length)
        except (OSError, JournalError):
            self._file.close()
            raise
        _sync_folder(path.parent)

    def add(self, event: str, **values: object) -> Entry:
        """Write one line and wait until it is on the disk; return it.

        Raises
        ------
        JournalError
            If it cannot be written, or another program has written to the journal meanwhile.
        """
        entry: Entry = {"number": len(self.entries) + 1, "event": event, **values}
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        try:
            if self._file.seek(0, os.SEEK_END) != self._length:
                raise JournalError("journal.written_elsewhere", name=self._path.name)
            written = self._file.write(line)
            if written != len(line):
                self._file.truncate(self._length)
                raise OSError("the disk is full")
            os.fsync(self._file.fileno())
        except OSError as error:
            reason = error.strerror or error
            raise JournalError("journal.not_written", name=self._path.name, error=reason) from error
        self._length += len(line)
        self.entries.append(entry)
        return entry

    def close(self) -> None:
        """Write no more."""
        self._file.close()


def _sync_folder(folder: Path) -> None:
    """Put the name of a new file on the disk as well, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        # Windows opens no folders, and keeps names by itself.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
