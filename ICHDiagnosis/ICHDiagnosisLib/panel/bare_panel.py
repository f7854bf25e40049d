"""The panel without what a reader must not see or use: all but a few of its parts, hidden for the time of a sitting."""

from __future__ import annotations

from collections.abc import Iterable

import qt


class BarePanel:
    """Hides the parts of the panel, and brings them back as they were.

    Parameters
    ----------
    root : QWidget
        Whose direct children are its parts.
    """

    def __init__(self, root: qt.QWidget) -> None:
        self._root = root
        self._hidden: list[qt.QWidget] = []

    def strip(self, kept: Iterable[qt.QWidget]) -> None:
        """Hide every part but those of ``kept``."""
        stay = list(kept)
        for child in self._root.children():
            is_part = child.isWidgetType() and child.parent() is self._root and child not in stay
            if is_part and not child.isHidden():
                child.setVisible(False)
                self._hidden.append(child)

    def restore(self) -> None:
        """Show again what was hidden."""
        for child in self._hidden:
            child.setVisible(True)
        self._hidden.clear()
