"""The panel's keyboard shortcuts, given up while another module is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
import slicer


class Shortcuts:
    """Keys of the main window.

    Parameters
    ----------
    widget : QWidget
        The panel, for where there is no main window.
    actions : mapping of str to callable
        What each key does.
    """

    def __init__(self, widget: qt.QWidget, actions: Mapping[str, Callable[[], None]]) -> None:
        self._shortcuts = [self._shortcut(widget, key, action) for key, action in actions.items()]

    def enable(self, enabled: bool) -> None:
        """Take up the keys, or give them up."""
        for shortcut in self._shortcuts:
            shortcut.enabled = enabled

    def close(self) -> None:
        """Give the keys up for good."""
        for shortcut in self._shortcuts:
            shortcut.deleteLater()
        self._shortcuts.clear()

    @staticmethod
    def _shortcut(widget: qt.QWidget, key: str, on_activated: Callable[[], None]) -> qt.QShortcut:
        shortcut = qt.QShortcut(slicer.util.mainWindow() or widget)
        shortcut.setKey(qt.QKeySequence(key))
        shortcut.enabled = False
        shortcut.activated.connect(on_activated)
        return shortcut
