"""Whether the application is in front: time must not run for a reader who looks at something else.

The window's own events are listened to, and Qt is asked which window is active: another window of the application (a
view on a second screen) is in front as well; another program, a minimised window or a locked screen is not. That
PythonQt hands the filter these events is proven in the test host only.
"""

from __future__ import annotations

from collections.abc import Callable

import qt


class Foreground:
    """Tells when the application comes to the front and when it leaves.

    Parameters
    ----------
    window : QWidget
        The main window.
    on_changed : callable
        Called with whether the application is in front, whenever that has changed.
    """

    def __init__(self, window: qt.QWidget, on_changed: Callable[[bool], None]) -> None:
        self._window = window
        self._on_changed = on_changed
        self.in_front = self._ask()
        self._filter = _WindowEvents(window, self.check)
        window.installEventFilter(self._filter)

    def check(self) -> None:
        """Ask anew, and tell if it has changed."""
        in_front = self._ask()
        if in_front != self.in_front:
            self.in_front = in_front
            self._on_changed(in_front)

    def close(self) -> None:
        """Listen no longer."""
        self._window.removeEventFilter(self._filter)

    def _ask(self) -> bool:
        return qt.QApplication.activeWindow() is not None and not self._window.isMinimized()


class _WindowEvents(qt.QObject):
    """Listens to the window's events and lets all of them pass."""

    def __init__(self, window: qt.QWidget, check: Callable[[], None]) -> None:
        super().__init__(window)
        self._check = check

    def eventFilter(self, _window: qt.QWidget, event: qt.QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() in (
            qt.QEvent.WindowActivate,
            qt.QEvent.WindowDeactivate,
            qt.QEvent.WindowStateChange,
            qt.QEvent.Hide,
            qt.QEvent.Show,
        ):
            self._check()
        return False
