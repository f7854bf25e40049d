"""Reads one study after the other in one process of a triage, with the network loaded once."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.exit_status import EVALUATED, NOT_EVALUABLE
from scripts.intake.discovery import StudySource, find_studies
from scripts.intake.study import IntakeError, NotEvaluableError
from scripts.kept_workflow import KeptWorkflow
from scripts.messages import ExpectedError, Message
from scripts.output.folder import RESULT_FILE, put_in_place
from scripts.triage.records import note_place, outcome_before, record_outcome, settings_digest, task_key
from scripts.triage.sources import ARCHIVE_SCHEMES
from scripts.triage.tasks import BUNDLE_ROOT, Outcome, Settings, Task, TriageError

logger = logging.getLogger(__name__)


class StudyReader:
    """One worker's bundle.

    Parameters
    ----------
    settings : Settings
        How every study is read.
    bundle_root : Path, optional
        The bundle; the one that this file is in otherwise.
    """

    def __init__(self, settings: Settings, bundle_root: Path = BUNDLE_ROOT) -> None:
        self._settings = settings
        self._root = bundle_root
        self._kept = KeptWorkflow()
        self._faults = _LastError()
        # Not the root's: the configuration of the log replaces its handlers.
        logging.getLogger("scripts").addHandler(self._faults)

    def prepare(self) -> None:
        """Load the network.

        Raises
        ------
        TriageError
            If it cannot be loaded; then no study can be read.
        """
        self._key = settings_digest(self._root, self._settings)
        if self._kept.prepare(self._arguments()) != EVALUATED:
            raise TriageError("triage.not_prepared", fault=self._faults.text)

    def read(self, task: Task, partial: Path) -> Outcome:
        """Read a study and give its result folder its name, unless that was done before.

        Parameters
        ----------
        task : Task
            The study.
        partial : Path
            A folder that does not exist, on the file system of the results; gone at the end.
        """
        try:
            key = task_key(task, self._key)
            before = outcome_before(task, key, self._settings.output)
            if before is not None:
                if before.status != "several":
                    note_place(task, self._settings.output)
                return before
            partial.mkdir(parents=True)
            outcome = self._outcome(task, partial)
            if outcome.status not in ("failed", "several"):
                note_place(task, self._settings.output)
            if outcome.status != "failed":
                record_outcome(task, key, outcome, self._settings.output)
        except ExpectedError as error:
            return Outcome("failed", reason=error.message, again=isinstance(error, TriageError))
        except OSError as error:
            return Outcome("failed", reason=error.strerror or type(error).__name__)
        else:
            return outcome
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _outcome(self, task: Task, partial: Path) -> Outcome:
        sources = self._sources(task, partial)
        if task.study is not None:
            sources = [source for source in sources if source.study_id == task.study]
        if len(sources) > 1:
            return Outcome("several", studies=tuple(source.study_id for source in sources))
        if not sources:
            return Outcome("failed", reason=Message("triage.study_gone"))
        self._faults.text = ""
        results = partial / "results"
        named = replace(sources[0], study_id=task.name)
        status = self._kept.read_found(self._arguments("--output_dir", str(results)), [named])
        if status not in (EVALUATED, NOT_EVALUABLE):
            return Outcome("failed", reason=self._faults.text or Message("triage.no_reason"))
        document = json.loads((results / task.name / RESULT_FILE).read_text(encoding="utf-8"))
        put_in_place(results / task.name, self._settings.output / task.name)
        return Outcome(document["status"])

    def _sources(self, task: Task, partial: Path) -> Sequence[StudySource]:
        """Find the studies of a task; a place without any is a study that cannot be read, for it must be listed."""
        place = Path(task.place)
        if task.place.startswith(ARCHIVE_SCHEMES):
            from scripts.triage.archive import retrieve_study  # noqa: PLC0415 - reading folders needs no client

            # Named after the task, for the result states the name of what was read.
            place = partial / "input" / task.name
            place.mkdir(parents=True)
            retrieve_study(task.place, place)
        try:
            return find_studies(place)
        except IntakeError as error:
            if error.code in ("intake.no_such_file", "intake.no_permission"):
                raise
            fault = NotEvaluableError("no_study.because", fault=error.message)
            return [StudySource(task.name, place.name, place, fault=fault)]

    def _arguments(self, *more: str) -> list[str]:
        files = [str(self._root / file) for file in self._settings.config_files]
        arguments = ["run", "--config_file", repr(files), "--bundle_root", str(self._root)]
        for name, value in self._settings.overrides:
            arguments += [f"--{name}", value]
        return [*arguments, *more]


class _LastError(logging.Handler):
    """Keeps the text of the last error that was logged: a run states its failure there alone."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line of a record."""
        self.text = record.getMessage().partition("\n")[0][:500]
