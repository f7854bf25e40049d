"""A sitting in the panel: study after study is shown, read against the clock, and rated.

While time does not run, the images are hidden: nobody reads on while the clock stands still. In the sitting without AI
no result is read, loaded or shown, and the rest of the panel, the history with it, is out of sight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
import slicer

from ..messages import message
from ..reader_study.journal import JournalError
from ..reader_study.protocol import LABELS, Protocol, Sitting, label_name
from ..reader_study.record import CONFIDENCE
from ..reader_study.session import READER, WINDOW, Phase, SittingSession
from ..result.content import Result, ResultError
from ..scene.case_volume import CaseNotLoadedError, hide_case, load_case, remove_case, show_case, show_case_again
from ..scene.show_result import show_result
from ..scene.volume_geometry import GeometryError
from .bare_panel import BarePanel
from .foreground import Foreground
from .result_view import ResultView
from .sitting_report import SittingReport, StudyAtHand
from .widgets import Tone, Widgets, show_banner

COUNT_MILLISECONDS = 1000


class SittingControls:
    """Takes a reader through a sitting.

    Parameters
    ----------
    ui : Widgets
        The widgets of the reader study by name.
    panel_ui : Widgets
        Those of the panel.
    root : QWidget
        The panel, whose other parts are hidden meanwhile.
    result_view : ResultView
        Shows a result in the sitting with AI.
    on_ended : callable
        Called with what the user should know when the sitting is complete or was left.

    Attributes
    ----------
    session : SittingSession or None
        The sitting that is open.
    node : vtkMRMLScalarVolumeNode or None
        The study that is on the scene.
    """

    def __init__(
        self,
        ui: Widgets,
        panel_ui: Widgets,
        root: qt.QWidget,
        result_view: ResultView,
        on_ended: Callable[[str, Tone], None],
    ) -> None:
        self._ui = ui
        self._panel_ui = panel_ui
        self._root = root
        self._result_view = result_view
        self._on_ended = on_ended
        self._bare = BarePanel(root)
        self._foreground: Foreground | None = None
        self._paused_by_window = False
        self._protocol: Protocol | None = None
        self._results: Mapping[str, Result] = {}
        self.session: SittingSession | None = None
        self.node: slicer.vtkMRMLScalarVolumeNode | None = None
        self._report = SittingReport(self._study_at_hand, self._step, self._state_problem)
        self._boxes = {label: getattr(ui, f"finding{label.capitalize()}Box") for label in LABELS}
        for label, box in self._boxes.items():
            box.text = label_name(label)
            box.toggled.connect(lambda ticked, label=label: self._on_tick(label, ticked))
        names = (
            message("confidence.uncertain"),
            message("confidence.slightly"),
            message("confidence.probable"),
            message("confidence.certain"),
        )
        for level, name in zip(CONFIDENCE, names, strict=True):
            button = getattr(ui, f"confidence{level}Button")
            button.text = message("reading.level", level=level, name=name)
            button.clicked.connect(lambda *_args, level=level: self._step(lambda s: s.rate(level)))
        ui.pauseButton.clicked.connect(self._on_pause)
        ui.finishButton.clicked.connect(lambda *_args: self._step(SittingSession.stop))
        ui.nextStudyButton.clicked.connect(self._on_next)
        ui.leaveButton.clicked.connect(lambda *_args: self.leave())
        ui.sittingReportButton.clicked.connect(self._report.open)
        ui.sittingFrame.setVisible(False)
        self._timer = qt.QTimer(root)
        self._timer.setInterval(COUNT_MILLISECONDS)
        self._timer.timeout.connect(self._on_timer)

    @property
    def is_open(self) -> bool:
        """Whether a sitting is open."""
        return self.session is not None

    def start(self, session: SittingSession, protocol: Protocol, results: Mapping[str, Result]) -> None:
        """Begin or go on.

        Parameters
        ----------
        session : SittingSession
            The sitting.
        protocol : Protocol
            Its cases.
        results : mapping of str to Result
            By case; empty in the sitting without AI.
        """
        self.session, self._protocol, self._results = session, protocol, results
        kept = [self._ui.sittingFrame, self._panel_ui.researchLabel]
        self._result_view.clear()
        self._bare.strip([*kept, self._panel_ui.resultSection])
        self._foreground = Foreground(slicer.util.mainWindow() or self._root.window(), self._on_foreground)
        self._ui.sittingFrame.setVisible(True)
        self._timer.start()
        if session.phase is Phase.PAUSED:
            # It was being read when the sitting was left, or the application died.
            self._guarded(self._load)
            self._hide()
        self.refresh()

    def leave(self) -> None:
        """Interrupt the sitting: what was read is kept, and the study is taken off the scene."""
        if self.session is not None:
            self._end(message("study.interrupted"), Tone.QUIET)

    def refresh(self) -> None:
        """Show where the sitting stands."""
        session, ui = self.session, self._ui
        if session is None:
            return
        phase = session.phase
        record = session.record
        ui.sittingTitle.text = message(
            "reading.title",
            participant=record.participant,
            sitting=record.sitting.label(),
            position=session.position,
            count=len(record.order),
        )
        texts = {
            Phase.READING: (message("reading.running"), Tone.QUIET),
            Phase.PAUSED: (message("reading.paused"), Tone.WARNING),
            Phase.CONFIDENCE: (message("reading.rate"), Tone.QUIET),
        }
        show_banner(ui.readingLabel, *texts.get(phase, (message("reading.next"), Tone.QUIET)))
        ui.findingsFrame.setVisible(phase in (Phase.READING, Phase.PAUSED, Phase.CONFIDENCE))
        ui.findingsFrame.setEnabled(phase is Phase.READING)
        ui.confidenceFrame.setVisible(phase is Phase.CONFIDENCE)
        ui.pauseButton.setVisible(phase in (Phase.READING, Phase.PAUSED))
        ui.pauseButton.text = message("reading.continue") if phase is Phase.PAUSED else message("reading.pause")
        ui.finishButton.setVisible(phase is Phase.READING)
        ui.sittingReportButton.setVisible(phase is Phase.READING and record.sitting is Sitting.WITH_AI)
        ui.nextStudyButton.setVisible(phase is Phase.SHOW)
        self._panel_ui.resultSection.setVisible(phase is Phase.READING and self._result_view.result is not None)
        for label, box in self._boxes.items():
            blocked = box.blockSignals(True)
            box.checked = label in session.labels
            box.blockSignals(blocked)

    def _on_next(self) -> None:
        """Show the next study, then let its time run."""
        if self.session is not None and self.session.phase is Phase.SHOW and self._guarded(self._load):
            slicer.app.processEvents()
            self._step(SittingSession.begin_study)
            if self._foreground is not None and not self._foreground.in_front:
                self._on_foreground(False)

    def _load(self) -> None:
        """Put the study at hand on the scene, in the sitting with AI together with its result."""
        assert self.session is not None and self._protocol is not None
        case = self._protocol.case(self.session.case)
        self._remove()
        name = message("reading.volume", position=self.session.position)
        self.node = load_case(case.path, name, case.identifier, case.series)
        show_case(self.node)
        if self.session.record.sitting is Sitting.WITH_AI:
            self._result_view.show(self.node, show_result(self._results[case.identifier], self.node))
            self._result_view.go_to_leading_finding()

    def _state_problem(self, text: str) -> None:
        show_banner(self._ui.readingLabel, text, Tone.WARNING)

    def _study_at_hand(self) -> StudyAtHand | None:
        """Return the study that is being read with its result; None in the sitting without AI."""
        session, protocol = self.session, self._protocol
        if session is None or protocol is None or session.phase is not Phase.READING:
            return None
        result = self._results.get(session.case)
        if result is None:
            return None
        name = message("reading.volume", position=session.position)
        return StudyAtHand(protocol.case(session.case), result, name)

    def _step(self, step: Callable[[SittingSession], object]) -> None:
        """Take one step, and follow it on the scene; a step that cannot be written ends the sitting with the reason."""
        session = self.session
        if session is None:
            return
        before = session.phase
        if not self._guarded(lambda: step(session)):
            return
        after = session.phase
        if after is Phase.COMPLETE:
            record = session.record
            text = message(
                "study.finished",
                participant=record.participant,
                count=len(record.order),
                sitting=record.sitting.label(),
            )
            self._end(text, Tone.QUIET)
            return
        if after is not before:
            self._follow(before, after)
        self.refresh()

    def _follow(self, before: Phase, after: Phase) -> None:
        """Bring the scene to what a step has led to."""
        if after is Phase.SHOW:
            self._remove()
        elif before is Phase.READING:
            self._hide()
        elif before is Phase.PAUSED and self.node is not None:
            show_case_again(self.node)

    def _guarded(self, action: Callable[[], object]) -> bool:
        """Do something; where it fails, end the sitting and state why. Return whether it was done."""
        try:
            action()
        except (JournalError, CaseNotLoadedError, ResultError, GeometryError) as error:
            self._end(str(error), Tone.PROBLEM)
            return False
        return True

    def _end(self, text: str, tone: Tone) -> None:
        session, self.session = self.session, None
        self._timer.stop()
        if self._foreground is not None:
            self._foreground.close()
            self._foreground = None
        try:
            if session is not None:
                session.leave()
        except JournalError as error:
            text, tone = str(error), Tone.PROBLEM
        self._remove()
        self._results = {}
        self._report.close()
        self._ui.sittingFrame.setVisible(False)
        self._bare.restore()
        self._on_ended(text, tone)

    def _hide(self) -> None:
        if self.node is not None:
            hide_case(self.node)

    def _remove(self) -> None:
        self._result_view.clear()
        node, self.node = self.node, None
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            remove_case(node)

    def _on_pause(self) -> None:
        if self.session is not None and self.session.phase is Phase.READING:
            self._paused_by_window = False
            self._step(lambda session: session.pause(READER))
        else:
            self._step(SittingSession.resume)

    def _on_foreground(self, in_front: bool) -> None:
        """Stop the time when the window leaves the front; let it go on if nothing else had stopped it."""
        if self.session is None:
            return
        if self._report.is_read(in_front):
            return
        if not in_front and self.session.phase is Phase.READING:
            self._paused_by_window = True
            self._step(lambda session: session.pause(WINDOW))
        elif in_front and self._paused_by_window:
            self._paused_by_window = False
            self._step(SittingSession.resume)

    def _on_timer(self) -> None:
        if self._foreground is not None:
            # Not every window manager announces what it does.
            self._foreground.check()
            self._report.count(self._foreground.in_front)
        if self.session is not None and self.session.phase is Phase.READING:
            self._step(SittingSession.count)

    def _on_tick(self, label: str, ticked: bool) -> None:
        if self.session is not None and self.session.phase is Phase.READING:
            self._step(lambda session: session.tick(label, ticked))
