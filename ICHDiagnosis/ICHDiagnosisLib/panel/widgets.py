"""What all parts of the panel share: widgets by name, banners in a tone, a file dialogue, the system's own programs."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import qt


class Widgets(Protocol):
    """The widgets of the ``.ui`` file by name, as ``slicer.util.childWidgetVariables`` returns them."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a widget of any class
        """Return one widget."""


class Tone(Enum):
    """What a line means: background, text and edge colour, readable on a light and on a dark theme."""

    PLAIN = ("transparent", "", "transparent")
    QUIET = ("#eef1f4", "#3c4650", "#8a97a5")
    WARNING = ("#fff3c4", "#4d3c00", "#e0a800")
    PROBLEM = ("#fde7e5", "#6b1a13", "#c93a2e")


def show_banner(label: qt.QLabel, text: str, tone: Tone) -> None:
    """Show a text in a tone; an empty text takes the label off the panel."""
    background, colour, edge = tone.value
    # No line may break between a number and its per cent sign.
    label.text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    if tone is Tone.PLAIN:
        label.styleSheet = ""
    else:
        label.styleSheet = (
            f"QLabel {{ background: {background}; color: {colour}; border-left: 4px solid {edge}; padding: 4px 6px; }}"
        )
    label.setVisible(bool(text))


def open_with_system(path: Path) -> None:
    """Open a file or folder with what the system uses for it: a browser, a file manager."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))


def ask_for_folder(parent: qt.QWidget, title: str, on_chosen: Callable[[Path], None]) -> qt.QFileDialog:
    """Ask for a folder, without waiting for the answer; the dialogue is to be kept until it closes."""
    dialog = qt.QFileDialog(parent, title)
    dialog.fileMode = qt.QFileDialog.Directory
    dialog.setOption(qt.QFileDialog.ShowDirsOnly, True)
    dialog.fileSelected.connect(lambda path: on_chosen(Path(path)))
    dialog.open()
    return dialog


def ask_for_file(
    parent: qt.QWidget, title: str, name: str, on_chosen: Callable[[Path], None], grows: bool = False
) -> qt.QFileDialog:
    """Ask where to save, without waiting for the answer.

    Parameters
    ----------
    parent : QWidget
        Over which the dialogue opens.
    title : str
        What is saved.
    name : str
        Proposed name; its suffix is the only one offered.
    on_chosen : callable
        Called with the path, if one was chosen.
    grows : bool
        Whether an existing file is added to, and so need not be asked about.

    Returns
    -------
    QFileDialog
        To be kept until it closes.
    """
    suffix = Path(name).suffix
    dialog = qt.QFileDialog(parent, title)
    dialog.acceptMode = qt.QFileDialog.AcceptSave
    dialog.fileMode = qt.QFileDialog.AnyFile
    dialog.setOption(qt.QFileDialog.DontConfirmOverwrite, grows)
    dialog.setNameFilter(f"*{suffix}")
    dialog.defaultSuffix = suffix.removeprefix(".")
    dialog.selectFile(name)
    dialog.fileSelected.connect(lambda path: on_chosen(Path(path)))
    dialog.open()
    return dialog
