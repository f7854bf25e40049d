"""Apply and Cancel, the progress bar, the line that states how it ended, and the live log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..bundle.exit_status import Ending, Outcome, Remedy
from ..messages import message
from .widgets import Tone, Widgets, show_banner

LONGEST_LOG = 5000
"""Lines kept in the panel; the file ``run.log`` keeps all."""


class RunControls:
    """Shows what runs; it decides nothing.

    Parameters
    ----------
    ui : Widgets
        The widgets of the panel by name.
    """

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        ui.logEdit.maximumBlockCount = LONGEST_LOG
        ui.progressBar.setVisible(False)
        ui.remedyButton.setVisible(False)
        show_banner(ui.statusLabel, "", Tone.PLAIN)

    def show_idle(self, missing: str) -> None:
        """Offer Apply, or state what is missing for it."""
        button = self._ui.applyButton
        button.text = message("button.apply")
        button.setEnabled(not missing)
        button.toolTip = missing or message("button.apply_hint")
        self._ui.hintLabel.text = missing
        self._ui.hintLabel.setVisible(bool(missing))
        self._ui.progressBar.setVisible(False)

    def show_blocked(self, reason: str) -> None:
        """Offer nothing while something else runs."""
        self._ui.applyButton.setEnabled(False)
        self._ui.applyButton.toolTip = reason

    def show_started(self, stage: str) -> None:
        """Turn Apply into Cancel and begin a new log."""
        self._ui.logEdit.clear()
        self._ui.hintLabel.setVisible(False)
        self._ui.remedyButton.setVisible(False)
        button = self._ui.applyButton
        button.text = message("button.cancel")
        button.setEnabled(True)
        button.toolTip = message("button.cancel_hint")
        self.show_progress(stage, None)

    def show_cancelling(self) -> None:
        """Show that the end was asked for."""
        self._ui.applyButton.setEnabled(False)
        self._ui.applyButton.text = message("button.cancelling")

    def show_progress(self, stage: str, fraction: float | None) -> None:
        """Show what is being done, and which fraction of the whole is done (0..1; None for unknown)."""
        bar = self._ui.progressBar
        bar.setVisible(True)
        bar.setRange(0, 0 if fraction is None else 100)
        if fraction is not None:
            bar.value = round(100 * fraction)
        show_banner(self._ui.statusLabel, stage, Tone.PLAIN)

    def add_to_log(self, lines: Sequence[str]) -> None:
        """Append lines to the log, and follow it unless the user has scrolled back."""
        bar = self._ui.logEdit.verticalScrollBar()
        follows = bar.value >= bar.maximum
        for line in lines:
            self._ui.logEdit.appendPlainText(line)
        if follows:
            bar.value = bar.maximum

    def show_ending(self, outcome: Outcome, log_file: Path, notices: Sequence[str] = ()) -> None:
        """State how it ended, and offer what can be done about a failure."""
        self._ui.progressBar.setVisible(False)
        text = " ".join(filter(None, (outcome.message, outcome.suggestion, *notices)))
        failed = outcome.ending is Ending.FAILED
        # A result needs no comment, nor does the reason why there is none.
        is_quiet = outcome.ending is not Ending.CANCELLED and not failed and not notices
        show_banner(self._ui.statusLabel, "" if is_quiet else text, Tone.PROBLEM if failed else Tone.QUIET)
        self._ui.logSection.toolTip = str(log_file)
        self._ui.remedyButton.text = _remedy_text(outcome.remedy)
        self._ui.remedyButton.setVisible(failed and bool(_remedy_text(outcome.remedy)))

    def show_problem(self, text: str) -> None:
        """State why nothing was started; an empty text takes the banner off the panel."""
        self._ui.progressBar.setVisible(False)
        self._ui.remedyButton.setVisible(False)
        show_banner(self._ui.statusLabel, text, Tone.PROBLEM)

    def open_log(self) -> None:
        """Unfold the log."""
        self._ui.logSection.collapsed = False


def _remedy_text(remedy: Remedy) -> str:
    texts = {
        Remedy.RUN_ON_CPU: message("remedy.run_on_cpu"),
        Remedy.CHECK_INSTALLATION: message("remedy.check_installation"),
        Remedy.READ_LOG: message("remedy.read_log"),
    }
    return texts.get(remedy, "")
