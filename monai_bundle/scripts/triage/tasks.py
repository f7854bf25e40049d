"""What a triage is made of: tasks, what becomes of them, and the settings that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scripts.messages import ExpectedError, Message

BUNDLE_ROOT = Path(__file__).resolve().parents[2]
MINUTES, ATTEMPTS, FAILURES_IN_A_ROW = 10.0, 3, 20


class TriageError(ExpectedError):
    """The triage cannot begin or go on; the message is one line that names the fault and the remedy."""


@dataclass(frozen=True)
class Task:
    """One study to read.

    Attributes
    ----------
    name : str
        Of its result folder.
    place : str
        Path of its folder or file; of a study in an archive, its address there.
    study : str or None
        Which study of the place, as :func:`scripts.intake.discovery.find_studies` names it; None while nobody has
        looked, or where it is the only one.
    state : str
        What an archive states of the study's content, so that a changed study is read again; empty for files, whose
        state is looked up.
    """

    name: str
    place: str
    study: str | None = None
    state: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    status : {"evaluated", "not_evaluable", "failed", "several"}
        As in the result folder; ``"several"`` where the place holds more than one study and none was read.
    before : bool
        Whether the result is that of an earlier triage.
    reason : Message or str
        Why it failed.
    again : bool
        Whether another attempt may help.
    studies : tuple of str
        Where there are several: what tells them apart, see :attr:`Task.study`.
    """

    status: Literal["evaluated", "not_evaluable", "failed", "several"]
    before: bool = False
    reason: Message | str = ""
    again: bool = False
    studies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How every study is read.

    Attributes
    ----------
    output : Path
        Folder of the result folders; every machine sees it under this path.
    config_files : tuple of str
        The bundle's configuration and what overrides it, below the bundle's folder or absolute.
    overrides : tuple of (str, str)
        Further keys of the configuration with their values.
    """

    output: Path
    config_files: tuple[str, ...] = ("configs/inference.json",)
    overrides: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Limits:
    """When a study, or all of it, is given up.

    Attributes
    ----------
    minutes : float
        A study that takes longer is ended (min).
    attempts : int
        A study that so many workers did not survive is not tried again.
    failures_in_a_row : int
        After so many failures without a result between them the fault is not the studies'.
    """

    minutes: float = MINUTES
    attempts: int = ATTEMPTS
    failures_in_a_row: int = FAILURES_IN_A_ROW


@dataclass
class Tally:
    """How far a triage is."""

    total: int
    evaluated: int = 0
    not_evaluable: int = 0
    failed: int = 0
    before: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Studies that are over."""
        return self.evaluated + self.not_evaluable + self.failed
